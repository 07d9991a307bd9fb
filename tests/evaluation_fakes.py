"""Trackers for the tests of the runner, in a module of their own that a worker process imports quickly."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from lib.utils.errors import CheckpointError


class FakeTracker:
    """Moves the first box right by the brightness of each frame, and leaves a mark that it was built.

    ``trouble`` maps the height of a sequence's pictures to what happens at its third frame.
    """

    def __init__(self, device: str, marks: Path, trouble: dict[int, str] | None = None) -> None:
        self.trouble = trouble or {}
        (marks / f"{os.getpid()}_{device}_{time.time_ns()}").touch()

    def initialize(self, image: np.ndarray, info: dict[str, Any]) -> None:
        assert list(info) == ["init_bbox"]  # nothing else of the annotation
        self.box, self.count = info["init_bbox"], 0

    def track(self, image: np.ndarray) -> dict[str, Any]:
        self.count += 1
        trouble = self.trouble.get(len(image)) if self.count == 2 else None
        if trouble == "raise":
            raise RuntimeError("the sky fell")
        if trouble == "nan":
            return {"target_bbox": [float("nan")] * 4, "best_score": 0.0}
        if trouble == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        self.box = [self.box[0] + float(image.mean()) / 7, *self.box[1:]]
        return {"target_bbox": self.box, "best_score": 1.0}


def build_broken(device: str) -> FakeTracker:
    raise CheckpointError("weights.pth is damaged")


def build_dying(device: str) -> FakeTracker:
    os._exit(5)
