"""Accuracy of boxes: per-frame errors, curves over thresholds, the scores read from them, and how certain these are.

Pure functions on numpy arrays. Boxes are ``x, y, w, h`` in pixels. The rules of a protocol define which frames
count, see :mod:`lib.test.analysis.protocols`.

Bootstrap intervals and a paired permutation test over sequences follow Efron and Tibshirani (1993): the sequences of a
benchmark are taken for a sample of those that a tracker may meet. All draws come from a fixed seed.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np

from lib.test.analysis.protocols import CURVE_ENDS, FIVE, Rules, Score
from lib.test.evaluation.results import box_problem
from lib.utils.errors import DataError

_PLAIN = Rules()
RESAMPLES = 10_000
LEVEL = 0.95  # of intervals and of significance
_SEED = 0


@dataclass(frozen=True)
class FrameErrors:
    """One prediction against one ground truth, arrays of shape ``(frames,)``."""

    overlap: np.ndarray  # intersection over union in [0, 1]; -1 where there is no valid target
    center: np.ndarray  # distance of the centers in pixels; the value set by the rules where there is no valid target
    norm_center: np.ndarray  # the same distance with each axis divided by the side of the true box
    valid: np.ndarray  # there is a target: a true box that counts under the rules and, where there are flags, visible
    scored: np.ndarray  # the frame is in the denominator of the scores
    boxes: np.ndarray  # (frames, 4), the prediction as it was scored
    given: int  # number of boxes in the prediction, which may be fewer or more than the frames


def check_truth(truth: np.ndarray, rules: Rules, source: str) -> np.ndarray:
    """Return the ground truth as float64 ``(frames, 4)``, or a DataError that names ``source``."""
    truth = np.asarray(truth, np.float64)
    if truth.ndim != 2 or truth.shape[1] != 4 or len(truth) == 0:
        raise DataError(f"{source}: ground truth of shape {truth.shape}, expected one x, y, w, h for every frame")
    bad = ~np.isfinite(truth).all(axis=1)
    if rules.nan_is_absent:
        bad &= ~np.isnan(truth).any(axis=1)
    if bad.any():
        raise DataError(f"{source}: the ground truth of frame {bad.argmax()} is {truth[bad.argmax()].tolist()}")
    return truth


def prepare_prediction(prediction: np.ndarray, truth: np.ndarray, rules: Rules, source: str) -> np.ndarray:
    """Return the prediction to score, float64 ``(frames, 4)``: one box for every row of ``truth``.

    Depending on the rules, an empty box (the target was not found) is replaced by the one before it, and a shorter
    prediction is padded with zeros. A longer one is cut, and frame 0 is replaced by the ground truth.

    Raises DataError: wrong shape, a value that is not finite, a negative size, or too few rows; it names ``source``.
    """
    boxes = np.asarray(prediction, np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or len(boxes) == 0:
        raise DataError(f"{source}: prediction of shape {boxes.shape}, expected one x, y, w, h for every frame")
    if problem := box_problem(boxes):
        raise DataError(f"{source}: {problem}: delete it and track this sequence again")
    if len(boxes) < len(truth) and not rules.pad_short:
        counts = f"{len(boxes)} boxes for {len(truth)} frames"
        raise DataError(f"{source}: {counts}: delete it and track this sequence again")

    boxes = boxes[: len(truth)]
    if rules.repeat_empty:
        # Quirk: not where the ground truth is NaN; an empty box there is kept, and later ones repeat it.
        repeats = (boxes[:, 2] == 0) | (boxes[:, 3] == 0)
        repeats[repeats] = ~np.isnan(truth[: len(boxes)][repeats]).any(axis=1)
        repeats[0] = False
        boxes = boxes[np.maximum.accumulate(np.where(repeats, 0, np.arange(len(boxes))))]
    boxes = np.concatenate((boxes, np.zeros((len(truth) - len(boxes), 4))))
    boxes[0] = truth[0]
    return boxes


def clip_boxes(boxes: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Return boxes (frames, 4) clipped to an image of (width, height), as the GOT-10k toolkit does it.

    Quirk: a box that extends beyond the left or top border is moved inside and keeps its size.
    """
    top_left = np.clip(boxes[:, :2], 0, image_size)
    return np.concatenate((top_left, np.clip(boxes[:, 2:], 0, np.array(image_size) - top_left)), axis=1)


