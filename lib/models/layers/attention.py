"""Multi-head self-attention that can also return attention weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Computes values (B, heads, N, D) from q, k, v (B, heads, N, D).
AttentionKernel = Callable[[Tensor, Tensor, Tensor], Tensor]


def explicit_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Compute attention by two matrix products, faster on CPUs than PyTorch's fused kernel at a tracker's sizes.

    The mean of the keys is subtracted first: it shifts all logits of a query equally, so it cancels in the softmax, and
    the smaller logits lose less when rounded to bfloat16.
    """
    k = k - k.mean(dim=-2, keepdim=True)
    return ((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)).softmax(dim=-1) @ v


class Attention(nn.Module):
    """Self-attention of a plain ViT (Dosovitskiy et al., ICLR 2021).

    The kernel need not return the attention matrix: requested rows of it are computed separately.

    Args:
        kernel: computes attention; by default PyTorch's fused kernel.
    """

    def __init__(self, dim: int, num_heads: int, kernel: AttentionKernel = F.scaled_dot_product_attention):
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"dim {dim} is not a multiple of num_heads {num_heads}")
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.kernel = kernel

    def forward(self, x: Tensor, rows: slice | Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Apply self-attention.

        Args:
            x: tokens (B, N, C).
            rows: query tokens whose attention weights to return: a slice, indices (B, n), or None.

        Returns:
            New tokens (B, N, C), and the requested attention weights (B, heads, n, N) in float32, or None.
        """
        return self.attend_qkv(self.qkv(x), rows)

    def attend_qkv(self, qkv: Tensor, rows: slice | Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Apply attention to projected queries, keys and values (B, N, 3 C); returns the same as :meth:`forward`."""
        batch, count, width = qkv.shape
        q, k, v = qkv.reshape(batch, count, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        out = self.kernel(q, k, v)
        out = self.proj(out.transpose(1, 2).reshape(batch, count, width // 3))
        return out, None if rows is None else attention_rows(q, k, rows)


def attention_rows(q: Tensor, k: Tensor, rows: slice | Tensor) -> Tensor:
    """Return the attention weights of the query tokens ``rows``, float32; q and k are (B, heads, N, D)."""
    if isinstance(rows, slice):
        q = q[:, :, rows]
    else:
        q = q.gather(2, rows[:, None, :, None].expand(-1, q.shape[1], -1, q.shape[3]))
    logits = (q.float() * q.shape[-1] ** -0.5) @ k.float().transpose(-2, -1)
    return logits.softmax(dim=-1, dtype=torch.float32)
