"""Training one network in several processes, described by the environment variables of ``torchrun``.

A single process has no process group: every function then does nothing and returns its argument.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lib.utils.dist_info import TORCHRUN, DistInfo, dist_info
from lib.utils.errors import ConfigError, OSTrackError

TIMEOUT = timedelta(minutes=30)  # a rank waits while rank 0 reads annotation or writes a checkpoint
# Parts of gloo's messages (it has no error class of its own) when another process has ended or does not answer.
_LOST = ("/gloo/", "pair closure", "Connection closed by peer", "Connection reset by peer")


def train_dist_info() -> DistInfo:
    """Read the variables of ``torchrun``; alone without ``RANK``. Raises ConfigError: they are incomplete or wrong."""
    missing = [name for name in TORCHRUN[:3] if not os.environ.get(name)]
    if "RANK" in os.environ and missing:
        raise ConfigError(f"environment variable RANK is set, but {', '.join(missing)} is not: torchrun sets them all")
    return dist_info((TORCHRUN,))


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Join the other processes in the body: by NCCL on CUDA, by gloo on the CPU.

    After an error the group is not destroyed: the others cannot answer any more, and the process is about to end.

    Raises:
        ConfigError: the others cannot be reached at ``MASTER_ADDR:MASTER_PORT``.
        OSTrackError: inside, one of them ended or did not answer within :data:`TIMEOUT`.
    """
    if train_dist_info().world == 1:
        yield
        return
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    try:
        dist.init_process_group("nccl" if on_gpu else "gloo", timeout=TIMEOUT, device_id=device if on_gpu else None)
    except (RuntimeError, ValueError) as error:
        address = ":".join(os.environ.get(name, "(not set)") for name in ("MASTER_ADDR", "MASTER_PORT"))
        raise ConfigError(
            f"the other processes cannot be reached at MASTER_ADDR:MASTER_PORT {address}: {error}"
        ) from error
    try:
        yield
        if dist.is_initialized():
            barrier()
            dist.destroy_process_group()
    except RuntimeError as error:
        message = str(error).partition("\n")[0]
        if not isinstance(error, dist.DistError) and not any(sign in message for sign in _LOST):
            raise
        limit = TIMEOUT.total_seconds() / 60
        raise OSTrackError(
            f"another process of this run has ended, or has not answered for {limit:g} minutes: {message}"
        ) from error


def leave_group() -> None:
    """Leave the process group without waiting: the others fail as soon as they wait for this rank."""
    if dist.is_initialized():
        dist.destroy_process_group()


def wrap(net: nn.Module, device: torch.device) -> nn.Module:
    """Wrap ``net`` so that gradients are averaged over the ranks; all start from rank 0's weights.

    Freeze parameters before. Unused ones (``cls_token``, ``pos_embed``) are allowed. Batch norm is each rank's own, as
    published; every step and :func:`share_buffers` take the running statistics of rank 0.
    """
    if not dist.is_initialized():
        return net
    devices = [device] if device.type == "cuda" else None
    return DistributedDataParallel(net, device_ids=devices, find_unused_parameters=True)


def without_sync(net: nn.Module) -> AbstractContextManager:
    """Accumulate gradients in the body on this rank only."""
    return net.no_sync() if isinstance(net, DistributedDataParallel) else nullcontext()


def share_buffers(net: nn.Module) -> None:
    """Broadcast the buffers of rank 0's ``net`` to all ranks."""
    if dist.is_initialized():
        for buffer in net.buffers():
            dist.broadcast(buffer, src=0)


def all_reduce_mean(values: Tensor) -> Tensor:
    """Average a tensor of one shape over the ranks, in place."""
    if dist.is_initialized():
        dist.all_reduce(values)
        values /= dist.get_world_size()
    return values


def all_gather_object(value: Any) -> list[Any]:
    """Return the values of all ranks, in their order."""
    if not dist.is_initialized():
        return [value]
    gathered: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, value)
    return gathered


def barrier() -> None:
    """Wait until all ranks have reached this call, for :data:`TIMEOUT` at most."""
    if dist.is_initialized():
        dist.barrier()
