"""The one-stream backbone: a plain ViT over template and search tokens together."""

from __future__ import annotations

import torch
from timm.layers import PatchEmbed, resample_abs_pos_embed, trunc_normal_
from torch import Tensor, nn

from lib.config.ostrack import VARIANTS, OSTrackBackboneConfig
from lib.models.layers.block import DIRECT, Execution
from lib.models.layers.encoder import Encoder
from lib.models.layers.token_types import TokenTypes

PRETRAINED_GRID = 14  # tokens per side of the 224 px images that the backbones are pre-trained on


class Backbone(Encoder):
    """ViT with joint template and search tokens and, at some layers, candidate elimination.

    Template tokens come first. Attention does not depend on the order, so ``CAT_MODE: template_central``, which the
    published code undoes before the head, gives the same result. ``cls_token`` and ``pos_embed`` come from pre-training
    and are not used; published checkpoints hold them.

    Args:
        options: ``MODEL.BACKBONE``.
        template_size, search_size: sides of the images in pixels.
    """

    def __init__(
        self,
        options: OSTrackBackboneConfig,
        template_size: int,
        search_size: int,
        drop_path: float = 0.0,
        execution: Execution = DIRECT,
    ):
        variant, stride = VARIANTS[options.TYPE], options.STRIDE
        dim = variant.embed_dim
        keep_ratios = dict(zip(options.CE_LOC, options.CE_KEEP_RATIO, strict=True))
        # Initialized before the blocks: this order fixes the weights that a seed gives.
        patch_embed = PatchEmbed(img_size=None, patch_size=stride, embed_dim=dim)
        super().__init__(dim, variant.num_heads, options.blocks, keep_ratios, drop_path, execution, options.mlp_hidden)
        self.template_grid, self.search_grid = template_size // stride, search_size // stride
        self.patch_embed = patch_embed
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + PRETRAINED_GRID**2, dim))
        self.pos_embed_z = nn.Parameter(torch.zeros(1, self.template_grid**2, dim))
        self.pos_embed_x = nn.Parameter(torch.zeros(1, self.search_grid**2, dim))
        self.template_segment_pos_embed = self.search_segment_pos_embed = None
        if options.SEP_SEG:
            self.template_segment_pos_embed = nn.Parameter(torch.zeros(1, 1, dim))
            self.search_segment_pos_embed = nn.Parameter(torch.zeros(1, 1, dim))
        self._init_weights()
        self.token_types = TokenTypes(dim) if options.TOKEN_TYPES else None

    def _init_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        for name, parameter in self.named_parameters(recurse=False):
            if name not in ("pos_embed_z", "pos_embed_x"):
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

    @torch.no_grad()
    def set_search_size(self, size: int) -> None:
        """Accept search regions of ``size`` pixels around the same center, at the scale of training.

        The position embeddings are those of the middle of the trained grid; a larger grid repeats those at its edge.
        Sizes from a head remain fractions of the trained search region.

        Raises:
            ValueError: the grid of such a region does not have the center of the trained one.
        """
        stride = self.patch_embed.patch_size[0]
        grid, trained = size // stride, self.search_grid
        if size % stride or grid <= 0 or (trained - grid) % 2:
            raise ValueError(f"{size} pixels are not {trained * stride}, nor more or less in steps of {2 * stride}")
        cells = (torch.arange(grid) + (trained - grid) // 2).clamp(0, trained - 1)
        embeddings = self.pos_embed_x.unflatten(1, (trained, trained))[:, cells[:, None], cells]
        self.pos_embed_x = nn.Parameter(embeddings.flatten(1, 2).clone())
        self.search_grid = grid

    def position_embedding(self, part: str) -> Tensor:
        """Return the position embeddings of ``part``, plus segment embeddings if any, (1, tokens, C)."""
        position, segment = self.pos_embed_x, self.search_segment_pos_embed
        if part == "template":
            position, segment = self.pos_embed_z, self.template_segment_pos_embed
        return position if segment is None else position + segment

    def embed(self, image: Tensor, part: str, box: Tensor | None = None) -> Tensor:
        """Embed an image as tokens (B, grid * grid, C).

        Args:
            image: (B, 3, H, H), normalized.
            part: ``template`` or ``search``.
            box: the target in a template, (B, 4) ``xywh`` as fractions of it; needed with token types.
        """
        grid = self.template_grid if part == "template" else self.search_grid
        expected = grid * self.patch_embed.patch_size[0]
        if image.shape[-2:] != (expected, expected):
            sides = tuple(image.shape[-2:])
            raise ValueError(f"the {part} is {sides} pixels, the model was built for {expected} x {expected}")
        tokens = self.patch_embed(image) + self.position_embedding(part)
        if self.token_types is None:
            return tokens
        if part == "search":
            return tokens + self.token_types.search
        if box is None:
            raise ValueError("MODEL.BACKBONE.TOKEN_TYPES needs the target's box in the template")
        return tokens + self.token_types(box, grid)


def resize_position_embedding(tokens: Tensor, grid: int) -> Tensor:
    """Resize a square grid of embeddings (1, n * n, C) to (1, grid * grid, C), bicubic."""
    return resample_abs_pos_embed(tokens.float(), [grid, grid], num_prefix_tokens=0, antialias=False)