def box_overlap(a: np.ndarray, b: np.ndarray, pixel: float = 1.0) -> np.ndarray:
    """Return the intersection over union of corresponding boxes of ``a`` and ``b`` (frames, 4); 0 where both are empty.

    With ``pixel`` 1 corners are pixels, ``x + w - 1``, and a side from pixel i to pixel j is ``j - i + 1`` long. The
    ones cancel mathematically, but their rounding decides ties with a threshold, so each benchmark has its own.
    """
    top_left = np.maximum(a[:, :2], b[:, :2])
    bottom_right = np.minimum(a[:, :2] + a[:, 2:] - pixel, b[:, :2] + b[:, 2:] - pixel)
    width, height = np.maximum(bottom_right - top_left + pixel, 0).T  # numpy is slow along an axis of 2
    intersection = width * height
    union = a[:, 2] * a[:, 3] + b[:, 2] * b[:, 3] - intersection
    return np.divide(intersection, union, out=np.zeros(len(a)), where=union > 0)


def center_distance(a: np.ndarray, b: np.ndarray, scale: np.ndarray | float = 1.0) -> np.ndarray:
    """Return the center distance of corresponding boxes (frames, 4), each axis divided by ``scale`` (frames, 2)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        centers = [(boxes[:, :2] + 0.5 * (boxes[:, 2:] - 1)) / scale for boxes in (a, b)]
        x, y = (centers[0] - centers[1]).T
        return np.sqrt(x * x + y * y)


def frame_errors(
    prediction: np.ndarray,
    truth: np.ndarray,
    visible: np.ndarray | None,
    rules: Rules,
    source: str = "prediction",
    image_size: tuple[int, int] | None = None,
) -> FrameErrors:
    """Score every frame of one sequence.

    Args:
        prediction: boxes ``(any, 4)`` as the tracker wrote them, see :func:`prepare_prediction`.
        truth: boxes ``(frames, 4)``.
        visible: ``(frames,)``, false where the target is absent or fully covered; None when the data set has no flags.
        source: name of the pair for error messages.
        image_size: (width, height), needed if the rules clip boxes.

    Raises:
        DataError: boxes or flags that cannot be scored.
    """
    truth = check_truth(truth, rules, source)
    seen = np.ones(len(truth), bool) if visible is None else np.asarray(visible).astype(bool)
    if seen.shape != (len(truth),):
        raise DataError(f"{source}: visibility flags of shape {seen.shape} for {len(truth)} frames")
    boxes = prepare_prediction(prediction, truth, rules, source)
    if rules.rounded:
        boxes, truth = boxes.round(), truth.round()

    x, y, w, h = truth.T > 0
    valid = w & h & seen & (x & y if rules.positive_corner else True)
    shown, target = boxes, truth
    if rules.clipped:
        assert image_size is not None  # see the arguments
        shown, target = clip_boxes(boxes, image_size), clip_boxes(truth, image_size)
    overlap = np.where(valid, box_overlap(shown, target, rules.pixel), -1)
    center = np.where(valid, center_distance(boxes, truth), rules.invalid_center)
    norm_center = np.where(valid, center_distance(boxes, truth, truth[:, 2:]), rules.invalid_norm_center)
    if rules.unseen_is_miss:
        center[~seen] = norm_center[~seen] = np.inf
    scored = valid.copy() if rules.skip_absent else np.ones(len(truth), bool)
    scored[0] &= not rules.skip_first
    return FrameErrors(overlap, center, norm_center, valid, scored, boxes, len(prediction))


def true_runs(flags: np.ndarray) -> np.ndarray:
    """Return start and end (exclusive) of each run of consecutive true ``flags``, bool (frames,): int (runs, 2)."""
    return np.flatnonzero(np.diff(flags, prepend=False, append=False)).reshape(-1, 2)


@dataclass(frozen=True)
class Curves:
    """Fractions of frames in [0, 1] over thresholds (last axis); a leading axis, if any, runs over sequences."""

    success: np.ndarray  # overlap above the thresholds, 21 of them from 0 to 1 unless the rules say otherwise
    precision: np.ndarray  # center error at most the thresholds, 51 from 0 to 50 pixels
    norm_precision: np.ndarray  # normalized center error at most the thresholds, 51 from 0 to 0.5
    overlap: np.ndarray  # the mean overlap itself, without an axis of thresholds


def _fraction_within(values: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Return the fraction of ``values`` (not NaN) of at most each of the ascending ``thresholds``; NaN if empty."""
    first = np.searchsorted(thresholds, values)  # the first threshold that is not below the value
    counts = np.bincount(first, minlength=len(thresholds) + 1)[: len(thresholds)].cumsum()
    return counts / len(values) if len(values) else np.full(len(thresholds), np.nan)


