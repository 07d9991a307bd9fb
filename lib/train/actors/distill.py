"""Training that learns from another tracker's maps too."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lib.config.ostrack import OSTrackConfig
from lib.train.actors.ostrack import Losses, OSTrackActor, run_network
from lib.train.distill import Teacher
from lib.train.losses import quality_focal_loss, weighted_l1_loss


class DistillActor(OSTrackActor):
    """The usual losses, and how far the student's maps are from those of a teacher that sees the same crops.

    Scores are compared by the quality focal loss; sizes and offsets by their absolute difference, each cell weighted
    by the teacher's score, so that they count where it sees the target. ``TRAIN.DISTILL`` weighs the three.

    Args:
        net, cfg, amp_dtype: as in :class:`OSTrackActor`.
        teacher: from :func:`lib.train.distill.load_teacher`. It keeps tokens as in tracking, whatever the epoch.
    """

    def __init__(self, net: nn.Module, cfg: OSTrackConfig, amp_dtype: torch.dtype | None, teacher: Teacher):
        super().__init__(net, cfg, amp_dtype)
        self.teacher = teacher

    def losses(self, output: dict[str, Any], batch: dict[str, Tensor]) -> Losses:
        total, stats = super().losses(output, batch)
        with torch.no_grad():
            taught = run_network(self.teacher.net, self.teacher.cfg, batch, None, self.amp_dtype)
        weights, sure = self.cfg.TRAIN.DISTILL, taught["score_map"]
        score = quality_focal_loss(output["score_map"], sure)
        size = weighted_l1_loss(output["size_map"], taught["size_map"], sure)
        offset = weighted_l1_loss(output["offset_map"], taught["offset_map"], sure)
        total = total + weights.SCORE_WEIGHT * score + weights.SIZE_WEIGHT * size + weights.OFFSET_WEIGHT * offset
        extra = {"Loss/distill_score": score, "Loss/distill_size": size, "Loss/distill_offset": offset}
        return total, {**stats, "Loss/total": total.detach(), **{name: value.detach() for name, value in extra.items()}}
