"""Sources of training pairs, and the samples of an epoch by their index."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from lib.config import ExperimentConfig
from lib.config.drawing import DrawSettings
from lib.config.experiment import DataConfig
from lib.data.crops import Crop, CropPair, CropSpec, JointAugmentation, PairSpec, augment_crop
from lib.data.registry import folders, open_dataset
from lib.data.tracks import AnnotatedDataset, SequenceInfo
from lib.drawing.assets import load_assets
from lib.drawing.pairs import ImagesDataset
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
)
from lib.train.data.sampler import PairSampling, usable_sequences
from lib.utils.errors import ConfigError, DataError, ImageError

logger = logging.getLogger(__name__)

POSITIVE_PROBABILITY = 0.5
_MAX_TRIES = 100

Sample = dict[str, Any]


class AnnotatedPairs:
    """Pairs from sequences or still images with boxes; its length is the number of those that it samples from.

    Sequences from which frames cannot be sampled are left out, see :meth:`PairSampling.suits`; it is ``single`` if only
    one is left. ``augment`` is the fraction of the pairs that are augmented, see :func:`augmented_crops`, with the
    magnitudes ``drawing``. Raises DataError: no sequence is left.
    """

    def __init__(
        self, dataset: AnnotatedDataset, sampling: PairSampling, augment: float = 0, drawing: DrawSettings | None = None
    ):
        self.name, self.dataset, self.sampling = dataset.name, dataset, sampling
        self.augment, self.drawing = augment, drawing or DrawSettings()
        self.usable, needed = usable_sequences(dataset, sampling)
        self.single = len(self.usable) == 1
        left_out = len(dataset) - len(self.usable)
        if not self.usable:
            raise DataError(f"{self.name}: none of {left_out} sequences can be used; one needs {needed}")
        if left_out:
            logger.info("%s: %d of %d sequences are left out; one needs %s", self.name, left_out, len(dataset), needed)

    def __len__(self) -> int:
        return len(self.usable)

    def draw_pair(self, rng: np.random.Generator, spec: PairSpec, positive: bool = True) -> CropPair:
        """Sample a sequence, its frames and their crops.

        If it is not ``positive``, the search regions are the middles of frames of the sequence without the target;
        where there are none, ``search`` is empty, and the caller takes it from :meth:`draw_search`.

        Raises:
            ImageError: an image cannot be used.
        """
        number = int(rng.integers(len(self.usable)))
        index = self.usable[number]
        info = self.dataset.sequence(index)
        template_ids, search_ids = [0] * spec.template.number, [0] * spec.search.number
        if self.dataset.is_video:
            template_ids, search_ids = self.sampling.draw(info, rng)
        if not positive:
            absent = np.flatnonzero(~info.visible)
            search_ids = rng.choice(absent, spec.search.number).tolist() if len(absent) else []
        wanted = [(t, spec.template) for t in template_ids] + [(t, spec.search) for t in search_ids]
        frame = cache(lambda t: self._frame(index, t))  # decode a frame once even if it is sampled twice
        boxes = boxes_to_crop(info, search_ids)
        source = self._describe(index, template_ids, search_ids)
        with _errors_of(source):
            for t in () if positive else search_ids:
                boxes[t] = center_box(frame(t).shape)
            crops = self._augmented(rng, frame, boxes, wanted, spec.joint)
            if crops is None:
                around = [info.bbox[t] for t in template_ids] + [boxes[t] for t in search_ids]
                crops = [
                    cut_crop(frame(t), box, kind, rng, spec.joint)
                    for (t, kind), box in zip(wanted, around, strict=True)
                ]
            else:
                source += ", augmented"
        pair = CropPair(crops[: len(template_ids)], crops[len(template_ids) :], self.name, source, number)
        if positive:
            for crop, visible in zip(pair.search, info.visible[search_ids].tolist(), strict=True):
                crop.hidden = not visible
        return pair

    def draw_search(self, rng: np.random.Generator, spec: PairSpec, besides: int | None = None) -> CropPair:
        """Sample search crops of any frames with a valid box, of a sequence other than number ``besides``."""
        number = int(rng.integers(len(self.usable) - (besides is not None)))
        number += besides is not None and number >= besides
        index = self.usable[number]
        info = self.dataset.sequence(index)
        search_ids = rng.choice(np.flatnonzero(info.valid), spec.search.number).tolist()
        source = self._describe(index, [], search_ids)
        with _errors_of(source):
            frame, wanted = cache(lambda t: self._frame(index, t)), [(t, spec.search) for t in search_ids]
            crops = self._augmented(rng, frame, info.bbox, wanted, spec.joint, has_template=False)
            if crops is None:
                crops = [cut_crop(frame(t), info.bbox[t], spec.search, rng, spec.joint) for t in search_ids]
            else:
                source += ", augmented"
        return CropPair([], crops, self.name, source, number)

    def _augmented(
        self,
        rng: np.random.Generator,
        frame: Callable[[int], np.ndarray],
        boxes: np.ndarray,
        wanted: Sequence[tuple[int, CropSpec]],
        joint: JointAugmentation,
        has_template: bool = True,
    ) -> list[Crop] | None:
        """Return :func:`augmented_crops` for the share ``augment`` of the pairs, None for the others."""
        if not self.augment or rng.random() >= self.augment:
            return None
        crops = augmented_crops(rng, frame, boxes, wanted, self.drawing, self.dataset.is_video, has_template)
        return [augment_crop(crop, joint) for crop in crops]

    def _frame(self, index: int, t: int) -> np.ndarray:
        try:
            return self.dataset.frame(index, t)
        except DataError as error:
            raise ImageError(str(error)) from error

    def _describe(self, index: int, template_ids: Sequence[int], search_ids: Sequence[int]) -> str:
        return f"{self.name}/{self.dataset.sequence_name(index)} frames {template_ids} -> {search_ids}"


@contextmanager
def _errors_of(source: str) -> Iterator[None]:
    """Raise an ImageError that names ``source`` if no crop can be taken around a box."""
    try:
        yield
    except ImageError:
        raise
    except DataError as error:
        raise ImageError(f"{source}: {error}") from error


def boxes_to_crop(info: SequenceInfo, search_ids: Sequence[int]) -> np.ndarray:
    """Return the boxes of a sequence, (N, 4); search frames without the target get the box of the last that shows it.

    Other frames keep their box: a further template may be of a frame in which the target is hidden, but annotated.
    """
    boxes = info.bbox.copy()
    last_visible = np.maximum.accumulate(np.where(info.visible, np.arange(len(info.visible)), 0))
    boxes[search_ids] = info.bbox[last_visible[search_ids]]
    return boxes


PairSource = AnnotatedPairs | ImagesDataset


def open_source(name: str, env: EnvironmentSettings, data: DataConfig, use_lmdb: bool = False) -> PairSource:
    """Open a data set as a source of pairs, with ``use_lmdb`` from its lmdb, which ``IMAGES`` does not have.

    Raises:
        ConfigError: unknown name or mode.
        DataError: the data are missing or damaged.
    """
    if name == "IMAGES":
        return ImagesDataset(load_assets(folders(env.images_dir), folders(env.cutouts_dir), data.DRAW))
    return AnnotatedPairs(open_dataset(name, env, use_lmdb), PairSampling.of(data), data.AUGMENT, data.DRAW)


@dataclass(frozen=True)
class SampleSpec:
    """Composition of a training sample."""

    template: CropSpec
    search: CropSpec
    normalize: Normalization | None  # None: on the device
    stride: int  # of the model's grid; a crop with only padding at all cells is sampled again
    seed: int  # seed and stream determine the random numbers
    stream: int
    # Half of the search regions do not show the target (TRAIN.TRAIN_CLS): they are frames of the sequence without it,
    # or where it has none, of another sequence of any source.
    negatives: bool = False
    presence: bool = False  # samples have a label for the target's presence in each search frame
    covered: float = 0.0  # fraction of the search frames with the target in which it is covered
    other_target: float = 0.0  # fraction of the search frames that show the target of another sequence instead

    @classmethod
    def of(cls, cfg: ExperimentConfig, stream: int) -> SampleSpec:
        """Return the specification of an experiment."""
        data = cfg.DATA
        return cls(
            CropSpec.of(data.TEMPLATE),
            CropSpec.of(data.SEARCH, away=0.5 * data.ABSENT),
            None if data.NORMALIZE_ON_DEVICE else (data.MEAN, data.STD),
            stride=cfg.MODEL.BACKBONE.STRIDE,
            seed=cfg.TRAIN.SEED,
            stream=stream,
            negatives=cfg.TRAIN.TRAIN_CLS,
            presence=bool(data.ABSENT or data.OTHER_TARGET) or data.SAMPLER_MODE == "clip",
            covered=0.5 * data.ABSENT / (1 - 0.5 * data.ABSENT),  # of the frames that still show the target
            other_target=data.OTHER_TARGET,
        )

    @property
    def nbytes(self) -> int:
        """Bytes of a sample's images and masks, see :func:`finish_pair`; the rest is negligible."""
        pixel = 3 * (1 if self.normalize is None else 4) + 1
        return sum(spec.number * spec.size**2 * pixel for spec in (self.template, self.search))


