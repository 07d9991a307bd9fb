"""Two other modes of tracking a sequence: with a simulated annotator who corrects the box, and in real time.

Their results are separate from ordinary ones, in their own folder and with their own provenance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from lib.data.sequence import Sequence as Video
from lib.data.tracks import valid_boxes
from lib.test.evaluation.protocol import BatchTracker, Tracker, batch_tracker
from lib.test.evaluation.results import ANNOTATOR, REALTIME
from lib.utils.box_ops import box_xywh_to_xyxy, paired_iou
from lib.utils.errors import ConfigError, DataError

_WARM_UP_STEPS = 3


def mode_of(annotator: float | None, realtime: float | None) -> dict[str, float]:
    """Return the provenance entries of a run's mode; none for an ordinary run.

    Args:
        annotator: least IoU with the ground truth that the annotator accepts, in (0, 1].
        realtime: frame rate of the video, in frames per second.

    Raises:
        ConfigError: a value is out of range, or both are given.
    """
    if annotator is not None and realtime is not None:
        raise ConfigError("--annotator and --realtime cannot be combined: choose one")
    if annotator is not None and not 0 < annotator <= 1:
        raise ConfigError(f"--annotator {annotator:g}: the least IoU that is accepted is above 0 and at most 1")
    if realtime is not None and not 0 < realtime < float("inf"):
        raise ConfigError(f"--realtime {realtime:g}: frames per second are above 0")
    given = {ANNOTATOR: annotator, REALTIME: realtime}
    return {name: value for name, value in given.items() if value is not None}


def mode_name(config: str, mode: dict[str, float]) -> str:
    """Return the name of a run of a config: ``CONFIG``, ``CONFIG_annotator0.5``, ``CONFIG_realtime30``."""
    return config + "".join(f"_{name}{value:g}" for name, value in mode.items())


class Annotator:
    """Simulate an annotator who corrects the box wherever its IoU with the ground truth is below ``least``, if given.

    There are no corrections where the target is absent or its box is unknown. ``corrections`` has the corrected frames
    (from 0). Raises DataError: only the first box of the sequence is known.
    """

    def __init__(self, video: Video, least: float | None) -> None:
        self.least, self.corrections = least, list[int]()
        if least is None:
            return
        self.truth = video.ground_truth
        if len(self.truth) == 1:
            known = f"only its first box is known ({video.annotation})"
            raise DataError(f"sequence {video.name}: {known}, which allows no corrections: leave out --annotator")
        visible = video.official_visible
        self.known = valid_boxes(self.truth) & (True if visible is None else visible)

    def correct(self, frame: int, box: Sequence[float], image: np.ndarray) -> list[float] | None:
        """Return the true ``xywh`` box of a frame if ``box`` is not accepted, else None."""
        if self.least is None or not self.known[frame]:
            return None
        (x, y, w, h), (height, width) = self.truth[frame].tolist(), image.shape[:2]
        if x >= width or y >= height or x + w <= 0 or y + h <= 0:
            return None  # outside of the image, where it cannot be corrected
        corners = box_xywh_to_xyxy(torch.tensor([list(box), [x, y, w, h]], dtype=torch.float64))
        iou, _ = paired_iou(corners[:1], corners[1:])
        if not iou.item() < self.least:  # also true if the box is not finite, which the writer rejects
            return None
        self.corrections.append(frame)
        return [x, y, w, h]


class Arrivals:
    """Simulate a video of ``rate`` frames per second: those that arrive while the tracker computes are skipped.

    The clock starts at the first frame, after the tracker's initialization. ``skipped`` has the skipped frames (from
    0); without a rate there are none.
    """

    def __init__(self, rate: float | None) -> None:
        self.rate, self.skipped = rate, list[int]()
        self._ready = 0.0  # time at which the tracker is ready, in frames

    def skips(self, frame: int) -> bool:
        """Return whether the frame arrives while the tracker computes."""
        if self.rate is not None and frame < self._ready:
            self.skipped.append(frame)
            return True
        return False

    def took(self, frame: int, seconds: float) -> None:
        """Record how long the tracker computed on a frame after its arrival."""
        self._ready = frame + seconds * (self.rate or 0.0)


def warm_up(tracker: BatchTracker) -> None:
    """Run a few steps on noise: the first ones of a model are slow."""
    image = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
    target = tracker.start(image, [32, 32, 64, 64])
    for _ in range(_WARM_UP_STEPS):
        tracker.step([image], [target])


def build_warm(device: str, build: Callable[[str], Tracker | BatchTracker]) -> Any:
    """Build a tracker and warm it up."""
    tracker = build(device)
    warm_up(batch_tracker(tracker, 1))
    return tracker
