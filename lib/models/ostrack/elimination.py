"""Candidate elimination of an OSTrack experiment: keep rate in training, and the tokens that rank search tokens."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lib.config.ostrack import OSTrackConfig
from lib.models.layers.candidate_elimination import box_mask, central_tokens


def keep_rate(cfg: OSTrackConfig, epoch: int) -> float:
    """Return the keep rate in training: 1, then a half-cosine decay to the first ``CE_KEEP_RATIO``, then constant."""
    ratios = cfg.MODEL.BACKBONE.CE_KEEP_RATIO
    start, warm = cfg.TRAIN.CE_START_EPOCH, cfg.TRAIN.CE_WARM_EPOCH
    if not ratios or epoch < start:
        return 1.0
    if epoch >= start + warm:
        return ratios[0]
    return ratios[0] + 0.5 * (1 - ratios[0]) * (1 + math.cos(math.pi * (epoch - start) / warm))


def template_mask(
    cfg: OSTrackConfig, template_size: int, batch: int, device: torch.device | str, boxes: Tensor | None = None
) -> Tensor | None:
    """Return the template tokens that rank search tokens, by ``CE_TEMPLATE_RANGE``, as ``ce_template_mask``.

    It is None where all tokens rank or nothing is eliminated, a mask (batch, tokens) for ``GT_BOX``, else indices
    (batch, n).

    Args:
        template_size: side of the template in pixels.
        boxes: (batch, 4) ``xywh`` of the target as fractions of the template; needed for ``GT_BOX``.
    """
    backbone = cfg.MODEL.BACKBONE
    kind = backbone.CE_TEMPLATE_RANGE
    if not backbone.CE_LOC or kind == "ALL":
        return None
    grid = template_size // backbone.STRIDE
    if kind == "GT_BOX":
        if boxes is None:
            raise ValueError("CE_TEMPLATE_RANGE GT_BOX needs the target's box in the template")
        return box_mask(boxes.to(device), template_size, grid)
    return central_tokens(grid, point=kind == "CTR_POINT", device=device).expand(batch, -1)
