"""Report a loss or gradient that is NaN or infinite."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lib.train.distributed import all_gather_object, train_dist_info
from lib.train.trainers.step import NonFiniteLossError
from lib.utils.checkpoint import save_checkpoint
from lib.utils.errors import CheckpointError

_NAMES_SHOWN = 5


def report_train_failure(
    error: NonFiniteLossError,
    batches: Sequence[dict[str, Any]],
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    where: str,
    folder: Path,
) -> NonFiniteLossError:
    """Write the batches of the ranks that caused ``error``, or of all ranks if that is unknown, and describe it.

    All ranks call this together and get the same error.

    Args:
        where: split, epoch and step, such as ``train epoch 3, step 17``.
        folder: folder for the files, one per rank.
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
    name = where.replace(",", "").replace(" ", "_")
    path = folder / f"{name}_rank{train_dist_info().rank}.pt"
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
