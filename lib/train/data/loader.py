"""Batches of training samples: the same for any number of worker processes."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from lib.config.ostrack import Config
from lib.train.admin.environment import EnvironmentSettings
from lib.train.data.pair import CropSpec
from lib.train.data.processing import Normalisation, finish_pair, is_usable
from lib.train.data.sampler import PairSampling, PairSource
from lib.train.dataset.registry import open_source
from lib.utils.errors import ConfigError, DataError, OSTrackError

log = logging.getLogger(__name__)

_MAX_TRIES = 100
# Each split draws from its own stream of random numbers.
_STREAMS = {"TRAIN": 0, "VAL": 1}

Sample = dict[str, Any]


class PairSamples(Dataset):
    """Training samples, each a pure function of (seed, stream, epoch, index).

    Args:
        sources: what pairs are drawn from.
        ratios: how often each source is chosen, relative to the others.
        template, search: the crops to take.
        stride: of the model's grid; a crop with no image at any cell is drawn again.
    """

    def __init__(
        self,
        sources: Sequence[PairSource],
        ratios: Sequence[float],
        template: CropSpec,
        search: CropSpec,
        normalise: Normalisation,
        stride: int,
        seed: int,
        stream: int,
    ):
        self.sources = sources
        self.probabilities = np.asarray(ratios, np.float64) / np.sum(ratios)
        self.template, self.search = template, search
        self.normalise = normalise
        self.stride = stride
        self.seed, self.stream = seed, stream

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """The sample ``key = (epoch, index)``."""
        rng = np.random.default_rng([self.seed, self.stream, *key])
        source = self.sources[rng.choice(len(self.sources), p=self.probabilities)]
        for _ in range(_MAX_TRIES):
            pair = source.draw_pair(rng, self.template, self.search)
            if all(is_usable(crop, self.stride) for crop in (*pair.template, *pair.search)):
                return finish_pair(pair, self.normalise, rng)
        raise DataError(
            f"{source.name}: {_MAX_TRIES} samples in a row showed nothing but padding (last: {pair.source}); "
            "check the boxes of this data set, or lower DATA.SEARCH.CENTER_JITTER"
        )


class EpochKeys(Sampler):
    """Keys ``(epoch, index)`` for :class:`PairSamples`; ``epoch`` is set by whoever runs the epochs."""

    def __init__(self, count: int):
        self.count = count
        self.epoch = 0

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter([(self.epoch, index) for index in range(self.count)])


def collate(samples: list[Sample]) -> Sample:
    """Stack tensors on dimension 1, behind the number of templates or searches; texts become lists."""
    return {
        key: torch.stack([sample[key] for sample in samples], dim=1)
        if isinstance(value, torch.Tensor)
        else [sample[key] for sample in samples]
        for key, value in samples[0].items()
    }


def open_sources(cfg: Config, env: EnvironmentSettings) -> dict[str, PairSource]:
    """Every data set that the experiment trains or validates on, by name; each is opened once.

    Raises:
        ConfigError, DataError: a data set is unknown or cannot be used.
    """
    data = cfg.DATA
    sampling = PairSampling(data.SAMPLER_MODE, data.MAX_SAMPLE_INTERVAL, data.TEMPLATE.NUMBER, data.SEARCH.NUMBER)
    names = dict.fromkeys([*data.TRAIN.DATASETS_NAME, *data.VAL.DATASETS_NAME])
    return {name: open_source(name, env, sampling) for name in names}


def build_loader(cfg: Config, split: str, sources: Mapping[str, PairSource], pin_memory: bool = False) -> DataLoader:
    """The loader of ``split``, ``TRAIN`` or ``VAL``. Its ``sampler.epoch`` chooses the epoch that is drawn.

    An epoch of ``TRAIN`` has whole optimiser steps only: samples beyond the last one are not drawn. The last batch of
    ``VAL`` may be smaller.

    Raises:
        ConfigError: an epoch has fewer samples than one step needs.
    """
    section = cfg.DATA[split]
    samples = PairSamples(
        [sources[name] for name in section.DATASETS_NAME],
        section.DATASETS_RATIO,
        _crop_spec(cfg.DATA.TEMPLATE),
        _crop_spec(cfg.DATA.SEARCH),
        Normalisation(tuple(cfg.DATA.MEAN), tuple(cfg.DATA.STD)),
        stride=cfg.MODEL.BACKBONE.STRIDE,
        seed=cfg.TRAIN.SEED,
        stream=_STREAMS[split],
    )
    count = section.SAMPLE_PER_EPOCH
    if split == "TRAIN":
        per_step = cfg.TRAIN.BATCH_SIZE * cfg.TRAIN.ACCUM_STEPS
        if count < per_step:
            raise ConfigError(
                f"DATA.TRAIN.SAMPLE_PER_EPOCH is {count}, less than the {per_step} samples of one step "
                "(TRAIN.BATCH_SIZE x TRAIN.ACCUM_STEPS)"
            )
        count -= count % per_step
    workers = min(cfg.TRAIN.NUM_WORKER, _cpu_count())
    if workers < cfg.TRAIN.NUM_WORKER:
        log.info("%s: %d worker processes, as many as there are CPUs (TRAIN.NUM_WORKER is %d)",
                 split.lower(), workers, cfg.TRAIN.NUM_WORKER)  # fmt: skip
    return DataLoader(
        samples,
        batch_size=cfg.TRAIN.BATCH_SIZE,
        sampler=EpochKeys(count),
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin_memory,
        persistent_workers=workers > 0,
        worker_init_fn=_start_worker,
        # Its own, or every pass over the data would move the global generator, which stochastic depth draws from.
        generator=torch.Generator(),
    )


def batches(loader: DataLoader) -> Iterator[Sample]:
    """The batches of ``loader``; an error of ours in a worker arrives with its own message, not the worker's trace."""
    try:
        yield from loader
    except OSTrackError as error:
        kind = type(error)
        raise kind(str(error).rpartition(f"{kind.__name__}: ")[2].strip()) from error


def _crop_spec(section: Config) -> CropSpec:
    return CropSpec(section.SIZE, section.FACTOR, section.CENTER_JITTER, section.SCALE_JITTER, section.NUMBER)


def _cpu_count() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start_worker(worker: int) -> None:
    """One thread per worker: the workers themselves fill the cores."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
