"""One pre-norm transformer block, and how blocks are executed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from timm.layers import Mlp
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lib.models.layers.attention import Attention, AttentionKernel

Segment = Callable[[Tensor], Tensor]  # a norm or activation with the matrix product after it
SegmentRunner = Callable[[Segment, Tensor], Tensor]


def run_direct(segment: Segment, x: Tensor) -> Tensor:
    """Run a block segment directly, without activation recomputation."""
    return segment(x)


def run_recomputed(segment: Segment, x: Tensor) -> Tensor:
    """Run a block segment and keep only ``x`` for the backward pass.

    There the segment is run again up to its product, whose input the gradient of its weights needs.
    """
    if not torch.is_grad_enabled():
        return segment(x)
    return checkpoint(segment, x, use_reentrant=False, preserve_rng_state=False)


class Block(nn.Module):
    """Pre-norm ViT block: LayerNorm (eps 1e-6), attention and GELU MLP of ratio 4, each around a residual.

    Its two halves are separate methods because candidate elimination drops tokens between them. Stochastic depth
    (Huang et al., ECCV 2016) is drawn by the caller: without random state a half can be compiled or recomputed.

    Args:
        kernel: of the attention.
        run_segment: how norms and activations are run with the products after them.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        kernel: AttentionKernel = F.scaled_dot_product_attention,
        run_segment: SegmentRunner = run_direct,
    ):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, num_heads, kernel)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, 4 * dim)
        self.run_segment = run_segment

    def attend(
        self, x: Tensor, rows: slice | Tensor | None = None, scale: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """The attention half.

        Args:
            x: tokens (B, N, C).
            rows: query tokens whose attention is wanted, see :class:`Attention`.
            scale: factor of each sample's update, (B, 1, 1); None = 1.

        Returns:
            New tokens, and the attention rows asked for.
        """
        update, attention = self.attn.attend_qkv(self.run_segment(self._qkv, x), rows)
        return x + (update if scale is None else update * scale), attention

    def feed_forward(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        """The MLP half; arguments as above."""
        update = self.run_segment(self._contract, self.run_segment(self._expand, x))
        return x + (update if scale is None else update * scale)

    def _qkv(self, x: Tensor) -> Tensor:
        return self.attn.qkv(self.norm1(x))

    def _expand(self, x: Tensor) -> Tensor:
        return self.mlp.fc1(self.norm2(x))

    def _contract(self, hidden: Tensor) -> Tensor:
        return self.mlp.fc2(self.mlp.act(hidden))

    def forward(self, x: Tensor) -> Tensor:
        """Both halves; tokens (B, N, C) to tokens (B, N, C)."""
        return self.feed_forward(self.attend(x)[0])


@dataclass(frozen=True)
class Execution:
    """How a stack of blocks is executed. The results are the same up to rounding.

    Attributes:
        kernel, run_segment: of every :class:`Block`.
        attend, feed_forward: the halves of a block as functions of the block and the arguments of the methods; compiled
            or recomputed versions share the weights of the block they are given.
    """

    kernel: AttentionKernel = F.scaled_dot_product_attention
    run_segment: SegmentRunner = run_direct
    attend: Callable[..., tuple[Tensor, Tensor | None]] = Block.attend
    feed_forward: Callable[..., Tensor] = Block.feed_forward


DIRECT = Execution()
