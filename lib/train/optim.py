"""Optimizer, learning-rate schedule, average of the weights and precision of an experiment."""

from __future__ import annotations

import bisect
import copy
import logging
import math
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from lib.config import ExperimentConfig
from lib.utils.errors import ConfigError

logger = logging.getLogger(__name__)

_COSINE_FLOOR = 0.01
_NEW = "backbone.token_types."  # parameters of the backbone that are not pre-trained


def freeze_layers(model: nn.Module, layers: Sequence[int]) -> None:
    """Freeze the blocks with these numbers, counted from 1; with block 1 also the embeddings. 0 = no block.

    Raises:
        ConfigError: the model has no such block in ``backbone.blocks``.
    """
    numbers, depth = [number for number in layers if number > 0], _depth(model)
    if not numbers:
        return
    if max(numbers) > depth:
        raise ConfigError(f"TRAIN.FREEZE_LAYERS names block {max(numbers)}, the model has {depth} in backbone.blocks")
    frozen = [f"blocks.{number - 1}" for number in numbers]
    if 1 in layers:
        frozen += ["patch_embed", "pos_embed", "cls_token"]
    for name, parameter in model.get_submodule("backbone").named_parameters():
        if any(name == part or name.startswith((f"{part}.", f"{part}_")) for part in frozen):
            parameter.requires_grad_(False)


def _depth(model: nn.Module) -> int:
    """Return the number of ``backbone.blocks``; 0 if the model has none."""
    try:
        return len(list(model.get_submodule("backbone.blocks").children()))
    except AttributeError:
        return 0


def frozen_parts(model: nn.Module, cfg: ExperimentConfig) -> list[nn.Module | nn.Parameter]:
    """Return the modules and parameters of ``TRAIN.FREEZE_PARTS``. Raises ConfigError: the model has no such part."""
    parts: list[nn.Module | nn.Parameter] = []
    parameters = dict(model.named_parameters())
    for name in cfg.TRAIN.FREEZE_PARTS:
        try:
            parts.append(parameters[name] if name in parameters else model.get_submodule(name))
        except AttributeError as error:
            there = ", ".join(part for part, _ in model.named_children())
            raise ConfigError(f"TRAIN.FREEZE_PARTS: the model has no part {name!r}, but {there}") from error
    return parts


def train_mode(model: nn.Module, cfg: ExperimentConfig) -> None:
    """Put a model in training mode, except frozen parts, whose batch norm statistics must not change."""
    model.train()
    for part in frozen_parts(model, cfg):
        if isinstance(part, nn.Module):
            part.eval()


