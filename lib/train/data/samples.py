"""Training samples by number, and what is done about those that cannot be used."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info

from lib.train.data.pair import CropPair, CropSpec
from lib.train.data.processing import Normalisation, draw_joint_augmentation, finish_pair, is_usable
from lib.train.data.sampler import PairSource
from lib.train.data.shared_memory import share
from lib.utils.errors import ConfigError, DataError, ImageError

log = logging.getLogger(__name__)

POSITIVE_PROBABILITY = 0.5
_MAX_TRIES = 100
_FEW_BROKEN = 10
_MOST_LISTED = 20

Sample = dict[str, Any]


class TrackingDataset(Dataset):
    """Training samples, each a pure function of (seed, stream, epoch, index) and of the data sets.

    A draw that shows nothing but padding, or meets an image that cannot be read, is followed by another draw (of data
    set, sequence and frames) from the same stream of random numbers, as in the published sampler but not for ever. The
    errors about images travel with the sample as ``broken``, a list of texts.

    Args:
        sources: what pairs are drawn from.
        ratios: how often each source is chosen, relative to the others.
        template, search: the crops to take.
        normalise: see :func:`finish_pair`.
        stride: of the model's grid; a crop with no image at any cell is drawn again.
        negatives: half of the samples show something else than the target in the search region (``TRAIN.TRAIN_CLS``):
            frames of the sequence without the target, and where it has none, another sequence of any source.

    Raises:
        ConfigError: negatives are asked for, and there is but one sequence.
    """

    def __init__(
        self,
        sources: Sequence[PairSource],
        ratios: Sequence[float],
        template: CropSpec,
        search: CropSpec,
        normalise: Normalisation | None,
        stride: int,
        seed: int,
        stream: int,
        negatives: bool = False,
    ):
        self.sources = sources
        self.probabilities = np.asarray(ratios, np.float64) / np.sum(ratios)
        self.template, self.search = template, search
        self.normalise = normalise
        self.stride = stride
        self.seed, self.stream = seed, stream
        self.negatives = negatives
        drawn = np.flatnonzero(self.probabilities)
        if negatives and len(drawn) == 1 and sources[drawn[0]].single:
            raise ConfigError(
                f"TRAIN.TRAIN_CLS needs a second sequence; {sources[drawn[0]].name} has only one that can be used"
            )

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """The sample ``key = (epoch, index)``; see :func:`finish_pair`.

        Raises:
            DataError: a hundred draws gave nothing to use, or something else than an image is damaged.
        """
        rng = np.random.default_rng([self.seed, self.stream, *key])
        broken = []
        for _ in range(_MAX_TRIES):
            try:
                pair = self._draw(rng)
            except ImageError as error:
                broken.append(str(error))
                continue
            if all(is_usable(crop, self.stride) for crop in (*pair.template, *pair.search)):
                return {**finish_pair(pair, self.normalise, rng), "broken": broken}
        if broken:
            raise DataError(f"{_MAX_TRIES} draws in a row cannot be used, {len(broken)} for their images: {broken[-1]}")
        raise DataError(
            f"{pair.dataset}: {_MAX_TRIES} samples in a row showed nothing but padding (last: {pair.source}); "
            "check the boxes of this data set, or lower DATA.SEARCH.CENTER_JITTER"
        )

    def _draw(self, rng: np.random.Generator) -> CropPair:
        chosen = rng.choice(len(self.sources), p=self.probabilities)
        positive = not self.negatives or rng.random() < POSITIVE_PROBABILITY
        joint = draw_joint_augmentation(rng)
        pair = self.sources[chosen].draw_pair(rng, self.template, self.search, joint, positive)
        if not self.negatives:
            return pair
        pair.positive = positive
        if not pair.search:
            weights = self.probabilities.copy()
            if self.sources[chosen].single:
                weights[chosen] = 0
            other = rng.choice(len(self.sources), p=weights / weights.sum())
            besides = pair.sequence if other == chosen else None
            stranger = self.sources[other].draw_search(rng, self.template, self.search, joint, besides)
            pair.search, pair.source = stranger.search, f"{pair.source}, not to be found in {stranger.source}"
        return pair


class BrokenImages:
    """Counts the samples that met a broken image, in the process that trains.

    Args:
        max_share: of the samples that may meet one. Up to ten are put up with in any case, so that a bad file met early
            does not end a long run; but with 0 the first one ends it.
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
                    log.warning("%s; another sample takes its place", error)
        if self.replaced > max(self.max_share * self.drawn, _FEW_BROKEN if self.max_share else 0):
            listed = "".join(f"\n  {error}" for error in list(self.errors)[:_MOST_LISTED])
            more = f"\n  and {len(self.errors) - _MOST_LISTED} more" if len(self.errors) > _MOST_LISTED else ""
            raise DataError(
                f"{self.replaced} of {self.drawn} samples met a broken image, more than DATA.MAX_BROKEN_SHARE = "
                f"{self.max_share} allows:{listed}{more}"
            )


def collate(samples: list[Sample]) -> Sample:
    """Stack tensors behind the number of templates or searches, single numbers to (B,); all else becomes a list.

    Raises:
        WorkerError: in a worker process, see :func:`lib.train.data.shared_memory.share`.
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
