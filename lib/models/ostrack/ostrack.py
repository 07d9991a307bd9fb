"""The OSTrack model and its construction from a configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.config.ostrack import VARIANTS, OSTrackConfig
from lib.models.layers.head import HEADS
from lib.models.ostrack.backbone import Backbone
from lib.models.ostrack.inference import InferenceModel, prepare_inference
from lib.models.ostrack.pretrained import load_pretrained


class OSTrack(nn.Module):
    """One-stream tracker (Ye et al., ECCV 2022): backbone over both images, box head over the search tokens.

    Args:
        backbone: the joint ViT.
        box_head: a head of :data:`HEADS`.
        correlation: also give the head the cosine similarity of each search token to each template token.
    """

    def __init__(self, backbone: Backbone, box_head: nn.Module, correlation: bool = False):
        super().__init__()
        self.backbone = backbone
        self.box_head = box_head
        self.correlation = correlation

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
            template: (B, 3, Hz, Hz), RGB normalised by ImageNet mean and deviation.
            search: (B, 3, Hx, Hx), likewise.
            ce_template_mask: the template tokens that rank search tokens: a mask (B, Lz) of bool, or their indices
                (B, n) of int64, which costs less; None = all.
            ce_keep_rate: keep rate of every CE layer; None = each layer's own.
            attention_layers: layers (0-based) whose full attention maps are wanted.
            template_box: the target in the template, (B, 4) ``xywh`` as fractions of it; needed with token types.

        Returns:
            ``pred_boxes`` (B, 1, 4), ``cxcywh`` as fractions of the search region; ``backbone_feat`` (B, Lz + Lx, C);
            ``removed_indexes_s``, a list with the dropped grid places (B, n) of each CE layer. Where asked for, a list
            ``attn`` of (B, heads, N, N), and a list ``attn_places`` of the grid places (B, N - Lz) of the search tokens
            in them, which CE puts out of order. From the CENTER and MLP heads ``score_map`` (B, 1, S, S), ``size_map``
            and ``offset_map`` (B, 2, S, S); from CORNER ``corner_map`` (B, 2, S, S). Boxes and maps are float32.
        """
        features, removed, attention = self.backbone(
            template, search, ce_template_mask, ce_keep_rate, attention_layers, template_box
        )
        out = self.forward_head(features)
        out["backbone_feat"] = features
        out["removed_indexes_s"] = removed
        if attention_layers:
            out["attn"], out["attn_places"] = [weights for weights, _ in attention], [places for _, places in attention]
        return out

    def forward_head(self, features: Tensor) -> dict[str, Any]:
        """Box head on joint tokens (B, Lz + Lx, C); see :mod:`lib.models.layers.head` for its precision."""
        grid = self.backbone.search_grid
        template, search = features.split([self.backbone.template_grid**2, grid**2], dim=1)
        if self.correlation:
            similarity = F.normalize(search, dim=-1) @ F.normalize(template, dim=-1).transpose(1, 2)
            search = torch.cat((search, similarity), dim=-1)
        return self.box_head(search.transpose(1, 2).unflatten(2, (grid, grid)))

    def for_inference(
        self,
        cfg: OSTrackConfig,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        pack: bool = True,
    ) -> InferenceModel:
        """A faster form of this model for tracking; see :mod:`lib.models.ostrack.inference`. The model stays as it is.

        Args:
            cfg: the experiment, whose normalisation is built in.
            dtype: type to compute in.
            device: to run on.
            pack: reorder weights for the CPU's kernels; not for export.
        """
        mean, std = list(cfg.DATA.MEAN), list(cfg.DATA.STD)
        return prepare_inference(
            self.backbone, self.box_head, self.correlation, mean=mean, std=std, dtype=dtype, device=device, pack=pack
        )


def build_ostrack(cfg: OSTrackConfig, training: bool = False) -> OSTrack:
    """Build the model that an experiment describes, on the CPU, in float32.

    Args:
        cfg: from :func:`lib.config.load_config`.
        training: also load the pre-trained weights that ``MODEL.PRETRAIN_FILE`` names (empty = none).

    Raises:
        CheckpointError: the pre-trained weights are missing or fit nothing.
    """
    options, head = cfg.MODEL.BACKBONE, cfg.MODEL.HEAD
    backbone = Backbone(
        VARIANTS[options.TYPE],
        template_size=cfg.DATA.TEMPLATE.SIZE,
        search_size=cfg.DATA.SEARCH.SIZE,
        stride=options.STRIDE,
        depth=options.DEPTH,
        drop_path=cfg.TRAIN.DROP_PATH_RATE,
        segment_embed=options.SEP_SEG,
        token_types=options.TOKEN_TYPES,
        ce_layers=options.CE_LOC,
        ce_keep_ratios=options.CE_KEEP_RATIO,
    )
    in_channels = backbone.embed_dim + (backbone.template_grid**2 if head.CORRELATION else 0)
    model = OSTrack(backbone, HEADS[head.TYPE](in_channels, head.NUM_CHANNELS), correlation=head.CORRELATION)
    if training and cfg.MODEL.PRETRAIN_FILE:
        load_pretrained(model, cfg.MODEL.PRETRAIN_FILE)
    return model
