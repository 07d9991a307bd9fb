"""Learned token type embeddings: target, background or search (Lin et al., LoRAT, ECCV 2024)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TokenTypes(nn.Module):
    """Embeddings of template foreground, template background, and search.

    A template token on the border of the target's box gets the mean of the first two, weighted by its covered fraction.
    They are initialized to zero, so that weights trained without them give the same outputs.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.foreground = nn.Parameter(torch.zeros(dim))
        self.background = nn.Parameter(torch.zeros(dim))
        self.search = nn.Parameter(torch.zeros(dim))

    def forward(self, box: Tensor, grid: int) -> Tensor:
        """Return the embeddings (B, grid * grid, C) of template tokens.

        Args:
            box: the target in the template, (B, 4) ``xywh`` as fractions of it.
        """
        share = covered_share(box, grid)[..., None].to(self.foreground.dtype)
        return torch.lerp(self.background, self.foreground, share)


def covered_share(box: Tensor, grid: int) -> Tensor:
    """Return the fraction of each cell of a grid that a box covers, (B, grid * grid), row by row.

    Args:
        box: (B, 4), ``xywh`` as fractions of the grid's side; it may extend outside.
    """
    edges = torch.arange(grid + 1, device=box.device, dtype=box.dtype)
    start, end = box[:, None, :2] * grid, (box[:, None, :2] + box[:, None, 2:]) * grid  # (B, 1, 2)
    overlap = torch.minimum(end, edges[1:, None]) - torch.maximum(start, edges[:-1, None])  # (B, grid, 2)
    columns, rows = overlap.clamp(min=0).unbind(-1)
    return (rows[:, :, None] * columns[:, None, :]).flatten(1)
