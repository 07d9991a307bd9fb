"""The losses of OSTrack: GIoU and L1 on boxes, CenterNet's focal loss on the score map; and those of distillation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.utils.box_ops import paired_giou

_MIN_OVERLAP = 0.7
_FOCAL_ALPHA, _FOCAL_BETA = 2, 4


def gaussian_radius(size: Tensor, min_overlap: float = _MIN_OVERLAP) -> Tensor:
    """Distance by which the corners of a box may move with IoU still ``min_overlap`` (Law and Deng, ECCV 2018).

    Quirk: the published code, like most that copied CornerNet's first release, divides every quadratic's root by 2,
    not by ``2 a``; and takes the larger root. Kept, because the radius sets the width of every target map.

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
    """The score maps to learn: one Gaussian per box, 1 at the cell of its centre, cut off at its radius.

    The centre is rounded to a whole cell (half to even, as torch does), the radius truncated, and sigma is a sixth of
    the diameter ``2 radius + 1``. A centre outside of the map leaves only the part of the Gaussian that reaches in.

    Args:
        boxes: ``xywh`` in fractions of the crop, shape ``(B, 4)``.
        size: cells along each side of the map.

    Returns:
        Maps in [0, 1], shape ``(B, size, size)``, rows first.
    """
    cells = boxes * size
    centre = (cells[:, :2] + cells[:, 2:] / 2).round()
    radius = gaussian_radius(cells[:, 2:]).clamp(min=0).trunc()[:, None]
    sigma = (2 * radius + 1) / 6
    steps = torch.arange(size, dtype=boxes.dtype, device=boxes.device)
    columns, rows = steps - centre[:, :1], steps - centre[:, 1:]

    def profile(distance: Tensor) -> Tensor:
        return torch.exp(-(distance**2) / (2 * sigma**2)) * (distance.abs() <= radius)

    return profile(rows)[:, :, None] * profile(columns)[:, None, :]


def focal_loss(score: Tensor, target: Tensor) -> Tensor:
    """CenterNet's penalty-reduced focal loss (Zhou et al., 2019), summed and divided by the number of positives.

    Args:
        score: predicted scores in (0, 1), any shape.
        target: Gaussian maps of the same shape; a cell that is exactly 1 is a positive.
    """
    positive = target == 1
    at_centres = torch.log(score) * (1 - score) ** _FOCAL_ALPHA
    elsewhere = torch.log(1 - score) * score**_FOCAL_ALPHA * (1 - target) ** _FOCAL_BETA
    return -torch.where(positive, at_centres, elsewhere).sum() / positive.sum().clamp(min=1)


def giou_loss(predicted: Tensor, target: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mean of ``1 - GIoU`` and the IoU of each pair.

    Args:
        predicted, target: ``xyxy``, shape ``(B, 4)``. Predicted corners in the wrong order (a corner head may give
            them early in training) count as a box without area.
        weight: of each pair, see :func:`mean`.
    """
    ordered = torch.cat((predicted[:, :2], torch.maximum(predicted[:, :2], predicted[:, 2:])), dim=1)
    giou, iou = paired_giou(ordered, target)
    return mean(1 - giou, weight), iou


def l1_loss(predicted: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean absolute difference of the coordinates of ``xyxy`` boxes; ``weight`` as above."""
    if weight is None:
        return F.l1_loss(predicted, target)
    return mean((predicted - target).abs().mean(dim=1), weight)


def mean(values: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean of ``values``, weighted by 0 or 1 where there are weights; 0 when all weights are 0. Both (B,)."""
    if weight is None:
        return values.mean()
    return (values * weight).sum() / weight.sum().clamp(min=1)


def quality_focal_loss(score: Tensor, target: Tensor) -> Tensor:
    """Cross entropy of scores with soft targets, each cell weighted by the square of its error; 0 where they agree.

    Li et al., Generalized Focal Loss, NeurIPS 2020, with their beta of 2. Summed over cells, averaged over samples.

    Args:
        score, target: in (0, 1), of one shape ``(B, ...)``.
    """
    cross_entropy = F.binary_cross_entropy(score, target, reduction="none")
    return ((target - score) ** 2 * cross_entropy).sum() / len(score)


def weighted_l1_loss(predicted: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Absolute difference of two maps ``(B, C, S, S)``, averaged with the weights ``(B, 1, S, S)``."""
    difference = (predicted - target).abs().mean(dim=1, keepdim=True)
    return (difference * weight).sum() / weight.sum()
