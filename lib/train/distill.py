"""The teacher of knowledge distillation: a trained tracker of another experiment."""

from __future__ import annotations

import logging
from operator import attrgetter
from pathlib import Path

import torch

from lib.config import ExperimentConfig, load_config
from lib.models.family import experiment_family
from lib.models.layers.head import HEADS
from lib.models.weights import load_weights
from lib.train.actors import Actor, build_actor
from lib.utils.checkpoint import find_weights
from lib.utils.errors import ConfigError

logger = logging.getLogger(__name__)

# What student and teacher must share, or the teacher would see other crops than its own, or give another grid.
_SHARED = (
    "DATA.TEMPLATE.NUMBER",
    "DATA.TEMPLATE.SIZE",
    "DATA.TEMPLATE.FACTOR",
    "DATA.SEARCH.SIZE",
    "DATA.SEARCH.FACTOR",
    "DATA.MEAN",
    "DATA.STD",
    "MODEL.BACKBONE.STRIDE",
)


def load_teacher(
    config_teacher: str | Path,
    save_dir: str | Path,
    cfg: ExperimentConfig,
    device: torch.device | str,
    amp_dtype: torch.dtype | None = None,
    script_teacher: str = "",
) -> Actor:
    """Load the trained tracker of the experiment ``config_teacher``, frozen, for students of ``cfg``.

    Args:
        config_teacher: name of an experiment, or path of its YAML file.
        save_dir: where training left its weights, of epoch ``TEST.EPOCH``; else those that ship are taken.
        cfg: the student's experiment.
        amp_dtype: as of :class:`Actor`.
        script_teacher: family of ``config_teacher``; empty = by the folder of the experiment.

    Raises:
        ConfigError: the two see different crops or grids, or one of them has a head without a score map.
        CheckpointError: there are no weights, or they do not fit.
    """
    family = experiment_family(config_teacher, script_teacher)
    taught = load_config(family.config, config_teacher)
    name = taught.name
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
    path = find_weights(family.name, name, taught.TEST.EPOCH, save_dir)
    net = family.build(taught)
    load_weights(net, path, family.explain_misfit)
    logger.info("teacher: %s from %s", name, path)
    return build_actor(net.to(device).eval().requires_grad_(False), taught, amp_dtype)
