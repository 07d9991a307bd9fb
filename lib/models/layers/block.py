"""One pre-norm transformer block."""

from __future__ import annotations

from timm.layers import DropPath, Mlp
from torch import Tensor, nn

from lib.models.layers.attention import Attention


class Block(nn.Module):
    """Pre-norm ViT block: LayerNorm (eps 1e-6), attention and GELU MLP of ratio 4, each with stochastic depth.

    Its two halves are separate methods because candidate elimination drops tokens between them.
    """

    def __init__(self, dim: int, num_heads: int, drop_path: float = 0.0):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, 4 * dim)
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def attend(self, x: Tensor, rows: slice | Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """The attention half: new tokens, and the attention rows asked for (see :class:`Attention`)."""
        update, attention = self.attn(self.norm1(x), rows)
        return x + self.drop_path(update), attention

    def feed_forward(self, x: Tensor) -> Tensor:
        """The MLP half."""
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def forward(self, x: Tensor) -> Tensor:
        """Both halves; tokens (B, N, C) to tokens (B, N, C)."""
        return self.feed_forward(self.attend(x)[0])
