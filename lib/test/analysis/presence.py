"""How well a tracker knows that its target is gone, and how soon it has it again.

The annotation decides: a box that is nan or has no area, or a frame that a flag marks, is an absence.
The first frame, whose box was given, counts nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit
from scipy.stats import rankdata

from lib.test.analysis.metrics import box_overlap, true_runs

_BINS = 10
_LEAST = 1e-6
FOUND_OVERLAP = 0.5


@dataclass(frozen=True)
class TrackedSequence:
    """What is compared of one sequence.

    Attributes:
        boxes, truth: float64 (N, 4) ``xywh``; the truth is read in visible frames alone.
        visible: bool (N,).
        confidence: float64 (N,) in [0, 1], how sure the tracker was.
    """

    boxes: np.ndarray
    truth: np.ndarray
    visible: np.ndarray
    confidence: np.ndarray


@dataclass(frozen=True)
class PresenceReport:
    """How confidence and annotation compare, see :func:`presence_report`.

    Attributes:
        auroc: chance that a visible frame has more confidence than one without the target.
        calibration_error: expected calibration error over ten bins of equal width.
        bins: for each bin, mean confidence, share of visible frames, and frames; (10, 3), nan where there are none.
        returns: how often a target came back after at least ``min_absence`` frames.
        found: how many of these it was found again within the allowed frames, by overlap of at least 0.5.
        absent: frames without the target.
        false_finds: how many of these the tracker was sure of, at or above the threshold.
    """

    auroc: float
    calibration_error: float
    bins: np.ndarray
    returns: int
    found: int
    absent: int
    false_finds: int


def presence_report(
    sequences: Iterable[TrackedSequence], threshold: float = 0.6, within: int = 30, min_absence: int = 3
) -> PresenceReport:
    """Compare confidence with the annotation over all frames of some sequences.

    Args:
        threshold: from here on the tracker says that the target is there.
        within: frames after a return in which it has to be found again.
        min_absence: shorter gaps are no absence to return from.
    """
    taken = list(sequences)
    visible = np.concatenate([one.visible[1:] for one in taken])
    confidence = np.concatenate([one.confidence[1:] for one in taken])
    found = []
    for one in taken:
        good = overlap_by_frame(one) >= FOUND_OVERLAP
        found += [bool(good[start : start + within].any()) for start in returns_of(one.visible, min_absence)]
    bins, error = calibration(confidence, visible)
    absent, false_finds = int((~visible).sum()), int((confidence[~visible] >= threshold).sum())
    return PresenceReport(auroc(confidence, visible), error, bins, len(found), sum(found), absent, false_finds)


def overlap_by_frame(one: TrackedSequence) -> np.ndarray:
    """IoU of each frame, (N,), 0 where the target is not visible."""
    truth = np.where(one.visible[:, None], one.truth, 0.0)
    return np.where(one.visible, box_overlap(one.boxes, truth, pixel=0), 0.0)


def returns_of(visible: np.ndarray, least: int) -> list[int]:
    """Return the frames in which a target is seen again after at least ``least`` frames without it."""
    return [end for start, end in true_runs(~visible).tolist() if end - start >= least and end < len(visible)]


def auroc(score: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve, (Mann and Whitney's U by ranks, ties shared); nan without both kinds."""
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return float("nan")
    u = rankdata(score)[positive].sum() - 0.5 * positives * (positives + 1)
    return float(u / (positives * negatives))


def fit_calibration(confidence: np.ndarray, positive: np.ndarray) -> tuple[float, float]:
    """Scale and offset of the logit of ``confidence`` under which ``positive`` is most likely (Platt, 1999)."""
    clipped = np.clip(confidence, _LEAST, 1 - _LEAST)
    inputs = np.stack((logit(clipped), np.ones(len(clipped))), axis=1)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:  # and its gradient
        outputs = inputs @ weights
        value = np.logaddexp(0, outputs).sum() - outputs[positive.astype(bool)].sum()
        return value + 0.5 * _LEAST * (weights**2).sum(), inputs.T @ (expit(outputs) - positive) + _LEAST * weights

    scale, offset = minimize(loss, (1.0, 0.0), jac=True, method="L-BFGS-B").x
    return float(scale), float(offset)


def calibration(confidence: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, float]:
    """Bins as of :class:`PresenceReport`, and the expected calibration error (Guo et al., ICML 2017)."""
    which = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    rows = np.full((_BINS, 3), np.nan)
    for i in range(_BINS):
        inside = which == i
        if inside.any():
            rows[i] = confidence[inside].mean(), positive[inside].mean(), inside.sum()
    gaps = np.abs(rows[:, 0] - rows[:, 1]) * rows[:, 2] / len(confidence)
    return rows, float(np.nansum(gaps))