def sequence_curves(errors: FrameErrors, rules: Rules = _PLAIN) -> Curves:
    """Compute the curves of one sequence over all scored frames, including those without target.

    They are NaN if no frame is scored.
    """
    overlap = errors.overlap[errors.scored]
    return Curves(
        success=1 - _fraction_within(overlap, rules.thresholds("success")),
        precision=_fraction_within(errors.center[errors.scored], rules.thresholds("precision")),
        norm_precision=_fraction_within(errors.norm_center[errors.scored], rules.thresholds("norm_precision")),
        overlap=np.asarray(np.maximum(overlap, 0).mean() if len(overlap) else np.nan),
    )


def stack_curves(curves: Seq[Curves]) -> Curves:
    """Stack the curves of several sequences along a new leading axis."""
    return Curves(*map(np.stack, zip(*(vars(one).values() for one in curves), strict=True)))


def weighted_mean(values: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Return the mean over the first axis, which runs over sequences; rows of weight 0 may hold NaN."""
    if weights is None:
        return values.mean(axis=0)
    rows = weights > 0
    return np.tensordot(weights[rows] / weights.sum(), values[rows], axes=1)


def mean_curves(curves: Curves, weights: np.ndarray | None = None) -> Curves:
    """Average over sequences, with equal weights regardless of length or with ``weights`` (sequences,)."""
    return Curves(*(weighted_mean(one, weights) for one in vars(curves).values()))


def curve_scores(curves: Curves, scores: Seq[Score] = FIVE) -> np.ndarray:
    """Return the scores in percent, shape ``(..., len(scores))``."""
    return 100 * np.stack([_read(curves, score) for score in scores], axis=-1)


def _read(curves: Curves, score: Score) -> np.ndarray:
    curve = getattr(curves, score.curve)
    if score.read == "overlap":
        return curves.overlap
    if score.read == "mean":
        return curve.mean(axis=-1)
    steps = curve.shape[-1] - 1
    if isinstance(score.read, str):  # "area"
        return (curve.sum(axis=-1) - (curve[..., 0] + curve[..., -1]) / 2) / steps
    return curve[..., round(score.read / CURVE_ENDS[score.curve] * steps)]


@lru_cache(maxsize=1)
def _resamples(sequences: int) -> np.ndarray:
    """Return how often each sequence is drawn in each bootstrap resample: float32 ``(RESAMPLES, sequences)``."""
    rng = np.random.default_rng(_SEED)
    return rng.multinomial(sequences, np.full(sequences, 1 / sequences), size=RESAMPLES).astype(np.float32)


def bootstrap_intervals(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the ends ``(scores, 2)`` of the percentile intervals at :data:`LEVEL` of weighted means over sequences.

    NaN for fewer than two sequences, which tell nothing of others.

    Args:
        values: ``(sequences, scores)``.
        weights: ``(sequences,)``; sequences of weight 0 are left out, and may hold NaN.
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

    ``p_value`` is how often a difference as large arises when, on every sequence, it is a coin toss which tracker got
    which score (two-sided sign-flip permutation test): exact for up to 13 sequences, else of :data:`RESAMPLES` draws.
    """

    difference: float  # mean of the first less that of the second, in points
    low: float  # ends of the interval of the difference at LEVEL, by the paired bootstrap
    high: float
    p_value: float
    better: int  # sequences on which the first tracker has the higher score
    worse: int  # and the lower one

    @property
    def significant(self) -> bool:
        """Whether chance alone would rarely do this: the p-value is below 1 - :data:`LEVEL`."""
        return self.p_value < 1 - LEVEL

    @property
    def verdict(self) -> str:
        """What the test says. With fewer than 6 sequences that differ, no difference can be significant."""
        if 2.0 ** (1 - self.better - self.worse) >= 1 - LEVEL:
            return "too few sequences"
        return "more than noise" if self.significant else "within noise"


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
