"""The one-stream backbone: a plain ViT over template and search tokens together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import PatchEmbed, trunc_normal_
from torch import Tensor, nn

from lib.config.ostrack import Variant
from lib.models.layers.block import Block
from lib.models.ostrack.candidate_elimination import eliminate, rank_tokens, restore

PRETRAINED_GRID = 14  # tokens per side of the 224 px pictures that the backbones are pre-trained on


class Backbone(nn.Module):
    """ViT with joint template and search tokens and, at some layers, candidate elimination.

    Tokens are ordered template first. Attention does not see order, so ``CAT_MODE: template_central``, which the
    published code undoes before the head, gives the same result and needs no code.

    With ``token_types`` each token also gets a learned embedding of what it shows: target or background of the template,
    or search region (Lin et al., LoRAT, ECCV 2024). A template token that the border of the target's box passes through
    gets the mean of the first two, weighted by the covered share. Nothing else in the model tells the aspect ratio of
    the box.

    ``cls_token`` and ``pos_embed`` come from pre-training and are not used; they stay because published checkpoints
    hold them.
    """

    def __init__(
        self,
        variant: Variant,
        *,
        template_size: int,
        search_size: int,
        stride: int = 16,
        depth: int = 0,
        drop_path: float = 0.0,
        segment_embed: bool = False,
        token_types: bool = False,
        ce_layers: Sequence[int] = (),
        ce_keep_ratios: Sequence[float] = (),
    ):
        super().__init__()
        dim, depth = variant.embed_dim, depth or variant.depth
        self.embed_dim = dim
        self.template_grid, self.search_grid = template_size // stride, search_size // stride
        self.ce_keep_ratios = dict(zip(ce_layers, ce_keep_ratios, strict=True))

        self.patch_embed = PatchEmbed(img_size=None, patch_size=stride, embed_dim=dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + PRETRAINED_GRID**2, dim))
        self.pos_embed_z = nn.Parameter(torch.zeros(1, self.template_grid**2, dim))
        self.pos_embed_x = nn.Parameter(torch.zeros(1, self.search_grid**2, dim))
        self.template_segment_pos_embed = self.search_segment_pos_embed = None
        if segment_embed:
            self.template_segment_pos_embed = nn.Parameter(torch.zeros(1, 1, dim))
            self.search_segment_pos_embed = nn.Parameter(torch.zeros(1, 1, dim))
        # Rows: template foreground, template background, search. Zeros, so that trained weights without them fit.
        self.token_types = nn.Parameter(torch.zeros(3, dim)) if token_types else None
        self.drop_path = drop_path
        self.blocks = nn.ModuleList(Block(dim, variant.num_heads) for _ in range(depth))
        # How the halves of a block are run; training may wrap them, see lib.models.ostrack.training.
        self.attend, self.feed_forward = Block.attend, Block.feed_forward
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self._init_weights()

    def _init_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        for name, parameter in self.named_parameters(recurse=False):
            if name not in ("pos_embed_z", "pos_embed_x", "token_types"):
                trunc_normal_(parameter, std=0.02)
        self.set_position_embeddings(self.pos_embed.detach())

    @torch.no_grad()
    def set_position_embeddings(self, pos_embed: Tensor) -> None:
        """Derive both grids' embeddings from those of pre-training, (1, 1 + n * n, C), class token first."""
        for parameter, grid in (
            (self.pos_embed_z, self.template_grid),
            (self.pos_embed_x, self.search_grid),
            (self.pos_embed[:, 1:], PRETRAINED_GRID),
        ):
            parameter.copy_(resize_position_embedding(pos_embed[:, 1:], grid))
        self.pos_embed[:, :1] = pos_embed[:, :1]

    def kept_tokens(self) -> dict[int, int]:
        """The layers (from 0) that drop tokens in evaluation, in order, and how many search tokens each leaves."""
        kept, remaining = {}, self.search_grid**2
        for layer, ratio in sorted(self.ce_keep_ratios.items()):
            if (keep := math.ceil(ratio * remaining)) < remaining:
                kept[layer] = remaining = keep
        return kept

    @torch.no_grad()
    def narrow_search(self, size: int) -> None:
        """Look at search regions of ``size`` pixels from now on, with the embeddings of the middle of the trained grid.

        The scale of what is seen must stay as it was trained. Sizes that a head gives remain fractions of the region
        of training.

        Raises:
            ValueError: the grid of such a region does not lie in the middle of the trained one.
        """
        stride = self.patch_embed.patch_size[0]
        grid, trained = size // stride, self.search_grid
        if size % stride or not 0 < grid <= trained or (trained - grid) % 2:
            raise ValueError(f"{size} pixels are not the middle of {trained * stride} in steps of {2 * stride}")
        border = (trained - grid) // 2
        embeddings = self.pos_embed_x.unflatten(1, (trained, trained))
        middle = embeddings[:, border : border + grid, border : border + grid]
        self.pos_embed_x = nn.Parameter(middle.flatten(1, 2).clone())
        self.search_grid = grid

    def forward(
        self,
        template: Tensor,
        search: Tensor,
        ce_template_mask: Tensor | None = None,
        ce_keep_rate: float | None = None,
        attention_layers: Sequence[int] = (),
        template_box: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor], list[tuple[Tensor, Tensor]]]:
        """Arguments as in :meth:`OSTrack.forward`.

        Returns:
            Tokens (B, Lz + Lx, C), template first, search tokens in grid order; the dropped places of each CE layer
            that drops any; the attention maps (B, heads, N, N) of ``attention_layers``, each with the grid places
            (B, N - Lz) of its search tokens.
        """
        z, x = self._embed(template, "template"), self._embed(search, "search")
        if self.token_types is not None:
            z, x = z + self.template_types(template_box), x + self.token_types[2]
        template_count, search_count = z.shape[1], x.shape[1]
        rows, row_mask = ranking_rows(ce_template_mask, template_count)
        index = torch.arange(search_count, device=x.device).expand(x.shape[0], -1)
        tokens, removed, attentions = torch.cat((z, x), dim=1), [], []
        block: Any  # a Block, which torch's types do not know of a ModuleList
        for layer, block in enumerate(self.blocks):
            remaining = tokens.shape[1] - template_count
            ratio = self.ce_keep_ratios.get(layer, 1.0)
            if layer in self.ce_keep_ratios and ce_keep_rate is not None:
                ratio = ce_keep_rate
            keep = math.ceil(ratio * remaining)
            if layer in attention_layers:
                attentions.append((block.attn(block.norm1(tokens), slice(None))[1], index))
            scales = [self._draw_scale(layer, x.shape[0], x.device) for _ in range(2)]
            tokens, attention = self.attend(block, tokens, rows if keep < remaining else None, scales[0])
            if attention is not None:
                score = rank_tokens(attention, template_count, row_mask)
                kept, index, dropped = eliminate(tokens[:, template_count:], index, score, keep)
                tokens = torch.cat((tokens[:, :template_count], kept), dim=1)
                removed.append(dropped)
            tokens = self.feed_forward(block, tokens, scales[1])
        tokens = self.norm(tokens)
        if removed:
            whole = restore(tokens[:, template_count:], index, search_count)
            tokens = torch.cat((tokens[:, :template_count], whole), dim=1)
        return tokens, removed, attentions

    def _draw_scale(self, layer: int, batch: int, device: torch.device) -> Tensor | None:
        """Stochastic depth: what a half of block ``layer`` scales each sample's update by, (batch, 1, 1).

        It is 0 or 1 / (1 - rate); the rate rises linearly from 0 in the first block to ``drop_path`` in the last.
        None where there is nothing to draw.
        """
        if not self.training or self.drop_path == 0:
            return None
        stays = 1 - self.drop_path * layer / max(1, len(self.blocks) - 1)
        return torch.empty(batch, 1, 1, device=device).bernoulli_(stays) / stays

    def position_embeddings(self, part: str) -> tuple[Tensor, Tensor | None]:
        """Position embeddings (1, tokens, C) and segment embedding (1, 1, C), if any, of ``template`` or ``search``."""
        if part == "template":
            return self.pos_embed_z, self.template_segment_pos_embed
        return self.pos_embed_x, self.search_segment_pos_embed

    def template_types(self, box: Tensor | None) -> Tensor:
        """Type embeddings (B, Lz, C) of the template tokens, given the target's box (B, 4), ``xywh`` in fractions."""
        if box is None or self.token_types is None:
            raise ValueError("MODEL.BACKBONE.TOKEN_TYPES needs the target's box in the template")
        foreground, background, _ = self.token_types
        return torch.lerp(background, foreground, covered_share(box, self.template_grid)[..., None].to(background))

    def _embed(self, image: Tensor, part: str) -> Tensor:
        """Patch tokens with position (and segment) embeddings."""
        grid = self.template_grid if part == "template" else self.search_grid
        position, segment = self.position_embeddings(part)
        expected = grid * self.patch_embed.patch_size[0]
        if image.shape[-2:] != (expected, expected):
            raise ValueError(
                f"the {part} is {tuple(image.shape[-2:])} pixels, the model was built for {expected} x {expected}"
            )
        tokens = self.patch_embed(image) + position
        return tokens if segment is None else tokens + segment


