"""Transformer blocks over context and search tokens together, with candidate elimination between them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lib.models.layers.block import DIRECT, Block, Execution
from lib.models.layers.candidate_elimination import eliminate, rank_tokens, restore


@dataclass
class Encoded:
    """Output of an :class:`Encoder`.

    Attributes:
        context: tokens (B, Lc, C).
        search: tokens (B, Lx, C), in grid order; dropped ones are zero.
        removed: for each layer that dropped tokens, the grid indices (B, n) of these, if recorded.
        attention: for each requested layer, attention weights (B, heads, N, N) and the grid indices (B, N - Lc) of the
            search tokens in them, which candidate elimination reorders.
    """

    context: Tensor
    search: Tensor
    removed: list[Tensor] = field(default_factory=list)
    attention: list[tuple[Tensor, Tensor]] = field(default_factory=list)


class Encoder(nn.Module):
    """Transformer blocks and the final norm.

    The *context* is the tokens of templates and any others that a tracker adds; they are never dropped. Each layer of
    candidate elimination drops the search tokens that the context attends to least.

    Args:
        keep_ratios: layers (from 0) that drop search tokens, and the share of tokens that each keeps.
        drop_path: stochastic depth rate of the last block.
        mlp_hidden: of each :class:`Block`.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        depth: int,
        keep_ratios: Mapping[int, float],
        drop_path: float = 0.0,
        execution: Execution = DIRECT,
        mlp_hidden: int | None = None,
    ):
        super().__init__()
        self.embed_dim, self.num_heads, self.mlp_hidden = dim, num_heads, mlp_hidden
        self.keep_ratios = dict(keep_ratios)
        self.drop_path = drop_path
        self.execution = execution
        self.blocks = nn.ModuleList(
            Block(dim, num_heads, execution.kernel, execution.run_segment, mlp_hidden) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def tokens_kept(self, count: int) -> dict[int, int]:
        """Return the layers (from 0) that drop tokens in evaluation, in order, and how many of ``count`` each keeps."""
        kept = {}
        for layer, ratio in sorted(self.keep_ratios.items()):
            if (keep := math.ceil(ratio * count)) < count:
                kept[layer] = count = keep
        return kept

    def encode(
        self,
        context: Tensor,
        search: Tensor,
        ranking: Tensor | None = None,
        keep_rate: float | None = None,
        attention_layers: Sequence[int] = (),
        record: bool = True,
    ) -> Encoded:
        """Run all blocks.

        Args:
            context: tokens (B, Lc, C).
            search: tokens (B, Lx, C) of the grid, row by row.
            ranking: the context tokens that rank search tokens: indices (B, n), int64, or a mask (B, n), bool, of the
                first n context tokens, which may select different numbers per sample; None = all.
            keep_rate: for all layers of candidate elimination; None = each layer's own.
            attention_layers: layers whose attention maps are returned.
            record: also return which tokens were dropped.
        """
        context_count, search_count = context.shape[1], search.shape[1]
        rows: slice | Tensor = slice(0, context_count)
        row_mask = None
        if ranking is not None and ranking.dtype == torch.bool:  # compute the rows of all n, so that shapes stay static
            rows, row_mask = slice(0, ranking.shape[1]), ranking
        elif ranking is not None:
            rows = ranking
        index = torch.arange(search_count, device=search.device).expand(search.shape[0], -1)
        tokens = torch.cat((context, search), dim=1)
        found = Encoded(context, search)
        remaining = search_count
        block: Any  # a Block; ModuleList is not typed by its elements
        for layer, block in enumerate(self.blocks):
            keep = self._keep(layer, remaining, keep_rate)
            if layer in attention_layers:
                found.attention.append((block.attn(block.norm1(tokens), slice(None))[1], index))
            scales = [self._draw_scale(layer, search.shape[0], search.device) for _ in range(2)]
            tokens, attention = self.execution.attend(block, tokens, rows if keep < remaining else None, scales[0])
            if attention is not None:
                score = rank_tokens(attention, context_count, row_mask)
                kept, index, dropped = eliminate(tokens[:, context_count:], index, score, keep, record)
                tokens = torch.cat((tokens[:, :context_count], kept), dim=1)
                remaining = keep
                if dropped is not None:
                    found.removed.append(dropped)
            tokens = self.execution.feed_forward(block, tokens, scales[1])
        tokens = self.norm(tokens)
        found.context, found.search = tokens[:, :context_count], tokens[:, context_count:]
        if remaining < search_count:
            found.search = restore(found.search, index, search_count)
        return found

    def _keep(self, layer: int, remaining: int, keep_rate: float | None) -> int:
        """Return how many of ``remaining`` search tokens a layer keeps."""
        if layer not in self.keep_ratios:
            return remaining
        return math.ceil((self.keep_ratios[layer] if keep_rate is None else keep_rate) * remaining)

    def _draw_scale(self, layer: int, batch: int, device: torch.device) -> Tensor | None:
        """Sample stochastic depth: the factor 0 or 1 / (1 - rate) of each sample's update, (batch, 1, 1), or None.

        The rate rises linearly from 0 in the first block to ``drop_path`` in the last.
        """
        if not self.training or self.drop_path == 0:
            return None
        stays = 1 - self.drop_path * layer / max(1, len(self.blocks) - 1)
        return torch.empty(batch, 1, 1, device=device).bernoulli_(stays) / stays
