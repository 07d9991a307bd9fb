"""Optimizer, learning-rate schedule and precision of an experiment."""

from __future__ import annotations

import bisect
import logging
import math
import re
from collections.abc import Sequence

import torch
from torch import nn

from lib.config import ExperimentConfig
from lib.utils.errors import ConfigError

log = logging.getLogger(__name__)

_COSINE_FLOOR = 0.01
_NEW = "backbone.token_types."  # parameters of the backbone that are not pre-trained


def freeze_layers(model: nn.Module, layers: Sequence[int]) -> None:
    """Stop the gradient of the blocks with these numbers, counted from 1; with block 1 also of the embeddings.

    0 stands for no block: ``[0]`` is the published value, with which everything is trained.
    """
    frozen = [f"blocks.{number - 1}" for number in layers if number > 0]
    if 1 in layers:
        frozen += ["patch_embed", "pos_embed", "cls_token"]
    for name, parameter in model.get_submodule("backbone").named_parameters():
        if any(name == part or name.startswith((f"{part}.", f"{part}_")) for part in frozen):
            parameter.requires_grad_(False)


def parameter_groups(model: nn.Module, cfg: ExperimentConfig) -> list[dict]:
    """Two groups: the head at ``TRAIN.LR``, the backbone at ``TRAIN.LR * TRAIN.BACKBONE_MULTIPLIER``.

    Token types belong to the head's group: no pre-training has them, they start as zeros.

    With ``TRAIN.LAYER_DECAY`` below 1 the backbone has a group for each depth instead (Bao et al., BEiT, ICLR 2022):
    its rate is multiplied with the decay once for the last block, and once more for each block before it and for the
    embeddings; only its final norm keeps the whole rate. Parameters that are frozen are in no group.
    """
    depth = len(list(model.get_submodule("backbone.blocks").children()))
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
    """How deep a parameter of the backbone lies: 0 its final norm, 1 the last block, ``depth + 1`` the embeddings."""
    if block := re.match(r"backbone\.blocks\.(\d+)\.", name):
        return depth - int(block[1])
    return 0 if name.startswith("backbone.norm.") else depth + 1


def build_optimizer(model: nn.Module, cfg: ExperimentConfig) -> torch.optim.Optimizer:
    """AdamW over :func:`parameter_groups`, weight decay on everything, after freezing ``TRAIN.FREEZE_LAYERS``.

    On CUDA in one fused kernel. On the CPU torch's default stays: published steps are reproduced with it.

    Args:
        model: on its device, not wrapped for data parallelism.
    """
    freeze_layers(model, cfg.TRAIN.FREEZE_LAYERS)
    fused = True if next(model.parameters()).is_cuda else None
    groups = parameter_groups(model, cfg)
    return torch.optim.AdamW(groups, lr=cfg.TRAIN.LR, weight_decay=cfg.TRAIN.WEIGHT_DECAY, fused=fused)


def lr_factor(cfg: ExperimentConfig, epoch: int, progress: float = 0.0) -> float:
    """What every group's learning rate is multiplied with: a pure function of time, so a resumed run needs no state.

    ``step`` multiplies by ``SCHEDULER.DECAY_RATE`` after every ``LR_DROP_EPOCH`` epochs, ``Mstep`` by
    ``SCHEDULER.GAMMA`` after each epoch of ``SCHEDULER.MILESTONES``, ``cosine`` falls from 1 to 0.01 over what the
    warm-up leaves of the epochs. Warm-up rises linearly over ``SCHEDULER.WARMUP_EPOCH`` epochs in each of them.

    Args:
        epoch: counted from 1.
        progress: done share of this epoch, in [0, 1]; the share with the step that is about to be made included.
    """
    train, schedule = cfg.TRAIN, cfg.TRAIN.SCHEDULER
    time, warmup = epoch - 1 + progress, schedule.WARMUP_EPOCH
    rise = min(1.0, time / warmup) if warmup > 0 else 1.0
    if schedule.TYPE == "step":
        return rise * schedule.DECAY_RATE ** ((epoch - 1) // train.LR_DROP_EPOCH)
    if schedule.TYPE == "Mstep":
        return rise * schedule.GAMMA ** bisect.bisect_right(sorted(schedule.MILESTONES), epoch - 1)
    if schedule.TYPE == "cosine":
        done = min(1.0, max(0.0, time - warmup) / max(train.EPOCH - warmup, 1e-9))
        return rise * (_COSINE_FLOOR + (1 - _COSINE_FLOOR) * 0.5 * (1 + math.cos(math.pi * done)))
    raise ConfigError(f"TRAIN.SCHEDULER.TYPE is {schedule.TYPE!r}; known are step, Mstep and cosine")


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group to ``factor`` times the rate that it was made with."""
    for group in optimizer.param_groups:
        group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor


def amp_dtype(setting: bool | str, device: torch.device) -> torch.dtype | None:
    """The autocast type for ``TRAIN.AMP``: ``True`` means float16 on CUDA and bfloat16 elsewhere, ``False`` none."""
    if not setting:
        return None
    if setting is True:
        setting = "fp16" if device.type == "cuda" else "bf16"
    return {"bf16": torch.bfloat16, "fp16": torch.float16}[setting]


def set_precision(cfg: ExperimentConfig, device: torch.device) -> None:
    """Let float32 products on CUDA use TensorFloat-32 (19 bits) if ``TRAIN.TF32``; otherwise float32 is float32.

    By default torch forbids it for matrix products and allows it for convolutions: here one key decides both. It also
    holds for what stays in float32 under ``TRAIN.AMP``. For the whole process.
    """
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = cfg.TRAIN.TF32
    elif cfg.TRAIN.TF32:
        log.info("TRAIN.TF32 changes nothing on %s: TensorFloat-32 is a matter of CUDA", device)
