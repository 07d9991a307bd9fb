"""Base class of actors: the forward pass and the losses of one training batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lib.config import ExperimentConfig
from lib.models.family import head_of
from lib.train.data.augmentation import normalized
from lib.train.losses import distillation_losses, giou_loss, l1_loss, mean
from lib.utils.box_ops import box_cxcywh_to_xyxy, box_xywh_to_xyxy

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
        return self.losses(self.run(moved, epoch), moved)

    def to_device(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Move the needed tensors to the network's device, and normalize uint8 crops."""
        moved = {key: batch[key].to(self.device, non_blocking=True) for key in _INPUTS if key in batch}
        for kind in ("template", "search"):
            if (images := moved[f"{kind}_images"]).dtype == torch.uint8:
                brightness = batch[f"{kind}_brightness"].to(self.device, non_blocking=True)
                moved[f"{kind}_images"] = normalized(images, brightness, self._mean, self._std)
        return moved

    def run(self, batch: dict[str, Tensor], epoch: int | None) -> dict[str, Any]:
        """Run :meth:`forward` under autocast, if the experiment sets ``TRAIN.AMP``."""
        with torch.autocast(self.device.type, self.amp_dtype, enabled=self.amp_dtype is not None):
            return self.forward(batch, epoch)

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
        location = head_of(self.cfg).location_loss(output, boxes, label)
        total = train.GIOU_WEIGHT * giou + train.L1_WEIGHT * l1 + location
        stats = {"Loss/giou": giou, "Loss/l1": l1, "Loss/location": location, "IoU": mean(iou, label)}
        if self.teacher is not None:
            with torch.no_grad():
                taught = self.teacher.run(batch, None)
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
