"""How the transformer blocks are run in training: compiled, or in part computed again in the backward pass."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lib.config.ostrack import OSTrackConfig
from lib.models.layers.block import Stretch
from lib.models.ostrack.inference import explicit_attention
from lib.models.ostrack.ostrack import OSTrack

_again = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)


def recomputed(stretch: Stretch, x: Tensor) -> Tensor:
    """Run a stretch of a block, of which only ``x`` is kept for the backward pass.

    There the stretch is run once more up to its last product, whose input is what the gradient of its weights needs.
    """
    return _again(stretch, x) if torch.is_grad_enabled() else stretch(x)


def prepare_for_training(net: OSTrack, cfg: OSTrackConfig) -> None:
    """Apply ``TRAIN.COMPILE`` and ``TRAIN.ACTIVATION_CHECKPOINTING`` to the blocks of ``net``, in place.

    Without them, but with ``TRAIN.AMP``, what layer norms and GELU give is computed again in the backward pass: the
    same numbers, and two fifths less memory than if it were kept, for no time that could be measured. In float32 it
    would be a third less for 7 % of the time. (What compiled blocks keep is the compiler's choice.)
    On a CPU attention is two matrix products: PyTorch's fused kernel takes a third of a step's time in its backward pass.

    The keys wrap the halves of a block as plain functions of block and tokens. So names and weights stay as they are, a
    copy of ``net`` runs its own weights, and all blocks share what was compiled: the shapes of tokens are dynamic, so
    neither the blocks, nor candidate elimination's falling numbers of tokens, nor a smaller last batch compile anything
    anew. Stochastic depth is drawn outside of the halves, so a half has no random state to restore.
    """
    backbone = net.backbone
    for half in ("attend", "feed_forward"):
        run = getattr(backbone, half)
        if cfg.TRAIN.COMPILE:
            run = torch.compile(run, dynamic=True)
        if cfg.TRAIN.ACTIVATION_CHECKPOINTING:
            run = partial(_again, run)
        setattr(backbone, half, run)
    if cfg.TRAIN.AMP and not cfg.TRAIN.COMPILE and not cfg.TRAIN.ACTIVATION_CHECKPOINTING:
        block: Any  # a Block, which torch's types do not know of a ModuleList
        for block in backbone.blocks:
            block.run = recomputed
            if not torch.cuda.is_available():
                block.attn.attention = explicit_attention
