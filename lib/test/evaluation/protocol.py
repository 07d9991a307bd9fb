"""Interface of trackers for evaluation. Images are RGB uint8 (H, W, 3), boxes x, y, w, h in pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, cast

import numpy as np

from lib.utils.errors import ConfigError


class Tracker(Protocol):
    """A tracker of one target; a custom tracker needs these two methods."""

    def initialize(self, image: np.ndarray, info: dict[str, Any]) -> Any:
        """Initialize the target at ``info["init_bbox"]``, the only annotation that the tracker gets."""
        ...

    def track(self, image: np.ndarray) -> dict[str, Any]:
        """Find the target in the next frame; its box is ``target_bbox``.

        It may add its score as ``best_score``, and the probability that the target is present as ``presence``.
        """
        ...


class TrackResult(NamedTuple):
    """Result of tracking one more frame of each target, with times."""

    boxes: list[list[float]]  # one for each target
    scores: list[float]  # likewise, in [0, 1]; NaN if the tracker has none
    crop: float = math.nan  # seconds to crop the search regions, normalize them and copy them to the device
    network: float = math.nan  # seconds of the forward pass, synchronized; both are NaN if they are not measured
    presence: Sequence[float] = ()  # the probability that each target is visible; empty if it is not predicted

    @property
    def confidence(self) -> Sequence[float]:
        """The confidence of each box: presence if the tracker predicts it, else the score."""
        return self.presence or self.scores


class BatchTracker(Protocol):
    """A tracker of many targets at a time, of different sequences, with a separate state for each."""

    def start(self, image: np.ndarray, box: Sequence[float]) -> Any:
        """Start a target at ``box`` in its first frame; return its state."""
        ...

    def step(self, images: Sequence[np.ndarray], targets: Sequence[Any]) -> TrackResult:
        """Find each target in its next image. When this raises, no target has changed."""
        ...


def batch_tracker(tracker: Tracker | BatchTracker, batch: int) -> BatchTracker:
    """Return ``tracker`` as a :class:`BatchTracker` of ``batch`` targets. Raises ConfigError if it cannot be one."""
    if hasattr(tracker, "start") and hasattr(tracker, "step"):
        return cast(BatchTracker, tracker)
    if batch > 1:
        name = type(tracker).__name__
        raise ConfigError(f"--batch {batch}: {name} has no start() and step() (lib/test/evaluation/protocol.py)")
    return _OneTarget(tracker)


class _OneTarget:
    """Adapts a tracker of one target to :class:`BatchTracker`."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker

    def start(self, image: np.ndarray, box: Sequence[float]) -> None:
        self.tracker.initialize(image, {"init_bbox": list(box)})

    def step(self, images: Sequence[np.ndarray], targets: Sequence[None]) -> TrackResult:
        found = self.tracker.track(images[0])
        presence = [found["presence"]] if "presence" in found else []
        return TrackResult([found["target_bbox"]], [found.get("best_score", math.nan)], presence=presence)
