"""Weights of another experiment for the grids of this one."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.models.ostrack.backbone import resize_position_embedding
from lib.models.ostrack.ostrack import OSTrack


def adapt_weights(net: OSTrack, state: dict[str, Tensor]) -> None:
    """Resize position embeddings and the head's channels of correlation with template tokens for ``net``, in place."""
    for part, grid in (("z", net.backbone.template_grid), ("x", net.backbone.search_grid)):
        key = f"backbone.pos_embed_{part}"
        if key in state:
            state[key] = resize_position_embedding(state[key], grid)
    if net.correlation:
        _resize_correlation(net, state)


def _resize_correlation(net: OSTrack, state: dict[str, Tensor]) -> None:
    """Resize the weights of the head's first layers for the grid of the template of ``net``, in place.

    The channels of correlation are one for each template token, row by row; their sum stays the same.
    """
    dim, grid = net.backbone.embed_dim, net.backbone.template_grid
    for key, own in net.state_dict().items():
        kept = state.get(key)
        if not key.startswith("box_head.") or kept is None or own.dim() != 4 or own.shape[1] != dim + grid**2:
            continue
        side = math.isqrt(kept.shape[1] - dim)
        channels = kept[:, dim:].float().permute(0, 2, 3, 1).reshape(-1, 1, side, side)
        channels = F.interpolate(channels, size=(grid, grid), mode="bilinear", align_corners=False) * (side / grid) ** 2
        channels = channels.reshape(*kept.shape[:1], *kept.shape[2:], grid**2).permute(0, 3, 1, 2)
        state[key] = torch.cat((kept[:, :dim].float(), channels), dim=1)