def ranking_rows(mask: Tensor | None, template_count: int) -> tuple[slice | Tensor, Tensor | None]:
    """The template rows whose attention CE needs, and which of them count.

    Indices (B, n) are just those rows. A mask (B, template_count) may choose another number of tokens for each sample:
    all rows are computed and weighted, which keeps shapes static.
    """
    if mask is None:
        return slice(0, template_count), None
    if mask.dtype == torch.bool:
        return slice(0, template_count), mask
    return mask, None


def covered_share(box: Tensor, grid: int) -> Tensor:
    """Share of each cell of a grid that a box covers, (B, grid * grid), row by row.

    Args:
        box: (B, 4), ``xywh`` as fractions of the grid's side; it may reach outside.
    """
    edges = torch.arange(grid + 1, device=box.device, dtype=box.dtype)
    start, end = (box[:, None, :2] * grid, (box[:, None, :2] + box[:, None, 2:]) * grid)  # (B, 1, 2)
    overlap = torch.minimum(end, edges[1:, None]) - torch.maximum(start, edges[:-1, None])  # (B, grid, 2)
    columns, rows = overlap.clamp(min=0).unbind(-1)
    return (rows[:, :, None] * columns[:, None, :]).flatten(1)


def resize_position_embedding(tokens: Tensor, grid: int) -> Tensor:
    """Resize a square grid of embeddings (1, n * n, C) to (1, grid * grid, C), bicubic."""
    side = math.isqrt(tokens.shape[1])
    image = tokens.float().unflatten(1, (side, side)).permute(0, 3, 1, 2)
    image = F.interpolate(image, size=(grid, grid), mode="bicubic", align_corners=False)
    return image.flatten(2).transpose(1, 2)
