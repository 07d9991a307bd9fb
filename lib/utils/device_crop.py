"""Crop on the network's device: on CUDA with results bit-identical to ``cv2.resize``, which is used on other devices.

OpenCV resizes bytes in fixed point with weights of eleven bits. This is reproduced with tensor operations, so that a
tracker's boxes do not depend on the device. One transfer sends the image parts inside the windows, and a small table of
the source pixels and weights of the crops.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from lib.utils.crop import CropWindow, cut_window, shown_part

_ONE = 1 << 11  # the weight 1


def cut_crops(images: Sequence[np.ndarray], windows: Sequence[CropWindow], size: int, device: torch.device) -> Tensor:
    """Crop one window from each image, with zeros outside, and resize it (bilinear).

    Args:
        images: RGB uint8 (H, W, 3), of any sizes.

    Returns:
        uint8 (B, size, size, 3) on the device; on CUDA without synchronization.
    """
    if device.type == "cuda":
        return resize_on_device(images, windows, size, device)
    crops = [
        cv2.resize(cut_window(image, window)[0], (size, size)) for image, window in zip(images, windows, strict=True)
    ]
    return torch.from_numpy(np.stack(crops)).to(device)


def resize_on_device(
    images: Sequence[np.ndarray], windows: Sequence[CropWindow], size: int, device: torch.device
) -> Tensor:
    """Do the same as :func:`cut_crops` without OpenCV, on any device."""
    parts = [shown_part(window, image.shape) for image, window in zip(images, windows, strict=True)]
    table, counts = _sources(windows, parts, size)
    sent = torch.empty(table.nbytes + 3 * max(sum(counts), 1), dtype=torch.uint8, pin_memory=device.type == "cuda")
    memory = sent.numpy()
    memory[: table.nbytes] = table.reshape(-1).view(np.uint8)
    at = table.nbytes
    for image, (left, top, right, bottom), count in zip(images, parts, counts, strict=True):
        memory[at : at + 3 * count].reshape(bottom - top, right - left, 3)[:] = image[top:bottom, left:right]
        at += 3 * count
    sent = sent.to(device, non_blocking=True)
    rows, columns, row_weights, column_weights = sent[: table.nbytes].view(torch.int32).view(table.shape)
    pixels = sent[table.nbytes :].view(-1, 3)

    def mixed(row: int) -> Tensor:
        """Return the pixels (B, size, size, 3) of the upper (0) or lower (1) rows, each mixed from two columns."""
        both = [
            pixels.index_select(0, (rows[row][:, :, None] + columns[side][:, None]).flatten())
            .view(len(images), size, size, 3)
            .int()
            * column_weights[side][:, None, :, None]
            for side in (0, 1)
        ]
        return (both[0] + both[1]) >> 4

    upper, lower = ((mixed(row) * row_weights[row][:, :, None, None]) >> 16 for row in (0, 1))
    return ((upper + lower + 2) >> 2).to(torch.uint8)


def _sources(
    windows: Sequence[CropWindow], parts: Sequence[tuple[int, int, int, int]], size: int
) -> tuple[np.ndarray, list[int]]:
    """Return the sources of the crops' pixels, int32 (4, 2, B, size), and the number of pixels sent of each image.

    The four are offsets of rows and of columns, whose sum is the index of a sent pixel, and the weights of both; the
    two are the upper and lower, or left and right, source.
    """
    left, top, right, bottom = np.array(parts, np.int64).reshape(-1, 4).T
    x, y, side = np.array([(window.x, window.y, window.side) for window in windows], np.int64).T
    counts = (right - left) * (bottom - top)
    begin = np.cumsum(counts) - counts
    rows, row_weights = _axis(side, top - y, bottom - y, size, horizontal=False)
    columns, column_weights = _axis(side, left - x, right - x, size, horizontal=True)
    rows = np.where(row_weights > 0, begin[:, None] + rows * (right - left)[:, None], 0)
    return np.stack((rows, columns, row_weights, column_weights)).astype(np.int32), counts.tolist()


def _axis(
    side: np.ndarray, first: np.ndarray, end: np.ndarray, size: int, *, horizontal: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the source pixels (2, B, size) along an axis, counted from ``first``, and their weights.

    Args:
        side: sides of the windows (B,), in pixels.
        first, end: limits of the sent part, in pixels of the window (B,); pixels outside have weight 0.
        horizontal: OpenCV treats pixels at the border differently in rows and columns.
    """
    scale = 1 / (size / side)
    position = ((np.arange(size) + 0.5) * scale[:, None] - 0.5).astype(np.float32)
    pixel = np.floor(position).astype(np.int64)
    share = position - pixel.astype(np.float32)
    last = side[:, None] - 1
    if horizontal:
        share[(pixel < 0) | (pixel >= last)] = 0
    pixels = np.stack((pixel, pixel + 1)).clip(0, last)
    weights = np.rint(np.stack((1 - share, share)) * np.float32(_ONE)).astype(np.int64)
    weights[(pixels < first[:, None]) | (pixels >= end[:, None])] = 0
    return np.where(weights > 0, pixels - first[:, None], 0), weights
