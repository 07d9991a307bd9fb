"""Turn frames and boxes into crops, and crops into the tensors of a training sample.

Images are uint8 until the last step. ``DATA.AUGMENT`` is the fraction of annotated pairs that get augmentation beyond
the published training, with the magnitudes of ``DATA.DRAW``, so that annotated and synthesized data cover the same
range of conditions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from lib.config.drawing import DrawSettings
from lib.data.crops import PLAIN, Crop, CropPair, CropSpec, JointAugmentation, flip_crop, gray_crop, jitter_box
from lib.drawing.motion import draw_turn
from lib.drawing.outlines import draw_loosening, draw_part_box, draw_rectangle, loosen
from lib.drawing.photometric import Look, apply_look, draw_look, draw_video_look
from lib.utils.crop import box_to_crop, sample_target

GRAYSCALE_PROBABILITY = 0.05
FLIP_PROBABILITY = 0.5
BRIGHTNESS_JITTER = 0.2
_COVER_MARGIN = 0.1  # of the target's width and height, on each side
_LEAST_COVER = 12  # least side of the region beside the target that the patch is taken from, in pixels
_CENTER_SHARE = 1 / 8  # box size for a search region without the target, over the frame's

Normalization = tuple[Sequence[float], Sequence[float]]  # mean and deviation of the RGB channels of an image in [0, 1]


def draw_joint_augmentation(rng: np.random.Generator) -> JointAugmentation:
    """Sample the augmentation that all frames of a training sample share."""
    return JointAugmentation(gray=rng.random() < GRAYSCALE_PROBABILITY, flip=rng.random() < FLIP_PROBABILITY)


def flip_box_pixels(box: np.ndarray, width: int) -> np.ndarray:
    """Flip an ``xywh`` pixel box with an image of ``width`` columns.

    Quirk: it is flipped about ``width - 1`` though its edges span ``width``, and so lands one pixel too far left.
    """
    return np.array([width - 1 - box[0] - box[2], *box[1:]], dtype=box.dtype)


def cut_crop(
    frame: np.ndarray, box: np.ndarray, spec: CropSpec, rng: np.random.Generator, joint: JointAugmentation = PLAIN
) -> Crop:
    """Take one crop around the jittered ``box`` (``xywh`` pixels, float64 (4,)) of ``frame`` (RGB uint8).

    The joint augmentation is as if it were applied to the whole frame before, with the published quirk of the flipped
    box, but only the pixels of the crop are processed. Flipping is exact, grayscale up to rounding.
    """
    if joint.flip:
        box = flip_box_pixels(box, frame.shape[1])
    around = jitter_box(box, spec, rng)
    image, resize_factor, padding = sample_target(frame, around, spec.factor, spec.size, joint.flip)
    box_in_crop = box_to_crop(torch.from_numpy(box), torch.from_numpy(around), resize_factor, spec.size)
    crop = Crop(image, box_in_crop.numpy().astype(np.float32), padding)
    return gray_crop(crop) if joint.gray else crop


def center_box(shape: Sequence[int]) -> np.ndarray:
    """Return the box in the middle of a frame (height, width, ...) with an eighth of its width and height."""
    whole = np.array(shape[1::-1])
    size = whole * _CENTER_SHARE
    return np.floor(np.concatenate((0.5 * (whole - size), size)))


def is_usable(crop: Crop, stride: int) -> bool:
    """Return whether any cell of the model's grid shows the image, not padding; one pixel per cell is tested."""
    return not crop.padding[::stride, ::stride].all()


