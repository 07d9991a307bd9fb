"""Check the shared memory through which worker processes hand batches to the process that trains."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Iterable
from pathlib import Path

import torch

from lib.train.distributed import local_world_size
from lib.utils.errors import ConfigError, WorkerError

FOLDER = Path("/dev/shm")  # where Linux keeps it
PREFETCH = 2  # batches that each worker prepares ahead
_MB, _GB = 2**20, 2**30


def loader_bytes(batch: int, workers: int, held: int = 2) -> int:
    """Return how much shared memory a loader takes at most, in bytes.

    Args:
        batch: bytes of one batch.
        workers: number of worker processes.
        held: batches that the process that trains holds at a time.
    """
    return batch * (workers * PREFETCH + held)


def require_shared_memory(needed: int) -> None:
    """Check that ``needed`` bytes of shared memory are free for every process that trains on this machine.

    Raises:
        ConfigError: they are not; the message says what to do.
    """
    needed *= local_world_size()
    space = _space()
    if space and space[1] < needed:
        raise ConfigError(_shortage(*space, needed))


def share(tensors: Iterable[torch.Tensor], workers: int) -> None:
    """Move the tensors of a batch into shared memory, in one of ``workers`` worker processes.

    Without this, torch does so in a thread of the worker's queue. An error is lost there and the batch with it, for
    which the process that trains would wait for ever.

    Raises:
        WorkerError: there is not enough shared memory, or too many files are open.
    """
    tensors = list(tensors)
    try:
        for tensor in tensors:
            tensor.share_memory_()
    except RuntimeError as error:
        message, space = str(error).splitlines()[0], _space()
        if os.strerror(errno.ENOSPC) in message and space:
            needed = loader_bytes(sum(tensor.nbytes for tensor in tensors), workers) * local_world_size()
            raise WorkerError(_shortage(*space, needed)) from error
        raise WorkerError(f"a batch cannot be put into shared memory: {message}. {FILES_ADVICE}") from error


FILES_ADVICE = "Raise the limit of open files (ulimit -n), or set TRAIN.NUM_WORKER=0"


def _space() -> tuple[int, int] | None:
    """Return size and free part of the shared memory in bytes; None where there is no limit or it is not known."""
    try:
        found = os.statvfs(FOLDER)
    except OSError:
        return None
    return (found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize) if found.f_blocks else None


def _shortage(total: int, free: int, needed: int) -> str:
    used = f" ({free // _MB} MB of them free)" if total - free > _MB else ""
    return (
        f"{FOLDER} has {total // _MB} MB{used}, the loader needs about {math.ceil(needed / _MB)} MB: start the "
        f"container with --shm-size={math.ceil(needed / _GB)}g or --ipc=host, or set TRAIN.NUM_WORKER=0 or a smaller "
        "TRAIN.BATCH_SIZE"
    )
