"""Square crops around a box, and mapping of boxes to a crop and back, shared by training and tracking.

Three conventions of the published system look like errors but are kept because its weights were trained with them. Each
is marked *quirk* and tested in ``tests/test_crop.py``.
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

_LARGEST_SIDE = 2**15  # pixels: three gigabytes for a crop

Box = Sequence[float] | np.ndarray  # four numbers


@dataclass(frozen=True)
class CropWindow:
    """A square: top-left corner and side in whole pixels. It may extend outside the image."""

    x: int
    y: int
    side: int


def crop_window(box: Box, factor: float) -> CropWindow:
    """Return the window of side ``ceil(sqrt(w h) * factor)`` centered on the ``xywh`` pixel ``box``.

    Raises:
        DataError: the box has no area, is not finite or far too large.
    """
    x, y, w, h = (float(v) for v in box)
    if not all(map(math.isfinite, (x, y, w, h))) or w <= 0 or h <= 0 or w * h == 0:  # the product may underflow to 0
        raise DataError(
            f"cannot crop around the box x, y, w, h = {x}, {y}, {w}, {h}: width and height must be positive"
        )
    length = math.sqrt(w * h) * factor
    if length > _LARGEST_SIDE:
        raise DataError(f"cannot crop around the box x, y, w, h = {x}, {y}, {w}, {h}: it is far too large")
    side = math.ceil(length)
    return CropWindow(round(x + 0.5 * w - 0.5 * side), round(y + 0.5 * h - 0.5 * side), side)


def shown_part(window: CropWindow, image_shape: Sequence[int]) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of the part of an image (H, W, ...) in ``window``; all 0 if there is none.

    Quirk: a window at the right or bottom border loses the last real column or row (the published padding is
    ``max(x2 - W + 1, 0)``).
    """
    left, top = max(window.x, 0), max(window.y, 0)
    right, bottom = min(window.x + window.side, image_shape[1] - 1), min(window.y + window.side, image_shape[0] - 1)
    return (left, top, right, bottom) if left < right and top < bottom else (0, 0, 0, 0)


def cut_window(image: np.ndarray, window: CropWindow, flip: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut ``window`` out of ``image`` (H, W, 3), with zeros outside, see :func:`shown_part`.

    Args:
        flip: the window is in coordinates of the horizontally flipped image; only the patch is flipped.

    Returns:
        The patch (side, side, 3), and which of its rows and columns are outside the image, bool (side,).
    """
    width = image.shape[1]
    left, top, right, bottom = shown_part(window, image.shape)
    rows, columns = np.ones((2, window.side), bool)
    if left == right:
        return np.zeros((window.side, window.side, image.shape[2]), image.dtype), rows, columns
    inside = slice(top - window.y, bottom - window.y), slice(left - window.x, right - window.x)
    rows[inside[0]], columns[inside[1]] = False, False
    seen = cv2.flip(image[top:bottom, width - right : width - left], 1) if flip else image[top:bottom, left:right]
    if seen.shape[:2] == (window.side, window.side):
        return seen, rows, columns
    patch = np.zeros((window.side, window.side, image.shape[2]), image.dtype)
    patch[inside] = seen
    return patch, rows, columns


def sample_target(
    image: np.ndarray, box: Box, factor: float, output_size: int, flip: bool = False
) -> tuple[np.ndarray, float, np.ndarray]:
    """Crop a square around ``box`` and resize it (bilinear) to ``output_size``.

    Args:
        image: RGB uint8 (H, W, 3).
        box: ``xywh`` in pixels of the image; it may be outside.
        factor: crop side over ``sqrt(w h)``.
        output_size: side of the result in pixels.
        flip: crop the horizontally flipped image; ``box`` is in its coordinates.

    Returns:
        The crop (output_size, output_size, 3) uint8; the resize factor, crop pixels per image pixel; and the attention
        mask (output_size, output_size) bool, True where padding contributes.
    """
    window = crop_window(box, factor)
    patch, rows, columns = cut_window(image, window, flip)
    # Padding is whole rows and columns, so its mask is resized as two strips. They are two pixels wide because OpenCV
    # rounds the weights of a single line differently.
    rows = cv2.resize(np.repeat(rows[:, None], 2, 1).astype(np.float64), (2, output_size))[:, 0] > 0
    columns = cv2.resize(np.repeat(columns[None], 2, 0).astype(np.float64), (output_size, 2))[0] > 0
    padding = rows[:, None] | columns
    return cv2.resize(patch, (output_size, output_size)), output_size / window.side, padding


def box_to_crop(box: Tensor, crop_box: Tensor, resize_factor: float, crop_size: int) -> Tensor:
    """Map an ``xywh`` pixel box to fractions of the crop taken around ``crop_box``.

    Quirk: the center of the crop is ``(crop_size - 1) / 2`` here but ``crop_size / 2`` in :func:`box_from_crop`.

    Args:
        box, crop_box: shape ``(4,)``, pixels of the image.
    """
    center = (crop_size - 1) / 2 + (box[:2] + 0.5 * box[2:] - crop_box[:2] - 0.5 * crop_box[2:]) * resize_factor
    size = box[2:] * resize_factor
    return torch.cat((center - 0.5 * size, size)) / crop_size


def box_from_crop(box: Sequence[float], crop_box: Sequence[float], resize_factor: float, crop_size: int) -> list[float]:
    """Map a ``cxcywh`` box, in fractions of the crop taken around ``crop_box``, to ``xywh`` pixels."""
    cx, cy, w, h = (float(v) * crop_size / resize_factor for v in box)
    half = 0.5 * crop_size / resize_factor
    x, y = crop_box[0] + 0.5 * crop_box[2], crop_box[1] + 0.5 * crop_box[3]
    return [x - half + cx - 0.5 * w, y - half + cy - 0.5 * h, w, h]
