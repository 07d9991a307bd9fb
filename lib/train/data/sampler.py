"""Drawing template/search pairs from data sets."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cache
from typing import Protocol

import numpy as np

from lib.config.drawing import DrawSettings
from lib.train.data.augment import degrade, warp_crop
from lib.train.data.drawing.extents import draw_loosening, draw_part_box, draw_rectangle, loosen
from lib.train.data.drawing.photometric import draw_video_look
from lib.train.data.frames import PairSampling
from lib.train.data.pair import PLAIN, Crop, CropPair, CropSpec, JointAugmentation
from lib.train.data.processing import augment_crop, cut_crop
from lib.train.dataset.base import AnnotatedDataset
from lib.utils.errors import DataError, ImageError

log = logging.getLogger(__name__)

_CENTRE_SHARE = 1 / 8


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


class DrawablePairs(Protocol):
    """A data set that draws its crops itself, without joint augmentation."""

    name: str

    def draw_pair(self, rng: np.random.Generator, template: CropSpec, search: CropSpec) -> CropPair: ...


def usable_sequences(dataset: AnnotatedDataset, sampling: PairSampling) -> tuple[list[int], str]:
    """Return the numbers of the sequences that pairs can be drawn from, and what a sequence needs for that."""
    suits = sampling.suits if dataset.is_video else np.all
    usable = [index for index in range(len(dataset)) if suits(dataset.sequence(index).visible)]
    return usable, sampling.needs() if dataset.is_video else "a box with width and height, not outside of its picture"


class AnnotatedPairs:
    """Pairs from sequences or still images with boxes.

    Sequences from which frames can never be drawn are found here, once, and left out: see :meth:`PairSampling.suits`.

    Args:
        sampling: how frames are chosen.
        augment: share of the pairs that are augmented, see :mod:`lib.train.data.augment`.
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
        if self.augment and positive and rng.random() < self.augment:
            crops = self._augmented(
                rng, frame, info.bbox, [(t, template) for t in shown] + [(t, search) for t in sought]
            )
            crops = [augment_crop(crop, joint) for crop in crops]
            source = self._describe(index, shown, sought) + ", augmented"
            return CropPair(crops[: len(shown)], crops[len(shown) :], self.name, source, number)
        templates = [cut_crop(frame(t), info.bbox[t], template, rng, joint) for t in shown]
        boxes = [info.bbox[t] if positive else centre_box(frame(t).shape) for t in sought]
        searches = [cut_crop(frame(t), box, search, rng, joint) for t, box in zip(sought, boxes, strict=True)]
        return CropPair(templates, searches, self.name, self._describe(index, shown, sought), number)

    def _augmented(
        self,
        rng: np.random.Generator,
        frame: Callable[[int], np.ndarray],
        boxes: np.ndarray,
        wanted: Sequence[tuple[int, CropSpec]],
    ) -> list[Crop]:
        """Crops of frames by their numbers, the first of which is the first template.

        The parts of a still picture move with it, those of the target in a video do not: it is taken as a whole.
        """
        settings, change, video = self.drawing, np.zeros(4), draw_video_look(rng, self.drawing)
        if settings.LOOSE:
            change = draw_loosening(rng, settings)
        if not self.dataset.is_video:
            boxes, kind = boxes[:1], rng.random()
            if kind < settings.RECTANGLE:
                boxes = draw_rectangle(rng, frame(0))[None]
            elif rng.random() < settings.SUB_BOX:
                boxes = draw_part_box(rng, boxes[0])[None]
        crops = []
        for place, (t, spec) in enumerate(wanted):
            box = loosen(boxes[t], change)
            if self.dataset.is_video or place == 0:
                crop = cut_crop(frame(t), box, spec, rng)
            else:
                crop = warp_crop(frame(t), box, spec, rng, settings)
            crops.append(degrade(crop, rng, settings, video))
        return crops

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


def centre_box(shape: Sequence[int]) -> np.ndarray:
    """The box in the middle of a frame (height, width, ...) that has an eighth of its width and height."""
    height, width = shape[:2]
    size = np.array([width, height]) * _CENTRE_SHARE
    return np.floor(np.concatenate((0.5 * (np.array([width, height]) - size), size)))


class DrawnPairs:
    """Pairs from a data set that draws its crops itself; the joint augmentation is applied to the crops."""

    single = False

    def __init__(self, dataset: DrawablePairs):
        self.name = dataset.name
        self.dataset = dataset

    def draw_pair(
        self,
        rng: np.random.Generator,
        template: CropSpec,
        search: CropSpec,
        joint: JointAugmentation = PLAIN,
        positive: bool = True,
    ) -> CropPair:
        """See :class:`PairSource`. Its target is in every frame, so a negative pair has no search crops yet."""
        pair = self.dataset.draw_pair(rng, template, search)
        pair.template = self._augment(pair.template, joint)
        pair.search = self._augment(pair.search, joint) if positive else []
        return pair

    def draw_search(
        self,
        rng: np.random.Generator,
        template: CropSpec,
        search: CropSpec,
        joint: JointAugmentation,
        besides: int | None = None,
    ) -> CropPair:
        """See :class:`PairSource`: those of another pair."""
        pair = self.draw_pair(rng, template, search, joint)
        pair.template = []
        return pair

    @staticmethod
    def _augment(crops: Sequence[Crop], joint: JointAugmentation) -> list[Crop]:
        return [augment_crop(crop, joint) for crop in crops]
