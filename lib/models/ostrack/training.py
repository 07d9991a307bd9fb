"""How the transformer blocks are run in training: compiled, or computed again in the backward pass."""

from __future__ import annotations

from functools import partial

import torch
from torch.utils.checkpoint import checkpoint

from lib.config.ostrack import Config
from lib.models.ostrack.ostrack import OSTrack


def prepare_for_training(net: OSTrack, cfg: Config) -> None:
    """Apply ``TRAIN.COMPILE`` and ``TRAIN.ACTIVATION_CHECKPOINTING`` to the blocks of ``net``, in place.

    Both wrap the two halves of a block as plain functions of block and tokens. So names and weights stay as they are,
    a copy of ``net`` runs its own weights, and all blocks share what was compiled: the shapes of tokens are dynamic,
    so neither the blocks, nor candidate elimination's falling numbers of tokens, nor a smaller last batch compile
    anything anew. Stochastic depth is drawn outside of the halves, so a half has no random state to restore.
    """
    backbone = net.backbone
    for half in ("attend", "feed_forward"):
        run = getattr(backbone, half)
        if cfg.TRAIN.COMPILE:
            run = torch.compile(run, dynamic=True)
        if cfg.TRAIN.ACTIVATION_CHECKPOINTING:
            run = partial(checkpoint, run, use_reentrant=False, preserve_rng_state=False)
        setattr(backbone, half, run)
