"""What the names and shapes of weights tell about the OSTrack that they are of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from lib.config import experiments_dir, load_config
from lib.config.ostrack import OSTrackConfig


@dataclass(frozen=True)
class ArchSpec:
    """What the names and shapes of an OSTrack's weights tell about it; candidate elimination leaves no trace there."""

    width: int
    blocks: int
    template: int
    search: int
    head: str
    channels: int

    def __str__(self) -> str:
        return (
            f"a ViT {self.width} wide with {self.blocks} blocks, template {self.template} px, search {self.search} px, "
            f"{self.head} head of {self.channels} channels"
        )


def arch_spec(state: Mapping[str, Tensor]) -> ArchSpec | None:
    """Read the architecture off a state dict; None when it is no OSTrack's."""
    first_layers = {
        "box_head.conv1_ctr.0.weight": "CENTER",
        "box_head.conv1_tl.0.weight": "CORNER",
        "box_head.layers.0.weight": "MLP",
    }
    heads = [(name, kind) for name, kind in first_layers.items() if name in state]
    needed = ("backbone.pos_embed_z", "backbone.pos_embed_x", "backbone.patch_embed.proj.weight")
    if not heads or any(name not in state for name in needed):
        return None
    stride = state[needed[2]].shape[-1]
    numbers = {int(name.split(".")[2]) for name in state if name.startswith("backbone.blocks.")}
    return ArchSpec(
        width=state[needed[0]].shape[-1],
        blocks=max(numbers, default=-1) + 1,
        template=math.isqrt(state[needed[0]].shape[1]) * stride,
        search=math.isqrt(state[needed[1]].shape[1]) * stride,
        head=heads[0][1],
        channels=state[heads[0][0]].shape[0],
    )


def explain_misfit(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> list[str]:
    """What weights are of that do not fit a model, and the experiments that they would fit; state dicts of both."""
    theirs, ours = arch_spec(state), arch_spec(own)
    if theirs is None or theirs == ours:
        return []
    fitting = ", ".join(_experiments_like(theirs)) or f"none of experiments/{OSTrackConfig.family}"
    return [f"The weights are {theirs}; the config asks for {ours}.", f"Configs that fit these weights: {fitting}."]


def _experiments_like(wanted: ArchSpec) -> list[str]:
    """Names of the experiments whose model has this architecture."""
    names = []
    for path in sorted(experiments_dir(OSTrackConfig).glob("*.yaml")):
        cfg = load_config(OSTrackConfig, path)
        built = ArchSpec(
            width=cfg.MODEL.BACKBONE.variant.embed_dim,
            blocks=cfg.MODEL.BACKBONE.blocks,
            template=cfg.DATA.TEMPLATE.SIZE,
            search=cfg.DATA.SEARCH.SIZE,
            head=cfg.MODEL.HEAD.TYPE,
            channels=cfg.MODEL.HEAD.NUM_CHANNELS,
        )
        names += [path.stem] if built == wanted else []
    return names
