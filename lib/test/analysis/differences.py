"""Differences between protocols on the same results: the other scores, the change, and the rules that cause it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from lib.test.analysis.protocols import PROTOCOLS, WHY, Rules, differing
from lib.utils.errors import DataError

if TYPE_CHECKING:
    from lib.test.analysis.report import Report, TrackerReport

_SILENT = ("flags_expected", "nan_is_absent", "pad_short")  # rules that refuse or report, and change no score
_SHOWN = 0.005  # points; less is the same in a table with two decimals


def protocol_differences(report: Report, score: Callable[[str, Rules], TrackerReport]) -> Iterator[str]:
    """Compare a report with what the other protocols make of the same results.

    Args:
        report: the report.
        score: scores the tracker of a label under other rules.

    Yields:
        Lines of text: the other scores of each tracker, each with the change from the report where it has that score
        too; then, for the first tracker, which rules are the reason, and by how much, going from the published
        protocol to the official one rule by rule.
    """
    for name, protocol in PROTOCOLS.items():
        if name == report.protocol:
            continue
        other = protocol.rules(report.data[0].dataset)
        try:
            scores = {tracker.label: score(tracker.label, other).scores() for tracker in report.trackers}
            if all(_same(tracker.scores(), scores[tracker.label]) for tracker in report.trackers):
                yield f"protocol {name} prints the same"
                continue
            best = report.trackers[0].label
            ends = (report.rules, other) if name == "official" else (other, report.rules)
            reasons = list(_reasons(partial(score, best), *ends))
        except DataError as error:
            yield f"protocol {name} cannot be compared: {error}"
            continue
        for tracker in report.trackers:
            yield f"protocol {name}, {tracker.label}: {_with_changes(scores[tracker.label], tracker.scores())}"
        if reasons:
            yield f"from pytracking to official, {best}:"
            yield from (f"  {reason}" for reason in reasons)


def _reasons(score: Callable[[Rules], TrackerReport], start: Rules, end: Rules) -> Iterator[str]:
    """Yield a line for every rule that changes a score on the way from the rules ``start`` to ``end``."""
    rules = replace(start, **{name: getattr(end, name) for name in _SILENT})
    before = score(rules).scores()
    if start.scores != end.scores and not _shared(start, end):
        yield f"{', '.join(end.score_names)} are other measures than {', '.join(start.score_names)}"
        # The thresholds belong to the scores.
        rules = replace(rules, scores=end.scores, success_points=end.success_points, center_points=end.center_points)
        before = score(rules).scores()
    for name in differing(rules, end):
        rules = replace(rules, **{name: getattr(end, name)})
        after = score(rules).scores()
        changes = _changes(after, before)
        if changes:
            why = WHY.get((name, getattr(end, name)), f"{name} is {getattr(end, name)}")
            yield f"{', '.join(changes)}: {why}"
        before = after


def _shared(start: Rules, end: Rules) -> set[str]:
    return set(start.score_names) & set(end.score_names)


def _changes(after: Mapping[str, float], before: Mapping[str, float]) -> list[str]:
    changes = {name: after[name] - before[name] for name in after if name in before}
    return [f"{name} {change:+.2f}" for name, change in changes.items() if abs(change) >= _SHOWN]


def _same(scores: Mapping[str, float], others: Mapping[str, float]) -> bool:
    return scores.keys() >= others.keys() and not _changes(scores, others)


def _with_changes(scores: Mapping[str, float], others: Mapping[str, float]) -> str:
    """``AUC 49.31 (-0.25), OP50 58.55``: the scores, with the change from the others where that is to be seen."""
    parts = []
    for name, value in scores.items():
        change = value - others.get(name, value)
        parts.append(f"{name} {value:.2f}" + (f" ({change:+.2f})" if abs(change) >= _SHOWN else ""))
    return ", ".join(parts)
