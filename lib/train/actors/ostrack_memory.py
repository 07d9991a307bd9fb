"""The forward pass of an OSTrack with a memory in training, frame by frame along a clip."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.config.ostrack_memory import OSTrackMemoryConfig
from lib.models.ostrack.elimination import keep_rate, template_mask
from lib.models.ostrack_memory.inference import changed_entries
from lib.models.ostrack_memory.model import first_memory
from lib.train.actors.base import Actor, Losses, search_labels


class OSTrackMemoryActor(Actor):
    """See :class:`Actor`. Search frames run one after the other, with gradients through the memory.

    The last template of a sample is the dynamic one.
    """

    cfg: OSTrackMemoryConfig

    def forward(self, batch: dict[str, Tensor], epoch: int | None) -> dict[str, Any]:
        """See :meth:`Actor.forward`."""
        templates, boxes = batch["template_images"], batch["template_anno"]
        mask = template_mask(self.cfg, templates.shape[-1], templates.shape[1], templates.device, boxes=boxes[0])
        rate = None if epoch is None else keep_rate(self.cfg, epoch)
        memory = first_memory(self.cfg, templates.shape[1], templates.device)
        found: list[dict[str, Any]] = []
        for search in batch["search_images"]:
            outputs = self.net(templates[0], search, templates[-1], memory, mask, rate, boxes=(boxes[0], boxes[-1]))
            memory = changed_entries(outputs.get("token"), outputs.get("presence_logit"))
            found.append(outputs)
        return {
            name: torch.cat([outputs[name] for outputs in found])
            for name, value in found[0].items()
            if isinstance(value, Tensor)
        }

    def losses(self, output: dict[str, Any], batch: dict[str, Tensor]) -> Losses:
        """See :meth:`Actor.losses`; the loss of presence is added."""
        total, stats = super().losses(output, batch)
        if "presence_logit" not in output:
            return total, stats
        logit = output["presence_logit"][:, 0]
        label = search_labels(batch)
        label = torch.ones_like(logit) if label is None else label
        loss = F.binary_cross_entropy_with_logits(logit, label)
        total = total + self.cfg.TRAIN.PRESENCE_WEIGHT * loss
        right = ((logit > 0) == (label > 0.5)).float().mean()
        added = {"Loss/presence": loss.detach(), "presence_accuracy": right}
        return total, stats | added | {"Loss/total": total.detach()}
