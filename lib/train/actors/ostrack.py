"""Forward pass and losses of one training batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lib.config.ostrack import Config
from lib.models.layers.candidate_elimination import keep_rate, template_mask
from lib.models.layers.head import HEADS
from lib.train.data.transforms import normalised
from lib.train.losses import giou_loss, l1_loss, mean
from lib.utils.box_ops import box_cxcywh_to_xyxy, box_xywh_to_xyxy
from lib.utils.errors import ConfigError

Losses = tuple[Tensor, dict[str, Tensor]]


class OSTrackActor:
    """Runs the network on a batch and weighs its losses as the experiment says.

    Args:
        net: the OSTrack module, on the device where it is to run; wrapped for data parallelism or not.
        cfg: the experiment.
        amp_dtype: type for autocast, or ``None`` for float32 throughout. The losses are in float32 always.

    Raises:
        ConfigError: the experiment asks for more than one template or search region.
    """

    def __init__(self, net: nn.Module, cfg: Config, amp_dtype: torch.dtype | None = None):
        if cfg.DATA.TEMPLATE.NUMBER != 1 or cfg.DATA.SEARCH.NUMBER != 1:
            raise ConfigError("DATA.TEMPLATE.NUMBER and DATA.SEARCH.NUMBER must be 1: OSTrack takes one of each")
        self.net = net
        self.cfg = cfg
        self.amp_dtype = amp_dtype
        self.device = next(net.parameters()).device
        self._mean, self._std = (torch.tensor(list(v), device=self.device) for v in (cfg.DATA.MEAN, cfg.DATA.STD))

    def __call__(self, batch: dict[str, Any], epoch: int) -> Losses:
        """Losses of a batch as the loader gives it.

        Args:
            batch: see :func:`lib.train.data.processing.finish_pair`; tensors are stacked on dimension 1. ``label``,
                where there is one, is (B,), 1 or 0, or (1, B): whether the search region shows the template's target.
            epoch: counted from 1; it sets the share of tokens that candidate elimination keeps.

        Returns:
            The total loss, and the statistics under their published names, detached.
        """
        moved = self.to_device(batch)
        return self.losses(self.forward(moved, epoch), moved)

    def to_device(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """The tensors of a batch that are needed, on the network's device; crops that came as bytes, normalised."""
        moved = {key: batch[key].to(self.device, non_blocking=True) for key in _INPUTS if key in batch}
        for kind in ("template", "search"):
            if (images := moved[f"{kind}_images"]).dtype == torch.uint8:
                brightness = batch[f"{kind}_brightness"].to(self.device, non_blocking=True)
                moved[f"{kind}_images"] = normalised(images, brightness, self._mean, self._std)
        return moved

    def forward(self, batch: dict[str, Any], epoch: int) -> dict[str, Any]:
        """The network's output for a batch, on its device or not."""
        return run_network(self.net, self.cfg, self.to_device(batch), keep_rate(self.cfg, epoch), self.amp_dtype)

    def losses(self, output: dict[str, Any], batch: dict[str, Tensor]) -> Losses:
        """Losses of the network's ``output`` for ``batch``, both on its device; as :meth:`__call__` returns them."""
        train, boxes, label = self.cfg.TRAIN, batch["search_anno"][-1], batch.get("label")
        label = None if label is None else label.reshape(-1)
        predicted = box_cxcywh_to_xyxy(output["pred_boxes"].float())[:, 0]
        target = box_xywh_to_xyxy(boxes).clamp(0, 1)
        giou, iou = giou_loss(predicted, target, label)
        l1 = l1_loss(predicted, target, label)
        location = HEADS[self.cfg.MODEL.HEAD.TYPE].location_loss(output, boxes, label)
        total = train.GIOU_WEIGHT * giou + train.L1_WEIGHT * l1 + location
        stats = {
            "Loss/total": total,
            "Loss/giou": giou,
            "Loss/l1": l1,
            "Loss/location": location,
            "IoU": mean(iou, label),
        }
        return total, {name: value.detach() for name, value in stats.items()}


def run_network(
    net: nn.Module, cfg: Config, batch: dict[str, Tensor], rate: float | None, amp_dtype: torch.dtype | None
) -> dict[str, Any]:
    """Output of the OSTrack module ``net`` of the experiment ``cfg`` for a batch on its device.

    Args:
        rate: keep rate of all layers of candidate elimination; None = each layer's own.
    """
    template, search = batch["template_images"][0], batch["search_images"][0]
    box = batch["template_anno"][0]
    mask = template_mask(cfg, template.shape[-1], len(template), template.device, boxes=box)
    with torch.autocast(template.device.type, amp_dtype, enabled=amp_dtype is not None):
        return net(template, search, ce_template_mask=mask, ce_keep_rate=rate, template_box=box)


_INPUTS = ("template_images", "template_anno", "search_images", "search_anno", "label")
