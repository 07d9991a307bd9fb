"""What presence reads while a tracker runs, and how right its boxes were: samples to train presence on.

The tracker runs in closed loop, so the samples have the mistakes that it makes: boxes that drift onto something else,
and places that look like the target where a lost one is looked for.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib.data.sequence import Sequence as TrackedSequence
from lib.models.ostrack_memory.memory import PresenceHead
from lib.test.tracker.distractors import center_of
from lib.test.tracker.ostrack_memory import MemoryTracker
from lib.test.tracker.tracker import SearchResult, Target
from lib.utils.box_ops import box_xywh_to_xyxy, paired_iou
from lib.utils.errors import ConfigError, DataError
from lib.utils.replacing import replacing

_ANYWHERE = 0.45  # share of the frames with the target in which another search is anywhere, not near the target
_OTHER = 0.3  # share in which the target of the sequence before is searched for as well
# Other searches: standard deviation of the logarithm of the size, near the target and anywhere; largest distance from
# the target's center, as a multiple of its side, for its own template and another one.
_SIZE, _SIZE_ANYWHERE = 0.3, 0.2
_NEAR, _OTHER_NEAR = 1.3, 0.7
_OFF, _OFF_FRAMES = 0.1, 15  # with less overlap in more frames in a row, the target is set to its annotation


@dataclass(frozen=True)
class PresenceSamples:
    """Samples of one or more sequences.

    Attributes:
        features: the inputs of presence's layers, (N, F) float16.
        overlaps: IoU of the box of each with its target's, (N,) float32; 0 where there is no target.
    """

    features: np.ndarray
    overlaps: np.ndarray

    def save(self, path: Path, checkpoint: str) -> None:
        """Write them to an ``.npz`` file, with the hash of the tracker's weights."""
        with replacing(path, f".{os.getpid()}.npz") as unfinished:  # another command may write it too
            np.savez(unfinished, features=self.features, overlaps=self.overlaps, checkpoint=checkpoint)

    @classmethod
    def load(cls, path: Path, checkpoint: str) -> PresenceSamples:
        """Read samples of the weights with this hash. Raises DataError: the file is damaged, or of other weights."""
        try:
            with np.load(path) as entries:
                samples, made_with = cls(entries["features"], entries["overlaps"]), str(entries["checkpoint"])
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise DataError(f"{path} holds no samples ({error}); delete it: the sequence is tracked again") from error
        if made_with != checkpoint:
            raise DataError(f"{path} is of other weights; choose another folder for the samples")
        return samples


class RecordingTracker(MemoryTracker):
    """A tracker that keeps what presence read in each search, and the box found there, in ``searched``.

    Raises:
        ConfigError: its model has no presence, or is not run by PyTorch.
    """

    def __init__(self, *args: Any):
        super().__init__(*args)
        model = getattr(self.network, "model", None)
        modules = model.modules() if isinstance(model, torch.nn.Module) else ()
        heads = [module for module in modules if isinstance(module, PresenceHead)]
        if not heads:
            raise ConfigError(f"{self.cfg.name} has no presence to train, run by PyTorch: see MODEL.MEMORY.PRESENCE")
        self.searched: list[tuple[np.ndarray, list[float]]] = []
        self._read: list[Tensor] = []
        heads[0].layers.register_forward_pre_hook(lambda _, inputs: self._read.append(inputs[0]))

    def search(
        self, images: Sequence[np.ndarray], targets: Sequence[Target], around: Sequence[Sequence[float]]
    ) -> tuple[list[SearchResult], float, float]:
        """See :class:`Tracker`."""
        self._read.clear()
        result = super().search(images, targets, around)
        features = torch.cat(self._read).half().cpu().numpy()
        self.searched += zip(features, (one.box for one in result[0]), strict=True)
        return result


def record(
    tracker: RecordingTracker, sequence: TrackedSequence, seed: int, before: TrackedSequence | None = None
) -> PresenceSamples:
    """Track a sequence and return the samples of it: of the tracker's own searches, and of one more in most frames.

    Args:
        seed: of the places of the other searches.
        before: another sequence, whose target is searched for in some of the frames; it is not there.

    Raises:
        DataError: frames or annotation cannot be used.
    """
    rng, truth = np.random.default_rng(seed), sequence.ground_truth
    sequence.check_length()
    if len(truth) < 2:
        raise DataError(f"sequence {sequence.name} has one box: presence is trained on boxes of several frames")
    samples: list[tuple[np.ndarray, float]] = []
    other = tracker.start(before.frames.frame(0), before.init_box) if before else None
    target, off = None, 0
    for image, box, is_shown in zip(sequence.frames, truth, sequence.shown, strict=True):
        if target is None:
            sequence.check_first_box(image)
            target = tracker.start(image, sequence.init_box)
            continue
        annotated = box if is_shown else None
        tracker.searched = []
        tracker.step([image], [target])
        if len(tracker.searched) == 1:  # it has not looked elsewhere
            if annotated is None or rng.random() < _ANYWHERE:
                center, size, spread = rng.random(2) * image.shape[1::-1], np.array(target.seen[2:]), _SIZE_ANYWHERE
            else:
                center, size, spread = _near(rng, annotated, _NEAR), annotated[2:], _SIZE
            tracker.search([image], [target], [_box(rng, center, size, spread)])
        samples += [(features, _overlap(found, annotated)) for features, found in tracker.searched]
        if other and annotated is not None and rng.random() < _OTHER:
            tracker.searched = []
            place = _box(rng, _near(rng, annotated, _OTHER_NEAR), annotated[2:], _SIZE)
            tracker.search([image], [other], [place])
            samples.append((tracker.searched[0][0], 0.0))
        off = off + 1 if annotated is not None and _overlap(target.box, annotated) < _OFF else 0
        if off > _OFF_FRAMES:
            target.box, off = box.tolist(), 0
    features, overlaps = zip(*samples, strict=True)
    return PresenceSamples(np.stack(features), np.array(overlaps, np.float32))


def _near(rng: np.random.Generator, box: np.ndarray, most: float) -> np.ndarray:
    """Return a place within ``most`` sides of the center of an ``xywh`` box, in each axis."""
    return center_of(box) + rng.uniform(-most, most, 2) * np.sqrt(box[2:].prod())


def _box(rng: np.random.Generator, center: np.ndarray, size: np.ndarray, spread: float) -> list[float]:
    """Return the ``xywh`` box of a center and a size that is changed at random."""
    size = size * np.exp(rng.normal(0, spread))
    return [*(center - size / 2).tolist(), *size.tolist()]


def _overlap(found: Sequence[float], annotated: np.ndarray | None) -> float:
    if annotated is None:
        return 0.0
    boxes = box_xywh_to_xyxy(torch.tensor(np.stack((found, annotated)), dtype=torch.float64))
    return float(paired_iou(boxes[0], boxes[1])[0])
