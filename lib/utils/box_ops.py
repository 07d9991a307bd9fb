"""Box formats and overlaps.

``xywh`` is the top-left corner, width and height; ``xyxy`` two corners; ``cxcywh`` the center, width and height. All
functions work on tensors of shape ``(..., 4)`` in any unit, pixels or fractions of a crop.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def box_xywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Convert ``xywh`` to ``xyxy``."""
    x, y, w, h = boxes.unbind(-1)
    return torch.stack((x, y, x + w, y + h), dim=-1)


def box_cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Convert ``cxcywh`` to ``xyxy``."""
    cx, cy, w, h = boxes.unbind(-1)
    return torch.stack((cx - 0.5 * w, cy - 0.5 * h, cx + 0.5 * w, cy + 0.5 * h), dim=-1)


def paired_iou(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return IoU in [0, 1] and area of the union, both ``(...,)``, of corresponding ``xyxy`` boxes ``(..., 4)``."""
    area_a = (a[..., 2] - a[..., 0]) * (a[..., 3] - a[..., 1])
    area_b = (b[..., 2] - b[..., 0]) * (b[..., 3] - b[..., 1])
    sides = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0)
    intersection = sides[..., 0] * sides[..., 1]
    union = area_a + area_b - intersection
    return intersection / _nonzero(union), union


def paired_giou(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return GIoU (Rezatofighi et al., CVPR 2019) in [-1, 1] and IoU of corresponding ``xyxy`` boxes."""
    iou, union = paired_iou(a, b)
    sides = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).clamp(min=0)
    hull = sides[..., 0] * sides[..., 1]
    return iou - (hull - union) / _nonzero(hull), iou


def _nonzero(area: Tensor) -> Tensor:
    """Return areas as divisors: 0 (of two empty boxes) becomes 1."""
    return torch.where(area == 0, 1, area)


def clip_box(box: Sequence[float], height: int, width: int, margin: float = 0) -> list[float]:
    """Clip an ``xywh`` pixel box to an image so that at least ``margin`` pixels of it stay inside in each direction.

    Shorter sides are enlarged to ``margin``: the published tracker never reports a box smaller than 10 x 10 pixels.
    """
    x, y, w, h = box
    x1, y1 = min(max(0, x), width - margin), min(max(0, y), height - margin)
    x2, y2 = min(max(margin, x + w), width), min(max(margin, y + h), height)
    return [x1, y1, max(margin, x2 - x1), max(margin, y2 - y1)]
