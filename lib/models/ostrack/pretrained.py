"""Weights to start training from: a pre-trained ViT for the backbone, or a whole tracker."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lib.models.weights import load_matching, pretrain_path
from lib.utils.checkpoint import load_checkpoint, network_state
from lib.utils.errors import CheckpointError

if TYPE_CHECKING:
    from lib.models.ostrack.ostrack import OSTrack


def load_pretrained(model: OSTrack, name: str) -> None:
    """Start ``model`` from the file ``name``, a path or a file in ``pretrained_models/``.

    It is an MAE, timm or DINO checkpoint or a Flax ``.npz`` file of a plain ViT, or a tracker's checkpoint. What the
    file lacks stays as initialized, what the model lacks is ignored; both are logged.

    Raises:
        CheckpointError: the file is missing or damaged, or nothing in it fits.
    """
    path = pretrain_path(name)
    state = read_flax_vit(path) if path.suffix == ".npz" else network_state(load_checkpoint(path), path)
    if any(key.startswith(("box_head.", "backbone.pos_embed_")) for key in state):
        load_matching(model, state, path)
    else:
        _load_backbone(model, {key.removeprefix("backbone."): value for key, value in state.items()}, path)


def _load_backbone(model: OSTrack, state: dict[str, Tensor], path: Path) -> None:
    backbone, position = model.backbone, state.pop("pos_embed", None)
    kernel, stride = state.get("patch_embed.proj.weight"), backbone.patch_embed.patch_size[0]
    if kernel is not None and kernel.dim() != 4:
        raise CheckpointError(f"{path}: patch_embed.proj.weight is {tuple(kernel.shape)}, not one of a convolution")
    if position is not None:
        shape, dim = tuple(position.shape), backbone.embed_dim
        tokens = shape[1] if len(shape) == 3 else 0
        if shape != (1, tokens, dim) or tokens < 2 or math.isqrt(tokens - 1) ** 2 != tokens - 1:
            needs = f"the model needs (1, 1 + n * n, {dim}), of a class token and a square grid"
            together = "MODEL.BACKBONE and MODEL.PRETRAIN_FILE do not go together"
            raise CheckpointError(f"{path}: pos_embed is {shape}, {needs}; {together}")
    if kernel is not None and kernel.shape[-1] != stride:
        state["patch_embed.proj.weight"] = F.interpolate(
            kernel.float(), size=(stride, stride), mode="bicubic", align_corners=False
        )
    derived = {"pos_embed", "pos_embed_z", "pos_embed_x"} if position is not None else set()
    load_matching(backbone, state, path, derived)
    if position is not None:
        backbone.set_position_embeddings(position)


def read_flax_vit(path: Path) -> dict[str, Tensor]:
    """Read a ViT in the Flax layout of the original release (``.npz``) under the names of the PyTorch one."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name.removeprefix("opt/target/"): torch.from_numpy(archive[name]) for name in archive.files}
        return _from_flax(arrays)
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path} cannot be read as an .npz archive: {error}") from error
    except KeyError as error:
        raise CheckpointError(f"{path} is not a ViT in the Flax layout: {error} is missing") from error


def _from_flax(arrays: dict[str, Tensor]) -> dict[str, Tensor]:
    state = {
        "patch_embed.proj.weight": arrays["embedding/kernel"].permute(3, 2, 0, 1),
        "patch_embed.proj.bias": arrays["embedding/bias"],
        "cls_token": arrays["cls"],
        "pos_embed": arrays["Transformer/posembed_input/pos_embedding"],
        "norm.weight": arrays["Transformer/encoder_norm/scale"],
        "norm.bias": arrays["Transformer/encoder_norm/bias"],
    }
    layer = 0
    while f"Transformer/encoderblock_{layer}/LayerNorm_0/scale" in arrays:
        source, target = f"Transformer/encoderblock_{layer}/", f"blocks.{layer}."
        attention = source + "MultiHeadDotProductAttention_1/"
        for norm, flax_norm in (("norm1", "LayerNorm_0"), ("norm2", "LayerNorm_2")):
            state[f"{target}{norm}.weight"] = arrays[f"{source}{flax_norm}/scale"]
            state[f"{target}{norm}.bias"] = arrays[f"{source}{flax_norm}/bias"]
        parts = [attention + part for part in ("query", "key", "value")]
        state[target + "attn.qkv.weight"] = torch.cat([arrays[f"{part}/kernel"].flatten(1).T for part in parts])
        state[target + "attn.qkv.bias"] = torch.cat([arrays[f"{part}/bias"].flatten() for part in parts])
        state[target + "attn.proj.weight"] = arrays[attention + "out/kernel"].flatten(0, 1).T
        state[target + "attn.proj.bias"] = arrays[attention + "out/bias"]
        for i in range(2):
            state[f"{target}mlp.fc{i + 1}.weight"] = arrays[f"{source}MlpBlock_3/Dense_{i}/kernel"].T
            state[f"{target}mlp.fc{i + 1}.bias"] = arrays[f"{source}MlpBlock_3/Dense_{i}/bias"]
        layer += 1
    return state
