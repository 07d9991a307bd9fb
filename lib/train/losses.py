"""The losses of OSTrack: GIoU and L1 on boxes, CenterNet's focal loss on the score map; and those of distillation."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.config.experiment import DistillConfig
from lib.utils.box_ops import paired_giou
from lib.utils.errors import ConfigError


def giou_loss(predicted: Tensor, target: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the mean of ``1 - GIoU``, and the IoU of each pair; weights as of :func:`mean`.

    Boxes are ``xyxy``, (B, 4). Predicted corners in the wrong order, as a corner head may give them early in training,
    count as a box without area.
    """
    ordered = torch.cat((predicted[:, :2], torch.maximum(predicted[:, :2], predicted[:, 2:])), dim=1)
    giou, iou = paired_giou(ordered, target)
    return mean(1 - giou, weight), iou


def l1_loss(predicted: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the mean absolute difference of the coordinates of ``xyxy`` boxes; ``weight`` as above."""
    if weight is None:
        return F.l1_loss(predicted, target)
    return mean((predicted - target).abs().mean(dim=1), weight)


def mean(values: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the mean of ``values`` (B,), with optional weights 0 or 1 (B,); 0 if all weights are 0."""
    if weight is None:
        return values.mean()
    return (values * weight).sum() / weight.sum().clamp(min=1)


def quality_focal_loss(score: Tensor, target: Tensor) -> Tensor:
    """Return the cross entropy of scores with soft targets in (0, 1), both (B, ...); equal scores have the loss 0.

    Each cell is weighted by its squared error. Summed over cells, averaged over samples. Li et al., Generalized Focal
    Loss, NeurIPS 2020, with their beta of 2.
    """
    cross_entropy = F.binary_cross_entropy(score, target, reduction="none")
    return ((target - score) ** 2 * cross_entropy).sum() / len(score)


def weighted_l1_loss(predicted: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return the absolute difference of two maps ``(B, C, S, S)``, averaged with weights ``(B, 1, S, S)``."""
    difference = (predicted - target).abs().mean(dim=1, keepdim=True)
    return (difference * weight).sum() / weight.sum()


def distillation_losses(
    output: Mapping[str, Tensor], taught: Mapping[str, Tensor], weights: DistillConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the total distillation loss of a student's output against its teacher's, and the statistics.

    Scores are compared by the quality focal loss; sizes and offsets by their absolute difference, each cell weighted by
    the teacher's score; with a ``FEATURE_WEIGHT`` the tokens ``backbone_feat`` (B, N, C) by their mean squared error,
    divided by the teacher's mean square.

    Raises:
        ConfigError: the numbers or widths of the tokens differ.
    """
    weight = taught["score_map"]
    score = quality_focal_loss(output["score_map"], weight)
    size = weighted_l1_loss(output["size_map"], taught["size_map"], weight)
    offset = weighted_l1_loss(output["offset_map"], taught["offset_map"], weight)
    total = weights.SCORE_WEIGHT * score + weights.SIZE_WEIGHT * size + weights.OFFSET_WEIGHT * offset
    stats = {"Loss/distill_score": score, "Loss/distill_size": size, "Loss/distill_offset": offset}
    if weights.FEATURE_WEIGHT:
        tokens, wanted = output["backbone_feat"].float(), taught["backbone_feat"].float()
        if tokens.shape != wanted.shape:
            shapes = f"{tuple(tokens.shape[1:])}, the teacher's {tuple(wanted.shape[1:])}"
            raise ConfigError(
                f"TRAIN.DISTILL.FEATURE_WEIGHT: the tokens are {shapes}; set it to 0 or choose another teacher"
            )
        stats["Loss/distill_feature"] = feature = F.mse_loss(tokens, wanted) / wanted.square().mean()
        total = total + weights.FEATURE_WEIGHT * feature
    return total, stats
