"""Several processes that train one network, described by the environment variables of ``torchrun``.

A single process has no process group: every function here then does nothing and returns its argument.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lib.utils.errors import ConfigError, OSTrackError

# The longest that a rank waits for the others. Rank 0 may be reading annotations or writing a checkpoint meanwhile.
TIMEOUT = timedelta(minutes=30)
# What gloo, which knows no error class of its own, says when another process is gone or does not answer.
_LOST = ("/gloo/", "pair closure", "Connection closed by peer", "Connection reset by peer")


@dataclass(frozen=True)
class Place:
    """Which of the processes this one is: ``rank`` of ``world``, and number ``local_rank`` on its machine."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this process logs and saves."""
        return self.rank == 0


def place() -> Place:
    """This process's place, from ``RANK``, ``WORLD_SIZE`` and ``LOCAL_RANK``; without ``RANK`` it is alone.

    Raises:
        ConfigError: only some of the variables are set, or they are no numbers that fit.
    """
    if "RANK" not in os.environ:
        return Place()
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    try:
        found = Place(*(int(os.environ[name]) for name in names))
    except (KeyError, ValueError) as error:
        shown = ", ".join(f"{name}={os.environ.get(name)!r}" for name in names)
        raise ConfigError(f"environment variables {shown}: all three must be numbers; torchrun sets them") from error
    if not 0 <= found.rank < found.world or found.local_rank < 0:
        raise ConfigError(f"environment variables RANK={found.rank}, WORLD_SIZE={found.world} do not fit each other")
    return found


def local_world_size() -> int:
    """Return how many processes train on this machine, from ``LOCAL_WORLD_SIZE``; without it this one is alone."""
    try:
        return max(1, int(os.environ["LOCAL_WORLD_SIZE"])) if "RANK" in os.environ else 1
    except (KeyError, ValueError):
        return 1


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Join the other processes: by NCCL on CUDA, by gloo on the CPU.

    After an error the group is left as it is: the others cannot answer any more, and the process is about to end.

    Raises:
        ConfigError: the others cannot be reached at ``MASTER_ADDR:MASTER_PORT``.
        OSTrackError: inside, one of them ended or did not answer within :data:`TIMEOUT`.
    """
    if place().world == 1:
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
    """Leave the other processes without waiting for them: they fail as soon as they wait for this one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def wrap(net: nn.Module, device: torch.device) -> nn.Module:
    """``net`` with gradients that are the mean over the processes; all start from rank 0's weights.

    Parameters that must not be trained are to be frozen before. Unused ones (``cls_token``, ``pos_embed``) are allowed.
    Batch norm stays each process's own, as published; the running statistics that count are those of rank 0, which
    every step starts from and :func:`share_buffers` gives to all for evaluation.
    """
    if not dist.is_initialized():
        return net
    devices = [device] if device.type == "cuda" else None
    return DistributedDataParallel(net, device_ids=devices, find_unused_parameters=True)


def without_sync(net: nn.Module) -> AbstractContextManager:
    """Inside, gradients are added up in this process only."""
    return net.no_sync() if isinstance(net, DistributedDataParallel) else nullcontext()


def share_buffers(net: nn.Module) -> None:
    """Give the buffers of rank 0's ``net`` to all."""
    if dist.is_initialized():
        for buffer in net.buffers():
            dist.broadcast(buffer, src=0)


def mean_over_ranks(values: Tensor) -> Tensor:
    """Mean of a tensor of one shape over the processes, in place."""
    if dist.is_initialized():
        dist.all_reduce(values)
        values /= dist.get_world_size()
    return values


def gather(value: Any) -> list[Any]:
    """What every process gave, in the order of their ranks; on each of them."""
    if not dist.is_initialized():
        return [value]
    gathered: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, value)
    return gathered


def from_main(value: Any) -> Any:
    """Rank 0's value."""
    if not dist.is_initialized():
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def barrier() -> None:
    """Wait until every process is here, for :data:`TIMEOUT` at most."""
    if dist.is_initialized():
        dist.barrier()


@contextmanager
def first_of_each_machine() -> Iterator[None]:
    """One process of each machine runs the body before the others do: it fills caches that they then read."""
    if place().local_rank:
        barrier()
    yield
    if not place().local_rank:
        barrier()
