"""Tracking one sequence: the loop over its frames."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lib.test.evaluation.prefetch import read_ahead
from lib.test.evaluation.results import ResultWriter
from lib.test.evaluation.sequence import Sequence


class Tracker(Protocol):
    """What the runner asks of a tracker; images are RGB uint8, boxes x, y, w, h in pixels."""

    def initialize(self, image: np.ndarray, info: dict[str, Any]) -> Any: ...

    def track(self, image: np.ndarray) -> dict[str, Any]: ...


@dataclass
class Job:
    """A sequence to track, the file to write and the provenance to write beside it."""

    sequence: Sequence
    path: Path
    provenance: dict[str, Any]


@dataclass
class Outcome:
    """How a job ended.

    Attributes:
        name: of the sequence.
        frames: tracked frames, without the first.
        seconds: spent inside ``track`` over these frames.
        error: traceback or reason when it failed.
    """

    name: str
    frames: int = 0
    seconds: float = 0.0
    error: str | None = None


def track_job(tracker: Tracker, job: Job, on_frames: Callable[[int], Any]) -> Outcome:
    """Track the sequence of ``job`` and write its result. An exception ends up in the outcome, not here.

    Args:
        tracker: is told the first box, and nothing else of the annotation.
        job: what to do.
        on_frames: called with the number of frames finished since its last call.
    """
    try:
        job.sequence.check_length()
        box = job.sequence.init_box
        with closing(read_ahead(job.sequence.frames)) as images, ResultWriter(job.path, job.provenance) as writer:
            for t, image in enumerate(images):
                start = time.perf_counter()
                if t == 0:
                    tracker.initialize(image, {"init_bbox": list(box)})
                else:
                    box = tracker.track(image)["target_bbox"]
                writer.add(box, time.perf_counter() - start)
                on_frames(1)
    except Exception:  # one sequence must not cost the others; the runner reports it
        return Outcome(job.sequence.name, error=traceback.format_exc())
    return Outcome(job.sequence.name, len(writer.seconds) - 1, sum(writer.seconds[1:]))
