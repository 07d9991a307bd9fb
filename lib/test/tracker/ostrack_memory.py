"""The tracker of models with a memory: template updates, and search for a lost target."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from lib.config.ostrack_memory import MemoryRules, OSTrackMemoryConfig
from lib.models.state import State
from lib.test.tracker.tracker import SearchResult, Target, Tracker
from lib.utils.crop import crop_window

_DYNAMIC = ("dynamic", "dynamic_box")


@dataclass
class MemoryTarget(Target):
    """See :class:`Target`.

    Attributes:
        first: the state of the first frame, before the network prepared it.
        seen: ``xywh`` box around which a lost target is looked for: it has the center of the last sure box, and the
            size of the last sure box that was whole, as that of a target on its way out of the frame is too small.
        frames: number of frames after the first one.
        lost: number of latest frames without the target.
    """

    first: State
    seen: list[float]
    frames: int = 0
    lost: int = 0


class MemoryTracker(Tracker):
    """See :class:`Tracker`. ``TEST.MEMORY`` sets its rules, the same for all videos."""

    cfg: OSTrackMemoryConfig

    def new_target(self, state: State, box: list[float]) -> MemoryTarget:
        """See :class:`Tracker`."""
        return MemoryTarget(self.network.prepare(state), box, first=state, seen=list(box))

    def start(self, image: np.ndarray, box: Sequence[float]) -> MemoryTarget:
        """See :class:`Tracker`."""
        target = super().start(image, box)
        assert isinstance(target, MemoryTarget)
        target.seen = self.clipped(target.box, image.shape)
        return target

    def find(self, images: Sequence[np.ndarray], targets: Sequence[Target]) -> tuple[list[SearchResult], float, float]:
        """See :class:`Tracker`. A lost target is also searched elsewhere; see ``TEST.MEMORY.HOLD`` for its box."""
        rules = self.cfg.TEST.MEMORY
        found, crop, network = super().find(images, targets)
        for i, (image, target) in enumerate(zip(images, targets, strict=True)):
            assert isinstance(target, MemoryTarget)
            if found[i].presence < least_presence(rules, target.lost):  # False if there is no presence (NaN)
                again, more_crop, more_network = self.search_elsewhere(image, target)
                box = self.clipped(target.box, image.shape) if rules.HOLD else found[i].box
                found[i] = again or replace(found[i], box=box, state={})
                crop, network = crop + more_crop, network + more_network
            if "dynamic" in target.first and updates_template(rules, target.frames + 1, found[i]):
                found[i].state |= self.new_template(image, target, found[i].box)
        return found, crop, network

    def search_elsewhere(self, image: np.ndarray, target: MemoryTarget) -> tuple[SearchResult | None, float, float]:
        """Search the next few parts of the frame for a lost target.

        Returns:
            The result with the highest presence, or None if it is not found; the seconds of cropping, and of the model.
        """
        rules = self.cfg.TEST.MEMORY
        boxes = search_boxes(image.shape, target.seen, self.cfg.TEST.SEARCH_FACTOR)
        if not boxes or not rules.LOOKS:
            return None, 0.0, 0.0
        chosen = [boxes[(target.lost * rules.LOOKS + i) % len(boxes)] for i in range(min(rules.LOOKS, len(boxes)))]
        found, crop, network = self.search([image] * len(chosen), [target] * len(chosen), chosen)
        best = max(found, key=lambda one: one.presence)
        return best if best.presence >= rules.FOUND_THRESHOLD else None, crop, network

    @torch.inference_mode()
    def new_template(self, image: np.ndarray, target: MemoryTarget, box: Sequence[float]) -> State:
        """Return the entries of the state that a dynamic template around ``box`` changes."""
        seen = self.first_state(image, box)
        fresh = {name: seen[name] for name in _DYNAMIC if name in seen}
        prepared = self.network.prepare(target.first | fresh)
        return {name: value for name, value in prepared.items() if name in _DYNAMIC}

    def keep(self, target: Target, found: SearchResult) -> None:
        """See :class:`Tracker`."""
        assert isinstance(target, MemoryTarget)
        rules = self.cfg.TEST.MEMORY
        absent = found.presence < least_presence(rules, target.lost)
        super().keep(target, found)
        if found.presence >= rules.FOUND_THRESHOLD:
            target.seen = seen_box(target.seen, found)
        target.frames += 1
        target.lost = target.lost + 1 if absent else 0


def least_presence(rules: MemoryRules, lost: int) -> float:
    """Return the least presence at which a target counts as present near its box, after ``lost`` frames without it."""
    return rules.FOUND_THRESHOLD if lost and rules.HOLD else rules.LOST_THRESHOLD


def seen_box(seen: Sequence[float], found: SearchResult) -> list[float]:
    """Return :attr:`MemoryTarget.seen` after a sure result; ``seen`` is that before."""
    if found.whole:
        return list(found.box)
    (x, y, w, h), (width, height) = found.box, seen[2:]
    return [x + (w - width) / 2, y + (h - height) / 2, width, height]


def updates_template(rules: MemoryRules, frame: int, found: SearchResult) -> bool:
    """Return whether frame ``frame``, counted from 0 at the first template, becomes the dynamic template."""
    sure = found.score if math.isnan(found.presence) else found.presence
    return frame % rules.UPDATE_INTERVAL == 0 and sure >= rules.UPDATE_THRESHOLD


def search_boxes(shape: Sequence[int], box: Sequence[float], factor: float) -> list[list[float]]:
    """Return other boxes to search a lost target around: of its size, half a search region apart, nearest first.

    Args:
        shape: height and width of the frame.
        box: its last box, ``xywh`` in pixels; not among the results.
        factor: side of a search region over the square root of the box's area.
    """
    height, width = shape[:2]
    x, y, w, h = box
    step = crop_window(box, factor).side / 2
    cx, cy = x + w / 2, y + h / 2
    columns = np.arange(-np.floor(cx / step), np.floor((width - cx) / step) + 1)
    rows = np.arange(-np.floor(cy / step), np.floor((height - cy) / step) + 1)
    offsets = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
    offsets = offsets[np.argsort((offsets**2).sum(axis=1), kind="stable")]
    return [[x + step * i, y + step * j, w, h] for i, j in offsets.tolist() if (i, j) != (0, 0)]
