"""What training samples are drawn from, and samples by number."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import numpy as np
from torch.utils.data import Dataset

from lib.config import ExperimentConfig
from lib.config.drawing import DrawSettings
from lib.config.experiment import DataConfig
from lib.data.base import AnnotatedDataset, SequenceInfo
from lib.data.crops import PLAIN, CropPair, CropSpec, JointAugmentation, augment_crop
from lib.data.registry import folders, open_dataset
from lib.drawing.pairs import build_images_dataset
from lib.train.admin.environment import EnvironmentSettings
from lib.train.data.augmentation import (
    Normalization,
    augmented_crops,
    center_box,
    cover,
    cut_crop,
    draw_joint_augmentation,
    finish_pair,
    is_usable,
    sample_bytes,
)
from lib.train.data.sampler import PairSampling, pair_sampling, usable_sequences
from lib.utils.errors import ConfigError, DataError, ImageError

log = logging.getLogger(__name__)

POSITIVE_PROBABILITY = 0.5
_MAX_TRIES = 100

Sample = dict[str, Any]


class PairSource(Protocol):
    """Anything that crop pairs can be drawn from.

    Attributes:
        single: there is one sequence only, so that no other can be drawn beside it.
    """

    name: str
    single: bool

    def draw_pair(
        self,
        rng: np.random.Generator,
        template: CropSpec,
        search: CropSpec,
        joint: JointAugmentation = ...,
        positive: bool = ...,
    ) -> CropPair:
        """Draw a sequence, its frames and their crops.

        Args:
            joint: what all crops of the sample share.
            positive: the search frames show the target. If False they come from the same sequence but do not show it;
                where it has no such frame ``search`` is empty, and the caller takes it from :meth:`draw_search`.

        Raises:
            ImageError: an image cannot be used.
        """
        ...

    def draw_search(
        self,
        rng: np.random.Generator,
        template: CropSpec,
        search: CropSpec,
        joint: JointAugmentation,
        besides: int | None = None,
    ) -> CropPair:
        """Search crops of a sequence other than number ``besides``; no templates."""
        ...


class AnnotatedPairs:
    """Pairs from sequences or still images with boxes.

    Sequences from which frames can never be drawn are found here, once, and left out: see :meth:`PairSampling.suits`.

    Args:
        sampling: how frames are chosen.
        augment: share of the pairs that are augmented, see :func:`augmented_crops`.
        drawing: how much.

    Raises:
        DataError: no sequence of the data set is left.
    """

    def __init__(
        self,
        dataset: AnnotatedDataset,
        sampling: PairSampling,
        augment: float = 0.0,
        drawing: DrawSettings | None = None,
    ):
        self.augment, self.drawing = augment, drawing or DrawSettings()
        self.name = dataset.name
        self.dataset = dataset
        self.sampling = sampling
        self.usable, needed = usable_sequences(dataset, sampling)
        self.single = len(self.usable) == 1
        left_out = len(dataset) - len(self.usable)
        if not self.usable:
            raise DataError(f"{self.name}: none of {left_out} sequences can be used; one needs {needed}")
        if left_out:
            log.info("%s: %d of %d sequences are left out; one needs %s", self.name, left_out, len(dataset), needed)

    def draw_pair(
        self,
        rng: np.random.Generator,
        template: CropSpec,
        search: CropSpec,
        joint: JointAugmentation = PLAIN,
        positive: bool = True,
    ) -> CropPair:
        """See :class:`PairSource`. A negative search region is the middle of a frame without the target."""
        number = int(rng.integers(len(self.usable)))
        index = self.usable[number]
        info = self.dataset.sequence(index)
        if self.dataset.is_video:
            shown, sought = self.sampling.draw(info, rng)
        else:
            shown, sought = [0] * template.number, [0] * search.number
        if not positive:
            absent = np.flatnonzero(~info.visible)
            sought = rng.choice(absent, search.number).tolist() if len(absent) else []
        frame = cache(lambda t: self._frame(index, t))  # a frame that comes twice is decoded once
        known = boxes_to_crop(info, sought)
        if self.augment and positive and rng.random() < self.augment:
            wanted = [(t, template) for t in shown] + [(t, search) for t in sought]
            crops = augmented_crops(rng, frame, known, wanted, self.drawing, self.dataset.is_video)
            crops = [augment_crop(crop, joint) for crop in crops]
            source = self._describe(index, shown, sought) + ", augmented"
            pair = CropPair(crops[: len(shown)], crops[len(shown) :], self.name, source, number)
            return _hide_invisible(pair, info.visible[sought])
        templates = [cut_crop(frame(t), info.bbox[t], template, rng, joint) for t in shown]
        boxes = [known[t] if positive else center_box(frame(t).shape) for t in sought]
        searches = [cut_crop(frame(t), box, search, rng, joint) for t, box in zip(sought, boxes, strict=True)]
        pair = CropPair(templates, searches, self.name, self._describe(index, shown, sought), number)
        return _hide_invisible(pair, info.visible[sought]) if positive else pair

    def draw_search(
        self,
        rng: np.random.Generator,
        template: CropSpec,
        search: CropSpec,
        joint: JointAugmentation,
        besides: int | None = None,
    ) -> CropPair:
        """See :class:`PairSource`. The frames are any with a valid box."""
        number = int(rng.integers(len(self.usable) - (besides is not None)))
        number += besides is not None and number >= besides
        index = self.usable[number]
        info = self.dataset.sequence(index)
        sought = rng.choice(np.flatnonzero(info.valid), search.number).tolist()
        searches = [cut_crop(self._frame(index, t), info.bbox[t], search, rng, joint) for t in sought]
        return CropPair([], searches, self.name, self._describe(index, [], sought), number)

    def _frame(self, index: int, t: int) -> np.ndarray:
        try:
            return self.dataset.frame(index, t)
        except DataError as error:
            raise ImageError(str(error)) from error

    def _describe(self, index: int, shown: Sequence[int], sought: Sequence[int]) -> str:
        return f"{self.name}/{self.dataset.sequence_name(index)} frames {shown} -> {sought}"


def last_visible(info: SequenceInfo) -> np.ndarray:
    """The boxes of a sequence, (N, 4), those of frames without the target from the last frame that shows it."""
    if info.visible.all():
        return info.bbox
    last = np.maximum.accumulate(np.where(info.visible, np.arange(len(info.visible)), 0))
    return info.bbox[last]


def boxes_to_crop(info: SequenceInfo, sought: Sequence[int]) -> np.ndarray:
    """The boxes of a sequence, (N, 4); search frames ``sought`` without the target have their :func:`last_visible`.

    Other frames keep their own box: a further template may be of a frame in which the target is hidden, but annotated.
    """
    if info.visible[sought].all():
        return info.bbox
    boxes = info.bbox.copy()
    boxes[sought] = last_visible(info)[sought]
    return boxes


def _hide_invisible(pair: CropPair, visible: np.ndarray) -> CropPair:
    """Mark the search crops of frames in which the target is not ``visible``."""
    for crop, seen in zip(pair.search, visible.tolist(), strict=True):
        crop.hidden = not seen
    return pair


def open_source(name: str, env: EnvironmentSettings, data: DataConfig, use_lmdb: bool = False) -> PairSource:
    """Open a data set as something that pairs are drawn from.

    Args:
        name: name of a data set.
        data: how frames of annotated data are chosen and augmented, and how much of everything ``IMAGES`` draws.
        use_lmdb: read it from its lmdb, see :func:`lib.data.registry.open_dataset`; ``IMAGES`` has none.

    Raises:
        ConfigError: unknown name or mode.
        DataError: the data are missing or damaged.
    """
    if name == "IMAGES":
        return build_images_dataset(folders(env.images_dir), folders(env.cutouts_dir), data.DRAW)
    return AnnotatedPairs(open_dataset(name, env, use_lmdb), pair_sampling(data), data.AUGMENT, data.DRAW)


@dataclass(frozen=True)
class SampleSpec:
    """What a training sample is made of.

    Attributes:
        template, search: the crops to take.
        normalize: see :func:`finish_pair`.
        stride: of the model's grid; a crop with no image at any cell is drawn again.
        seed, stream: choose the random numbers.
        negatives: half of the samples show something else than the target in the search region (``TRAIN.TRAIN_CLS``):
            frames of the sequence without the target, and where it has none, another sequence of any source.
        presence: samples tell of each search frame whether it shows the target.
        covered: share of the search frames in which the target is covered.
    """

    template: CropSpec
    search: CropSpec
    normalize: Normalization | None
    stride: int
    seed: int
    stream: int
    negatives: bool = False
    presence: bool = False
    covered: float = 0.0

    @classmethod
    def of(cls, cfg: ExperimentConfig, stream: int) -> SampleSpec:
        """Return what an experiment makes samples of."""
        data = cfg.DATA
        normalize = None if data.NORMALISE_ON_DEVICE else Normalization(data.MEAN, data.STD)
        return cls(
            CropSpec.of(data.TEMPLATE),
            CropSpec.of(data.SEARCH, away=0.5 * data.ABSENT),
            normalize,
            stride=cfg.MODEL.BACKBONE.STRIDE,
            seed=cfg.TRAIN.SEED,
            stream=stream,
            negatives=cfg.TRAIN.TRAIN_CLS,
            presence=bool(data.ABSENT) or data.SAMPLER_MODE == "clip",
            covered=0.5 * data.ABSENT,
        )

    @property
    def nbytes(self) -> int:
        """Bytes of a sample's images and masks; the rest is next to nothing."""
        return sample_bytes(self.template, self.search, normalized=self.normalize is not None)


