"""Batches of training samples, the same for any number of worker processes and ranks."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping

import torch
from torch.utils.data import DataLoader, get_worker_info

from lib.config import ExperimentConfig, drawn_datasets
from lib.train.admin.environment import EnvironmentSettings
from lib.train.data.sampler import EpochSampler
from lib.train.data.samples import PairSource, Sample, SampleSpec, TrackingDataset, open_source
from lib.train.data.workers import PREFETCH, loader_bytes, require_shared_memory, share, start_worker, worker_errors
from lib.utils.cpu import cpu_count
from lib.utils.errors import ConfigError, DataError, OSTrackError, listed

logger = logging.getLogger(__name__)

# Each split has its own stream of random numbers.
_STREAMS = {"TRAIN": 0, "VAL": 1}
_FEW_BROKEN = 10
_MOST_LISTED = 20


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
    """Open all data sets that the experiment trains or validates on, by name.

    Raises:
        ConfigError, DataError: a data set is unknown or cannot be used.
    """
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
    cfg: ExperimentConfig,
    split: str,
    sources: Mapping[str, PairSource],
    *,
    rank: int = 0,
    world: int = 1,
    pin_memory: bool = False,
) -> PairLoader:
    """Build the loader of ``split``, ``TRAIN`` or ``VAL``, for one rank; its ``sampler`` sets the epoch.

    An epoch of ``TRAIN`` has ``SAMPLE_PER_EPOCH`` samples over all ranks, rounded down to whole steps of
    ``BATCH_SIZE x ACCUM_STEPS x world``. Each sample of ``VAL`` is on one rank only.

    Raises:
        ConfigError: an epoch has fewer samples than one step, the data sets cannot provide negatives, or there is
            not enough shared memory for the workers.
    """
    train, ratios = cfg.TRAIN, drawn_datasets(cfg, split)
    spec = SampleSpec.of(cfg, _STREAMS[split])
    samples = TrackingDataset([sources[name] for name in ratios], list(ratios.values()), spec)
    accumulate = train.ACCUM_STEPS if split == "TRAIN" else 1
    count = _epoch_size(cfg, world) if split == "TRAIN" else cfg.DATA.VAL.SAMPLE_PER_EPOCH
    workers = min(train.NUM_WORKER, cpu_count())
    if workers < train.NUM_WORKER and rank == 0:
        logger.info("%s: %d worker processes, as many as there are CPUs (TRAIN.NUM_WORKER is %d)",
                    split.lower(), workers, train.NUM_WORKER)  # fmt: skip
    if workers:
        # While a step's batches are awaited, the training process still holds those of the step before.
        batch = spec.nbytes * min(train.BATCH_SIZE, count)
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
    """Yield the batches of ``loader``, and count and log broken images.

    Raises:
        DataError: too many samples met broken images.
        OSTrackError: as raised in a worker, without the worker's traceback.
        WorkerError: a worker has died; see :func:`lib.train.data.workers.worker_errors`.
    """
    with worker_errors():
        for batch in loader:
            loader.broken.add(batch)
            yield batch


class BrokenImages:
    """Count of the samples that met a broken image, in the training process.

    Args:
        max_share: largest fraction of samples that may meet one. Ten are always tolerated, so that a bad file met early
            does not end a long run; with 0 the first one ends it.
    """

    def __init__(self, max_share: float):
        self.max_share = max_share
        self.drawn = self.replaced = 0
        self.errors: dict[str, None] = {}

    def add(self, batch: Sample) -> None:
        """Count a batch, and log each error once.

        Raises:
            DataError: too many samples had to be replaced; it lists the errors.
        """
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
    """Stack tensors on dimension 1, after the number of crops, and scalars to (B,); anything else becomes a list.

    Raises:
        WorkerError: in a worker process, see :func:`lib.train.data.workers.share`.
    """
    batch = {
        key: torch.stack([sample[key] for sample in samples], dim=min(value.ndim, 1))
        if isinstance(value, torch.Tensor)
        else [sample[key] for sample in samples]
        for key, value in samples[0].items()
    }
    if worker := get_worker_info():
        share((value for value in batch.values() if isinstance(value, torch.Tensor)), worker.num_workers)
    return batch
