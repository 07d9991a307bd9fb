"""The OSTrack model, built from an experiment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.config.ostrack import OSTrackConfig
from lib.models.family import head_of
from lib.models.layers.block import DIRECT, Execution
from lib.models.layers.encoder import Encoded
from lib.models.layers.head import BoxHead
from lib.models.ostrack.backbone import Backbone
from lib.models.ostrack.pretrained import load_pretrained


class OSTrack(nn.Module):
    """One-stream tracker (Ye et al., ECCV 2022): backbone over both images, box head over the search tokens.

    Args:
        box_head: a head of the family.
        correlation: also give the head the cosine similarity of each search token to each template token.
    """

    def __init__(self, backbone: Backbone, box_head: BoxHead, correlation: bool = False):
        super().__init__()
        self.backbone = backbone
        self.box_head = box_head
        self.correlation = correlation

    def set_search_size(self, size: int) -> None:
        """Accept search regions of ``size`` pixels, see :meth:`Backbone.set_search_size`."""
        self.backbone.set_search_size(size)

    def forward(
        self,
        template: Tensor,
        search: Tensor,
        ce_template_mask: Tensor | None = None,
        ce_keep_rate: float | None = None,
        attention_layers: Sequence[int] = (),
        template_box: Tensor | None = None,
    ) -> dict[str, Any]:
        """Find the template's target in the search region.

        Args:
            template: (B, 3, Hz, Hz), RGB normalized by ImageNet mean and standard deviation.
            search: (B, 3, Hx, Hx), likewise.
            ce_template_mask: the template tokens that rank search tokens: a mask (B, Lz) of bool, or their indices
                (B, n) of int64, which costs less; None = all.
            ce_keep_rate: keep rate of every CE layer; None = each layer's own.
            attention_layers: layers (from 0) whose full attention maps to return.
            template_box: the target in the template, (B, 4) ``xywh`` as fractions of it; needed with token types.

        Returns:
            ``pred_boxes`` (B, 1, 4), ``cxcywh`` as fractions of the search region; ``backbone_feat`` (B, Lz + Lx, C);
            ``removed_indexes_s``, a list with the dropped grid indices (B, n) of each CE layer; the head's maps. If
            requested, a list ``attn`` of (B, heads, N, N), and a list ``attn_indices`` of the grid indices (B, N - Lz)
            of the search tokens in them, which CE reorders. Boxes and maps are float32.
        """
        z, x = self.backbone.embed(template, "template", template_box), self.backbone.embed(search, "search")
        return self.read(self.backbone.encode(z, x, ce_template_mask, ce_keep_rate, attention_layers))

    def read(self, encoded: Encoded) -> dict[str, Any]:
        """Return the outputs of :meth:`forward` for encoded tokens; template tokens come first in the context."""
        grid, template = self.backbone.search_grid, encoded.context[:, : self.backbone.template_grid**2]
        maps = self.box_head(head_features(encoded.search, template, grid, self.correlation))
        out: dict[str, Any] = {"pred_boxes": self.box_head.decode(maps)[0][:, None], **maps}
        out["backbone_feat"] = torch.cat((template, encoded.search), dim=1)
        out["removed_indexes_s"] = encoded.removed
        if encoded.attention:
            out["attn"] = [weights for weights, _ in encoded.attention]
            out["attn_indices"] = [indices for _, indices in encoded.attention]
        return out


def head_features(search: Tensor, template: Tensor, grid: int, correlation: bool) -> Tensor:
    """Arrange search tokens (B, grid * grid, C) as features (B, channels, grid, grid) for the head.

    Args:
        template: tokens (B, Lz, C).
        correlation: append the cosine similarity to each template token as further channels.
    """
    if correlation:
        similarity = F.normalize(search, dim=-1) @ F.normalize(template, dim=-1).transpose(1, 2)
        search = torch.cat((search, similarity), dim=-1)
    return search.transpose(1, 2).unflatten(2, (grid, grid))


def build_ostrack(cfg: OSTrackConfig, pretrained: bool = False, execution: Execution = DIRECT) -> OSTrack:
    """Build the model of an experiment, on the CPU, in float32.

    Args:
        pretrained: also load the weights of ``MODEL.PRETRAIN_FILE`` (empty = none).

    Raises:
        CheckpointError: the pre-trained weights are missing or do not fit.
    """
    head = cfg.MODEL.HEAD
    sizes = cfg.DATA.TEMPLATE.SIZE, cfg.DATA.SEARCH.SIZE
    backbone = Backbone(cfg.MODEL.BACKBONE, *sizes, cfg.TRAIN.DROP_PATH_RATE, execution)
    in_channels = backbone.embed_dim + (backbone.template_grid**2 if head.CORRELATION else 0)
    model = OSTrack(backbone, head_of(cfg)(in_channels, head.NUM_CHANNELS), correlation=head.CORRELATION)
    if pretrained and cfg.MODEL.PRETRAIN_FILE:
        load_pretrained(model, cfg.MODEL.PRETRAIN_FILE)
    return model
