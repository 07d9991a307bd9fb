"""The teacher of knowledge distillation: a trained tracker of another experiment."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

import torch

from lib.config.ostrack import Config, config_name, load_config
from lib.models.layers.head import HEADS
from lib.models.ostrack import OSTrack, build_ostrack
from lib.models.ostrack.weights import load_weights
from lib.utils.checkpoint import find_weights
from lib.utils.errors import ConfigError

log = logging.getLogger(__name__)

# What student and teacher must share, or the teacher would see other crops than its own, or give another grid.
_SHARED = (
    "DATA.TEMPLATE.SIZE",
    "DATA.TEMPLATE.FACTOR",
    "DATA.SEARCH.SIZE",
    "DATA.SEARCH.FACTOR",
    "DATA.MEAN",
    "DATA.STD",
    "MODEL.BACKBONE.STRIDE",
)


@dataclass(frozen=True)
class Teacher:
    """A frozen tracker in evaluation mode, and the experiment that it comes from."""

    net: OSTrack
    cfg: Config


def load_teacher(config_teacher: str | Path, save_dir: str | Path, cfg: Config, device: torch.device | str) -> Teacher:
    """Load the trained tracker of the experiment ``config_teacher`` for students of ``cfg``.

    Args:
        config_teacher: name of an experiment, or path of its YAML file.
        save_dir: where training left its weights, of epoch ``TEST.EPOCH``; else those that ship are taken.
        cfg: the student's experiment.

    Raises:
        ConfigError: the two see different crops or grids, or one of them has a head without a score map.
        CheckpointError: there are no weights, or they do not fit.
    """
    taught = load_config(config_teacher)
    name = config_name(config_teacher)
    different = [
        f"its {key} is {theirs}, the student's {ours}"
        for key, theirs, ours in zip(_SHARED, attrgetter(*_SHARED)(taught), attrgetter(*_SHARED)(cfg), strict=True)
        if theirs != ours
    ]
    if different:
        raise ConfigError(f"{name} cannot teach this experiment: {'; '.join(different)}")
    for whose, head in ((f"the teacher {name}", taught.MODEL.HEAD.TYPE), ("the student", cfg.MODEL.HEAD.TYPE)):
        if not HEADS[head].has_score_map:
            raise ConfigError(f"MODEL.HEAD.TYPE of {whose} is {head}, which has no score map: no distillation")
    path = find_weights("ostrack", name, taught.TEST.EPOCH, save_dir)
    net = build_ostrack(taught)
    load_weights(net, path)
    log.info("teacher: %s from %s", name, path)
    return Teacher(net.to(device).eval().requires_grad_(False), taught)