def warp_crop(
    frame: np.ndarray, box: np.ndarray, spec: CropSpec, rng: np.random.Generator, settings: DrawSettings, turn: float
) -> Crop:
    """Take one crop like :func:`cut_crop`, rotated, by ``turn`` radians and at random, and stretched at random.

    The new box is the bounding box of the warped ellipse inside the old box: tighter than that of its warped corners.
    """
    angle = np.deg2rad(settings.ROTATION) * rng.standard_normal() + turn
    stretch = np.exp(0.5 * settings.ASPECT * rng.standard_normal() * np.array((1, -1)))
    around = jitter_box(box, spec, rng)
    scale = spec.size / (spec.factor * np.sqrt(around[2:].prod()))
    cos, sin = np.cos(angle), np.sin(angle)
    linear = scale * stretch[:, None] * np.array(((cos, -sin), (sin, cos)))
    middle = around[:2] + 0.5 * around[2:]
    shift = 0.5 * spec.size - linear @ middle
    # OpenCV's origin is the center of the first pixel, the origin of boxes its corner.
    matrix = np.column_stack((linear, shift + linear @ (0.5, 0.5) - 0.5))
    image = cv2.warpAffine(frame, matrix, (spec.size, spec.size))
    inside = cv2.warpAffine(np.full(frame.shape[:2], 255, np.uint8), matrix, (spec.size, spec.size))
    center = linear @ (box[:2] + 0.5 * box[2:]) + shift
    size = np.sqrt((linear**2) @ box[2:] ** 2)
    fractions = np.concatenate((center - 0.5 * size, size)) / spec.size
    return Crop(image, fractions.astype(np.float32), inside < 255)


def degrade(crop: Crop, rng: np.random.Generator, settings: DrawSettings, video: Look) -> Crop:
    """Degrade a crop like a frame of a video with the look ``video``; padding stays black."""
    image = apply_look(crop.image.copy(), draw_look(rng, settings, video))  # may overwrite it
    image[crop.padding] = 0
    return replace(crop, image=image)


def cover(crop: Crop, rng: np.random.Generator) -> Crop:
    """Cover the target of a crop with a neighboring patch, slightly larger than its box.

    A crop without the target, or without room for such a patch, is returned unchanged.
    """
    side = crop.image.shape[0]
    grown = _COVER_MARGIN * crop.box[2:]
    low = np.clip(np.floor((crop.box[:2] - grown) * side), 0, side)
    high = np.clip(np.ceil((crop.box[:2] + crop.box[2:] + grown) * side), 0, side)
    (left, top), (right, bottom) = low.astype(int).tolist(), high.astype(int).tolist()
    columns, rows = (np.flatnonzero(~crop.padding.all(axis=axis)) for axis in (0, 1))
    if not crop.present or not len(columns):
        return crop
    x1, x2, y1, y2 = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1  # what is not padding
    beside = [(x1, y1, left, y2), (right, y1, x2, y2), (x1, y1, x2, top), (x1, bottom, x2, y2)]
    beside = [part for part in beside if min(part[2] - part[0], part[3] - part[1]) >= _LEAST_COVER]
    if not beside or right <= left or bottom <= top:
        return crop
    x1, y1, x2, y2 = beside[int(rng.integers(len(beside)))]
    width, height = min(right - left, x2 - x1), min(bottom - top, y2 - y1)
    x, y = int(rng.integers(x1, x2 - width + 1)), int(rng.integers(y1, y2 - height + 1))
    piece = cv2.resize(crop.image[y : y + height, x : x + width], (right - left, bottom - top))
    image = crop.image.copy()
    image[top:bottom, left:right] = piece
    image[crop.padding] = 0
    return replace(crop, image=image, hidden=True)


