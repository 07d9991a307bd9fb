"""Putting a checkpoint's weights into a model, and saying what they are when they do not fit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from lib.utils.checkpoint import load_checkpoint, network_state
from lib.utils.errors import CheckpointError

if TYPE_CHECKING:
    from lib.models.ostrack.ostrack import OSTrack


@dataclass(frozen=True)
class Anatomy:
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


def anatomy(state: Mapping[str, Tensor]) -> Anatomy | None:
    """Read the anatomy off a state dict; None when it is no OSTrack's."""
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
    return Anatomy(
        width=state[needed[0]].shape[-1],
        blocks=max(numbers, default=-1) + 1,
        template=math.isqrt(state[needed[0]].shape[1]) * stride,
        search=math.isqrt(state[needed[1]].shape[1]) * stride,
        head=heads[0][1],
        channels=state[heads[0][0]].shape[0],
    )


def load_weights(model: OSTrack, path: str | Path) -> None:
    """Load a tracker checkpoint, published or our own, into ``model``; every name and shape must fit.

    Raises:
        CheckpointError: the file is damaged or was made for another model; the message says for which.
    """
    state = network_state(load_checkpoint(path), path)
    own = model.state_dict()
    # Batch norm's count of batches, which is of no use here and not in old files, torch puts in itself.
    missing = sorted(name for name in own.keys() - state.keys() if not name.endswith(".num_batches_tracked"))
    unexpected = sorted(state.keys() - own.keys())
    misfits = sorted(name for name in own.keys() & state.keys() if own[name].shape != state[name].shape)
    if missing or unexpected or misfits:
        raise CheckpointError(_misfit_report(own, state, path, missing, unexpected, misfits))
    model.load_state_dict(state, strict=True)


def _misfit_report(
    own: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    path: str | Path,
    missing: list[str],
    unexpected: list[str],
    misfits: list[str],
) -> str:
    theirs, ours = anatomy(state), anatomy(own)
    lines = [f"checkpoint {path} does not fit the model."]
    if theirs and theirs != ours:
        fitting = _experiments_like(theirs)
        lines.append(f"The weights are {theirs}; the config asks for {ours}.")
        lines.append(
            f"Configs that fit these weights: {', '.join(fitting) if fitting else 'none of experiments/ostrack'}."
        )
    for text, names in (("Missing", missing), ("Unexpected", unexpected)):
        if names:
            lines.append(f"{text}: {', '.join(names[:3])}{' ...' if len(names) > 3 else ''} ({len(names)}).")
    for name in misfits[:3]:
        lines.append(f"{name} is {tuple(state[name].shape)}, the model needs {tuple(own[name].shape)}.")
    return " ".join(lines)


def _experiments_like(wanted: Anatomy) -> list[str]:
    """Names of the experiments whose model has this anatomy."""
    from lib.config.ostrack import EXPERIMENTS_DIR, load_config  # the config package knows the model's variants
    from lib.models.ostrack.variants import VARIANTS

    names = []
    for path in sorted(EXPERIMENTS_DIR.glob("*.yaml")):
        cfg = load_config(path)
        variant = VARIANTS[cfg.MODEL.BACKBONE.TYPE]
        built = Anatomy(
            width=variant.embed_dim,
            blocks=cfg.MODEL.BACKBONE.DEPTH or variant.depth,
            template=cfg.DATA.TEMPLATE.SIZE,
            search=cfg.DATA.SEARCH.SIZE,
            head=cfg.MODEL.HEAD.TYPE,
            channels=cfg.MODEL.HEAD.NUM_CHANNELS,
        )
        names += [path.stem] if built == wanted else []
    return names
