"""Batches of training samples: the same for any number of worker processes, and shared out among ranks."""

from __future__ import annotations

import logging
import math
import multiprocessing.queues
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Sampler

from lib.config import ExperimentConfig, drawn_datasets
from lib.config.experiment import CropConfig
from lib.train.admin.environment import EnvironmentSettings
from lib.train.data.frames import pair_sampling
from lib.train.data.pair import CropSpec
from lib.train.data.processing import Normalisation, sample_bytes
from lib.train.data.sampler import PairSource
from lib.train.data.samples import BrokenImages, Sample, TrackingDataset, collate
from lib.train.data.shared_memory import FILES_ADVICE, PREFETCH, loader_bytes, require_shared_memory
from lib.train.dataset.registry import open_source
from lib.utils.cpu import cpu_count
from lib.utils.errors import ConfigError, OSTrackError, WorkerError

log = logging.getLogger(__name__)

# Each split draws from its own stream of random numbers.
_STREAMS = {"TRAIN": 0, "VAL": 1}
_PARENT_SECONDS = 5.0  # how often a worker looks whether the process that trains is still there


class EpochSampler(Sampler):
    """Keys ``(epoch, index)`` for :class:`TrackingDataset`, those of one rank.

    Optimiser step s, micro-batch a of ``accumulate``, rank r of ``world`` and item j of ``batch_size`` get the index
    ``((s * accumulate + a) * world + r) * batch_size + j``: the samples of a step are the same however they are shared
    out. Indices from ``count`` on do not occur, so that the last batches may be smaller, or missing on some ranks.

    Attributes:
        epoch: is drawn next.
        start_step: that epoch begins with this step, counted from 0; nothing is drawn for those before.
    """

    def __init__(self, count: int, batch_size: int, rank: int = 0, world: int = 1, accumulate: int = 1):
        self.count, self.batch_size = count, batch_size
        self.rank, self.world, self.accumulate = rank, world, accumulate
        self.epoch = 0
        self.start_step = 0

    def _batches(self) -> list[range]:
        size = self.batch_size
        first = (self.start_step * self.accumulate * self.world + self.rank) * size
        return [range(i, min(i + size, self.count)) for i in range(first, self.count, self.world * size)]

    def __len__(self) -> int:
        return sum(map(len, self._batches()))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter([(self.epoch, index) for batch in self._batches() for index in batch])


class PairLoader(DataLoader):
    """A loader that knows how many samples met broken images, over all its epochs: see :func:`batches`."""

    broken: BrokenImages
    sampler: EpochSampler

    def end_workers(self) -> None:
        """End the worker processes at once: torch would wait five seconds for each that hangs."""
        for worker in getattr(self._iterator, "_workers", ()):
            worker.terminate()
        self._iterator = None


def open_sources(cfg: ExperimentConfig, env: EnvironmentSettings, use_lmdb: bool = False) -> dict[str, PairSource]:
    """Every data set that the experiment draws training or validation samples from, by name; each is opened once.

    Raises:
        ConfigError, DataError: a data set is unknown or cannot be used.
    """
    data = cfg.DATA
    sampling = pair_sampling(data)
    trained = drawn_datasets(cfg, "TRAIN")
    sources: dict[str, PairSource] = {}
    for name in dict.fromkeys([*trained, *drawn_datasets(cfg, "VAL")]):
        try:
            sources[name] = open_source(name, env, sampling, use_lmdb=use_lmdb, drawing=data.DRAW, augment=data.AUGMENT)
        except OSTrackError as error:
            if name in trained:
                raise
            raise type(error)(f"{error}; or train without validation: DATA.VAL.DATASETS_NAME=[]") from error
    return sources


