"""A pre-norm transformer block, and how blocks are executed in training and inference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import Mlp
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lib.config.experiment import TrainConfig
from lib.models.layers.attention import Attention, AttentionKernel, explicit_attention

Segment = Callable[[Tensor], Tensor]  # a norm or activation with the matrix product after it
SegmentRunner = Callable[[Segment, Tensor], Tensor]


def run_direct(segment: Segment, x: Tensor) -> Tensor:
    """Run a block segment directly, without activation recomputation."""
    return segment(x)


def run_recomputed(segment: Segment, x: Tensor) -> Tensor:
    """Run a block segment, keeping only ``x`` for the backward pass, which recomputes the norm or activation."""
    if not torch.is_grad_enabled():
        return segment(x)
    return checkpoint(segment, x, use_reentrant=False, preserve_rng_state=False)


class Block(nn.Module):
    """Pre-norm ViT block: LayerNorm (eps 1e-6), attention and GELU MLP, each with a residual.

    Its halves are separate methods because candidate elimination drops tokens between them. The caller samples
    stochastic depth (Huang et al., ECCV 2016), so that the halves are deterministic and can be compiled or recomputed.

    Args:
        run_segment: how norms and activations are run with the products after them.
        mlp_hidden: neurons in the hidden layer of the MLP; None = 4 times ``dim``.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        kernel: AttentionKernel = F.scaled_dot_product_attention,
        run_segment: SegmentRunner = run_direct,
        mlp_hidden: int | None = None,
    ):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, num_heads, kernel)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, mlp_hidden or 4 * dim)
        self.run_segment = run_segment

    def attend(
        self, x: Tensor, rows: slice | Tensor | None = None, scale: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Run the attention half.

        Args:
            x: tokens (B, N, C).
            rows: query tokens whose attention weights to return, see :meth:`Attention.forward`.
            scale: factor of each sample's update, (B, 1, 1); None = 1.

        Returns:
            New tokens, and the requested attention weights or None.
        """
        update, attention = self.attn.attend_qkv(self.run_segment(self._qkv, x), rows)
        return x + (update if scale is None else update * scale), attention

    def feed_forward(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        """Run the MLP half; arguments as above."""
        update = self.run_segment(self._contract, self.run_segment(self._expand, x))
        return x + (update if scale is None else update * scale)

    def _qkv(self, x: Tensor) -> Tensor:
        return self.attn.qkv(self.norm1(x))

    def _expand(self, x: Tensor) -> Tensor:
        return self.mlp.fc1(self.norm2(x))

    def _contract(self, hidden: Tensor) -> Tensor:
        return self.mlp.fc2(self.mlp.act(hidden))

    def forward(self, x: Tensor) -> Tensor:
        """Run both halves; tokens (B, N, C) to tokens (B, N, C)."""
        return self.feed_forward(self.attend(x)[0])


@dataclass(frozen=True)
class Execution:
    """How a stack of blocks is executed, with the same results up to rounding.

    Attributes:
        kernel, run_segment: arguments of every :class:`Block`.
        attend, feed_forward: functions that run the two halves of a block, possibly compiled or with recomputation;
            they take the block and the arguments of its methods.
    """

    kernel: AttentionKernel = F.scaled_dot_product_attention
    run_segment: SegmentRunner = run_direct
    attend: Callable[..., tuple[Tensor, Tensor | None]] = Block.attend
    feed_forward: Callable[..., Tensor] = Block.feed_forward


DIRECT = Execution()


def training_execution(train: TrainConfig, device: torch.device) -> Execution:
    """Return how blocks are run in training, given ``TRAIN.COMPILE``, ``ACTIVATION_CHECKPOINTING`` and ``AMP``.

    With ``AMP`` alone, the outputs of layer norms and GELU are recomputed in the backward pass: the same results with
    40 % less memory in the same time. (In float32 it would save a third for 7 % more time; in compiled blocks the
    compiler chooses what to keep.) On a CPU attention is then two matrix products, because the backward pass of
    PyTorch's fused kernel takes a third of a step there.

    Compiled and checkpointed halves are functions of block and tokens, so parameter names do not change, a copy of the
    network uses its own weights, and all blocks share the compiled code. Shapes are dynamic: other numbers of tokens
    and batch sizes need no recompilation.
    """
    attend: Any = DIRECT.attend
    feed_forward: Any = DIRECT.feed_forward
    if train.COMPILE:
        attend, feed_forward = (torch.compile(half, dynamic=True) for half in (Block.attend, Block.feed_forward))
    if train.ACTIVATION_CHECKPOINTING:
        attend, feed_forward = (
            partial(checkpoint, half, use_reentrant=False, preserve_rng_state=False) for half in (attend, feed_forward)
        )
    plain = bool(train.AMP) and not train.COMPILE and not train.ACTIVATION_CHECKPOINTING
    kernel = explicit_attention if plain and device.type == "cpu" else F.scaled_dot_product_attention
    return Execution(kernel, run_recomputed if plain else run_direct, attend, feed_forward)
