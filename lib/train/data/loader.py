"""Batches of training samples, the same for any number of worker processes and ranks."""

from __future__ import annotations

import errno
import logging
import math
import multiprocessing.queues
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, get_worker_info

from lib.config import ExperimentConfig, drawn_datasets
from lib.train.admin.environment import EnvironmentSettings
from lib.train.data.sampler import EpochSampler
from lib.train.data.samples import PairSource, Sample, SampleSpec, TrackingDataset, open_source
from lib.train.distributed import train_dist_info
from lib.utils.cpu import cpu_count
from lib.utils.dist_info import ALONE, DistInfo
from lib.utils.errors import ConfigError, DataError, OSTrackError, WorkerError, listed

logger = logging.getLogger(__name__)

# Each split has its own stream of random numbers.
_STREAMS = {"TRAIN": 0, "VAL": 1}
_FEW_BROKEN = 10
_MOST_LISTED = 20
_PARENT_SECONDS = 5.0  # how often a worker checks that the training process still runs
_SHARED = Path("/dev/shm")  # the shared memory of Linux
PREFETCH = 2  # batches that each worker prepares ahead
_MB, _GB = 2**20, 2**30
_FILES_ADVICE = "Raise the limit of open files (ulimit -n), or set TRAIN.NUM_WORKER=0"
# Advice by the beginning of torch's message when workers fail; its first sentence is kept.
_TORCH_ERRORS = {
    "DataLoader worker (pid": "See above for its output; if memory ran out (of /dev/shm after a bus error), lower "
    "TRAIN.NUM_WORKER or TRAIN.BATCH_SIZE",
    "DataLoader timed out": "A worker process hangs, or cannot read the data so fast: does their file system answer? "
    "TRAIN.DATA_TIMEOUT is the limit, in seconds",
    "Too many open files": _FILES_ADVICE,
}


class PairLoader(DataLoader):
    """A loader that counts the samples with broken images over all its epochs, see :func:`batches`."""

    broken: BrokenImages
    sampler: EpochSampler

    def end_workers(self) -> None:
        """End the worker processes immediately: torch would wait five seconds for each that hangs."""
        for worker in getattr(self._iterator, "_workers", ()):
            worker.terminate()
        self._iterator = None


def open_sources(cfg: ExperimentConfig, env: EnvironmentSettings, use_lmdb: bool = False) -> dict[str, PairSource]:
    """Open all data sets that the experiment trains or validates on, by name; errors as of :func:`open_source`."""
    trained = drawn_datasets(cfg, "TRAIN")
    sources: dict[str, PairSource] = {}
    for name in dict.fromkeys([*trained, *drawn_datasets(cfg, "VAL")]):
        try:
            sources[name] = open_source(name, env, cfg.DATA, use_lmdb)
        except OSTrackError as error:
            if name in trained:
                raise
            raise type(error)(f"{error}; or train without validation: DATA.VAL.DATASETS_NAME=[]") from error
    return sources


def build_loader(
    cfg: ExperimentConfig, split: str, sources: dict[str, PairSource], info: DistInfo = ALONE, pin_memory: bool = False
) -> PairLoader:
    """Build the loader of ``split``, ``TRAIN`` or ``VAL``, for one rank; its ``sampler`` sets the epoch.

    An epoch of ``TRAIN`` has ``SAMPLE_PER_EPOCH`` samples over all ranks, rounded down to whole steps of ``BATCH_SIZE x
    ACCUM_STEPS x world``. Each sample of ``VAL`` is on one rank only.

    Raises:
        ConfigError: an epoch is shorter than a step, or there are no negatives or too little shared memory.
    """
    train, ratios = cfg.TRAIN, drawn_datasets(cfg, split)
    spec = SampleSpec.of(cfg, _STREAMS[split])
    samples = TrackingDataset([sources[name] for name in ratios], list(ratios.values()), spec)
    accumulate = train.ACCUM_STEPS if split == "TRAIN" else 1
    count = _epoch_size(cfg, info.world) if split == "TRAIN" else cfg.DATA.VAL.SAMPLE_PER_EPOCH
    workers = min(train.NUM_WORKER, cpu_count())
    if workers < train.NUM_WORKER and info.is_main:
        logger.info("%s: %d worker processes, as many as there are CPUs (TRAIN.NUM_WORKER is %d)",
                    split.lower(), workers, train.NUM_WORKER)  # fmt: skip
    if workers:
        # While a step's batches are awaited, the training process still holds those of the step before.
        batch = spec.nbytes * min(train.BATCH_SIZE, count)
        most = batch * math.ceil(count / (info.world * train.BATCH_SIZE))
        require_shared_memory(min(most, loader_bytes(batch, workers, held=2 * accumulate)))
    loader = PairLoader(
        samples,
        batch_size=train.BATCH_SIZE,
        sampler=EpochSampler(count, train.BATCH_SIZE, info.rank, info.world, accumulate),
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin_memory,
        persistent_workers=workers > 0,
        prefetch_factor=PREFETCH if workers else None,
        timeout=train.DATA_TIMEOUT if workers else 0,
        worker_init_fn=start_worker,
        # Otherwise every epoch would advance the global generator, which stochastic depth uses.
        generator=torch.Generator(),
    )
    loader.broken = BrokenImages(cfg.DATA.MAX_BROKEN_SHARE)
    return loader


