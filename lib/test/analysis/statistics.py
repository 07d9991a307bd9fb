"""Bootstrap intervals and a paired permutation test over sequences, after Efron and Tibshirani (1993).

The sequences of a benchmark are taken for a sample of those that a tracker may meet; scores are (weighted) means over
them. All draws come from a fixed seed, so that the same results give the same figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np

RESAMPLES = 10_000
LEVEL = 0.95
_SEED = 0


@lru_cache(maxsize=1)
def _resamples(sequences: int) -> np.ndarray:
    """Return how often each sequence is drawn in each bootstrap resample: float32 ``(RESAMPLES, sequences)``."""
    rng = np.random.default_rng(_SEED)
    return rng.multinomial(sequences, np.full(sequences, 1 / sequences), size=RESAMPLES).astype(np.float32)


def bootstrap_intervals(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Percentile intervals at :data:`LEVEL` of weighted means over sequences.

    Args:
        values: ``(sequences, scores)``.
        weights: ``(sequences,)``; sequences of weight 0 are left out, and may hold NaN.

    Returns:
        ``(scores, 2)``, low and high; NaN for fewer than two sequences, which tell nothing of others.
    """
    values, weights = values[weights > 0], weights[weights > 0]
    if len(values) < 2:
        return np.full((values.shape[1], 2), np.nan)
    draws = _resamples(len(values))
    means = (draws @ (values * weights[:, None]).astype(np.float32)) / (draws @ weights.astype(np.float32))[:, None]
    return np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0).T.astype(np.float64)


@dataclass(frozen=True)
class Comparison:
    """Two trackers on the same sequences.

    Attributes:
        difference: mean of the first less that of the second, in points.
        low, high: interval of the difference at :data:`LEVEL`, by the paired bootstrap.
        p_value: how often a difference as large arises when, on every sequence, it is a coin toss which tracker got
            which score (two-sided sign-flip permutation test): exact for up to 13 sequences, else of
            :data:`RESAMPLES` draws.
        better, worse: numbers of sequences on which the first tracker has the higher and the lower score.
    """

    difference: float
    low: float
    high: float
    p_value: float
    better: int
    worse: int

    @property
    def significant(self) -> bool:
        """Whether chance alone would rarely do this: the p-value is below 1 - :data:`LEVEL`."""
        return self.p_value < 1 - LEVEL


def compare_scores(first: np.ndarray, second: np.ndarray, weights: np.ndarray) -> Comparison:
    """Compare the scores ``(sequences,)`` of two trackers, with the ``weights`` that the mean gives to sequences."""
    kept = weights > 0
    differences, weights = (first - second)[kept], weights[kept] / weights.sum()
    parts = differences * weights
    if 2 ** len(parts) <= RESAMPLES:
        signs, seen = np.array(list(product((1, -1), repeat=len(parts)))), 0
    else:  # the differences as they are count as one of the draws: a p-value is never 0
        rng = np.random.default_rng(_SEED)
        signs, seen = 1 - 2 * rng.integers(2, size=(RESAMPLES, len(parts)), dtype=np.int8), 1
    extreme = np.abs(signs @ parts) >= abs(parts.sum()) * (1 - 1e-12)  # equal sums differ in their last bits
    low, high = bootstrap_intervals(differences[:, None], weights)[0]
    p_value = (extreme.sum() + seen) / (len(signs) + seen)
    better, worse = int((differences > 0).sum()), int((differences < 0).sum())
    return Comparison(float(parts.sum()), float(low), float(high), float(p_value), better, worse)
