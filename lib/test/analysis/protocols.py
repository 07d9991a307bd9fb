"""Scoring protocols: the scores, and the rules of a protocol for each benchmark, as data.

``pytracking`` gives the numbers of PyTracking, STARK and OSTrack. ``official`` reproduces each benchmark's own toolkit;
``docs/metrics.md`` describes the toolkits. Apparent errors that are reproduced are marked *quirk*; all of them are
tested in ``tests/test_analysis_metrics.py`` and ``tests/test_analysis_official.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

import numpy as np

from lib.utils.errors import DataError, OSTrackError, suggestion

CURVE_ENDS = {"success": 1.0, "precision": 50.0, "norm_precision": 0.5}  # last threshold of each curve; the first is 0


@dataclass(frozen=True)
class Score:
    """A column of a table: a number read from a curve, ``success``, ``precision`` or ``norm_precision``.

    ``read`` says how: a threshold to read the curve at, ``mean`` of the curve, ``area`` below it by the trapezoid rule
    over thresholds scaled to [0, 1], or ``overlap``: the mean overlap itself.
    """

    name: str
    curve: str
    read: float | str


AUC = Score("AUC", "success", "mean")
OP50 = Score("OP50", "success", 0.5)
OP75 = Score("OP75", "success", 0.75)
PRECISION = Score("Precision", "precision", 20)
NORM_PRECISION = Score("Norm Precision", "norm_precision", 0.2)
FIVE = (AUC, OP50, OP75, PRECISION, NORM_PRECISION)
GOT10K = (Score("AO", "success", "overlap"), Score("SR0.50", "success", 0.5), Score("SR0.75", "success", 0.75))
VOT = (GOT10K[0], AUC)
STATE_ACCURACY = Score("SA", "success", "overlap")  # state accuracy of trackers that never predict absence
AREAS = tuple(Score(score.name, score.curve, "area") for score in (AUC, NORM_PRECISION, PRECISION))


@dataclass(frozen=True)
class Rules:
    """Rules of a protocol for the frames and result files of one benchmark."""

    scores: tuple[Score, ...] = FIVE  # the columns of the table; the first one ranks
    official_flags: bool = False  # use all absence flags of the benchmark, also those that the published loader ignores
    flags_expected: bool = False  # it has such flags; a report counts the sequences whose flags were not found
    nan_is_absent: bool = False  # NaN in the ground truth marks a frame without target; otherwise it is an error
    pad_short: bool = True  # a prediction that ends early is padded with zeros; otherwise it is an error
    repeat_empty: bool = True  # a predicted box without area is replaced by the one before it
    rounded: bool = False  # predictions and ground truth are rounded to whole pixels
    clipped: bool = False  # predictions and ground truth are clipped to the image by clip_boxes of metrics.py
    pixel: float = 1.0  # added to j - i for the length of a side from pixel i to pixel j, in the overlap
    unseen_is_miss: bool = False  # frames flagged as invisible get infinite center errors, whatever the values below
    positive_corner: bool = False  # a true box counts only if x and y are above zero too, not only width and height
    invalid_center: float = np.inf  # center error where no true box counts; -1 is a hit of precision, inf a miss
    invalid_norm_center: float = np.inf  # likewise for the normalized center error
    skip_first: bool = False  # the first frame is not scored
    skip_absent: bool = False  # frames where no true box counts are not scored; otherwise they are in the denominator
    pooled: bool = False  # every scored frame has the same weight; otherwise every sequence has
    success_points: int = 21  # thresholds of the success curve
    center_points: int = 51  # thresholds of the other two

    def thresholds(self, curve: str) -> np.ndarray:
        """Return the evenly spaced thresholds of one of the three curves.

        They are the doubles nearest to the fractions, so an overlap of exactly 3/4 ties with 0.75 on every machine.
        """
        count = self.success_points if curve == "success" else self.center_points
        return np.arange(count) * CURVE_ENDS[curve] / (count - 1)

    @property
    def score_names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(score.name for score in self.scores)


# How two protocols differ: the effect of a rule with a certain value.
WHY: dict[tuple[str, Any], str] = {
    ("official_flags", True): "the benchmark's own absence flags are used, also those that published code ignores",
    ("repeat_empty", False): "a predicted box without area does not repeat the one before it",
    ("rounded", True): "boxes are rounded to whole pixels",
    ("clipped", True): "boxes are clipped to the image",
    ("pixel", 0.0): "sides are computed without adding and subtracting a pixel, whose rounding decides ties",
    ("positive_corner", True): "a true box counts only where x and y are above zero too",
    ("invalid_center", -1): "a frame whose true box does not count is a hit of precision, as in MATLAB",
    ("invalid_center", np.inf): "a frame without target is never a hit of precision (in MATLAB it is)",
    ("invalid_norm_center", -1): "a frame whose true box does not count is a hit of normalized precision, as in MATLAB",
    ("invalid_norm_center", np.inf): "a frame without target is never a hit of normalized precision",
    ("unseen_is_miss", True): "absent frames are never hits",
    ("unseen_is_miss", False): "absent frames are treated like those whose true box does not count",
    ("skip_first", True): "the first frame is left out",
    ("skip_absent", True): "frames without target are left out",
    ("pooled", True): "the frames of all sequences are pooled",
    ("scores", AREAS): "areas under the curves by the trapezoid rule",
    ("center_points", 21): "the curves of both precisions have 21 points",
}


@dataclass(frozen=True)
class Protocol:
    """A scoring protocol: default rules, and the rules of benchmarks that differ from them, by data set tag."""

    default: Rules
    special: Mapping[str, Rules] = field(default_factory=dict)

    def rules(self, dataset: str) -> Rules:
        """Return the rules for the sequences of the data set with this tag."""
        return self.special.get(dataset, self.default)


def differing(rules: Rules, other: Rules) -> list[str]:
    """Return the names of the rules in which ``other`` differs from ``rules``."""
    return [one.name for one in fields(Rules) if getattr(rules, one.name) != getattr(other, one.name)]


_UAV = ("uav", "uav123_10fps", "uav20l")  # NaN in the ground truth
_OTB_LIKE = ("otb", "nfs", "tc128", *_UAV, "dtb70", "uavtrack112", "uavtrack112_l", "uavdt", "visdrone")
_LASOT_LIKE = ("lasot", "lasot_extension_subset", "vasttrack", "tnl2k")
_LASHER = ("lasher_rgb", "lasher_tir")
_ANTIUAV = ("antiuav_rgb", "antiuav_tir", "antiuav410")
_VOT_LIKE = ("vot18", "vot20", "vot22", "didi")

# Quirk: -1 is below every threshold, so a frame without target counts as a hit of normalized precision (for uav of
# precision too). LaSOT alone is corrected, and only for the frames that its flags call invisible.
_PUBLISHED = Rules(invalid_norm_center=-1)
_PUBLISHED_UAV = Rules(invalid_norm_center=-1, invalid_center=-1, nan_is_absent=True)
# A frame without target is never a hit. In MATLAB, the language of the OTB and UAV123 toolkits, NaN > 0 is false
# and the center error of such a frame becomes -1, a hit of precision at every threshold: a fault, not repeated here.
_STRICT = Rules(official_flags=True, nan_is_absent=True, pad_short=False)
# Quirk: LaSOT's toolkit removes the flagged frames before that, but a visible frame whose true box is not positive in
# all four numbers is still such a hit.
_LASOT = replace(
    _STRICT, positive_corner=True, invalid_center=-1, invalid_norm_center=-1, flags_expected=True, unseen_is_miss=True
)

PROTOCOLS = {
    "pytracking": Protocol(
        default=_PUBLISHED,
        special={
            "lasot": Rules(invalid_norm_center=-1, pad_short=False, unseen_is_miss=True),
            "folder": Rules(invalid_norm_center=-1, nan_is_absent=True),
            # Not in the published code, which would fail at their NaN: scored like its uav.
            **dict.fromkeys(_UAV, _PUBLISHED_UAV),
        },
    ),
    "official": Protocol(
        default=_STRICT,
        special={
            **dict.fromkeys(_OTB_LIKE, replace(_STRICT, scores=(AUC, OP50, PRECISION))),
            **dict.fromkeys(_LASOT_LIKE, _LASOT),
            **dict.fromkeys(_LASHER, replace(_LASOT, flags_expected=False)),  # its toolkit is LaSOT's without the flags
            **dict.fromkeys(_ANTIUAV, replace(_STRICT, scores=(STATE_ACCURACY, AUC, PRECISION), pixel=0.0)),
            "got10k": Rules(
                scores=GOT10K,
                official_flags=True,
                flags_expected=True,
                pad_short=False,
                repeat_empty=False,
                clipped=True,
                pixel=0.0,
                skip_first=True,
                skip_absent=True,
                pooled=True,
                success_points=101,
            ),
            "trackingnet": Rules(scores=AREAS, pad_short=False, repeat_empty=False, rounded=True, center_points=21),
            "avist": replace(_STRICT, flags_expected=True, scores=(AUC, OP50, OP75)),
            "nt_vot211": replace(_STRICT, scores=(AUC, PRECISION)),
            # Sets without a toolkit: a tracker that always predicts a box is wrong where there is no target.
            **dict.fromkeys(("folder", "images_val"), replace(_STRICT, skip_absent=True)),
            **dict.fromkeys(_VOT_LIKE, replace(_STRICT, scores=VOT, skip_first=True, skip_absent=True, pooled=True)),
        },
    ),
}


def get_protocol(name: str) -> Protocol:
    """Return the protocol called ``name``. Raises OSTrackError: there is none."""
    if name not in PROTOCOLS:
        hint = suggestion(name, PROTOCOLS, f"known: {', '.join(PROTOCOLS)}")
        raise OSTrackError(f"unknown protocol {name!r}: {hint}")
    return PROTOCOLS[name]


_SILENT = ("flags_expected", "nan_is_absent", "pad_short")  # rules that refuse or report, and change no score
_SHOWN = 0.005  # points; less is the same in a table with two decimals
Scores = Mapping[str, float]  # in percent, by name


def protocol_differences(
    protocol: str, dataset: str, scores: Mapping[str, Scores], score: Callable[[str, Rules], Scores]
) -> Iterator[str]:
    """Compare scores under a protocol with what the other protocols make of the same results.

    Args:
        protocol: name of the protocol.
        dataset: tag of the data set.
        scores: scores of each tracker by its label, the best tracker first.
        score: scores the tracker of a label under other rules.

    Yields:
        Lines of text: the other scores of each tracker, each with the change where ``scores`` has that score too; then,
        for the first tracker, which rules are the reason, and by how much, going from the published protocol to the
        official one rule by rule.
    """
    ours, best = PROTOCOLS[protocol].rules(dataset), next(iter(scores))
    for name in (one for one in PROTOCOLS if one != protocol):
        other = PROTOCOLS[name].rules(dataset)
        try:
            others = {label: score(label, other) for label in scores}
            pairs = [(scores[label], others[label]) for label in scores]
            if all(mine.keys() >= theirs.keys() and not _changes(mine, theirs) for mine, theirs in pairs):
                yield f"protocol {name} prints the same"
                continue
            ends = (ours, other) if name == "official" else (other, ours)
            reasons = list(_reasons(partial(score, best), *ends))
        except DataError as error:
            yield f"protocol {name} cannot be compared: {error}"
            continue
        for label in scores:
            yield f"protocol {name}, {label}: {_with_changes(others[label], scores[label])}"
        if reasons:
            yield f"from pytracking to official, {best}:"
            yield from (f"  {reason}" for reason in reasons)


def _reasons(score: Callable[[Rules], Scores], start: Rules, end: Rules) -> Iterator[str]:
    """Yield a line for every rule that changes a score on the way from the rules ``start`` to ``end``."""
    rules = replace(start, **{name: getattr(end, name) for name in _SILENT})
    before = score(rules)
    if not set(start.score_names) & set(end.score_names):
        yield f"{', '.join(end.score_names)} are other measures than {', '.join(start.score_names)}"
        # The thresholds belong to the scores.
        rules = replace(rules, scores=end.scores, success_points=end.success_points, center_points=end.center_points)
        before = score(rules)
    for name in differing(rules, end):
        value = getattr(end, name)
        rules = replace(rules, **{name: value})
        after = score(rules)
        if changes := _changes(after, before):
            yield f"{', '.join(changes)}: {WHY.get((name, value), f'{name} is {value}')}"
        before = after


def _changes(after: Scores, before: Scores) -> list[str]:
    changes = {name: after[name] - before[name] for name in after if name in before}
    return [f"{name} {change:+.2f}" for name, change in changes.items() if abs(change) >= _SHOWN]


def _with_changes(scores: Scores, others: Scores) -> str:
    """``AUC 49.31 (-0.25), OP50 58.55``: the scores, with the change from the others where that is to be seen."""
    parts = []
    for name, value in scores.items():
        change = value - others.get(name, value)
        parts.append(f"{name} {value:.2f}" + (f" ({change:+.2f})" if abs(change) >= _SHOWN else ""))
    return ", ".join(parts)
