"""What the runner asks of a tracker. Images are RGB uint8 (H, W, 3), boxes x, y, w, h in pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, cast

import numpy as np

from lib.utils.errors import ConfigError


class Tracker(Protocol):
    """A tracker that follows one target; whoever brings a tracker of their own writes these two methods."""

    def initialize(self, image: np.ndarray, info: dict[str, Any]) -> Any:
        """Take the target at ``info["init_bbox"]``, the only thing it gets to know of it."""
        ...

    def track(self, image: np.ndarray) -> dict[str, Any]:
        """Find the target in the next frame; its box is ``target_bbox``.

        It may add its score as ``best_score``, and the probability that the target is there as ``presence``.
        """
        ...


class TrackResult(NamedTuple):
    """What a tracker found in one more frame of each of its targets, and how long that took.

    Attributes:
        boxes: one for each target.
        scores: likewise, in [0, 1]; NaN where the tracker gives none.
        crop: seconds to cut out the search regions, normalize them and bring them to the device.
        network: seconds of the forward pass, waited for. Both are NaN where the tracker does not tell them apart.
        presence: the probability that each target is in sight; empty where the tracker gives none.
    """

    boxes: list[list[float]]
    scores: list[float]
    crop: float = math.nan
    network: float = math.nan
    presence: Sequence[float] = ()

    @property
    def confidence(self) -> Sequence[float]:
        """How sure the tracker is of each box: presence where it knows that, else the score."""
        return self.presence or self.scores


class BatchTracker(Protocol):
    """A tracker that follows many targets at a time, of different sequences, and keeps what it knows of each apart."""

    def start(self, image: np.ndarray, box: Sequence[float]) -> Any:
        """Start a target at ``box`` in its first frame; return its state."""
        ...

    def step(self, images: Sequence[np.ndarray], targets: Sequence[Any]) -> TrackResult:
        """Find each target in its next image. When this raises, no target has changed."""
        ...


def batch_tracker(tracker: Tracker | BatchTracker, batch: int) -> BatchTracker:
    """``tracker`` as one that can follow ``batch`` targets. Raises ConfigError when it cannot."""
    if hasattr(tracker, "start") and hasattr(tracker, "step"):
        return cast(BatchTracker, tracker)
    if batch > 1:
        name = type(tracker).__name__
        raise ConfigError(f"--batch {batch}: {name} has no start() and step() (lib/test/evaluation/protocol.py)")
    return _OneTarget(tracker)


class _OneTarget:
    """A tracker of one target in the form of :class:`BatchTracker`."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker

    def start(self, image: np.ndarray, box: Sequence[float]) -> None:
        self.tracker.initialize(image, {"init_bbox": list(box)})

    def step(self, images: Sequence[np.ndarray], targets: Sequence[None]) -> TrackResult:
        found = self.tracker.track(images[0])
        presence = [found["presence"]] if "presence" in found else []
        return TrackResult([found["target_bbox"]], [found.get("best_score", math.nan)], presence=presence)
