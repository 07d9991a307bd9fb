"""Track one or several targets through a stream of frames."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.test.evaluation.protocol import BatchTracker, TrackResult
from lib.vis.draw import COLORS, TARGET, Color, draw_box, rgb

LOST: Color = (150, 150, 155)


@dataclass(frozen=True)
class TrackedFrame:
    """A frame, and the targets found in it.

    Attributes:
        image: RGB uint8 (H, W, 3).
        boxes: ``xywh`` in pixels, one for each target.
        scores: confidence of each box, in (0, 1); 1 for a given box.
        seconds: time of the tracker.
        step: the result of the tracker's step, with its times; None if all boxes were given.
        numbers: numbers of these targets among all, from 1; by default 1, 2, ...
    """

    image: np.ndarray
    boxes: list[list[float]]
    scores: list[float]
    seconds: float
    step: TrackResult | None = None
    numbers: Sequence[int] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "numbers", self.numbers or range(1, len(self.boxes) + 1))

    @property
    def box(self) -> list[float]:
        """The box of the first target."""
        return self.boxes[0]

    @property
    def score(self) -> float:
        """The score of the first target."""
        return self.scores[0]

    def picture(self, lost_below: float = 0.0) -> np.ndarray:
        """Return the frame with boxes and scores drawn: a color for each target, gray and ``lost`` below that score.

        Several targets are numbered from 1.
        """
        picture = self.image
        for number, box, score in zip(self.numbers, self.boxes, self.scores, strict=True):
            lost = score < lost_below
            color = LOST if lost else _target_color(number)
            words = ([f"{number}:"] if max(self.numbers) > 1 else []) + (["lost"] if lost else []) + [f"{score:.2f}"]
            picture = draw_box(picture, box, color, " ".join(words))
        return picture


def _target_color(number: int) -> Color:
    """Return a target's color: yellow for the first, as in all views, plot colors for the others."""
    return TARGET if number == 1 else rgb(COLORS[(number - 2) % len(COLORS)])


class VideoTracker:
    """Tracks several targets from frame to frame, all in one batch.

    Args:
        tracker: a :class:`BatchTracker`.
    """

    def __init__(self, tracker: BatchTracker) -> None:
        self.tracker = tracker
        self.targets: list[Any] = []
        self.numbers: list[int] = []  # of the targets, from 1

    def start(self, image: np.ndarray, boxes: Sequence[Sequence[float]]) -> TrackedFrame:
        """Track the targets at ``boxes`` (``xywh`` pixels) from this frame on, and no others.

        Raises:
            DataError: a box has no area inside the frame; the previous targets are kept.
        """
        anew = VideoTracker(self.tracker)
        frame = anew.step(image, dict(enumerate(boxes, start=1)))
        self.targets, self.numbers = anew.targets, anew.numbers
        return frame

    def step(self, image: np.ndarray, joining: Mapping[int, Sequence[float]] | None = None) -> TrackedFrame:
        """Find the targets in the next frame, and start new targets in it.

        Args:
            joining: number and box (``xywh`` pixels) of each new target.

        Raises:
            DataError: such a box has no area inside the frame; nothing has changed.
        """
        start, new = time.perf_counter(), joining or {}
        started = [self.tracker.start(image, box) for box in new.values()]
        found = self.tracker.step([image] * len(self.targets), self.targets) if self.targets else None
        boxes, scores = (found.boxes, found.confidence) if found else ([], [])
        boxes = [*boxes, *([float(v) for v in box] for box in new.values())]
        self.targets, self.numbers = [*self.targets, *started], [*self.numbers, *new]
        seconds = time.perf_counter() - start
        return TrackedFrame(image, boxes, [*scores, *[1.0] * len(new)], seconds, found, self.numbers)


def track_frames(
    tracker: BatchTracker, frames: Iterable[np.ndarray], *boxes: Sequence[float]
) -> Iterator[TrackedFrame]:
    """Track the targets at ``boxes`` (``xywh`` pixels) of the first frame through all frames; yield each frame.

    Raises:
        DataError: a box has no area inside the first frame.
    """
    video = VideoTracker(tracker)
    for number, image in enumerate(frames):
        yield video.step(image) if number else video.start(image, boxes)
