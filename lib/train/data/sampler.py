"""Drawing template/search pairs from data sets."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lib.train.data import transforms
from lib.train.data.pair import Crop, CropPair, CropSpec
from lib.train.data.processing import FLIP_PROBABILITY, GRAYSCALE_PROBABILITY, cut_crop, flip_crop, gray_crop
from lib.train.dataset.base import AnnotatedDataset
from lib.utils.errors import ConfigError, DataError

log = logging.getLogger(__name__)

_SHORTEST_SEQUENCE = 20
_GAP_GROWTH = 5


class PairSource(Protocol):
    """Anything that crop pairs can be drawn from."""

    name: str

    def draw_pair(self, rng: np.random.Generator, template: CropSpec, search: CropSpec) -> CropPair: ...


@dataclass(frozen=True)
class PairSampling:
    """How frames of a sequence are chosen: ``DATA.SAMPLER_MODE``, ``DATA.MAX_SAMPLE_INTERVAL``, and the number of
    template and search frames of a pair."""

    mode: str
    max_gap: int
    templates: int
    searches: int


class AnnotatedPairs:
    """Pairs from sequences or still images with boxes.

    The joint augmentation (grayscale and mirror, the same for all frames of a pair) happens here: the mirror before
    the crop, with the published one-pixel quirk; grayscale after it, which comes to the same and costs less.

    Raises:
        ConfigError: the mode is not supported.
        DataError: no sequence of the data set has enough visible frames.
    """

    def __init__(self, dataset: AnnotatedDataset, sampling: PairSampling):
        if sampling.mode != "causal":
            raise ConfigError(f"DATA.SAMPLER_MODE is {sampling.mode!r}; this version samples in mode causal only")
        self.name = dataset.name
        self.dataset = dataset
        self.sampling = sampling
        self.usable = [i for i in range(len(dataset)) if self._is_usable(dataset.sequence(i).visible)]
        left_out = len(dataset) - len(self.usable)
        if not self.usable:
            raise DataError(
                f"{self.name}: none of {left_out} sequences can be used; one needs {_SHORTEST_SEQUENCE} frames and "
                f"more than {2 * (sampling.templates + sampling.searches)} in which the target is visible"
            )
        if left_out:
            log.info("%s: %d of %d sequences are too short or show too little of their target and are left out",
                     self.name, left_out, len(dataset))  # fmt: skip

    def _is_usable(self, visible: np.ndarray) -> bool:
        if not self.dataset.is_video:
            return bool(visible.all())
        needed = 2 * (self.sampling.templates + self.sampling.searches)
        return len(visible) >= _SHORTEST_SEQUENCE and int(visible.sum()) > needed

    def draw_pair(self, rng: np.random.Generator, template: CropSpec, search: CropSpec) -> CropPair:
        """Draw a sequence, frames, the joint augmentation and the crops."""
        index = self.usable[rng.integers(len(self.usable))]
        info = self.dataset.sequence(index)
        if self.dataset.is_video:
            shown, sought = causal_frames(info.visible, template.number, search.number, self.sampling.max_gap, rng)
        else:
            shown, sought = [0] * template.number, [0] * search.number
        gray, flip = rng.random() < GRAYSCALE_PROBABILITY, rng.random() < FLIP_PROBABILITY

        def crop(t: int, spec: CropSpec) -> Crop:
            frame, box = self.dataset.frame(index, t), info.bbox[t]
            if flip:
                frame, box = transforms.flip_image(frame), transforms.flip_box_pixels(box, frame.shape[1])
            result = cut_crop(frame, box, spec, rng)
            return gray_crop(result) if gray else result

        source = f"{self.name}/{self.dataset.sequence_name(index)} frames {shown} -> {sought}"
        return CropPair([crop(t, template) for t in shown], [crop(t, search) for t in sought], self.name, source)


class DrawnPairs:
    """Pairs from a data set that draws its crops itself; the joint augmentation is applied to the crops."""

    def __init__(self, dataset: PairSource):
        self.name = dataset.name
        self.dataset = dataset

    def draw_pair(self, rng: np.random.Generator, template: CropSpec, search: CropSpec) -> CropPair:
        """Draw a pair and the joint augmentation."""
        pair = self.dataset.draw_pair(rng, template, search)
        steps = [
            step
            for step, probability in ((gray_crop, GRAYSCALE_PROBABILITY), (flip_crop, FLIP_PROBABILITY))
            if rng.random() < probability
        ]
        for step in steps:
            pair.template = [step(crop) for crop in pair.template]
            pair.search = [step(crop) for crop in pair.search]
        return pair


def causal_frames(
    visible: np.ndarray, templates: int, searches: int, max_gap: int, rng: np.random.Generator
) -> tuple[list[int], list[int]]:
    """Draw frames so that every search frame comes after the first template frame.

    The first template frame is any visible one; further ones lie at most ``max_gap`` before it, search frames less
    than ``max_gap`` after it. Where none is visible, everything is drawn again with a gap that is larger by 5.

    Args:
        visible: bool (N,), more than ``2 (templates + searches)`` of them True.

    Returns:
        Indices of the template frames and of the search frames; a frame may come twice.
    """
    frames = np.flatnonzero(visible)
    first = frames[(frames >= templates - 1) & (frames < len(visible) - searches)]
    gap = max_gap
    while True:
        base = int(rng.choice(first))
        earlier = frames[(frames >= base - gap) & (frames < base)]
        later = frames[(frames > base) & (frames < base + gap)]
        if len(later) and (len(earlier) or templates == 1):
            before = rng.choice(earlier, templates - 1).tolist() if templates > 1 else []
            return [base, *before], rng.choice(later, searches).tolist()
        gap += _GAP_GROWTH
