"""Other experiments that a training run uses: one whose weights it starts from, and a distillation teacher."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from operator import attrgetter
from pathlib import Path

import torch
from torch import Tensor, nn

from lib.config import ExperimentConfig
from lib.models.family import build_trained, family_of, head_of, load_experiment
from lib.models.weights import BLOCKS, count_blocks, load_matching, with_names_of
from lib.train.actors import Actor, build_actor
from lib.train.admin.settings import TrainOptions
from lib.train.trainers.checkpoints import list_checkpoints
from lib.utils.checkpoint import find_weights, load_checkpoint, network_state
from lib.utils.errors import ConfigError

logger = logging.getLogger(__name__)

# Keys in which student and teacher must agree, so that the teacher gets crops like those it was trained on.
_SHARED = "DATA.TEMPLATE.SIZE", "DATA.TEMPLATE.FACTOR", "DATA.MEAN", "DATA.STD", "MODEL.BACKBONE.STRIDE"


def load_previous(net: nn.Module, cfg: ExperimentConfig, options: TrainOptions) -> None:
    """Start ``net`` from the newest weights of the experiment ``options.config_prv``, or from its shipped weights.

    They are adapted first, see ``adapt_weights`` of :class:`Family`. If the search region of ``cfg`` is smaller or
    larger than the previous one at about the same scale (5 %), they are taken from the previous model built for that
    size. Parameters that do not match by name or shape keep their values in ``net`` and are logged.

    Raises:
        ConfigError: there is no such experiment, or ``blocks_prv`` names blocks that it lacks, or too many or few.
        CheckpointError: it has no weights, or none of them fits.
    """
    previous, save_dir = load_experiment(options.config_prv, family=options.script_prv), options.save_dir
    epochs = list_checkpoints(Path(save_dir) / "checkpoints" / "train" / previous.family / previous.name)
    path = find_weights(previous.family, previous.name, max(epochs, default=previous.TEST.EPOCH), save_dir)
    own = net.state_dict()
    if previous.DATA.SEARCH.SIZE != cfg.DATA.SEARCH.SIZE and _same_scale(previous, cfg, 0.05):
        trained = build_trained(previous, path, cfg.DATA.SEARCH.SIZE).state_dict()
    else:
        trained = network_state(load_checkpoint(path), path)
    state = with_names_of(own, trained)
    if options.blocks_prv:
        state = _with_blocks(state, options.blocks_prv, count_blocks(own))
    family_of(cfg).adapt_weights(net, state)
    load_matching(net, state, path, skip_misfits=True)


def _with_blocks(state: Mapping[str, Tensor], blocks: Sequence[int], wanted: int) -> dict[str, Tensor]:
    """Return weights with only the ``wanted`` backbone blocks that ``blocks`` lists, renumbered in its order."""
    there, given = count_blocks(state), ",".join(map(str, blocks))
    if len(blocks) != wanted or not set(blocks) <= set(range(there)):
        raise ConfigError(f"--blocks_prv {given}: name {wanted} blocks, as many as the model has, of 0 to {there - 1}")
    chosen = {name: value for name, value in state.items() if not name.startswith(BLOCKS)}
    for number, block in enumerate(blocks):
        start = f"{BLOCKS}{block}."
        chosen |= {
            f"{BLOCKS}{number}.{name.removeprefix(start)}": value
            for name, value in state.items()
            if name.startswith(start)
        }
    return chosen


def load_teacher(
    config: str | Path,
    save_dir: str | Path,
    cfg: ExperimentConfig,
    device: torch.device | str,
    amp_dtype: torch.dtype | None = None,
    script: str = "",
) -> Actor:
    """Load the trained tracker of the experiment ``config``, frozen, as a teacher for students of ``cfg``.

    Its weights are those of epoch ``TEST.EPOCH`` in the folder ``save_dir`` of training, else the shipped ones. The
    student's search region may be the center of the teacher's, at the same scale.

    Args:
        script: family of ``config``; empty = by the folder of the experiment.

    Raises:
        ConfigError: the two use different crops or grids, or one of them has a head without a score map.
        CheckpointError: there are no weights, or they do not fit.
    """
    teacher = load_experiment(config, family=script)
    different = [
        f"its {key} is {theirs}, the student's {ours}"
        for key, theirs, ours in zip(_SHARED, attrgetter(*_SHARED)(teacher), attrgetter(*_SHARED)(cfg), strict=True)
        if theirs != ours
    ]
    if teacher.DATA.TEMPLATE.NUMBER > (number := cfg.DATA.TEMPLATE.NUMBER):  # with fewer it takes the first
        different.append(f"its DATA.TEMPLATE.NUMBER is {teacher.DATA.TEMPLATE.NUMBER}, the student's {number}")
    if not _same_scale(teacher, cfg):
        theirs, ours = (f"{e.DATA.SEARCH.SIZE / e.DATA.SEARCH.FACTOR:g}" for e in (teacher, cfg))
        different.append(f"its DATA.SEARCH.SIZE / FACTOR is {theirs}, the student's {ours}")
    if different:
        raise ConfigError(f"{teacher.name} cannot teach this experiment: {'; '.join(different)}")
    for whose, experiment in ((f"the teacher {teacher.name}", teacher), ("the student", cfg)):
        head = experiment.MODEL.HEAD.TYPE
        if "score_map" not in head_of(experiment).outputs:
            raise ConfigError(f"MODEL.HEAD.TYPE of {whose} is {head}, which has no score map: no distillation")
    path = find_weights(teacher.family, teacher.name, teacher.TEST.EPOCH, save_dir)
    net = build_trained(teacher, path, cfg.DATA.SEARCH.SIZE)
    logger.info("teacher: %s from %s", teacher.name, path)
    return build_actor(net.to(device).eval().requires_grad_(False), teacher, amp_dtype)


def _same_scale(one: ExperimentConfig, other: ExperimentConfig, tolerance: float = 1e-4) -> bool:
    """Return whether the search regions of two experiments have the same scale, regardless of size."""
    scales = [experiment.DATA.SEARCH.SIZE / experiment.DATA.SEARCH.FACTOR for experiment in (one, other)]
    return math.isclose(*scales, rel_tol=tolerance)
