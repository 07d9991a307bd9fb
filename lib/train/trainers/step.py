"""One optimization step, one evaluation step, and the report of a loss or gradient that is NaN or infinite."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lib.train.actors import Actor
from lib.train.distributed import all_gather_object, all_reduce_mean, train_dist_info, without_sync
from lib.utils.checkpoint import save_checkpoint
from lib.utils.errors import CheckpointError, OSTrackError

_NAMES_SHOWN = 5


class NonFiniteLossError(OSTrackError):
    """A loss or gradient is NaN or infinite. ``here``: the samples of this rank may have caused it."""

    def __init__(self, message: str, here: bool = True):
        super().__init__(message)
        self.here = here


@dataclass(frozen=True)
class StepOutcome:
    """Result of one optimization step, identical on every rank."""

    stats: dict[str, float]  # means of the statistics over all samples of all ranks
    norm: float  # of the gradient before clipping
    skipped: bool  # float16 overflowed, and the weights are unchanged
    stop: bool  # a rank was asked to stop


def train_step(
    actor: Actor,
    batches: Sequence[dict[str, Any]],
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    epoch: int,
    clip_norm: float = 0.0,
    stop: bool = False,
) -> StepOutcome:
    """Average the gradient over ``batches`` (of equal size) and ranks, clip it and run the optimizer.

    With an enabled scaler, for float16 only, a step with a NaN or infinite loss or gradient is skipped and the scale
    halved, unless the scale is below 1, where it cannot be the cause. Batch norm's running statistics are restored:
    they would stay NaN. A ``clip_norm`` of 0 does not clip; with ``stop`` this rank was asked to stop.

    Raises:
        NonFiniteLossError: on all ranks, before the weights change; the bad gradient is left in place.
    """
    optimizer.zero_grad(set_to_none=True)
    buffers = [buffer.clone() for buffer in actor.net.buffers()] if scaler.is_enabled() else []
    totals: dict[str, torch.Tensor] = {}
    for index, batch in enumerate(batches):
        with nullcontext() if index == len(batches) - 1 else without_sync(actor.net):
            loss, stats = actor(batch, epoch)
            scaler.scale(loss / len(batches)).backward()
        for name, value in stats.items():
            totals[name] = totals[name] + value if name in totals else value
    own = torch.stack([*totals.values(), loss.new_tensor(stop)]).float()
    here = not own.isfinite().all()
    *sums, stops = all_reduce_mean(own).tolist()
    means = {name: value / len(batches) for name, value in zip(totals, sums, strict=True)}
    bad = _non_finite(means)
    tolerated = scaler.is_enabled() and scaler.get_scale() >= 1
    if bad and not tolerated:
        raise NonFiniteLossError(bad, here)

    if bad:
        for buffer, before in zip(actor.net.buffers(), buffers, strict=True):
            buffer.copy_(before)
    scaler.unscale_(optimizer)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    limit = clip_norm if clip_norm > 0 else math.inf
    try:
        norm = torch.nn.utils.clip_grad_norm_(parameters, limit, error_if_nonfinite=not tolerated).item()
    except RuntimeError as error:
        raise NonFiniteLossError("the gradient's norm is not finite") from error
    skipped = not math.isfinite(norm)
    if bad and not skipped:
        raise NonFiniteLossError(f"{bad}, but the gradient is finite", here)
    scaler.step(optimizer)
    scaler.update()
    return StepOutcome(means, norm, skipped, stop=stops > 0)


@torch.no_grad()
def eval_step(actor: Actor, batch: dict[str, Any], epoch: int) -> dict[str, float]:
    """Return the statistics of one batch of this rank. Raises NonFiniteLossError: one of them is NaN or infinite."""
    stats = actor(batch, epoch)[1]
    values = dict(zip(stats, torch.stack(list(stats.values())).tolist(), strict=True))
    if bad := _non_finite(values):
        raise NonFiniteLossError(bad)
    return values


def _non_finite(values: dict[str, float]) -> str:
    """List the values that are NaN or infinite, by name; empty when there are none."""
    return ", ".join(f"{name} is {value}" for name, value in values.items() if not math.isfinite(value))


def report_train_failure(
    error: NonFiniteLossError,
    batches: Sequence[dict[str, Any]],
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    where: str,
    folder: Path,
) -> NonFiniteLossError:
    """Write the batches of the ranks that caused ``error``, or of all ranks if that is unknown, and describe it.

    All ranks call this together and get the same error. ``where`` is like ``train epoch 3, step 17``; each rank writes
    a file in ``folder``.
    """
    sources = [source for batch in batches for source in batch["source"]]
    findings = all_gather_object((error.here, str(error), sources))
    blamed = [rank for rank, (here, _, _) in enumerate(findings) if here] or list(range(len(findings)))
    kept = all_gather_object(_keep(batches, where, folder) if train_dist_info().rank in blamed else None)
    sources = [source for rank in blamed for source in findings[rank][2]]
    lines = [*_bad_parameters(net, optimizer), *(line for line in kept if line)]
    return _described(where, findings[blamed[0]][1], sources, lines)


def report_eval_failure(
    error: NonFiniteLossError, batch: dict[str, Any], where: str, folder: Path
) -> NonFiniteLossError:
    """Write the validation batch that caused ``error`` on this rank, and describe it."""
    return _described(where, str(error), batch["source"], [_keep([batch], where, folder)])


def _described(where: str, error: str, sources: Sequence[str], lines: Sequence[str]) -> NonFiniteLossError:
    return NonFiniteLossError("\n  ".join([f"{where}: {error} for the batch made from: {'; '.join(sources)}", *lines]))


def _keep(batches: Sequence[dict[str, Any]], where: str, folder: Path) -> str:
    """Write batches; return a line with their path, or the reason why they could not be written."""
    path = folder / f"{where.replace(',', '').replace(' ', '_')}_rank{train_dist_info().rank}.pt"
    try:
        save_checkpoint({"where": where, "batches": list(batches)}, path)
    except CheckpointError as error:
        return f"the batch could not be kept: {error}"
    return f"the batch is kept in {path}"


def _bad_parameters(net: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """Return a line for each parameter group with gradients or weights that are NaN or infinite."""
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    lines = []
    for what, tensor_of in (("gradients", lambda p: p.grad), ("weights", lambda p: p.detach())):
        for index, group in enumerate(optimizer.param_groups):
            tensors = {names[id(p)]: tensor_of(p) for p in group["params"]}
            bad = [name for name, tensor in tensors.items() if tensor is not None and not tensor.isfinite().all()]
            if bad:
                shown = ", ".join(bad[:_NAMES_SHOWN]) + (" ..." if len(bad) > _NAMES_SHOWN else "")
                lines.append(
                    f"{what} that are not finite: {len(bad)} of {len(tensors)} tensors of parameter group {index} "
                    f"(learning rate {group['lr']:.3g}): {shown}"
                )
    return lines
