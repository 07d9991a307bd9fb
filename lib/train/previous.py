"""Starting an experiment from the weights of another one."""

from __future__ import annotations

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.config import load_config
from lib.config.ostrack import OSTrackConfig
from lib.models.ostrack import OSTrack
from lib.models.ostrack.backbone import resize_position_embedding
from lib.models.ostrack.pretrained import load_matching
from lib.train.trainers.checkpoints import list_checkpoints
from lib.utils.checkpoint import find_weights, load_checkpoint, network_state
from lib.utils.errors import ConfigError


def load_previous(net: OSTrack, script_prv: str, config_prv: str, save_dir: str | Path) -> None:
    """Start ``net`` from the newest weights of the experiment ``config_prv``, or the ones of it that ship.

    Position embeddings, and the head's channels of correlation with template tokens, are resized to the grids of
    ``net``. Whatever else does not fit by name or shape stays as it is
    in ``net``; the log tells what.

    Args:
        net: on any device, not wrapped.
        script_prv: ``ostrack``.
        config_prv: name of the experiment, or path of its YAML file.
        save_dir: where its training left its checkpoints.

    Raises:
        ConfigError: there is no such experiment.
        CheckpointError: it has no weights, or nothing of them fits.
    """
    if script_prv != "ostrack":
        raise ConfigError(f"--script_prv {script_prv}: unknown script; there is ostrack")
    previous = load_config(OSTrackConfig, config_prv)
    trained = list_checkpoints(Path(save_dir) / "checkpoints" / "train" / script_prv / previous.name)
    path = find_weights(script_prv, previous.name, max(trained, default=previous.TEST.EPOCH), save_dir)
    state = network_state(load_checkpoint(path), path)
    for part, grid in (("z", net.backbone.template_grid), ("x", net.backbone.search_grid)):
        key = f"backbone.pos_embed_{part}"
        if key in state:
            state[key] = resize_position_embedding(state[key], grid)
    if net.correlation:
        _resize_correlation(net, state)
    load_matching(net, state, path, skip_misfits=True)


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
