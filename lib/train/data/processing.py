"""From frames and boxes to crops, and from crops to the tensors of a training sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lib.train.data import transforms
from lib.train.data.pair import Crop, CropPair, CropSpec, jitter_box
from lib.utils.crop import box_to_crop, sample_target

GRAYSCALE_PROBABILITY = 0.05
FLIP_PROBABILITY = 0.5
BRIGHTNESS_JITTER = 0.2


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of each RGB channel of a picture in [0, 1]."""

    mean: Sequence[float]
    std: Sequence[float]


def cut_crop(frame: np.ndarray, box: np.ndarray, spec: CropSpec, rng: np.random.Generator) -> Crop:
    """Take one crop around the jittered ``box`` (``xywh`` pixels, float64 (4,)) of ``frame`` (RGB uint8)."""
    around = jitter_box(box, spec, rng)
    image, resize_factor, padding = sample_target(frame, around, spec.factor, spec.size)
    box_in_crop = box_to_crop(torch.from_numpy(box), torch.from_numpy(around), resize_factor, spec.size)
    return Crop(image, box_in_crop.numpy().astype(np.float32), padding)


def is_usable(crop: Crop, stride: int) -> bool:
    """Whether something of the image is left at the cells of the model's grid (one pixel stands for each cell).

    A crop that is all padding has no such cell either.
    """
    return not crop.padding[::stride, ::stride].all()


def flip_crop(crop: Crop) -> Crop:
    """Mirror a crop left to right."""
    image, padding = transforms.flip_image(crop.image), transforms.flip_image(crop.padding)
    return Crop(image, transforms.flip_box_fraction(crop.box), padding)


def gray_crop(crop: Crop) -> Crop:
    """A crop without colour."""
    return Crop(transforms.to_grayscale(crop.image), crop.box, crop.padding)


def finish_pair(pair: CropPair, normalise: Normalisation, rng: np.random.Generator) -> dict[str, Any]:
    """Brightness, mirror and normalisation, drawn for each crop by itself, and everything stacked into tensors.

    Returns:
        ``template_images`` float32 (T, 3, Ht, Ht), ``template_anno`` float32 (T, 4) ``xywh`` in fractions of the crop,
        ``template_att`` bool (T, Ht, Ht) True where padded; ``search_...`` likewise; ``dataset``, ``source``.
    """
    sample: dict[str, Any] = {"dataset": pair.dataset, "source": pair.source}
    for kind, crops in (("template", pair.template), ("search", pair.search)):
        brightness = rng.uniform(1 - BRIGHTNESS_JITTER, 1 + BRIGHTNESS_JITTER, len(crops))
        flips = rng.random(len(crops)) < FLIP_PROBABILITY
        crops = [flip_crop(crop) if flip else crop for crop, flip in zip(crops, flips, strict=True)]
        images = [
            transforms.to_normalised_tensor(crop.image, normalise.mean, normalise.std, factor)
            for crop, factor in zip(crops, brightness, strict=True)
        ]
        sample[f"{kind}_images"] = torch.stack(images)
        sample[f"{kind}_anno"] = torch.from_numpy(np.stack([crop.box for crop in crops]))
        sample[f"{kind}_att"] = torch.from_numpy(np.stack([crop.padding for crop in crops]))
    return sample
