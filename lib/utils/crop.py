"""Square crops around a box, and boxes carried into a crop and back.

The tracker sees the world only through these functions, so training and tracking share them. Three conventions of the
published system look like slips and are kept because its weights were trained with them; each is marked *quirk* below
and pinned by ``tests/test_crop.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from lib.utils.errors import DataError


@dataclass(frozen=True)
class CropWindow:
    """A square of the image plane: top-left corner and side in whole pixels. It may reach outside of the image."""

    x: int
    y: int
    side: int


def crop_window(box: Sequence[float], factor: float) -> CropWindow:
    """The window of side ``ceil(sqrt(w h) * factor)`` centred on the ``xywh`` pixel ``box``.

    Raises:
        DataError: the box has no area or is not finite, so that no window exists.
    """
    x, y, w, h = (float(v) for v in box)
    if not all(map(math.isfinite, (x, y, w, h))) or w <= 0 or h <= 0:
        raise DataError(
            f"cannot crop around the box x, y, w, h = {x}, {y}, {w}, {h}: width and height must be positive"
        )
    side = math.ceil(math.sqrt(w * h) * factor)
    return CropWindow(round(x + 0.5 * w - 0.5 * side), round(y + 0.5 * h - 0.5 * side), side)


def cut_window(image: np.ndarray, window: CropWindow) -> tuple[np.ndarray, np.ndarray]:
    """Cut ``window`` out of ``image`` (H, W, 3), with zeros where it lies outside.

    Quirk: a window that reaches the right or bottom border loses the last real column or row (the published padding
    is ``max(x2 - W + 1, 0)``).

    Returns:
        The patch (side, side, 3) and the padding mask (side, side), float64, 1 where there was no image.
    """
    height, width = image.shape[:2]
    left, top = max(window.x, 0), max(window.y, 0)
    right, bottom = min(window.x + window.side, width - 1), min(window.y + window.side, height - 1)
    patch = np.zeros((window.side, window.side, image.shape[2]), image.dtype)
    padding = np.ones((window.side, window.side))
    if left < right and top < bottom:
        inside = np.s_[top - window.y : bottom - window.y, left - window.x : right - window.x]
        patch[inside] = image[top:bottom, left:right]
        padding[inside] = 0
    return patch, padding


def sample_target(
    image: np.ndarray, box: Sequence[float], factor: float, output_size: int
) -> tuple[np.ndarray, float, np.ndarray]:
    """Crop a square around ``box`` and resize it (bilinear) to ``output_size``.

    Args:
        image: RGB uint8 (H, W, 3).
        box: ``xywh`` in pixels of the image; it may lie outside of it.
        factor: crop side over ``sqrt(w h)``.
        output_size: side of the result in pixels.

    Returns:
        The crop (output_size, output_size, 3) uint8; the resize factor, crop pixels per image pixel; and the attention
        mask (output_size, output_size) bool, True where padding contributed.
    """
    window = crop_window(box, factor)
    patch, padding = cut_window(image, window)
    size = (output_size, output_size)
    return cv2.resize(patch, size), output_size / window.side, cv2.resize(padding, size).astype(bool)


def box_to_crop(box: Tensor, crop_box: Tensor, resize_factor: float, crop_size: int) -> Tensor:
    """Carry an ``xywh`` pixel box into the crop taken around ``crop_box``, as fractions of the crop.

    Quirk: the centre of the crop is ``(crop_size - 1) / 2`` here but ``crop_size / 2`` in :func:`box_from_crop`.

    Args:
        box, crop_box: shape ``(4,)``, pixels of the image.
    """
    centre = (crop_size - 1) / 2 + (box[:2] + 0.5 * box[2:] - crop_box[:2] - 0.5 * crop_box[2:]) * resize_factor
    size = box[2:] * resize_factor
    return torch.cat((centre - 0.5 * size, size)) / crop_size


def box_from_crop(box: Sequence[float], crop_box: Sequence[float], resize_factor: float, crop_size: int) -> list[float]:
    """Carry a predicted ``cxcywh`` box, in fractions of the crop taken around ``crop_box``, back to ``xywh`` pixels."""
    cx, cy, w, h = (float(v) * crop_size / resize_factor for v in box)
    half = 0.5 * crop_size / resize_factor
    x, y = crop_box[0] + 0.5 * crop_box[2], crop_box[1] + 0.5 * crop_box[3]
    return [x - half + cx - 0.5 * w, y - half + cy - 0.5 * h, w, h]
