"""Starting an experiment from the weights of another one."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from lib.config import load_config
from lib.models.family import Family, experiment_family
from lib.models.weights import load_matching
from lib.train.trainers.checkpoints import list_checkpoints
from lib.utils.checkpoint import find_weights, load_checkpoint, network_state


def load_previous(net: nn.Module, family: Family, script_prv: str, config_prv: str, save_dir: str | Path) -> None:
    """Start ``net`` from the newest weights of the experiment ``config_prv``, or the ones of it that ship.

    The family adapts them first, see :class:`Family`, ``adapt_weights``. What does not fit by name or shape stays as it
    is in ``net``; the log tells what.

    Args:
        net: on any device, not wrapped.
        family: of ``net``.
        script_prv: family of ``config_prv``; empty = by the folder of the experiment.
        config_prv: name of the experiment, or path of its YAML file.
        save_dir: where its training left its checkpoints.

    Raises:
        ConfigError: there is no such experiment.
        CheckpointError: it has no weights, or nothing of them fits.
    """
    source = experiment_family(config_prv, script_prv)
    previous = load_config(source.config, config_prv)
    trained = list_checkpoints(Path(save_dir) / "checkpoints" / "train" / source.name / previous.name)
    path = find_weights(source.name, previous.name, max(trained, default=previous.TEST.EPOCH), save_dir)
    state = network_state(load_checkpoint(path), path)
    family.adapt_weights(net, state)
    load_matching(net, state, path, skip_misfits=True)
