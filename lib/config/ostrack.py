"""Experiments of OSTrack, and the shapes of its backbones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from lib.config.experiment import BackboneConfig, ExperimentConfig, ModelConfig, TrainConfig
from lib.config.section import Conflicts, Extension, Interval, NonNegativeInt, OneOf, Positive


@dataclass(frozen=True)
class Variant:
    """Shape of a plain ViT. ``ce``: whether it supports candidate elimination."""

    embed_dim: int
    depth: int
    num_heads: int
    ce: bool


# Variants by MODEL.BACKBONE.TYPE.
VARIANTS = {
    "vit_tiny_patch16_224": Variant(192, 12, 3, ce=False),
    "vit_tiny_patch16_224_ce": Variant(192, 12, 3, ce=True),
    "vit_small_patch16_224": Variant(384, 12, 6, ce=False),
    "vit_small_patch16_224_ce": Variant(384, 12, 6, ce=True),
    "vit_base_patch16_224": Variant(768, 12, 12, ce=False),
    "vit_base_patch16_224_ce": Variant(768, 12, 12, ce=True),
    "vit_large_patch16_224_ce": Variant(1024, 24, 16, ce=True),
}


@dataclass(frozen=True)
class OSTrackBackboneConfig(BackboneConfig):
    """``MODEL.BACKBONE``: the ViT, and candidate elimination after the layers ``CE_LOC``, counted from 0."""

    TYPE: Annotated[str, OneOf(tuple(VARIANTS))] = "vit_base_patch16_224"
    MID_PE: Literal[False] = False
    SEP_SEG: bool = False
    CAT_MODE: Literal["direct", "template_central"] = "direct"
    MERGE_LAYER: Literal[0] = 0
    ADD_CLS_TOKEN: Literal[False] = False
    CLS_TOKEN_USE_MODE: Literal["ignore"] = "ignore"
    CE_LOC: tuple[int, ...] = ()
    CE_KEEP_RATIO: tuple[Annotated[float, Interval(0, 1, "(]")], ...] = ()
    CE_TEMPLATE_RANGE: Literal["ALL", "CTR_POINT", "CTR_REC", "GT_BOX"] = "ALL"
    DEPTH: Extension[NonNegativeInt] = 0  # number of transformer blocks; 0 = all of the backbone type
    MLP_RATIO: Extension[Positive] = 4.0  # neurons in the hidden layer of each block's MLP, as a multiple of the width
    # Learned embeddings of target and background tokens of the template, given its box, and of search tokens.
    TOKEN_TYPES: Extension[bool] = False

    @property
    def variant(self) -> Variant:
        """Shape of the backbone."""
        return VARIANTS[self.TYPE]

    @property
    def blocks(self) -> int:
        """Number of transformer blocks."""
        return self.DEPTH or self.variant.depth

    @property
    def mlp_hidden(self) -> int:
        """Number of neurons in the hidden layer of each block's MLP."""
        return round(self.MLP_RATIO * self.variant.embed_dim)

    def conflicts(self) -> Conflicts:
        variant, layers = self.variant, self.CE_LOC
        if self.DEPTH > variant.depth:
            yield "DEPTH", f"be at most {variant.depth}, the blocks of {self.TYPE}"
        if not self.mlp_hidden:
            yield "MLP_RATIO", f"be 1/{variant.embed_dim} at least, a neuron for each MLP"
        if layers and not variant.ce:
            yield "CE_LOC", f"be empty, or MODEL.BACKBONE.TYPE be {self.TYPE}_ce"
        if len(layers) != len(self.CE_KEEP_RATIO):
            yield "CE_KEEP_RATIO", "have one ratio for each layer of MODEL.BACKBONE.CE_LOC"
        if tuple(sorted(set(layers))) != layers or any(not 0 <= layer < self.blocks for layer in layers):
            yield "CE_LOC", f"name layers from 0 to {self.blocks - 1} in rising order"


@dataclass(frozen=True)
class OSTrackModelConfig(ModelConfig):
    """``MODEL``. Keys with a single legal value had no effect in the published system."""

    PRETRAIN_FILE: str = "mae_pretrain_vit_base.pth"
    EXTRA_MERGER: Literal[False] = False
    RETURN_INTER: Literal[False] = False
    RETURN_STAGES: Annotated[tuple[int, ...], OneOf(((),))] = ()
    BACKBONE: OSTrackBackboneConfig = OSTrackBackboneConfig()


@dataclass(frozen=True)
class OSTrackTrainConfig(TrainConfig):
    """``TRAIN``: the keep rate of candidate elimination decays for ``CE_WARM_EPOCH`` epochs from ``CE_START_EPOCH``."""

    CE_START_EPOCH: NonNegativeInt = 20
    CE_WARM_EPOCH: NonNegativeInt = 80


@dataclass(frozen=True)
class OSTrackConfig(ExperimentConfig):
    """An experiment of OSTrack."""

    family: ClassVar[str] = "ostrack"

    MODEL: OSTrackModelConfig = OSTrackModelConfig()
    TRAIN: OSTrackTrainConfig = OSTrackTrainConfig()

    def conflicts(self) -> Conflicts:
        yield from super().conflicts()
        backbone, data, test = self.MODEL.BACKBONE, self.DATA, self.TEST
        if any(not 0 <= block <= backbone.blocks for block in self.TRAIN.FREEZE_LAYERS):
            yield "TRAIN.FREEZE_LAYERS", f"name blocks from 1 to {backbone.blocks}, or 0 for none"
        if test.TEMPLATE_SIZE != (size := data.TEMPLATE.SIZE):
            must = f"equal DATA.TEMPLATE.SIZE = {size}: the model has position embeddings for that"
            yield "TEST.TEMPLATE_SIZE", must
        size, step = data.SEARCH.SIZE, 2 * backbone.STRIDE
        if (size - test.SEARCH_SIZE) % step:
            yield "TEST.SEARCH_SIZE", f"be DATA.SEARCH.SIZE = {size}, or more or less by a multiple of {step}"
