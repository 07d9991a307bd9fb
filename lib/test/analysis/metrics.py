"""How well boxes fit: per-frame errors, curves over thresholds, and the five scores of the field.

Pure functions on numpy arrays. Boxes are ``x, y, w, h`` in pixels. A *protocol* says what counts; it is data: default
rules, and the rules of the benchmarks that differ. ``pytracking`` prints what PyTracking, STARK and OSTrack print; its
oddities are marked *quirk* and pinned by ``tests/test_analysis_metrics.py``.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from lib.utils.errors import DataError, OSTrackError

# The doubles nearest to the fractions: an overlap of exactly 3/4 is a tie with 0.75, whatever the machine.
OVERLAP_THRESHOLDS = np.arange(21) / 20
CENTER_THRESHOLDS = np.arange(51.0)
NORM_CENTER_THRESHOLDS = np.arange(51) / 100
SCORES = ("AUC", "OP50", "OP75", "Precision", "Norm Precision")


@dataclass(frozen=True)
class Rules:
    """What a protocol does with the frames and files of one benchmark.

    Attributes:
        nan_is_absent: NaN in the ground truth marks a frame without target; otherwise it is an error.
        pad_short: a prediction that ends early is filled up with zeros; otherwise it is an error.
        invalid_center: the centre error of a frame without target; -1 makes it a hit of precision, inf a miss.
        invalid_norm_center: likewise for the normalised centre error.
        unseen_is_miss: frames flagged as invisible get infinite centre errors, whatever the two values above say.
    """

    nan_is_absent: bool = False
    pad_short: bool = True
    invalid_center: float = np.inf
    invalid_norm_center: float = np.inf
    unseen_is_miss: bool = False


@dataclass(frozen=True)
class Protocol:
    """A named way of scoring: the rules of most benchmarks, and of those with rules of their own, by data set tag."""

    name: str
    default: Rules
    special: Mapping[str, Rules] = field(default_factory=dict)

    def rules(self, dataset: str) -> Rules:
        """The rules for the sequences of the data set with this tag."""
        return self.special.get(dataset, self.default)


PROTOCOLS = {
    # Quirk: -1 is below every threshold, so a frame without target counts as a hit of normalised precision (for uav of
    # precision too). LaSOT alone is corrected, and only for the frames that its flags call invisible.
    "pytracking": Protocol(
        "pytracking",
        default=Rules(invalid_norm_center=-1),
        special={
            "lasot": Rules(invalid_norm_center=-1, pad_short=False, unseen_is_miss=True),
            "uav": Rules(invalid_norm_center=-1, invalid_center=-1, nan_is_absent=True),
            "folder": Rules(invalid_norm_center=-1, nan_is_absent=True),
        },
    ),
}


def get_protocol(name: str) -> Protocol:
    """The protocol called ``name``.

    Raises:
        OSTrackError: there is none of that name.
    """
    if name not in PROTOCOLS:
        near = difflib.get_close_matches(name, PROTOCOLS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(PROTOCOLS)}"
        raise OSTrackError(f"unknown protocol {name!r}: {hint}")
    return PROTOCOLS[name]


@dataclass(frozen=True)
class FrameErrors:
    """One prediction against one ground truth, arrays of shape ``(frames,)``.

    Attributes:
        overlap: intersection over union in [0, 1]; -1 where there is no valid target.
        center: distance of the centres in pixels, and what the rules put where there is no valid target.
        norm_center: the same distance with each axis divided by the side of the true box.
        valid: the frame has a target: width and height above zero and, where there are flags, visible.
    """

    overlap: np.ndarray
    center: np.ndarray
    norm_center: np.ndarray
    valid: np.ndarray


def check_truth(truth: np.ndarray, rules: Rules, source: str) -> np.ndarray:
    """The ground truth as float64 ``(frames, 4)``, or a DataError that names ``source``."""
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
    """Bring a prediction into the form that is scored: one box for every row of ``truth``.

    A box without area repeats the one before it (a tracker's way of saying that it saw nothing), a longer prediction is
    cut, a shorter one is padded with zeros where the rules allow it, and frame 0 becomes the ground truth.

    Args:
        prediction: ``(any, 4)``.
        truth: ``(frames, 4)`` as :func:`check_truth` returns it.
        source: what to call the prediction in an error.

    Returns:
        float64 ``(frames, 4)``.

    Raises:
        DataError: wrong shape, a value that is not finite, a negative size, or too few rows.
    """
    boxes = np.asarray(prediction, np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or len(boxes) == 0:
        raise DataError(f"{source}: prediction of shape {boxes.shape}, expected one x, y, w, h for every frame")
    bad = ~np.isfinite(boxes).all(axis=1) | (boxes[:, 2:] < 0).any(axis=1)
    if bad.any():
        row = bad.argmax()
        raise DataError(f"{source}: frame {row} is {boxes[row].tolist()}, not a box: track this sequence again")
    if len(boxes) < len(truth) and not rules.pad_short:
        raise DataError(f"{source}: {len(boxes)} boxes for {len(truth)} frames: track this sequence again")

    boxes = boxes[: len(truth)]
    # Quirk: not where the ground truth is NaN; there an empty box stays, and later ones repeat it.
    repeats = (boxes[:, 2:] == 0).any(axis=1) & ~np.isnan(truth[: len(boxes)]).any(axis=1)
    repeats[0] = False
    boxes = boxes[np.maximum.accumulate(np.where(repeats, 0, np.arange(len(boxes))))]
    boxes = np.concatenate((boxes, np.zeros((len(truth) - len(boxes), 4))))
    boxes[0] = truth[0]
    return boxes


def box_overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of corresponding boxes of ``a`` and ``b`` (frames, 4); NaN where both are empty.

    Corners are pixels, ``x + w - 1``, and a side from pixel i to pixel j is ``j - i + 1`` long. On paper the ones
    cancel; in floating point they decide ties with a threshold, so they stay.
    """
    top_left = np.maximum(a[:, :2], b[:, :2])
    bottom_right = np.minimum(a[:, :2] + a[:, 2:] - 1, b[:, :2] + b[:, 2:] - 1)
    intersection = np.clip(bottom_right - top_left + 1, 0, None).prod(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return intersection / (a[:, 2:].prod(axis=1) + b[:, 2:].prod(axis=1) - intersection)


def center_distance(a: np.ndarray, b: np.ndarray, scale: np.ndarray | float = 1.0) -> np.ndarray:
    """Distance between the centres of corresponding boxes (frames, 4), each axis divided by ``scale`` (frames, 2)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        centers = [(boxes[:, :2] + 0.5 * (boxes[:, 2:] - 1)) / scale for boxes in (a, b)]
        return np.sqrt(((centers[0] - centers[1]) ** 2).sum(axis=1))


def frame_errors(
    prediction: np.ndarray, truth: np.ndarray, visible: np.ndarray | None, rules: Rules, source: str = "prediction"
) -> FrameErrors:
    """Score every frame of one sequence.

    Args:
        prediction: boxes ``(any, 4)`` as the tracker wrote them, see :func:`prepare_prediction`.
        truth: boxes ``(frames, 4)``.
        visible: ``(frames,)``, false where the target is absent or fully covered; None when the data set has no flags.
        source: what to call the pair in an error.

    Raises:
        DataError: boxes or flags that cannot be scored.
    """
    truth = check_truth(truth, rules, source)
    seen = np.ones(len(truth), bool) if visible is None else np.asarray(visible).astype(bool)
    if seen.shape != (len(truth),):
        raise DataError(f"{source}: visibility flags of shape {seen.shape} for {len(truth)} frames")
    boxes = prepare_prediction(prediction, truth, rules, source)

    valid = (truth[:, 2:] > 0).all(axis=1) & seen
    overlap = np.where(valid, box_overlap(boxes, truth), -1)
    center = np.where(valid, center_distance(boxes, truth), rules.invalid_center)
    norm_center = np.where(valid, center_distance(boxes, truth, truth[:, 2:]), rules.invalid_norm_center)
    if rules.unseen_is_miss:
        center[~seen] = norm_center[~seen] = np.inf
    return FrameErrors(overlap, center, norm_center, valid)


@dataclass(frozen=True)
class Curves:
    """Fractions of frames in [0, 1] over thresholds (last axis); a leading axis, if any, runs over sequences.

    Attributes:
        success: ``(..., 21)``, overlap above :data:`OVERLAP_THRESHOLDS`.
        precision: ``(..., 51)``, centre error at most :data:`CENTER_THRESHOLDS` pixels.
        norm_precision: ``(..., 51)``, normalised centre error at most :data:`NORM_CENTER_THRESHOLDS`.
    """

    success: np.ndarray
    precision: np.ndarray
    norm_precision: np.ndarray


def _fraction_within(values: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Fraction of ``values`` (none NaN) that are at most each of the ascending ``thresholds``."""
    first = np.searchsorted(thresholds, values)  # the first threshold that is not below the value
    return np.bincount(first, minlength=len(thresholds) + 1)[: len(thresholds)].cumsum() / len(values)


def sequence_curves(errors: FrameErrors) -> Curves:
    """The curves of one sequence. All its frames are in the denominator, those without target included."""
    return Curves(
        success=1 - _fraction_within(errors.overlap, OVERLAP_THRESHOLDS),
        precision=_fraction_within(errors.center, CENTER_THRESHOLDS),
        norm_precision=_fraction_within(errors.norm_center, NORM_CENTER_THRESHOLDS),
    )


def stack_curves(curves: list[Curves]) -> Curves:
    """Put the curves of several sequences on a leading axis."""
    names = ("success", "precision", "norm_precision")
    return Curves(*(np.stack([getattr(one, name) for one in curves]) for name in names))


def mean_curves(curves: Curves) -> Curves:
    """The mean over sequences, each with the same weight whatever its length."""
    return Curves(curves.success.mean(axis=0), curves.precision.mean(axis=0), curves.norm_precision.mean(axis=0))


def curve_scores(curves: Curves) -> np.ndarray:
    """The five :data:`SCORES` in percent, shape ``(..., 5)``.

    AUC is the mean of the success curve; OP50 and OP75 are its values at 0.50 and 0.75; precision is read at 20 pixels,
    normalised precision at 0.20.
    """
    success, precision, norm_precision = curves.success, curves.precision, curves.norm_precision
    columns = (success.mean(-1), success[..., 10], success[..., 15], precision[..., 20], norm_precision[..., 20])
    return 100 * np.stack(columns, axis=-1)
