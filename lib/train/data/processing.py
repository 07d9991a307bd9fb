"""From frames and boxes to crops, and from crops to the tensors of a training sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lib.train.data import transforms
from lib.train.data.pair import PLAIN, Crop, CropPair, CropSpec, JointAugmentation, jitter_box
from lib.utils.crop import box_to_crop, sample_target

GRAYSCALE_PROBABILITY = 0.05
FLIP_PROBABILITY = 0.5
BRIGHTNESS_JITTER = 0.2


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of each RGB channel of a picture in [0, 1]."""

    mean: Sequence[float]
    std: Sequence[float]


def draw_joint_augmentation(rng: np.random.Generator) -> JointAugmentation:
    """Draw the augmentation that all frames of a sample share."""
    return JointAugmentation(gray=rng.random() < GRAYSCALE_PROBABILITY, mirror=rng.random() < FLIP_PROBABILITY)


def cut_crop(
    frame: np.ndarray, box: np.ndarray, spec: CropSpec, rng: np.random.Generator, joint: JointAugmentation = PLAIN
) -> Crop:
    """Take one crop around the jittered ``box`` (``xywh`` pixels, float64 (4,)) of ``frame`` (RGB uint8).

    The joint augmentation is that of the whole frame, before the crop, with the published one-pixel quirk of the
    mirrored box; yet only what the crop shows is worked on. Mirrored pixels are the same, grey ones up to rounding.
    """
    if joint.mirror:
        box = transforms.flip_box_pixels(box, frame.shape[1])
    around = jitter_box(box, spec, rng)
    image, resize_factor, padding = sample_target(frame, around, spec.factor, spec.size, joint.mirror)
    box_in_crop = box_to_crop(torch.from_numpy(box), torch.from_numpy(around), resize_factor, spec.size)
    crop = Crop(image, box_in_crop.numpy().astype(np.float32), padding)
    return gray_crop(crop) if joint.gray else crop


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


def augment_crop(crop: Crop, joint: JointAugmentation) -> Crop:
    """The joint augmentation on a crop, for data that have no frames."""
    if joint.gray:
        crop = gray_crop(crop)
    return flip_crop(crop) if joint.mirror else crop


def sample_bytes(template: CropSpec, search: CropSpec, normalised: bool) -> int:
    """Return the bytes of a sample's images and masks, see :func:`finish_pair`; the rest is next to nothing."""
    pixel = 3 * (4 if normalised else 1) + 1
    return sum(spec.number * spec.size**2 * pixel for spec in (template, search))


def finish_pair(pair: CropPair, normalise: Normalisation | None, rng: np.random.Generator) -> dict[str, Any]:
    """Brightness, mirror and normalisation, drawn for each crop by itself, and everything stacked into tensors.

    Args:
        normalise: None leaves brightness and normalisation to whoever has the pixels on the device, see
            :func:`lib.train.data.transforms.normalised`.

    Returns:
        ``template_images`` float32 (T, 3, Ht, Ht), ``template_anno`` float32 (T, 4) ``xywh`` in fractions of the crop,
        ``template_att`` bool (T, Ht, Ht) True where padded; ``search_...`` likewise; ``dataset``, ``source``; and with
        ``TRAIN.TRAIN_CLS`` ``label``, float32 (), 1 where the search regions show the templates' target and else 0.
        Without ``normalise`` images are uint8 (T, Ht, Ht, 3), and ``template_brightness`` is float64 (T,).
    """
    sample: dict[str, Any] = {"dataset": pair.dataset, "source": pair.source}
    if pair.positive is not None:
        sample["label"] = torch.tensor(float(pair.positive))
    for kind, crops in (("template", pair.template), ("search", pair.search)):
        brightness = rng.uniform(1 - BRIGHTNESS_JITTER, 1 + BRIGHTNESS_JITTER, len(crops))
        flips = rng.random(len(crops)) < FLIP_PROBABILITY
        crops = [flip_crop(crop) if flip else crop for crop, flip in zip(crops, flips, strict=True)]
        images, factors = torch.from_numpy(np.stack([crop.image for crop in crops])), torch.from_numpy(brightness)
        if normalise is None:
            sample[f"{kind}_images"], sample[f"{kind}_brightness"] = images, factors
        else:
            sample[f"{kind}_images"] = transforms.normalised(images, factors, normalise.mean, normalise.std)
        sample[f"{kind}_anno"] = torch.from_numpy(np.stack([crop.box for crop in crops]))
        sample[f"{kind}_att"] = torch.from_numpy(np.stack([crop.padding for crop in crops]))
    return sample
