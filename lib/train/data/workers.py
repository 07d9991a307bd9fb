"""Worker processes that load data: their start and end, and the shared memory through which they send batches."""

from __future__ import annotations

import errno
import math
import multiprocessing.queues
import os
import re
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import torch

from lib.train.distributed import train_dist_info
from lib.utils.errors import ConfigError, OSTrackError, WorkerError

_PARENT_SECONDS = 5.0  # how often a worker checks that the training process still runs
FOLDER = Path("/dev/shm")  # the shared memory of Linux
PREFETCH = 2  # batches that each worker prepares ahead
_MB, _GB = 2**20, 2**30
_FILES_ADVICE = "Raise the limit of open files (ulimit -n), or set TRAIN.NUM_WORKER=0"


def loader_bytes(batch: int, workers: int, held: int = 2) -> int:
    """Return the most shared memory that a loader uses, in bytes.

    Args:
        batch: bytes of one batch.
        held: batches that the training process holds at a time.
    """
    return batch * (workers * PREFETCH + held)


def require_shared_memory(needed: int) -> None:
    """Check that ``needed`` bytes of shared memory are free for every rank on this machine.

    Raises:
        ConfigError: they are not; the message says how to fix it.
    """
    needed *= train_dist_info().local_world
    space = _space()
    if space and space[1] < needed:
        raise ConfigError(_shortage(*space, needed))


def share(tensors: Iterable[torch.Tensor], workers: int) -> None:
    """Move the tensors of a batch into shared memory, in one of ``workers`` worker processes.

    Otherwise torch does so in a thread of the worker's queue, where an error is lost with the batch, and the training
    process waits forever.

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
            needed = loader_bytes(sum(tensor.nbytes for tensor in tensors), workers) * train_dist_info().local_world
            raise WorkerError(_shortage(*space, needed)) from error
        raise WorkerError(f"a batch cannot be put into shared memory: {message}. {_FILES_ADVICE}") from error


def _space() -> tuple[int, int] | None:
    """Return total and free shared memory in bytes; None if it is unlimited or unknown."""
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


@contextmanager
def worker_errors() -> Iterator[None]:
    """Convert the errors that torch raises in the body for a worker into our errors.

    A dead worker is reported by a signal, so its error may be raised anywhere in the training process, not only while
    it waits for a batch; this must therefore enclose whole epochs.
    """
    try:
        yield
    except OSTrackError as error:
        kind = type(error)
        if not str(error).startswith(f"Caught {kind.__name__} in DataLoader worker"):
            raise
        raise kind(str(error).rpartition(f"{kind.__name__}: ")[2].strip()) from error
    except RuntimeError as error:
        message = next(iter(str(error).splitlines()), "")
        advice = next((advice for start, advice in _TORCH_ERRORS.items() if message.startswith(start)), None)
        if advice is None:
            raise
        raise WorkerError(f"{re.split(r'[.] ?', message)[0]}. {advice}") from error


# Advice by the beginning of torch's message when workers fail; its first sentence is kept.
_TORCH_ERRORS = {
    "DataLoader worker (pid": "See above for its output; if memory ran out (of /dev/shm after a bus error), lower "
    "TRAIN.NUM_WORKER or TRAIN.BATCH_SIZE",
    "DataLoader timed out": "A worker process hangs, or cannot read the data so fast: does their file system answer? "
    "TRAIN.DATA_TIMEOUT is the limit, in seconds",
    "Too many open files": _FILES_ADVICE,
}


def start_worker(worker: int) -> None:
    """Set up a worker: one thread each, since the workers fill the cores, and its own handling of signals.

    Ctrl-C and a cluster's SIGTERM reach workers too, while the training process may still have to finish a step and
    save a checkpoint. Workers ignore SIGINT, and SIGTERM unless the training process sends it. A worker ends when the
    training process has ended, and when it cannot send a batch, since that process would wait for it.
    """
    queue: Any = multiprocessing.queues.Queue
    queue._on_queue_feeder_error = staticmethod(_end_unsent)
    # Not 1: in a forked process OpenCV would then wait forever for the threads of the parent process.
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()


def _end_unsent(error: Exception, batch: object) -> None:
    os.write(sys.stderr.fileno(), f"a batch cannot be sent: {error}\n".encode())
    os._exit(1)


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        sent = signal.sigtimedwait({signal.SIGTERM}, _PARENT_SECONDS)
        if sent and sent.si_pid == parent:
            break
    os._exit(0)
