"""One pre-norm transformer block."""

from __future__ import annotations

from timm.layers import Mlp
from torch import Tensor, nn

from lib.models.layers.attention import Attention


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
        update, attention = self.attn(self.norm1(x), rows)
        return x + (update if scale is None else update * scale), attention

    def feed_forward(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        """The MLP half; arguments as above."""
        update = self.mlp(self.norm2(x))
        return x + (update if scale is None else update * scale)

    def forward(self, x: Tensor) -> Tensor:
        """Both halves; tokens (B, N, C) to tokens (B, N, C)."""
        return self.feed_forward(self.attend(x)[0])
