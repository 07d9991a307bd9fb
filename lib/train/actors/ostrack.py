"""The forward pass of an OSTrack in training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lib.config.ostrack import OSTrackConfig
from lib.models.ostrack.elimination import keep_rate, template_mask
from lib.train.actors.base import Actor
from lib.utils.errors import ConfigError


class OSTrackActor(Actor):
    """See :class:`Actor`. There is one template. The epoch sets the share of tokens that elimination keeps."""

    cfg: OSTrackConfig

    def __init__(
        self, net: nn.Module, cfg: OSTrackConfig, amp_dtype: torch.dtype | None = None, teacher: Actor | None = None
    ):
        if cfg.DATA.TEMPLATE.NUMBER != 1:
            raise ConfigError(f"DATA.TEMPLATE.NUMBER is {cfg.DATA.TEMPLATE.NUMBER}; it must be 1: OSTrack takes one")
        super().__init__(net, cfg, amp_dtype, teacher)

    def forward(self, batch: dict[str, Tensor], epoch: int | None) -> dict[str, Any]:
        """See :meth:`Actor.forward`. Search frames are independent, so they run as one batch."""
        count = len(batch["search_images"])
        template, box = (torch.cat([batch[name][0]] * count) for name in ("template_images", "template_anno"))
        mask = template_mask(self.cfg, template.shape[-1], len(template), template.device, boxes=box)
        rate = None if epoch is None else keep_rate(self.cfg, epoch)
        search = batch["search_images"].flatten(0, 1)
        return self.net(template, search, ce_template_mask=mask, ce_keep_rate=rate, template_box=box)
