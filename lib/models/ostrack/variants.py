"""The sizes of ViT that OSTrack is built from, by their ``MODEL.BACKBONE.TYPE``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Variant:
    """Shape of a plain ViT. ``ce``: whether it may drop background tokens (candidate elimination)."""

    embed_dim: int
    depth: int
    num_heads: int
    ce: bool


VARIANTS = {
    "vit_tiny_patch16_224": Variant(192, 12, 3, ce=False),
    "vit_tiny_patch16_224_ce": Variant(192, 12, 3, ce=True),
    "vit_small_patch16_224": Variant(384, 12, 6, ce=False),
    "vit_small_patch16_224_ce": Variant(384, 12, 6, ce=True),
    "vit_base_patch16_224": Variant(768, 12, 12, ce=False),
    "vit_base_patch16_224_ce": Variant(768, 12, 12, ce=True),
    "vit_large_patch16_224_ce": Variant(1024, 24, 16, ce=True),
}
