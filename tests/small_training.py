"""A model and a batch small enough for a training step to take milliseconds."""

from __future__ import annotations

import torch

from lib.config import load_config
from lib.config.ostrack import OSTrackConfig
from lib.models.layers.block import training_execution
from lib.models.ostrack import OSTrack, build_ostrack

SMALL = (
    "MODEL.BACKBONE.DEPTH=2", "MODEL.BACKBONE.CE_LOC=[1]", "MODEL.BACKBONE.CE_KEEP_RATIO=[0.5]",
    "MODEL.HEAD.NUM_CHANNELS=16", "TRAIN.AMP=false", "TRAIN.CE_START_EPOCH=0", "TRAIN.CE_WARM_EPOCH=0",
    "DATA.TEMPLATE.SIZE=32", "TEST.TEMPLATE_SIZE=32", "DATA.SEARCH.SIZE=64", "TEST.SEARCH_SIZE=64",
)  # fmt: skip


def small_config(*overrides: str) -> OSTrackConfig:
    """ViT-Tiny of two blocks on a 2 x 2 and a 4 x 4 grid; candidate elimination halves the search tokens."""
    return load_config(OSTrackConfig, "vitt_256_ce_images", [*SMALL, *overrides])


def build(*overrides: str, seed: int = 0) -> OSTrack:
    """The network of :func:`small_config` as training builds it, with the weights that ``seed`` draws."""
    torch.manual_seed(seed)
    cfg = small_config(*overrides)
    return build_ostrack(cfg, execution=training_execution(cfg.TRAIN, torch.device("cpu")))


def small_batch(count: int = 4, template: int = 32, search: int = 64) -> dict:
    """Noise with random boxes, as the loader gives it."""
    generator = torch.Generator().manual_seed(1)
    return {
        "template_images": torch.randn(1, count, 3, template, template, generator=generator),
        "search_images": torch.randn(1, count, 3, search, search, generator=generator),
        "template_anno": torch.tensor([0.25, 0.25, 0.5, 0.5]).expand(1, count, 4),
        "search_anno": torch.rand(1, count, 4, generator=generator) * 0.4 + 0.1,
        "dataset": ["NOISE"] * count,
        "source": [f"sample {i}" for i in range(count)],
    }
