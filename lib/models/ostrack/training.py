"""How the transformer blocks are executed in training: compiled, or with part of the activations recomputed."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from lib.config.ostrack import Config
from lib.models.layers.attention import explicit_attention
from lib.models.layers.block import DIRECT, Block, Execution, run_direct, run_recomputed


def training_execution(cfg: Config, device: torch.device) -> Execution:
    """How blocks are executed by ``TRAIN.COMPILE``, ``TRAIN.ACTIVATION_CHECKPOINTING`` and ``TRAIN.AMP``.

    Without the first two, but with ``TRAIN.AMP``, the outputs of layer norms and GELU are recomputed in the backward
    pass: the same numbers with two fifths less memory, for no time that could be measured. In float32 it would be a
    third less for 7 % of the time. (What compiled blocks keep is the compiler's choice.) On a CPU attention is then two
    matrix products: the backward pass of PyTorch's fused kernel takes a third of a step there.

    Compiled and checkpointed halves are plain functions of block and tokens: names and weights stay as they are, a copy
    of the network runs its own weights, and all blocks share what was compiled. The shapes of tokens are dynamic, so
    neither the blocks, nor candidate elimination's falling numbers of tokens, nor a smaller last batch compile anything
    anew. Stochastic depth is drawn outside of the halves, so a half has no random state to restore.
    """
    attend: Any = DIRECT.attend
    feed_forward: Any = DIRECT.feed_forward
    if cfg.TRAIN.COMPILE:
        attend, feed_forward = (torch.compile(half, dynamic=True) for half in (Block.attend, Block.feed_forward))
    if cfg.TRAIN.ACTIVATION_CHECKPOINTING:
        attend, feed_forward = (
            partial(checkpoint, half, use_reentrant=False, preserve_rng_state=False) for half in (attend, feed_forward)
        )
    plain = bool(cfg.TRAIN.AMP) and not cfg.TRAIN.COMPILE and not cfg.TRAIN.ACTIVATION_CHECKPOINTING
    kernel = explicit_attention if plain and device.type == "cpu" else F.scaled_dot_product_attention
    return Execution(kernel, run_recomputed if plain else run_direct, attend, feed_forward)