def parameter_groups(model: nn.Module, cfg: ExperimentConfig) -> list[dict]:
    """Return two groups: the head at ``TRAIN.LR``, the backbone at ``TRAIN.LR * TRAIN.BACKBONE_MULTIPLIER``.

    Token types, which are not pre-trained, belong to the head's group, frozen parameters to none. With
    ``TRAIN.LAYER_DECAY`` below 1 the backbone has a group for each depth (Bao et al., BEiT, ICLR 2022): its rate is
    multiplied by the decay once for the last block, once more for each block before it and for the embeddings, not for
    the final norm.

    Raises:
        ConfigError: ``TRAIN.LAYER_DECAY`` is set for a model without ``backbone.blocks``.
    """
    depth = _depth(model)
    if cfg.TRAIN.LAYER_DECAY < 1 and not depth:
        raise ConfigError("TRAIN.LAYER_DECAY must be 1 for a model without backbone.blocks")
    head: list[nn.Parameter] = []
    backbone: dict[int, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if name.startswith("backbone.") and not name.startswith(_NEW):
            distance = _distance_from_head(name, depth) if cfg.TRAIN.LAYER_DECAY < 1 else 0
            backbone.setdefault(distance, []).append(parameter)
        else:
            head.append(parameter)
    rate = cfg.TRAIN.LR * cfg.TRAIN.BACKBONE_MULTIPLIER
    return [
        {"params": head, "lr": cfg.TRAIN.LR},
        *({"params": backbone[d], "lr": rate * cfg.TRAIN.LAYER_DECAY**d} for d in sorted(backbone)),
    ]


def _distance_from_head(name: str, depth: int) -> int:
    """Return 0 for the backbone's final norm, 1 for its last block, ..., ``depth + 1`` for the embeddings."""
    if block := re.match(r"backbone\.blocks\.(\d+)\.", name):
        return depth - int(block[1])
    return 0 if name.startswith("backbone.norm.") else depth + 1


def build_optimizer(model: nn.Module, cfg: ExperimentConfig) -> torch.optim.Optimizer:
    """Freeze what the experiment freezes, and return AdamW over :func:`parameter_groups`, with weight decay on all.

    It is fused on CUDA; on the CPU torch's default reproduces published steps. The model is on its device, and not
    wrapped.

    Raises:
        ConfigError: a part to freeze is unknown, or nothing is left to train.
    """
    freeze_layers(model, cfg.TRAIN.FREEZE_LAYERS)
    for part in frozen_parts(model, cfg):
        part.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError("TRAIN.FREEZE_PARTS and TRAIN.FREEZE_LAYERS leave nothing to train")
    fused = True if next(model.parameters()).is_cuda else None
    groups = parameter_groups(model, cfg)
    return torch.optim.AdamW(groups, lr=cfg.TRAIN.LR, weight_decay=cfg.TRAIN.WEIGHT_DECAY, fused=fused)


def lr_factor(cfg: ExperimentConfig, epoch: int, progress: float = 0.0) -> float:
    """Return the factor of every group's learning rate: a pure function of time, so a resumed run needs no state.

    ``step`` multiplies by ``SCHEDULER.DECAY_RATE`` after every ``LR_DROP_EPOCH`` epochs, ``Mstep`` by
    ``SCHEDULER.GAMMA`` after each epoch of ``SCHEDULER.MILESTONES``, ``cosine`` falls from 1 to 0.01 over the epochs
    after warm-up. In all of them, warm-up rises linearly over ``SCHEDULER.WARMUP_EPOCH`` epochs. Epochs count from 1;
    ``progress`` is the fraction of this one that is done after the next step.
    """
    train, schedule = cfg.TRAIN, cfg.TRAIN.SCHEDULER
    time, warmup = epoch - 1 + progress, schedule.WARMUP_EPOCH
    rise = min(1.0, time / warmup) if warmup > 0 else 1.0
    if schedule.TYPE == "step":
        return rise * schedule.DECAY_RATE ** ((epoch - 1) // train.LR_DROP_EPOCH)
    if schedule.TYPE == "Mstep":
        return rise * schedule.GAMMA ** bisect.bisect_right(sorted(schedule.MILESTONES), epoch - 1)
    done = min(1.0, max(0.0, time - warmup) / max(train.EPOCH - warmup, 1e-9))  # cosine
    return rise * (_COSINE_FLOOR + (1 - _COSINE_FLOOR) * 0.5 * (1 + math.cos(math.pi * done)))


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group to ``factor`` times its initial rate."""
    for group in optimizer.param_groups:
        group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor


def amp_dtype(setting: bool | str, device: torch.device) -> torch.dtype | None:
    """Return the autocast dtype for ``TRAIN.AMP``: float16 on CUDA and bfloat16 elsewhere for True, None for False."""
    if not setting:
        return None
    if setting is True:
        setting = "fp16" if device.type == "cuda" else "bf16"
    return {"bf16": torch.bfloat16, "fp16": torch.float16}[setting]


def set_precision(cfg: ExperimentConfig, device: torch.device) -> None:
    """Set, for the whole process, whether float32 products on CUDA use TensorFloat-32 (19 bits), by ``TRAIN.TF32``.

    By default torch disables it for matrix products and enables it for convolutions; this key sets both.
    """
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = cfg.TRAIN.TF32
    elif cfg.TRAIN.TF32:
        logger.info("TRAIN.TF32 changes nothing on %s, only on CUDA", device)


class Ema:
    """Exponential moving average of a network's weights, which often tracks better than the last weights.

    All floating-point state is averaged, batch norm's running statistics included: those of the newest weights would
    not fit averaged ones. The average ``module``, in evaluation mode and without gradients, starts as a copy of
    ``model``, which is not wrapped. Its decay rises with the updates n as ``(1 + n) / (10 + n)`` up to ``decay``, so
    that the random initial weights of a new head decay fast.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.decay, self.updates = decay, 0
        self.module = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Add the weights of ``model`` after a step to the average."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        average, current = self.module.state_dict(), model.state_dict()
        averaged = [name for name, value in average.items() if value.is_floating_point()]
        get_ema_multi_avg_fn(decay)([average[name] for name in averaged], [current[name] for name in averaged], None)
        for name in average.keys() - averaged:
            average[name].copy_(current[name])

    def state_dict(self) -> dict[str, Any]:
        """Return ``net``, the averaged weights under the network's own names, and ``updates``."""
        return {"net": self.module.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.module.load_state_dict(state["net"])
        self.updates = state["updates"]