class TrackingDataset(Dataset):
    """Training samples, each a pure function of (seed, stream, epoch, index) and of the data sets.

    If a crop shows only padding, or an image is unreadable, data set, sequence and frames are sampled again from the
    same random generator, at most a hundred times. The sample has the errors of images as ``broken``, a list of texts.
    ``ratios`` are the relative frequencies of the sources, above 0.

    Raises:
        ConfigError: negatives are requested, but there is only one sequence.
    """

    def __init__(self, sources: Sequence[PairSource], ratios: Sequence[float], spec: SampleSpec):
        self.sources, self.spec = sources, spec
        self.probabilities = np.asarray(ratios, np.float64) / np.sum(ratios)
        if spec.negatives and len(sources) == 1 and sources[0].single:
            name = sources[0].name
            raise ConfigError(f"TRAIN.TRAIN_CLS needs a second sequence; {name} has only one that can be used")

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """Return the sample ``key = (epoch, index)``. Raises DataError: a hundred tries gave none that can be used."""
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
        chosen = rng.choice(len(self.sources), p=self.probabilities)
        positive = not self.spec.negatives or rng.random() < POSITIVE_PROBABILITY
        spec = PairSpec(self.spec.template, self.spec.search, draw_joint_augmentation(rng))
        pair = self.sources[chosen].draw_pair(rng, spec, positive)
        if self.spec.other_target:
            self._swap_targets(pair, self.sources[chosen], rng, spec)
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
            negative = self.sources[other].draw_search(rng, spec, besides)
            pair.search, pair.source = negative.search, f"{pair.source}, not to be found in {negative.source}"
        return pair

    def _swap_targets(self, pair: CropPair, source: PairSource, rng: np.random.Generator, spec: PairSpec) -> None:
        """Replace some search frames of ``pair`` by those of another target of its source, if that has several."""
        swapped = rng.random(len(pair.search)) < self.spec.other_target
        if source.single or not swapped.any():
            return
        other = source.draw_search(rng, spec, pair.sequence)
        frames = zip(pair.search, other.search, swapped, strict=True)
        pair.search = [replace(theirs, hidden=True) if swap else ours for ours, theirs, swap in frames]
        pair.source += f", in part {other.source}"
