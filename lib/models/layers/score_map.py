"""Ground-truth score maps, and the focal loss of predicted ones (CenterNet, Zhou et al., 2019)."""

from __future__ import annotations

import torch
from torch import Tensor

_MIN_OVERLAP = 0.7
_FOCAL_ALPHA, _FOCAL_BETA = 2, 4


def gaussian_radius(size: Tensor, min_overlap: float = _MIN_OVERLAP) -> Tensor:
    """Return how far a box's corners may move while its IoU is at least ``min_overlap`` (Law and Deng, ECCV 2018).

    Quirk: the published code, like CornerNet's first release, divides every quadratic's root by 2, not by ``2 a``, and
    takes the larger root. Kept, because the radius sets the width of every target map.

    Args:
        size: width and height in cells, shape ``(B, 2)``.

    Returns:
        Radius in cells, shape ``(B,)``, not rounded.
    """
    perimeter, area = size.sum(1), size.prod(1)
    quadratics = (
        (1.0, perimeter, area * (1 - min_overlap) / (1 + min_overlap)),
        (4.0, 2 * perimeter, (1 - min_overlap) * area),
        (4 * min_overlap, -2 * min_overlap * perimeter, (min_overlap - 1) * area),
    )
    roots = [(b + (b * b - 4 * a * c).sqrt()) / 2 for a, b, c in quadratics]
    return torch.stack(roots).amin(0)


def gaussian_maps(boxes: Tensor, size: int) -> Tensor:
    """Return ground-truth score maps: one Gaussian per box, 1 at the cell of its center, cut off at its radius.

    The center is rounded to a whole cell (half to even, as torch does), the radius truncated, and sigma is a sixth of
    the diameter ``2 radius + 1``. The center may be outside the map.

    Args:
        boxes: ``xywh`` in fractions of the crop, shape ``(B, 4)``.
        size: cells along each side of the map.

    Returns:
        Maps in [0, 1], shape ``(B, size, size)``, rows first.
    """
    cells = boxes * size
    center = (cells[:, :2] + cells[:, 2:] / 2).round()
    radius = gaussian_radius(cells[:, 2:]).clamp(min=0).trunc()[:, None]
    sigma = (2 * radius + 1) / 6
    steps = torch.arange(size, dtype=boxes.dtype, device=boxes.device)
    columns, rows = steps - center[:, :1], steps - center[:, 1:]

    def profile(distance: Tensor) -> Tensor:
        return torch.exp(-(distance**2) / (2 * sigma**2)) * (distance.abs() <= radius)

    return profile(rows)[:, :, None] * profile(columns)[:, None, :]


def focal_loss(score: Tensor, target: Tensor) -> Tensor:
    """Return CenterNet's penalty-reduced focal loss, summed and divided by the number of positives.

    Args:
        score: predicted scores in (0, 1), any shape.
        target: Gaussian maps of the same shape; a cell that is exactly 1 is a positive.
    """
    positive = target == 1
    at_centers = torch.log(score) * (1 - score) ** _FOCAL_ALPHA
    elsewhere = torch.log(1 - score) * score**_FOCAL_ALPHA * (1 - target) ** _FOCAL_BETA
    return -torch.where(positive, at_centers, elsewhere).sum() / positive.sum().clamp(min=1)