def augmented_crops(
    rng: np.random.Generator,
    frame: Callable[[int], np.ndarray],
    boxes: np.ndarray,
    wanted: Sequence[tuple[int, CropSpec]],
    settings: DrawSettings,
    is_video: bool,
    has_template: bool = True,
) -> list[Crop]:
    """Take augmented crops: changed extent of the target, warp, rotation, and degradations of low-quality video.

    Parts of the target are used in still images only: in a video they do not move with its box.

    Args:
        frame: reads a frame, RGB uint8 (H, W, 3).
        boxes: of all frames, ``xywh`` in pixels, float64 (N, 4).
        wanted: frame and kind of each crop.
        has_template: the first crop is the first template, which is neither turned nor warped.
    """
    video = draw_video_look(rng, settings)
    change = draw_loosening(rng, settings)
    if not is_video:
        boxes = boxes[:1]
        if rng.random() < settings.RECTANGLE:
            boxes = draw_rectangle(rng, frame(0))[None]
        elif rng.random() < settings.SUB_BOX:
            boxes = draw_part_box(rng, boxes[0])[None]
    crops = []
    for position, (t, spec) in enumerate(wanted):
        box, first_template = loosen(boxes[t], change), has_template and position == 0
        turn = 0.0 if first_template else draw_turn(rng, settings)
        if first_template or (is_video and not turn):
            crop = cut_crop(frame(t), box, spec, rng)
        else:
            crop = warp_crop(frame(t), box, spec, rng, settings, turn)
        crops.append(degrade(crop, rng, settings, video))
    return crops


def finish_pair(
    pair: CropPair, normalize: Normalization | None, rng: np.random.Generator, presence: bool = False
) -> dict[str, Any]:
    """Jitter brightness and flip each crop by itself, normalize, and stack everything into tensors.

    Returns:
        ``template_images`` float32 (T, 3, Ht, Ht), ``template_anno`` float32 (T, 4) ``xywh`` in fractions of the crop,
        ``template_att`` bool (T, Ht, Ht) True where padded; ``search_...`` likewise; ``dataset``, ``source``; with
        ``TRAIN.TRAIN_CLS`` ``label``, float32 (), 1 where the search regions show the templates' target and else 0; for
        ``presence`` it is (S,), of each search frame. Without ``normalize`` images are uint8 (T, Ht, Ht, 3), and
        ``template_brightness`` is float64 (T,), for :func:`normalized` on the device.
    """
    sample: dict[str, Any] = {"dataset": pair.dataset, "source": pair.source}
    if presence:
        sample["label"] = torch.tensor([float(crop.present and pair.positive is not False) for crop in pair.search])
    elif pair.positive is not None:
        sample["label"] = torch.tensor(float(pair.positive))
    for kind, crops in (("template", pair.template), ("search", pair.search)):
        brightness = rng.uniform(1 - BRIGHTNESS_JITTER, 1 + BRIGHTNESS_JITTER, len(crops))
        flips = rng.random(len(crops)) < FLIP_PROBABILITY
        crops = [flip_crop(crop) if flip else crop for crop, flip in zip(crops, flips, strict=True)]
        images, factors = torch.from_numpy(np.stack([crop.image for crop in crops])), torch.from_numpy(brightness)
        if normalize is None:
            sample[f"{kind}_images"], sample[f"{kind}_brightness"] = images, factors
        else:
            sample[f"{kind}_images"] = normalized(images, factors, *normalize)
        sample[f"{kind}_anno"] = torch.from_numpy(np.stack([crop.box for crop in crops]))
        sample[f"{kind}_att"] = torch.from_numpy(np.stack([crop.padding for crop in crops]))
    return sample


def normalized(
    pixels: Tensor, brightness: Tensor, mean: Sequence[float] | Tensor, std: Sequence[float] | Tensor
) -> Tensor:
    """Scale to [0, 1] times ``brightness``, clamp to [0, 1], subtract ``mean`` and divide by ``std`` per channel.

    ``pixels`` are RGB uint8 (..., H, W, 3) on any device, which the other tensors share; ``brightness`` is float64
    (...). The result is float32 (..., 3, H, W), contiguous.
    """
    values = pixels.movedim(-1, -3).to(torch.float32, memory_format=torch.contiguous_format)
    values.mul_((brightness / 255).float()[..., None, None, None]).clamp_(0, 1)
    mean, std = (torch.as_tensor(numbers, device=pixels.device).view(3, 1, 1) for numbers in (mean, std))
    return values.sub_(mean).div_(std)
