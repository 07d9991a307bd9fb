"""Prune the MLPs of a trained transformer: remove hidden neurons and refit the remaining weights."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lib.config import ExperimentConfig, to_plain
from lib.models.family import family_of, load_experiment
from lib.models.layers.block import Block
from lib.train import optim
from lib.train.actors import Actor, build_actor
from lib.train.admin.environment import env_settings
from lib.train.admin.settings import TrainOptions
from lib.train.data.loader import batches, build_loader, open_sources
from lib.train.other_experiments import load_previous
from lib.utils.checkpoint import save_checkpoint
from lib.utils.devices import checked_device
from lib.utils.errors import ConfigError

logger = logging.getLogger(__name__)

RIDGE = 0.01  # times the mean variance of a neuron: ridge penalty on changes of the weights


def prune(
    config: str, out: str | Path, options: TrainOptions, samples: int, overrides: Sequence[str] = ()
) -> tuple[float, float]:
    """Prune the model of ``options.config_prv``, which has wider MLPs, to that of ``config``, and write it to ``out``.

    It uses ``samples`` training samples, rounded up to whole batches, and returns their mean IoU before and after.

    Raises:
        ConfigError: the experiments are incompatible, or their MLPs cannot be narrowed this way.
        CheckpointError: there are no weights, none of them fits, or ``out`` cannot be written.
    """
    if samples < 1:
        raise ConfigError(f"--samples {samples}: this must be 1 or more")
    cfg = load_experiment(config, overrides, options.script)
    previous = load_experiment(options.config_prv, family=options.script_prv)
    given, wanted = _mlp_hidden(previous), _mlp_hidden(cfg)
    if wanted > given:
        neurons = f"{wanted} neurons in each MLP (MODEL.BACKBONE.MLP_RATIO), {previous.name} has {given}"
        raise ConfigError(f"{cfg.name} has {neurons}: nothing to narrow")
    ratio = previous.MODEL.BACKBONE.MLP_RATIO  # type: ignore[attr-defined]  # others have no MLPs to narrow
    wide = load_experiment(config, [*overrides, f"MODEL.BACKBONE.MLP_RATIO={ratio}"], options.script)
    device = checked_device(options.device)
    net, env = family_of(cfg).build(wide), env_settings()
    load_previous(net, wide, replace(options, save_dir=options.save_dir or env.save_dir))
    probe = Path(f"{out}.probe")  # fail before minutes of work would be lost
    save_checkpoint({}, probe)
    probe.unlink()
    actor = build_actor(net.to(device).eval(), wide, optim.amp_dtype(cfg.TRAIN.AMP, device))
    loader = build_loader(cfg, "TRAIN", open_sources(cfg, env, options.use_lmdb))
    drawn = list(islice(batches(loader), math.ceil(samples / cfg.TRAIN.BATCH_SIZE)))
    run = partial(_mean_iou, actor, drawn)
    before = run()
    logger.info("%s: mean IoU of %d samples %.3f", previous.name, len(drawn) * cfg.TRAIN.BATCH_SIZE, before)
    narrow_mlps(net, wanted, run)
    after = run()
    save_checkpoint({"net": net.cpu().state_dict(), "config": to_plain(cfg)}, out)
    return before, after


def _mlp_hidden(cfg: ExperimentConfig) -> int:
    """Return the neurons of each MLP from ``MODEL.BACKBONE.MLP_RATIO``, which not every family has."""
    hidden = getattr(cfg.MODEL.BACKBONE, "mlp_hidden", None)
    if hidden is None:
        raise ConfigError(f"{cfg.name or 'the experiment'} has no MODEL.BACKBONE.MLP_RATIO to narrow")
    return hidden


@torch.no_grad()
def _mean_iou(actor: Actor, samples: Sequence[dict[str, Any]]) -> float:
    """Return the mean IoU of an actor's network on batches."""
    moved = map(actor.to_device, samples)
    return sum(float(actor.losses(actor.run(batch, None), batch)[1]["IoU"]) for batch in moved) / len(samples)


@torch.no_grad()
def narrow_mlps(model: nn.Module, hidden: int, run: Callable[[], object]) -> None:
    """Narrow the MLPs of all blocks of ``model`` to ``hidden`` neurons, in place and without training.

    ``run`` runs the model on the samples for choosing neurons and fitting weights. Blocks are processed in order, so
    that each is fitted to the outputs of the narrowed blocks before it.
    """
    for block in model.modules():
        if isinstance(block, Block):
            mlp: Any = block.mlp
            statistics = _input_statistics(mlp.fc2, run)
            mlp.fc1, mlp.fc2 = _narrow(mlp.fc1, mlp.fc2, hidden, *statistics)


def _input_statistics(layer: nn.Linear, run: Callable[[], object]) -> tuple[Tensor, Tensor]:
    """Return mean (C,) and covariance (C, C) of the inputs of ``layer`` in a run, in float64."""
    count, width = 0, layer.in_features
    total, products = torch.zeros(width, dtype=torch.float64), torch.zeros(width, width, dtype=torch.float64)

    def add(_: nn.Module, inputs: tuple[Tensor]) -> None:
        nonlocal count
        rows = inputs[0].detach().float().flatten(0, -2)
        count += len(rows)
        total.add_(rows.sum(0).cpu())
        products.add_((rows.T @ rows).cpu())

    hook = layer.register_forward_pre_hook(add)
    try:
        run()
    finally:
        hook.remove()
    mean = total / count
    return mean, products / count - torch.outer(mean, mean)


def _narrow(
    first: nn.Linear, second: nn.Linear, hidden: int, mean: Tensor, covariance: Tensor
) -> tuple[nn.Linear, nn.Linear]:
    """Return the layers of an MLP reduced to ``hidden`` neurons, given the statistics of the neurons' outputs.

    Neurons are removed one by one, each time the one whose removal changes the MLP's output least after refitting the
    second layer: Optimal Brain Surgeon (Hassibi and Stork, NIPS 1992), applied to neurons instead of weights.
    """
    weight, bias = second.weight.double().cpu(), second.bias.double().cpu()
    ridge = RIDGE * covariance.diagonal().mean()
    inverse = torch.linalg.inv(covariance + ridge * torch.eye(len(covariance), dtype=torch.float64))
    fitted, dropped = weight.clone(), torch.zeros(len(covariance), dtype=torch.bool)
    for _ in range(first.out_features - hidden):
        loss = fitted.square().sum(0) / inverse.diagonal()
        least = int(loss.masked_fill(dropped, torch.inf).argmin())
        dropped[least] = True
        row = inverse[least] / inverse[least, least]
        fitted -= torch.outer(fitted[:, least], row)
        inverse -= torch.outer(inverse[:, least], row)
        # Rounding errors of entries that are 0 must not grow.
        fitted[:, least] = 0
        inverse[least] = inverse[:, least] = 0
        inverse[least, least] = 1
    kept = (~dropped).nonzero()[:, 0]
    fitted = fitted[:, kept]
    own = kept.to(first.weight.device)
    moved = bias + weight @ mean - fitted @ mean[kept]
    return _layer(first.weight[own], first.bias[own]), _layer(fitted.to(second.weight), moved.to(second.bias))


def _layer(weight: Tensor, bias: Tensor) -> nn.Linear:
    """Return a linear layer with this weight (out, in) and bias (out,)."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], device=weight.device, dtype=weight.dtype)
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)
    return layer