def build_loader(
    cfg: ExperimentConfig,
    split: str,
    sources: Mapping[str, PairSource],
    *,
    rank: int = 0,
    world: int = 1,
    pin_memory: bool = False,
) -> PairLoader:
    """The loader of ``split``, ``TRAIN`` or ``VAL``, for one rank. Its ``sampler`` says which epoch is drawn.

    An epoch of ``TRAIN`` has ``SAMPLE_PER_EPOCH`` samples over all ranks, rounded down to whole optimiser steps of
    ``BATCH_SIZE x ACCUM_STEPS x world``. ``VAL`` draws each of its samples on one rank.

    Raises:
        ConfigError: an epoch has fewer samples than one step needs, the data sets cannot give negatives, or there is
            not enough shared memory for the workers.
    """
    train, ratios = cfg.TRAIN, drawn_datasets(cfg, split)
    template, search = _crop_spec(cfg.DATA.TEMPLATE), _crop_spec(cfg.DATA.SEARCH)
    as_bytes = cfg.DATA.NORMALISE_ON_DEVICE
    samples = TrackingDataset(
        [sources[name] for name in ratios],
        list(ratios.values()),
        template,
        search,
        None if as_bytes else Normalisation(cfg.DATA.MEAN, cfg.DATA.STD),
        stride=cfg.MODEL.BACKBONE.STRIDE,
        seed=train.SEED,
        stream=_STREAMS[split],
        negatives=train.TRAIN_CLS,
    )
    count, accumulate = (cfg.DATA.TRAIN if split == "TRAIN" else cfg.DATA.VAL).SAMPLE_PER_EPOCH, 1
    if split == "TRAIN":
        accumulate = train.ACCUM_STEPS
        per_step = train.BATCH_SIZE * accumulate * world
        if count < per_step:
            raise ConfigError(
                f"DATA.TRAIN.SAMPLE_PER_EPOCH is {count}, less than the {per_step} samples of one step "
                f"(TRAIN.BATCH_SIZE {train.BATCH_SIZE} x TRAIN.ACCUM_STEPS {accumulate} x {world} processes)"
            )
        count -= count % per_step
    workers = min(train.NUM_WORKER, cpu_count())
    if workers < train.NUM_WORKER and rank == 0:
        log.info("%s: %d worker processes, as many as there are CPUs (TRAIN.NUM_WORKER is %d)",
                 split.lower(), workers, train.NUM_WORKER)  # fmt: skip
    if workers:
        # While a step's batches are awaited, the process that trains still holds those of the step before.
        batch = sample_bytes(template, search, not as_bytes) * min(train.BATCH_SIZE, count)
        most = batch * math.ceil(count / (world * train.BATCH_SIZE))
        require_shared_memory(min(most, loader_bytes(batch, workers, held=2 * accumulate)))
    loader = PairLoader(
        samples,
        batch_size=train.BATCH_SIZE,
        sampler=EpochSampler(count, train.BATCH_SIZE, rank, world, accumulate),
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin_memory,
        persistent_workers=workers > 0,
        prefetch_factor=PREFETCH if workers else None,
        timeout=train.DATA_TIMEOUT if workers else 0,
        worker_init_fn=_start_worker,
        # Its own, or every pass over the data would move the global generator, which stochastic depth draws from.
        generator=torch.Generator(),
    )
    loader.broken = BrokenImages(cfg.DATA.MAX_BROKEN_SHARE)
    return loader


def batches(loader: DataLoader) -> Iterator[Sample]:
    """The batches of ``loader``, with broken images counted and logged if it is a :class:`PairLoader`.

    Raises:
        DataError: too many samples met broken images.
        OSTrackError: whatever was raised in a worker, with its own message and not the worker's trace.
        WorkerError: a worker has died; see :func:`worker_errors`.
    """
    with worker_errors():
        for batch in loader:
            if isinstance(loader, PairLoader):
                loader.broken.add(batch)
            yield batch


@contextmanager
def worker_errors() -> Iterator[None]:
    """Turn what torch raises for a worker into errors of ours.

    A worker that dies is noticed at once, by a signal, so that the error may come up anywhere in the main process, not
    only while it waits for a batch: whoever wants the clear error there too puts this around the whole epoch.
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


# What to do, by the beginning of what torch says when workers fail; the first sentence of that is kept.
_TORCH_ERRORS = {
    "DataLoader worker (pid": "See above for what it said; if memory ran out (of /dev/shm after a bus error), lower "
    "TRAIN.NUM_WORKER or TRAIN.BATCH_SIZE",
    "DataLoader timed out": "A worker process hangs, or cannot read the data so fast: does their file system answer? "
    "TRAIN.DATA_TIMEOUT is the limit, in seconds",
    "Too many open files": FILES_ADVICE,
}


def _crop_spec(section: CropConfig) -> CropSpec:
    return CropSpec(section.SIZE, section.FACTOR, section.CENTER_JITTER, section.SCALE_JITTER, section.NUMBER)


def _start_worker(worker: int) -> None:
    """One thread per worker: the workers themselves fill the cores.

    Ctrl-C and a cluster's SIGTERM reach workers too, while the main process may still have a step to finish and a
    checkpoint to save. So the one is left to it, and the other counts only when it comes from there. A worker whose
    main process has gone ends by itself, and so does one that cannot hand a batch over, for which the main process
    would wait.
    """
    queue: Any = multiprocessing.queues.Queue
    queue._on_queue_feeder_error = staticmethod(_cannot_hand_over)
    # Not 1: in a forked process that makes OpenCV wait for ever for the threads of the process it was forked from.
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_heed_parent, args=(os.getppid(),), daemon=True).start()


def _cannot_hand_over(error: Exception, batch: object) -> None:
    os.write(sys.stderr.fileno(), f"a batch cannot be handed over: {error}\n".encode())
    os._exit(1)


def _heed_parent(parent: int) -> None:
    while os.getppid() == parent:
        sent = signal.sigtimedwait({signal.SIGTERM}, _PARENT_SECONDS)
        if sent and sent.si_pid == parent:
            break
    os._exit(0)
