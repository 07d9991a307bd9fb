"""Crops of a target: how they are taken, what a training pair of them is, and the augmentation that a pair shares."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from lib.config.experiment import CropConfig


@dataclass(frozen=True)
class CropSpec:
    """How the crops of one kind (template or search) are taken."""

    size: int  # side of the crop in pixels
    factor: float  # side of the cropped square over ``sqrt(w h)`` of the box it is taken around
    center_jitter: float  # width of the uniform shift of that box, in units of its ``sqrt(w h)``
    scale_jitter: float  # standard deviation of the logarithm of its sides
    number: int  # crops of this kind in a sample
    away: float = 0.0  # share of the crops that look past the target, in any direction

    @classmethod
    def of(cls, section: CropConfig, away: float = 0.0) -> CropSpec:
        """Return how an experiment takes the crops of one kind."""
        return cls(section.SIZE, section.FACTOR, section.CENTER_JITTER, section.SCALE_JITTER, section.NUMBER, away)


@dataclass(frozen=True)
class JointAugmentation:
    """The augmentation that all frames of a sample share: no color, flipped left to right."""

    gray: bool = False
    flip: bool = False


PLAIN = JointAugmentation()


@dataclass(frozen=True)
class PairSpec:
    """How the crops of a pair are taken, and the augmentation that they share."""

    template: CropSpec
    search: CropSpec
    joint: JointAugmentation = PLAIN


_AWAY_MARGIN = 0.02  # crops are cut at whole pixels


@dataclass
class Crop:
    """One crop."""

    image: np.ndarray  # RGB uint8 (size, size, 3), zeros where there was no image
    box: np.ndarray  # float32 ``xywh`` of the target as fractions of the crop; parts of it may lie outside of [0, 1]
    padding: np.ndarray  # bool (size, size), True where there was no image
    hidden: bool = False  # the target is not to be seen where the box is

    @property
    def present(self) -> bool:
        """Whether the crop shows the target, or a part of it."""
        return not self.hidden and bool((self.box[:2] < 1).all() and (self.box[:2] + self.box[2:] > 0).all())


@dataclass
class CropPair:
    """Crops of one target: template and search regions."""

    template: list[Crop]
    search: list[Crop]
    dataset: str  # the name of the data set
    source: str  # what the crops were made of
    # Number of the sequence among those that the data set draws from; ``None`` where there are none.
    sequence: int | None = None
    # Whether the search regions show the target of the templates; ``None`` where this is not asked.
    positive: bool | None = None


def jitter_box(box: np.ndarray, spec: CropSpec, rng: np.random.Generator) -> np.ndarray:
    """The ``xywh`` box, changed at random, around which a crop is taken.

    Each side is multiplied by ``exp(N(0, 1) * scale_jitter)``; then the center moves, on each axis, by
    ``U(-0.5, 0.5) * center_jitter`` times ``sqrt(w h)`` of the changed box. If the crop is to look past the target, one
    axis moves so far that the target is just outside.
    """
    box = np.asarray(box, np.float64)
    size = box[2:] * np.exp(rng.standard_normal(2) * spec.scale_jitter)
    shift = np.sqrt(size.prod()) * spec.center_jitter * (rng.random(2) - 0.5)
    if spec.away and rng.random() < spec.away:
        axis = int(rng.integers(2))
        outside = 0.5 * (spec.factor * np.sqrt(size.prod()) + box[2 + axis]) * (1 + _AWAY_MARGIN)
        shift[axis] = rng.choice((-1, 1)) * outside
    return np.concatenate((box[:2] + 0.5 * box[2:] + shift - 0.5 * size, size))


def to_grayscale(image: np.ndarray) -> np.ndarray:
    """RGB uint8 (H, W, 3) to its luma, repeated over the three channels."""
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def flip_image(image: np.ndarray) -> np.ndarray:
    """Mirror a uint8 picture or a bool mask left to right. OpenCV does it ten times as fast as a numpy view is read."""
    return cv2.flip(image.view(np.uint8), 1).view(image.dtype)


def flip_box_fraction(box: np.ndarray) -> np.ndarray:
    """Mirror an ``xywh`` box given in fractions of the picture: about 1, without the quirk of the pixel flip."""
    return np.array([1 - box[0] - box[2], *box[1:]], dtype=box.dtype)


def flip_crop(crop: Crop) -> Crop:
    """Mirror a crop left to right."""
    image, padding = flip_image(crop.image), flip_image(crop.padding)
    return replace(crop, image=image, box=flip_box_fraction(crop.box), padding=padding)


def gray_crop(crop: Crop) -> Crop:
    """A crop without color."""
    return replace(crop, image=to_grayscale(crop.image))


def augment_crop(crop: Crop, joint: JointAugmentation) -> Crop:
    """Apply the joint augmentation to a crop."""
    if joint.gray:
        crop = gray_crop(crop)
    return flip_crop(crop) if joint.flip else crop
