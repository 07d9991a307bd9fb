"""Forward pass and losses of one training batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lib.config.ostrack import Config
from lib.models.ostrack.candidate_elimination import keep_rate, template_mask
from lib.train.losses import focal_loss, gaussian_maps, giou_loss, l1_loss
from lib.utils.box_ops import box_cxcywh_to_xyxy, box_xywh_to_xyxy
from lib.utils.errors import ConfigError


class OSTrackActor:
    """Runs the network on a batch and weighs its losses as the experiment says.

    Args:
        net: the OSTrack module, on the device where it is to run.
        cfg: the experiment.
        amp_dtype: type for autocast, or ``None`` for float32 throughout. Losses are always in float32.

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

    def __call__(self, batch: dict[str, Any], epoch: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Losses of a batch as the loader gives it.

        Args:
            batch: see :func:`lib.train.data.processing.finish_pair`; tensors are stacked on dimension 1.
            epoch: counted from 1; it sets the share of tokens that candidate elimination keeps.

        Returns:
            The total loss, and the statistics under their published names, detached.
        """
        moved = {key: batch[key].to(self.device, non_blocking=True) for key in _INPUTS}
        return self.losses(self.forward(moved, epoch), moved["search_anno"][-1])

    def forward(self, batch: dict[str, Tensor], epoch: int) -> dict[str, Any]:
        """The network's output for a batch on its device."""
        template, search = batch["template_images"][0], batch["search_images"][0]
        mask = template_mask(self.cfg, template.shape[-1], len(template), self.device, boxes=batch["template_anno"][0])
        with torch.autocast(self.device.type, self.amp_dtype, enabled=self.amp_dtype is not None):
            return self.net(template, search, ce_template_mask=mask, ce_keep_rate=keep_rate(self.cfg, epoch))

    def losses(self, output: dict[str, Any], boxes: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Losses for the true ``boxes``, ``xywh`` in fractions of the search region, (B, 4)."""
        train = self.cfg.TRAIN
        predicted = box_cxcywh_to_xyxy(output["pred_boxes"].float())[:, 0]
        target = box_xywh_to_xyxy(boxes).clamp(0, 1)
        giou, iou = giou_loss(predicted, target)
        l1 = l1_loss(predicted, target)
        location = self._location_loss(output.get("score_map"), boxes)
        total = train.GIOU_WEIGHT * giou + train.L1_WEIGHT * l1 + location
        stats = {
            "Loss/total": total,
            "Loss/giou": giou,
            "Loss/l1": l1,
            "Loss/location": location,
            "IoU": iou.mean(),
        }
        return total, {name: value.detach() for name, value in stats.items()}

    @staticmethod
    def _location_loss(score: Tensor | None, boxes: Tensor) -> Tensor:
        """Focal loss of the score map; 0 for a head that has none (CORNER)."""
        if score is None:
            return boxes.new_zeros(())
        return focal_loss(score.float(), gaussian_maps(boxes, score.shape[-1])[:, None])


_INPUTS = ("template_images", "template_anno", "search_images", "search_anno")
