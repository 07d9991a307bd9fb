"""OSTrack with a memory, built from an experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from lib.config.ostrack_memory import OSTrackMemoryConfig
from lib.models.layers.block import DIRECT, Execution
from lib.models.ostrack.ostrack import OSTrack, build_ostrack
from lib.models.ostrack_memory.memory import Memory


class OSTrackMemory(OSTrack):
    """OSTrack with a dynamic template, a carried token, and a presence output.

    Parameters of backbone and head have the same names as in OSTrack, so training can start from its weights.
    """

    def __init__(self, base: OSTrack, memory: Memory):
        super().__init__(base.backbone, base.box_head, base.correlation)
        self.memory = memory

    def forward(  # type: ignore[override]  # it takes more inputs than OSTrack
        self,
        template: Tensor,
        search: Tensor,
        dynamic: Tensor | None = None,
        memory: Mapping[str, Tensor] = MappingProxyType({}),
        ce_template_mask: Tensor | None = None,
        ce_keep_rate: float | None = None,
        attention_layers: Sequence[int] = (),
        boxes: tuple[Tensor | None, Tensor | None] = (None, None),
    ) -> dict[str, Any]:
        """Find the target in the search region of one frame.

        Args:
            template, search: see :meth:`OSTrack.forward`; the template is from the first frame.
            dynamic: the dynamic template, (B, 3, Hz, Hz), from a later frame.
            memory: ``token`` (B, 1, C) and ``presence`` (B, 1) of the previous frame; None, or :func:`first_memory`,
                in the first frame.
            ce_template_mask, ce_keep_rate, attention_layers: see :meth:`OSTrack.forward`; the first template ranks.
            boxes: the target in both templates, each (B, 4) ``xywh`` as fractions; needed with token types.

        Returns:
            The outputs of :meth:`OSTrack.forward`; if the model has them, ``token`` (B, 1, C) and ``presence_logit``
            (B, 1), float32.
        """
        backbone = self.backbone
        z, x, d = backbone.embed(template, "template", boxes[0]), backbone.embed(search, "search"), None
        if self.memory.dynamic is not None:
            if dynamic is None:
                raise ValueError("MODEL.MEMORY.DYNAMIC_TEMPLATE needs a dynamic template")
            d = self.memory.embed_dynamic(backbone.embed(dynamic, "template", boxes[1]))
        context = self.memory.context(z, d, memory.get("token"), memory.get("presence"))
        encoded = backbone.encode(context, x, ce_template_mask, ce_keep_rate, attention_layers)
        out = self.read(encoded)
        token, logit = self.memory.read(encoded, out["score_map"])
        if token is not None:
            out["token"] = token
        if logit is not None:
            out["presence_logit"] = logit
        return out


def build_ostrack_memory(
    cfg: OSTrackMemoryConfig, pretrained: bool = False, execution: Execution = DIRECT
) -> OSTrackMemory:
    """Build the model of an experiment; see :func:`build_ostrack`."""
    base, stride = build_ostrack(cfg, pretrained, execution), cfg.MODEL.BACKBONE.STRIDE
    options, backbone = cfg.MODEL.MEMORY, base.backbone
    memory = Memory(backbone.embed_dim, options, backbone.template_grid, options.DYNAMIC_SIZE // stride)
    return OSTrackMemory(base, memory)


def first_memory(cfg: OSTrackMemoryConfig, batch: int, device: torch.device | str) -> dict[str, Tensor]:
    """Return the initial ``token`` and ``presence``, if the model has them."""
    options = cfg.MODEL.MEMORY
    if not options.TOKEN:
        return {}
    memory = {"token": torch.zeros(batch, 1, cfg.MODEL.BACKBONE.variant.embed_dim, device=device)}
    return memory | ({"presence": torch.ones(batch, 1, device=device)} if options.PRESENCE else {})
