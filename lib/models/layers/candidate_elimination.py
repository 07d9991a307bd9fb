"""Candidate elimination (CE): drop the search tokens that the template attends to least.

Section 3.2 of the OSTrack paper. The number of tokens kept depends on shapes and ratios alone, so a model with CE
compiles and exports with static shapes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def central_tokens(grid: int, point: bool, device: torch.device | str = "cpu") -> Tensor:
    """Return the indices (n,) of the central 2 x 2 tokens of a square grid, or of one with ``point`` or an odd grid.

    Quirk: in an even grid the single point is up and left of the true center, 3 of 0..7.
    """
    low, high = (grid - 1) // 2, grid // 2
    steps = torch.arange(low, (low if point else high) + 1, device=device)
    return (steps[:, None] * grid + steps).flatten()


def box_mask(boxes: Tensor, size: int, grid: int) -> Tensor:
    """Return the grid cells that a box touches, (B, grid * grid) bool; at least the central one.

    The box is rasterized in pixels and the mask resized to the grid; nonzero cells are chosen. Quirk: the rasterized
    box ends one pixel before the last that the box covers.

    Args:
        boxes: (B, 4) ``xywh`` as fractions of a crop of ``size`` pixels.
    """
    x, y, w, h = (boxes * size).unbind(-1)
    pixels = torch.arange(size, device=boxes.device)

    def span(start: Tensor, length: Tensor) -> Tensor:
        first, last = start.trunc()[:, None], (start + length - 1).trunc()[:, None]
        return (pixels >= first) & (pixels < last)

    drawn = span(y, h)[:, :, None] & span(x, w)[:, None, :]
    cells = F.interpolate(drawn[:, None].float(), size=(grid, grid), mode="bilinear", align_corners=False)
    mask = cells.flatten(1) > 0
    center = torch.zeros_like(mask)
    center[:, central_tokens(grid, point=True, device=boxes.device)] = True
    return torch.where(mask.any(dim=1, keepdim=True), mask, center)


def rank_tokens(attention: Tensor, template_count: int, mask: Tensor | None = None) -> Tensor:
    """Score the search tokens, (B, search tokens), by the attention they receive from template tokens.

    Args:
        attention: (B, heads, n, template_count + search tokens), rows of template tokens.
        mask: (B, n), which rows count; None = all.
    """
    to_search = attention[..., template_count:]
    if mask is None:
        return to_search.mean(dim=2).mean(dim=1)
    weight = mask.to(to_search.dtype)
    weight = weight / weight.sum(dim=1, keepdim=True)
    return (to_search * weight[:, None, :, None]).sum(dim=2).mean(dim=1)


def eliminate(
    search: Tensor, index: Tensor, score: Tensor, keep: int, record: bool = True
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Keep the ``keep`` best search tokens, best first.

    Args:
        search: tokens (B, N, C).
        index: (B, N), grid index of each token.
        score: (B, N).
        record: also return the dropped tokens, which takes a full sort.

    Returns:
        Kept tokens (B, keep, C), their grid indices (B, keep), and those of the dropped ones (B, N - keep) or None.
    """
    order = score.argsort(dim=1, descending=True) if record else score.topk(keep, dim=1).indices
    kept = order[:, :keep]
    search = search.gather(1, kept[..., None].expand(-1, -1, search.shape[-1]))
    return search, index.gather(1, kept), index.gather(1, order[:, keep:]) if record else None


def restore(search: Tensor, index: Tensor, count: int) -> Tensor:
    """Scatter kept tokens (B, n, C) back to their indices in a grid of ``count``; the dropped ones are zero."""
    full = search.new_zeros(search.shape[0], count, search.shape[-1])
    return full.scatter(1, index[..., None].expand(-1, -1, search.shape[-1]), search)
