"""What a student loses by the maps of a teacher that sees the same crops."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lib.config.experiment import DistillConfig
from lib.train.losses import quality_focal_loss, weighted_l1_loss


def distillation_losses(
    output: dict[str, Any], taught: dict[str, Any], weights: DistillConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    """How far the student's maps are from the teacher's: the weighted sum, and the statistics.

    Scores are compared by the quality focal loss; sizes and offsets by their absolute difference, each cell weighted
    by the teacher's score, so that they count where it sees the target.

    Args:
        output: of the student.
        taught: of the teacher, without gradient.
        weights: ``TRAIN.DISTILL``.
    """
    sure = taught["score_map"]
    score = quality_focal_loss(output["score_map"], sure)
    size = weighted_l1_loss(output["size_map"], taught["size_map"], sure)
    offset = weighted_l1_loss(output["offset_map"], taught["offset_map"], sure)
    total = weights.SCORE_WEIGHT * score + weights.SIZE_WEIGHT * size + weights.OFFSET_WEIGHT * offset
    return total, {"Loss/distill_score": score, "Loss/distill_size": size, "Loss/distill_offset": offset}
