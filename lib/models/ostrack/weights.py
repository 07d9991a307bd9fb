"""Weights of other OSTracks: their architecture, and how they are adapted to a model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.config import experiments_dir, load_config
from lib.config.ostrack import OSTrackConfig
from lib.models.ostrack.backbone import resize_position_embedding
from lib.models.ostrack.ostrack import OSTrack
from lib.models.weights import BLOCKS, count_blocks
from lib.utils.errors import ConfigError


@dataclass(frozen=True)
class ArchSpec:
    """Architecture of an OSTrack as read from the names and shapes of its weights (not candidate elimination)."""

    width: int
    blocks: int
    hidden: int
    template: int
    search: int
    head: str
    channels: int
    token_types: bool
    correlation: bool

    def __str__(self) -> str:
        return (
            f"a ViT {self.width} wide with {self.blocks} blocks and MLPs {self.hidden} wide, "
            f"template {self.template} px, search {self.search} px, {self.head} head of {self.channels} channels"
            f"{', token types' if self.token_types else ''}{', correlation' if self.correlation else ''}"
        )


def arch_spec(state: Mapping[str, Tensor]) -> ArchSpec | None:
    """Read the architecture from a state dict; return None if it is not one of an OSTrack."""
    first_layers = {
        "box_head.conv1_ctr.0.weight": "CENTER",
        "box_head.conv1_tl.0.weight": "CORNER",
        "box_head.layers.0.weight": "MLP",
    }
    heads = [(name, kind) for name, kind in first_layers.items() if name in state]
    needed = (
        "backbone.pos_embed_z",
        "backbone.pos_embed_x",
        "backbone.patch_embed.proj.weight",
        f"{BLOCKS}0.mlp.fc1.weight",
    )
    if not heads or any(name not in state for name in needed):
        return None
    stride, width = state[needed[2]].shape[-1], state[needed[0]].shape[-1]
    return ArchSpec(
        width=width,
        blocks=count_blocks(state),
        hidden=state[f"{BLOCKS}0.mlp.fc1.weight"].shape[0],
        template=math.isqrt(state[needed[0]].shape[1]) * stride,
        search=math.isqrt(state[needed[1]].shape[1]) * stride,
        head=heads[0][1],
        channels=state[heads[0][0]].shape[0],
        token_types=any(name.startswith("backbone.token_types.") for name in state),
        correlation=heads[0][1] != "MLP" and state[heads[0][0]].shape[1] > width,
    )


def explain_misfit(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> list[str]:
    """Describe how weights differ from a model, given both state dicts, and list the experiments that they fit."""
    theirs, ours = arch_spec(state), arch_spec(own)
    parts, own_parts = ({name.partition(".")[0] for name in names} for names in (state, own))
    if theirs is not None and parts != own_parts:
        return [f"They are of a model of another family: it is made of {', '.join(sorted(parts))}."]
    if theirs is None or theirs == ours:
        return []
    fitting = ", ".join(_experiments_like(theirs)) or f"none of experiments/{OSTrackConfig.family}"
    return [f"The weights are {theirs}; the config asks for {ours}.", f"Configs that fit these weights: {fitting}."]


def _experiments_like(wanted: ArchSpec) -> list[str]:
    """List the experiments whose model has this architecture."""
    names = []
    for path in sorted(experiments_dir(OSTrackConfig).glob("*.yaml")):
        try:
            cfg = load_config(OSTrackConfig, path)
        except ConfigError:  # a user's invalid file; using it reports the error
            continue
        backbone, head, sizes = cfg.MODEL.BACKBONE, cfg.MODEL.HEAD, (cfg.DATA.TEMPLATE.SIZE, cfg.DATA.SEARCH.SIZE)
        shape = backbone.variant.embed_dim, backbone.blocks, backbone.mlp_hidden
        built = ArchSpec(*shape, *sizes, head.TYPE, head.NUM_CHANNELS, backbone.TOKEN_TYPES, head.CORRELATION)
        names += [path.stem] if built == wanted else []
    return names


def adapt_weights(net: OSTrack, state: dict[str, Tensor]) -> None:
    """Resize position embeddings and the head's correlation channels to fit ``net``, in place."""
    for part, grid in (("z", net.backbone.template_grid), ("x", net.backbone.search_grid)):
        key = f"backbone.pos_embed_{part}"
        if key in state:
            state[key] = resize_position_embedding(state[key], grid)
    if net.correlation:
        _resize_correlation(net, state)


def _resize_correlation(net: OSTrack, state: dict[str, Tensor]) -> None:
    """Resize the weights of the head's first layers for the template grid of ``net``, in place.

    There is one correlation channel per template token, row by row; the sum of their weights is preserved.
    """
    dim, grid = net.backbone.embed_dim, net.backbone.template_grid
    for key, own in net.state_dict().items():
        kept = state.get(key)
        if not key.startswith("box_head.") or kept is None or own.dim() != 4 or own.shape[1] != dim + grid**2:
            continue
        tokens = kept.shape[1] - dim if kept.dim() == 4 else 0
        side = math.isqrt(max(tokens, 0))
        if side == 0 or side**2 != tokens:  # a model without correlation, or of another width
            continue
        channels = kept[:, dim:].float().permute(0, 2, 3, 1).reshape(-1, 1, side, side)
        channels = F.interpolate(channels, size=(grid, grid), mode="bilinear", align_corners=False) * (side / grid) ** 2
        channels = channels.reshape(*kept.shape[:1], *kept.shape[2:], grid**2).permute(0, 3, 1, 2)
        state[key] = torch.cat((kept[:, :dim].float(), channels), dim=1)
