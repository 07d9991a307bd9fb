"""The network of a tracker as one graph of fixed shapes, and the record of what it is."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import torch
from torch import Tensor, nn

from lib.config.ostrack import Config, config_hash, to_plain
from lib.models.ostrack import OSTrack
from lib.models.ostrack.candidate_elimination import template_mask


def takes_mask(cfg: Config) -> bool:
    """Whether the graph has a third input, the template tokens that rank the search tokens, as they follow the box."""
    backbone = cfg.MODEL.BACKBONE
    return bool(backbone.CE_LOC) and backbone.CE_TEMPLATE_RANGE == "GT_BOX"


def output_names(cfg: Config) -> tuple[str, ...]:
    """The outputs of the graph: those of the head that a tracker reads."""
    return ("pred_boxes", "corner_map") if cfg.MODEL.HEAD.TYPE == "CORNER" else ("score_map", "size_map", "offset_map")


class NetworkGraph(nn.Module):
    """Crops as bytes in, the head's outputs out; normalisation and the choice of ranking tokens are inside.

    Args:
        cfg: the experiment.
        model: its model; it stays as it is.
        dtype: type to compute in.
        batch: how many targets it takes at a time.
    """

    rows: Tensor | None

    def __init__(self, cfg: Config, model: OSTrack, dtype: torch.dtype = torch.float32, batch: int = 1):
        super().__init__()
        self.network = model.for_inference(cfg, dtype, pack=False)
        self.outputs = output_names(cfg)
        rows = None if takes_mask(cfg) else template_mask(cfg, cfg.TEST.TEMPLATE_SIZE, batch, "cpu")
        self.register_buffer("rows", None if rows is None else rows.contiguous())

    def forward(self, template: Tensor, search: Tensor, mask: Tensor | None = None) -> tuple[Tensor, ...]:
        """RGB uint8 crops (B, Hz, Hz, 3) and (B, Hx, Hx, 3), mask (B, template tokens) bool; see ``outputs``."""
        rows = self.rows if mask is None else mask
        found = self.network(self.network.embed(template, "template"), search, rows)
        return tuple(found[name] for name in self.outputs)


def noise_inputs(cfg: Config, batch: int) -> dict[str, np.ndarray]:
    """Inputs of the graph, by name, that are the same in every call: crops of noise, and a box in the middle."""
    rng, test = np.random.default_rng(0), cfg.TEST
    inputs = {
        name: rng.integers(0, 256, (batch, size, size, 3), np.uint8)
        for name, size in (("template", test.TEMPLATE_SIZE), ("search", test.SEARCH_SIZE))
    }
    if takes_mask(cfg):
        boxes = torch.tensor([[0.25, 0.25, 0.5, 0.5]]).expand(batch, -1)
        mask = template_mask(cfg, test.TEMPLATE_SIZE, batch, "cpu", boxes)
        assert mask is not None  # with GT_BOX there is one
        inputs["mask"] = mask.numpy()
    return inputs


def network_hash(cfg: Config, model: OSTrack) -> str:
    """Sixteen hex digits of all that the graph computes from: weights, architecture, normalisation and sizes.

    And of the factors of the crops: the file's record tells them, and int8 is calibrated on such crops.
    """
    digest = hashlib.sha256()
    test = cfg.TEST
    sizes = [test.TEMPLATE_SIZE, test.SEARCH_SIZE, test.TEMPLATE_FACTOR, test.SEARCH_FACTOR]
    settings = [to_plain(cfg.MODEL), list(cfg.DATA.MEAN), list(cfg.DATA.STD), sizes]
    digest.update(json.dumps(settings, sort_keys=True).encode())
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy())
    return digest.hexdigest()[:16]


def describe(cfg: Config, model: OSTrack, name: str, precision: str, batch: int) -> dict[str, str]:
    """What is written into the file, beside the network: whose it is, and what a program needs to run it."""
    test = cfg.TEST
    record = {
        "experiment": name,
        "config_hash": config_hash(cfg),
        "network_sha256": network_hash(cfg, model),
        "precision": precision,
        "batch": batch,
        "template_size": test.TEMPLATE_SIZE,
        "search_size": test.SEARCH_SIZE,
        "template_factor": test.TEMPLATE_FACTOR,
        "search_factor": test.SEARCH_FACTOR,
        "stride": cfg.MODEL.BACKBONE.STRIDE,
        "torch": torch.__version__,
    }
    return {key: str(value) for key, value in record.items()}
