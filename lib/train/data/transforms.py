"""Photometric and mirror transforms. Pictures stay uint8 until the one conversion at the end."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor


def to_grayscale(image: np.ndarray) -> np.ndarray:
    """RGB uint8 (H, W, 3) to its luma, repeated over the three channels."""
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def flip_image(image: np.ndarray) -> np.ndarray:
    """Mirror a uint8 picture or a bool mask left to right. OpenCV does it ten times as fast as a numpy view is read."""
    return cv2.flip(image.view(np.uint8), 1).view(image.dtype)


def flip_box_pixels(box: np.ndarray, width: int) -> np.ndarray:
    """Mirror an ``xywh`` pixel box with a picture of ``width`` columns.

    Quirk: a box is mirrored about ``width - 1`` though its edges span ``width``, so it lands one pixel to the left.
    """
    return np.array([width - 1 - box[0] - box[2], *box[1:]], dtype=box.dtype)


def flip_box_fraction(box: np.ndarray) -> np.ndarray:
    """Mirror an ``xywh`` box given in fractions of the picture: about 1, without the quirk of the pixel flip."""
    return np.array([1 - box[0] - box[2], *box[1:]], dtype=box.dtype)


def normalised(
    pixels: Tensor, brightness: Tensor, mean: Sequence[float] | Tensor, std: Sequence[float] | Tensor
) -> Tensor:
    """Scale to [0, 1] times ``brightness``, clamp to [0, 1], subtract ``mean`` and divide by ``std`` per channel.

    Args:
        pixels: RGB uint8 (..., H, W, 3), on any device.
        brightness: float64 (...), there too; tensors of ``mean`` and ``std`` as well.

    Returns:
        float32 (..., 3, H, W), contiguous.
    """
    values = pixels.movedim(-1, -3).to(torch.float32, memory_format=torch.contiguous_format)
    values.mul_((brightness / 255).float()[..., None, None, None]).clamp_(0, 1)
    mean, std = (torch.as_tensor(numbers, device=pixels.device).view(3, 1, 1) for numbers in (mean, std))
    return values.sub_(mean).div_(std)
