"""Actors: the forward pass and the losses of one training batch.

OSTrack has GIoU and L1 on boxes and CenterNet's focal loss on the score map; distillation adds losses of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.config import ExperimentConfig
from lib.config.experiment import DistillConfig
from lib.models.family import family_of, resolve
from lib.models.layers.head import HEADS
from lib.train.data.augmentation import normalized
from lib.utils.box_ops import box_cxcywh_to_xyxy, box_xywh_to_xyxy, paired_giou
from lib.utils.errors import ConfigError

Losses = tuple[Tensor, dict[str, Tensor]]

_INPUTS = ("template_images", "template_anno", "search_images", "search_anno", "label")


class Actor:
    """Run the network on a batch and weight its losses by the experiment. A family implements :meth:`forward`.

    ``net`` is the family's model, on its device; wrapped for data parallelism or not. ``amp_dtype`` is for autocast,
    None = float32 throughout; the losses are always float32. ``teacher``, for distillation, runs on the same batches,
    as in tracking at any epoch.
    """

    def __init__(
        self, net: nn.Module, cfg: ExperimentConfig, amp_dtype: torch.dtype | None = None, teacher: Actor | None = None
    ):
        self.net, self.cfg, self.amp_dtype, self.teacher = net, cfg, amp_dtype, teacher
        self.device = next(net.parameters()).device
        self._mean, self._std = (torch.tensor(list(v), device=self.device) for v in (cfg.DATA.MEAN, cfg.DATA.STD))

    def __call__(self, batch: dict[str, Any], epoch: int) -> Losses:
        """Return the total loss of a batch, and the statistics under their published names, detached.

        The batch is from the loader, see :func:`lib.train.data.augmentation.finish_pair`; tensors are stacked on
        dimension 1, but ``label`` without presence is (B,). Epochs are counted from 1.
        """
        moved = self.to_device(batch)
        return self.losses(self.forward(moved, epoch), moved)

    def to_device(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Move the needed tensors to the network's device, and normalize uint8 crops."""
        moved = {key: batch[key].to(self.device, non_blocking=True) for key in _INPUTS if key in batch}
        for kind in ("template", "search"):
            if (images := moved[f"{kind}_images"]).dtype == torch.uint8:
                brightness = batch[f"{kind}_brightness"].to(self.device, non_blocking=True)
                moved[f"{kind}_images"] = normalized(images, brightness, self._mean, self._std)
        return moved

    def forward(self, batch: dict[str, Tensor], epoch: int | None) -> dict[str, Any]:
        """Return the network's outputs for a batch from :meth:`to_device`; ``epoch`` None = as in tracking.

        They are ``pred_boxes`` (S * B, 1, 4), ``cxcywh`` as fractions of the search region, and the head's maps: all B
        samples of the first of the S search frames, then those of the next.
        """
        raise NotImplementedError

    def losses(self, output: dict[str, Any], batch: dict[str, Tensor]) -> Losses:
        """Return the losses as :meth:`__call__`, from the ``output`` of :meth:`forward` for ``batch``."""
        train, boxes = self.cfg.TRAIN, batch["search_anno"].flatten(0, 1)
        label = search_labels(batch)
        predicted = box_cxcywh_to_xyxy(output["pred_boxes"].float())[:, 0]
        target = box_xywh_to_xyxy(boxes).clamp(0, 1)
        giou, iou = giou_loss(predicted, target, label)
        l1 = l1_loss(predicted, target, label)
        location = HEADS[self.cfg.MODEL.HEAD.TYPE].location_loss(output, boxes, label)
        total = train.GIOU_WEIGHT * giou + train.L1_WEIGHT * l1 + location
        stats = {"Loss/giou": giou, "Loss/l1": l1, "Loss/location": location, "IoU": mean(iou, label)}
        if self.teacher is not None:
            with torch.no_grad():
                taught = self.teacher.forward(batch, None)
            # The sizes it predicts are fractions of the search region that it was trained with.
            scale = self.teacher.cfg.DATA.SEARCH.SIZE / self.cfg.DATA.SEARCH.SIZE
            taught = taught | {"size_map": taught["size_map"] * scale}
            extra, distilled = distillation_losses(output, taught, train.DISTILL)
            total, stats = total + extra, stats | distilled
        return total, {name: value.detach() for name, value in ({"Loss/total": total} | stats).items()}


def search_labels(batch: dict[str, Tensor]) -> Tensor | None:
    """Return whether each search frame shows the target, (S * B,); None if the batch has no labels."""
    if "label" not in batch:
        return None
    label = batch["label"].reshape(-1)
    return label.repeat(len(batch["search_anno"]) * batch["search_anno"].shape[1] // len(label))


def build_actor(
    net: nn.Module, cfg: ExperimentConfig, amp_dtype: torch.dtype | None = None, teacher: Actor | None = None
) -> Actor:
    """Build the actor of the experiment's family. Raises ConfigError: it does not support a setting of it."""
    return resolve(family_of(cfg).actor)(net, cfg, amp_dtype, teacher)


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
