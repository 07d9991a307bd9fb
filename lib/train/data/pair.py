"""What a training pair is before photometric augmentation, and how its crops are taken."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class CropSpec:
    """How the crops of one kind (template or search) are taken.

    Attributes:
        size: side of the crop in pixels.
        factor: side of the cropped square over ``sqrt(w h)`` of the box it is taken around.
        center_jitter: width of the uniform shift of that box, in units of its ``sqrt(w h)``.
        scale_jitter: standard deviation of the logarithm of its sides.
        number: crops of this kind in a sample.
    """

    size: int
    factor: float
    center_jitter: float
    scale_jitter: float
    number: int


@dataclass(frozen=True)
class JointAugmentation:
    """The augmentation that all frames of a sample share: no colour, mirrored left to right."""

    gray: bool = False
    mirror: bool = False


PLAIN = JointAugmentation()


@dataclass
class Crop:
    """One crop.

    Attributes:
        image: RGB uint8 (size, size, 3), zeros where there was no image.
        box: float32 ``xywh`` of the target as fractions of the crop; parts of it may lie outside of [0, 1].
        padding: bool (size, size), True where there was no image.
    """

    image: np.ndarray
    box: np.ndarray
    padding: np.ndarray


@dataclass
class CropPair:
    """Crops of one target: template and search regions.

    Attributes:
        dataset: the name of the data set.
        source: what the crops were made of.
        sequence: number of the sequence among those that the data set draws from; ``None`` where there are none.
        positive: whether the search regions show the target of the templates; ``None`` where this is not asked.
    """

    template: list[Crop]
    search: list[Crop]
    dataset: str
    source: str
    sequence: int | None = None
    positive: bool | None = None


def jitter_box(box: np.ndarray, spec: CropSpec, rng: np.random.Generator) -> np.ndarray:
    """The ``xywh`` box, changed at random, around which a crop is taken.

    Each side is multiplied by ``exp(N(0, 1) * scale_jitter)``; then the centre moves, on each axis, by
    ``U(-0.5, 0.5) * center_jitter`` times ``sqrt(w h)`` of the changed box.
    """
    box = np.asarray(box, np.float64)
    size = box[2:] * np.exp(rng.standard_normal(2) * spec.scale_jitter)
    shift = np.sqrt(size.prod()) * spec.center_jitter * (rng.random(2) - 0.5)
    return np.concatenate((box[:2] + 0.5 * box[2:] + shift - 0.5 * size, size))
