"""One pre-norm transformer block."""

from __future__ import annotations

from collections.abc import Callable

from timm.layers import Mlp
from torch import Tensor, nn

from lib.models.layers.attention import Attention

Stretch = Callable[[Tensor], Tensor]


def at_once(stretch: Stretch, x: Tensor) -> Tensor:
    """Run a stretch of a block, and nothing else."""
    return stretch(x)


class Block(nn.Module):
    """Pre-norm ViT block: LayerNorm (eps 1e-6), attention and GELU MLP of ratio 4, each around a residual.

    Its two halves are separate methods because candidate elimination drops tokens between them. Stochastic depth
    (Huang et al., ECCV 2016) is drawn by the caller: without random state a half can be compiled, or computed twice.
    """

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, 4 * dim)
        # How a norm or activation is run with the matrix product after it; training may choose another way.
        self.run: Callable[[Stretch, Tensor], Tensor] = at_once

    def attend(
        self, x: Tensor, rows: slice | Tensor | None = None, scale: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """The attention half.

        Args:
            x: tokens (B, N, C).
            rows: query tokens whose attention is wanted, see :class:`Attention`.
            scale: what each sample's update is multiplied with, (B, 1, 1); None = 1.

        Returns:
            New tokens, and the attention rows asked for.
        """
        update, attention = self.attn.mix(self.run(self._qkv, x), rows)
        return x + (update if scale is None else update * scale), attention

    def feed_forward(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        """The MLP half; arguments as above."""
        update = self.run(self._contract, self.run(self._expand, x))
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
