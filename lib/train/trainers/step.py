"""One optimiser step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from lib.train.actors.ostrack import OSTrackActor
from lib.utils.errors import OSTrackError


class NonFiniteLossError(OSTrackError):
    """A loss or gradient is NaN or infinite; the message names the samples of the batch."""


def train_step(
    actor: OSTrackActor,
    batches: Sequence[dict[str, Any]],
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    epoch: int,
    clip_norm: float = 0.0,
) -> tuple[dict[str, float], float]:
    """Mean gradient over ``batches`` (all of one size), clipping, one step.

    Args:
        scaler: enabled for float16 only.
        epoch: counted from 1.
        clip_norm: largest gradient norm; 0 does not clip.

    Returns:
        Statistics, averaged over ``batches``, and the norm of the gradient before clipping.

    Raises:
        NonFiniteLossError: before anything is changed by the bad gradient.
    """
    optimizer.zero_grad(set_to_none=True)
    totals: dict[str, float] = {}
    for batch in batches:
        loss, stats = actor(batch, epoch)
        scaler.scale(loss / len(batches)).backward()
        for name, value in finite_stats(stats, batch).items():
            totals[name] = totals.get(name, 0.0) + value / len(batches)
    scaler.unscale_(optimizer)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    norm = torch.nn.utils.clip_grad_norm_(parameters, clip_norm if clip_norm > 0 else math.inf).item()
    if not scaler.is_enabled() and not math.isfinite(norm):
        raise NonFiniteLossError(f"the gradient's norm is {norm} for {_describe(batches)}")
    scaler.step(optimizer)
    scaler.update()
    return totals, norm


@torch.no_grad()
def eval_step(actor: OSTrackActor, batch: dict[str, Any], epoch: int) -> dict[str, float]:
    """Statistics of one batch; the network's mode is the caller's matter."""
    return finite_stats(actor(batch, epoch)[1], batch)


def finite_stats(stats: dict[str, torch.Tensor], batch: dict[str, Any]) -> dict[str, float]:
    """Statistics as numbers, in one transfer from the device.

    Raises:
        NonFiniteLossError: one of them is NaN or infinite.
    """
    values = dict(zip(stats, torch.stack(list(stats.values())).tolist(), strict=True))
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    if bad:
        raise NonFiniteLossError(f"{', '.join(f'{name} is {values[name]}' for name in bad)} for {_describe([batch])}")
    return values


def _describe(batches: Sequence[dict[str, Any]]) -> str:
    return "the batch made from: " + "; ".join(source for batch in batches for source in batch["source"])
