"""The cosine window of the score map."""

from __future__ import annotations

import torch
from torch import Tensor


def hann2d(size: int) -> Tensor:
    """Return the separable square Hann window without the zeros at its ends, ``(1, 1, size, size)`` in (0, 1]."""
    steps = torch.arange(1, size + 1, dtype=torch.float32)
    window = 0.5 * (1 - torch.cos(2 * torch.pi / (size + 1) * steps))
    return (window[:, None] * window[None, :])[None, None]