class TrackingDataset(Dataset):
    """Training samples, each a pure function of (seed, stream, epoch, index) and of the data sets.

    A draw that shows nothing but padding, or meets an image that cannot be read, is followed by another draw (of data
    set, sequence and frames) from the same stream of random numbers, as in the published sampler but not for ever. The
    errors about images travel with the sample as ``broken``, a list of texts.

    Args:
        sources: what pairs are drawn from.
        ratios: how often each source is chosen, relative to the others.
        spec: what a sample is made of.

    Raises:
        ConfigError: negatives are asked for, and there is but one sequence.
    """

    def __init__(self, sources: Sequence[PairSource], ratios: Sequence[float], spec: SampleSpec):
        self.sources, self.spec = sources, spec
        self.probabilities = np.asarray(ratios, np.float64) / np.sum(ratios)
        drawn = np.flatnonzero(self.probabilities)
        if spec.negatives and len(drawn) == 1 and sources[drawn[0]].single:
            raise ConfigError(
                f"TRAIN.TRAIN_CLS needs a second sequence; {sources[drawn[0]].name} has only one that can be used"
            )

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """The sample ``key = (epoch, index)``; see :func:`finish_pair`.

        Raises:
            DataError: a hundred draws gave nothing to use, or something else than an image is damaged.
        """
        rng = np.random.default_rng([self.spec.seed, self.spec.stream, *key])
        broken = []
        for _ in range(_MAX_TRIES):
            try:
                pair = self._draw(rng)
            except ImageError as error:
                broken.append(str(error))
                continue
            if all(is_usable(crop, self.spec.stride) for crop in (*pair.template, *pair.search)):
                return {**finish_pair(pair, self.spec.normalize, rng, self.spec.presence), "broken": broken}
        if broken:
            raise DataError(f"{_MAX_TRIES} draws in a row cannot be used, {len(broken)} for their images: {broken[-1]}")
        raise DataError(
            f"{pair.dataset}: {_MAX_TRIES} samples in a row showed nothing but padding (last: {pair.source}); "
            "check the boxes of this data set, or lower DATA.SEARCH.CENTER_JITTER"
        )

    def _draw(self, rng: np.random.Generator) -> CropPair:
        template, search = self.spec.template, self.spec.search
        chosen = rng.choice(len(self.sources), p=self.probabilities)
        positive = not self.spec.negatives or rng.random() < POSITIVE_PROBABILITY
        joint = draw_joint_augmentation(rng)
        pair = self.sources[chosen].draw_pair(rng, template, search, joint, positive)
        if self.spec.covered:
            covered = rng.random(len(pair.search)) < self.spec.covered
            pair.search = [cover(crop, rng) if hit else crop for crop, hit in zip(pair.search, covered, strict=True)]
        if not self.spec.negatives:
            return pair
        pair.positive = positive
        if not pair.search:
            weights = self.probabilities.copy()
            if self.sources[chosen].single:
                weights[chosen] = 0
            other = rng.choice(len(self.sources), p=weights / weights.sum())
            besides = pair.sequence if other == chosen else None
            negative = self.sources[other].draw_search(rng, template, search, joint, besides)
            pair.search, pair.source = negative.search, f"{pair.source}, not to be found in {negative.source}"
        return pair
