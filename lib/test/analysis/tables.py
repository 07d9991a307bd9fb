"""Reports as text and as CSV."""

from __future__ import annotations

import csv
from collections.abc import Sequence as Seq
from pathlib import Path

from lib.test.analysis.metrics import SCORES
from lib.test.analysis.report import Report


def align(header: Seq[str], rows: Seq[Seq[str]]) -> str:
    """Text columns under a ruled header: the first flush left, the others flush right."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]

    def line(cells: Seq[str]) -> str:
        return "  ".join([cells[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))])

    return "\n".join([line(header).rstrip(), "-" * len(line(header)), *map(line, rows)])


def scope(report: Report) -> str:
    """``DATASET (N sequences)``, or ``(N of M sequences)`` when some were left out."""
    scored, left_out = len(report.sequences), len(set().union(*report.missing.values()))
    total = f" of {scored + left_out}" if left_out else ""
    return f"{report.dataset} ({scored}{total} sequence{'' if scored + left_out == 1 else 's'})"


def summary_table(report: Report) -> str:
    """The table of scores in percent, with what was left out and what the results come from."""
    rows = [[label, *(f"{value:.2f}" for value in scores.values())] for label, scores in report.summary().items()]
    heading = f"{scope(report)}, {sum(report.frames)} frames, protocol {report.protocol}"
    lines = [heading, align(["Tracker", *SCORES], rows)]
    for label, names in report.missing.items():
        lines.append(f"left out, no results of {label}: {', '.join(names)}")
    for tracker in report.trackers:
        for origin, count in tracker.origins.items():
            mixed = f", {count} sequences" if len(tracker.origins) > 1 else ""
            lines.append(f"{tracker.label}: {origin}{mixed}")
        if len(tracker.origins) > 1:
            lines.append(f"WARNING: the results of {tracker.label} do not all come from the same model")
    return "\n".join(lines)


def sequence_table(report: Report) -> str:
    """A line per sequence: all scores of a single tracker, or the AUC of several."""
    trackers = report.trackers
    if len(trackers) == 1:
        header, values = SCORES, trackers[0].sequence_scores()
    else:
        header = tuple(tracker.label for tracker in trackers)
        values = list(zip(*(tracker.sequence_scores()[:, 0] for tracker in trackers), strict=True))
    rows = [
        [name, str(frames), *(f"{value:.2f}" for value in row)]
        for name, frames, row in zip(report.sequences, report.frames, values, strict=True)
    ]
    title = f"{trackers[0].label} by sequence" if len(trackers) == 1 else "AUC by sequence"
    return f"{title}\n{align(['Sequence', 'Frames', *header], rows)}"


def write_sequence_csv(report: Report, path: Path) -> Path:
    """Write a row per tracker and sequence: frames, frames with a valid target, and the scores in percent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Tracker", "Sequence", "Frames", "Valid frames", *SCORES])
        for tracker in report.trackers:
            for name, errors, scores in zip(report.sequences, tracker.errors, tracker.sequence_scores(), strict=True):
                numbers = [f"{score:.4f}" for score in scores]
                writer.writerow([tracker.label, name, len(errors.valid), int(errors.valid.sum()), *numbers])
    return path
