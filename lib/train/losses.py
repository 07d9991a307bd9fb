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
    """Return the mean of ``1 - GIoU``, and the IoU of each pair.

    Args:
        predicted, target: ``xyxy``, shape ``(B, 4)``. Predicted corners in the wrong order (a corner head may give
            them early in training) count as a box without area.
        weight: weight of each pair, see :func:`mean`.
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
    """Return the cross entropy of scores with soft targets, each cell weighted by its squared error; 0 if equal.

    Li et al., Generalized Focal Loss, NeurIPS 2020, with their beta of 2. Summed over cells, averaged over samples.

    Args:
        score, target: in (0, 1), of one shape ``(B, ...)``.
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
    """Return the total distillation loss of a student against its teacher, and the statistics.

    Scores are compared by the quality focal loss; sizes and offsets by their absolute difference, each cell weighted by
    the teacher's score; tokens by their squared difference, divided by the teacher's mean square.

    Args:
        output, taught: of the student, and of the teacher without gradient: maps and, with a ``FEATURE_WEIGHT``,
            ``backbone_feat`` (B, N, C).

    Raises:
        ConfigError: the tokens of the two cannot be compared.
    """
    weight = taught["score_map"]
    score = quality_focal_loss(output["score_map"], weight)
    size = weighted_l1_loss(output["size_map"], taught["size_map"], weight)
    offset = weighted_l1_loss(output["offset_map"], taught["offset_map"], weight)
    total = weights.SCORE_WEIGHT * score + weights.SIZE_WEIGHT * size + weights.OFFSET_WEIGHT * offset
    stats = {"Loss/distill_score": score, "Loss/distill_size": size, "Loss/distill_offset": offset}
    if weights.FEATURE_WEIGHT:
        stats["Loss/distill_feature"] = feature = feature_loss(output["backbone_feat"], taught["backbone_feat"])
        total = total + weights.FEATURE_WEIGHT * feature
    return total, stats


def feature_loss(tokens: Tensor, taught: Tensor) -> Tensor:
    """Return the mean squared error of tokens (B, N, C) to a teacher's, divided by the mean square of the teacher's.

    Raises:
        ConfigError: the numbers or widths of the tokens differ.
    """
    if tokens.shape != taught.shape:
        shapes = f"{tuple(tokens.shape[1:])}, the teacher's {tuple(taught.shape[1:])}"
        raise ConfigError(
            f"TRAIN.DISTILL.FEATURE_WEIGHT: the tokens are {shapes}; set it to 0 or choose another teacher"
        )
    taught = taught.float()
    return F.mse_loss(tokens.float(), taught) / taught.square().mean()