def _epoch_size(cfg: ExperimentConfig, world: int) -> int:
    """Return the samples of a training epoch over all ranks, a whole number of optimization steps."""
    train, count = cfg.TRAIN, cfg.DATA.TRAIN.SAMPLE_PER_EPOCH
    per_step = train.BATCH_SIZE * train.ACCUM_STEPS * world
    if count < per_step:
        raise ConfigError(
            f"DATA.TRAIN.SAMPLE_PER_EPOCH is {count}, less than the {per_step} samples of one step "
            f"(TRAIN.BATCH_SIZE {train.BATCH_SIZE} x TRAIN.ACCUM_STEPS {train.ACCUM_STEPS} x {world} processes)"
        )
    return count - count % per_step


def batches(loader: PairLoader) -> Iterator[Sample]:
    """Yield the batches of ``loader``; count and log broken images. Raises DataError: too many samples met them."""
    with worker_errors():
        for batch in loader:
            loader.broken.add(batch)
            yield batch


class BrokenImages:
    """Count of the samples that met a broken image, in the training process.

    ``max_share`` is the largest fraction of samples that may meet one. Ten are always tolerated, so that a bad file met
    early does not end a long run; with 0 the first one ends it.
    """

    def __init__(self, max_share: float):
        self.max_share = max_share
        self.drawn = self.replaced = 0
        self.errors: dict[str, None] = {}

    def add(self, batch: Sample) -> None:
        """Count a batch, and log each error once. Raises DataError: too many samples had to be replaced."""
        self.drawn += len(batch["broken"])
        for errors in batch["broken"]:
            self.replaced += bool(errors)
            for error in errors:
                if error not in self.errors:
                    self.errors[error] = None
                    logger.warning("%s; it is replaced by another sample", error)
        if self.replaced > max(self.max_share * self.drawn, _FEW_BROKEN if self.max_share else 0):
            raise DataError(
                f"{self.replaced} of {self.drawn} samples met a broken image, more than DATA.MAX_BROKEN_SHARE = "
                f"{self.max_share} allows:\n  " + listed(list(self.errors), _MOST_LISTED, between="\n  ")
            )


def collate(samples: list[Sample]) -> Sample:
    """Stack tensors on dimension 1, after the number of crops, and scalars to (B,); anything else becomes a list."""
    batch: Sample = {}
    for key, value in samples[0].items():
        values = [sample[key] for sample in samples]
        batch[key] = torch.stack(values, dim=min(value.ndim, 1)) if isinstance(value, torch.Tensor) else values
    if worker := get_worker_info():
        share([value for value in batch.values() if isinstance(value, torch.Tensor)], worker.num_workers)
    return batch


def loader_bytes(batch: int, workers: int, held: int = 2) -> int:
    """Return the most shared memory of a loader in bytes, whose training process holds ``held`` batches at a time."""
    return batch * (workers * PREFETCH + held)


def require_shared_memory(needed: int) -> None:
    """Raise a ConfigError if there are not ``needed`` bytes of shared memory for each rank of this machine."""
    needed *= train_dist_info().local_world
    space = _space()
    if space and space[1] < needed:
        raise ConfigError(_shortage(*space, needed))


def share(tensors: Sequence[torch.Tensor], workers: int) -> None:
    """Move the tensors of a batch into shared memory, in one of ``workers`` worker processes.

    Otherwise torch does so in a thread of the worker's queue, where an error is lost with the batch, and the training
    process waits forever.

    Raises:
        WorkerError: there is not enough shared memory, or too many files are open.
    """
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
        found = os.statvfs(_SHARED)
    except OSError:
        return None
    return (found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize) if found.f_blocks else None


def _shortage(total: int, free: int, needed: int) -> str:
    used = f" ({free // _MB} MB of them free)" if total - free > _MB else ""
    return (
        f"{_SHARED} has {total // _MB} MB{used}, the loader needs about {math.ceil(needed / _MB)} MB: start the "
        f"container with --shm-size={math.ceil(needed / _GB)}g or --ipc=host, or set TRAIN.NUM_WORKER=0 or a smaller "
        "TRAIN.BATCH_SIZE"
    )


@contextmanager
def worker_errors() -> Iterator[None]:
    """Convert the errors that torch raises in the body for a worker into our errors, without the worker's traceback.

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
