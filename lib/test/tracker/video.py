"""Tracking through a stream of frames."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lib.test.tracker.ostrack import Tracker
from lib.vis.draw import draw_box


@dataclass(frozen=True)
class TrackedFrame:
    """A frame, and where the target was found in it.

    Attributes:
        image: RGB uint8 (H, W, 3).
        box: ``xywh`` in pixels.
        score: in (0, 1); 1 for the first frame, whose box is given.
        seconds: that the tracker took.
    """

    image: np.ndarray
    box: list[float]
    score: float
    seconds: float

    def picture(self) -> np.ndarray:
        """The frame with box and score drawn."""
        return draw_box(self.image, self.box, label=f"{self.score:.2f}")


def track_frames(tracker: Tracker, frames: Iterable[np.ndarray], box: Sequence[float]) -> Iterator[TrackedFrame]:
    """Follow the target at ``box`` (``xywh`` pixels) in the first frame through all of them, one after the other.

    Raises:
        DataError: the box has no area inside the first frame.
    """
    for number, image in enumerate(frames):
        start = time.perf_counter()
        if number == 0:
            tracker.initialize(image, {"init_bbox": box})
            found = {"target_bbox": [float(v) for v in box], "best_score": 1.0}
        else:
            found = tracker.track(image)
        yield TrackedFrame(image, found["target_bbox"], found["best_score"], time.perf_counter() - start)
