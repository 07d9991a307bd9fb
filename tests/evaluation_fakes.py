"""Trackers of a few lines, and small sequences for them, where the worker processes of the tests find them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from lib.data.own_folder import folder_label
from lib.test.evaluation import get_dataset
from lib.test.evaluation.job import Summary
from lib.test.evaluation.protocol import TrackResult
from lib.test.evaluation.results import result_files
from lib.test.evaluation.runner import RunOptions, run_sequences
from lib.utils.dist_info import ALONE, DistInfo
from lib.utils.errors import CheckpointError

RUN = {"tracker": "ostrack", "config": "c", "config_hash": "abc", "checkpoint_sha256": "123", "precision": "float32"}
LENGTHS = {"a": 4, "b": 9, "c": 6}


def write_sequences(root: Path, lengths: dict[str, int] = LENGTHS) -> Path:
    """Sequences of so many gray frames, whose pictures are 10, 11, 12 ... rows high."""
    for i, (name, length) in enumerate(lengths.items()):
        folder = root / name
        (folder / "img").mkdir(parents=True)
        for t in range(length):
            cv2.imwrite(str(folder / f"img/{t}.png"), np.full((10 + i, 16, 3), 5 * t % 256, np.uint8))
        (folder / "groundtruth.txt").write_text("1.5,2,3,4\n" * length)
    return root


class FakeBatchTracker:
    """Moves each first box right by the brightness of each frame, and leaves a mark that it was built.

    Scores fall by a tenth with every frame.

    ``trouble`` maps the height of a sequence's pictures to what happens at its third frame; ``pause`` is how many
    seconds a frame takes.
    """

    def __init__(self, device: str, marks: Path, trouble: dict[int, str] | None = None, pause: float = 0.0) -> None:
        self.marks, self.trouble, self.pause = marks, trouble or {}, pause
        self.batches: list[int] = []
        (marks / f"{os.getpid()}_{device}_{time.time_ns()}").touch()

    def start(self, image: np.ndarray, box: Sequence[float]) -> dict[str, Any]:
        return {"box": list(box), "count": 0}

    def step(self, images: Sequence[np.ndarray], targets: Sequence[dict[str, Any]]) -> TrackResult:
        start = time.perf_counter()
        self.batches.append(len(images))
        moved = [self.move(image, target) for image, target in zip(images, targets, strict=True)]
        for target, box in zip(targets, moved, strict=True):
            target.update(box=box, count=target["count"] + 1)
        seconds = time.perf_counter() - start
        scores = [1 - target["count"] / 10 for target in targets]
        return TrackResult(moved, scores, crop=seconds / 4, network=seconds / 2)

    def move(self, image: np.ndarray, target: dict[str, Any]) -> list[float]:
        time.sleep(self.pause)
        trouble = self.trouble.get(len(image)) if target["count"] == 1 else None
        tripped = self.marks / f"tripped_{len(image)}"
        if trouble == "raise" or (trouble == "once" and not tripped.exists()):
            tripped.touch()
            raise RuntimeError("the sky fell")
        if trouble == "nan":
            return [float("nan")] * 4
        if trouble == "hang":
            (self.marks / f"hangs.{os.getpid()}").touch()
            time.sleep(600)
        if trouble == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        return [target["box"][0] + float(image.mean()) / 7, *target["box"][1:]]


class TooLargeTracker(FakeBatchTracker):
    """Has no memory for more than two targets."""

    def step(self, images: Sequence[np.ndarray], targets: Sequence[dict[str, Any]]) -> TrackResult:
        if len(images) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().step(images, targets)


class FakeTracker:
    """The same tracker as somebody else would write it: for one target, without steps."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.inner = FakeBatchTracker(*arguments, **options)

    def initialize(self, image: np.ndarray, info: dict[str, Any]) -> None:
        assert list(info) == ["init_bbox"]  # nothing else of the annotation
        self.target = self.inner.start(image, info["init_bbox"])

    def track(self, image: np.ndarray) -> dict[str, Any]:
        return {"target_bbox": self.inner.step([image], [self.target]).boxes[0]}


def build_broken(device: str) -> FakeTracker:
    raise CheckpointError("weights.pth is damaged")


def build_dying(device: str, status: int = 5) -> FakeTracker:
    os._exit(status)


def run(
    data: Path,
    out: Path,
    trouble: dict[int, str] | None = None,
    tracker: type = FakeTracker,
    pause: float = 0.0,
    provenance: dict[str, Any] | None = None,
    rank: DistInfo = ALONE,
    **options: Any,
) -> Summary:
    """Track the sequences in ``data`` with a fake tracker; ``options`` as of :class:`RunOptions`."""
    marks = out / "marks"
    marks.mkdir(parents=True, exist_ok=True)
    build = options.pop("build", None) or partial(tracker, marks=marks, trouble=trouble, pause=pause)
    sequences = get_dataset(f"folder:{data}")
    return run_sequences(sequences, build, out, RUN | (provenance or {}), ["cpu"], RunOptions(**options), rank)


def results(out: Path, data: Path) -> Path:
    """Where the results of the sequences in ``data`` lie."""
    return out / "ostrack/c" / folder_label(data)


def boxes(out: Path) -> dict[str, str]:
    """The text of each result file."""
    return {path.name: path.read_text() for path in result_files(out / "ostrack/c")}
