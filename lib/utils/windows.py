"""The cosine window that the tracker lays over its score map."""

from __future__ import annotations

import torch
from torch import Tensor


def hann1d(size: int) -> Tensor:
    """Hann window of ``size`` samples without the zeros at its two ends; values in (0, 1], shape ``(size,)``."""
    steps = torch.arange(1, size + 1, dtype=torch.float32)
    return 0.5 * (1 - torch.cos(2 * torch.pi / (size + 1) * steps))


def hann2d(size: int) -> Tensor:
    """Separable square Hann window, shape ``(1, 1, size, size)``."""
    window = hann1d(size)
    return (window[:, None] * window[None, :])[None, None]
