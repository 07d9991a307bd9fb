"""The tables of a report, and how they are written: aligned text, Markdown, LaTeX, CSV."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.test.analysis.metrics import weighted_mean
from lib.test.analysis.report import RepeatedRuns, Report, TrackerReport
from lib.test.analysis.selection import ORIGIN_UNKNOWN
from lib.test.evaluation.modes import ANNOTATOR, CORRECTIONS, REALTIME, SKIPPED
from lib.test.evaluation.results import read_provenance
from lib.utils.errors import listed


@dataclass(frozen=True)
class Spread:
    """A score of several runs: their mean, and their standard deviation (of a sample: divided by one less)."""

    mean: float
    deviation: float


Cell = str | int | float | tuple[float, float] | Spread  # a float is a score, a pair an interval


@dataclass(frozen=True)
class Table:
    """Rows under a header.

    Attributes:
        title: one line; it names data set and protocol.
        header: names of the columns.
        rows: cells; the first of a row says what the row is about.
        best: along what the best score stands out, where that can be set: each ``column``, each ``row``, or neither.
    """

    title: str
    header: tuple[str, ...]
    rows: list[list[Cell]]
    best: str = ""


def cell_text(cell: Cell) -> str:
    """A cell with two decimals; a dash where there is no number."""
    if isinstance(cell, tuple):
        return "-" if math.isnan(cell[0]) else f"{cell[0]:.2f}..{cell[1]:.2f}"
    if isinstance(cell, Spread):
        return "-" if math.isnan(cell.mean) else f"{cell.mean:.2f} \N{PLUS-MINUS SIGN} {cell.deviation:.2f}"
    if isinstance(cell, float):
        return "-" if math.isnan(cell) else f"{cell:.2f}"
    return str(cell)


def align(header: Seq[str], rows: Seq[Seq[str]]) -> str:
    """Text columns under a ruled header: the first flush left, the others flush right."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]

    def line(cells: Seq[str]) -> str:
        return "  ".join([cells[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))])

    return "\n".join([line(header).rstrip(), "-" * len(line(header)), *map(line, rows)])


def text(table: Table) -> str:
    """A table as aligned text below its title."""
    return f"{table.title}\n{align(table.header, [list(map(cell_text, row)) for row in table.rows])}"


def markdown(table: Table) -> str:
    """A table in Markdown below its title."""

    def line(cells: Seq[str]) -> str:
        return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"

    ruler = ["---", *["---:"] * (len(table.header) - 1)]
    rows = [line(list(map(cell_text, row))) for row in table.rows]
    return "\n".join([f"{table.title}", "", line(table.header), line(ruler), *rows, ""])


_TEX = {
    "\\": r"\textbackslash{}",
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\^{}",
    "\N{PLUS-MINUS SIGN}": r"$\pm$",
}


def latex(table: Table) -> str:
    """A table as a LaTeX ``table``, which needs no package; the best scores are bold."""

    def escape(cell: str) -> str:
        return "".join(_TEX.get(character, character) for character in cell).replace("..", "--")

    def top(cells: Iterable[Cell]) -> float:
        return max((cell for cell in cells if isinstance(cell, float)), default=math.nan)

    columns = [top(column) for column in zip(*table.rows, strict=True)]
    lines = []
    for row in table.rows:
        tops = {"column": columns, "row": [top(row)] * len(row)}.get(table.best, [math.nan] * len(row))
        cells = [escape(cell_text(cell)) for cell in row]
        cells = [rf"\textbf{{{c}}}" if v == best else c for c, v, best in zip(cells, row, tops, strict=True)]
        lines.append(" & ".join(cells) + r" \\")
    header = " & ".join(map(escape, table.header)) + r" \\"
    begin = [r"\begin{table}", r"\centering", rf"\caption{{{escape(table.title)}}}"]
    begin.append(rf"\begin{{tabular}}{{l{'r' * (len(table.header) - 1)}}}")
    end = [r"\hline", r"\end{tabular}", r"\end{table}", ""]
    return "\n".join([*begin, r"\hline", header, r"\hline", *lines, *end])


def write_csv(table: Table, path: Path) -> Path:
    """Write a table without its title, scores with four decimals and an interval as two columns.

    A column with spreads is two also: the mean, or the score of one run, and ``sd``, empty for one run.
    """

    def parts(cell: Cell, count: int) -> tuple[str | int | float, ...]:
        if isinstance(cell, tuple):
            return cell
        return (cell.mean, cell.deviation) if isinstance(cell, Spread) else (cell, *[""] * (count - 1))

    ends = [_csv_ends(column) for column in zip(*table.rows, strict=True)]
    header = [f"{name}{end}" for name, of_column in zip(table.header, ends, strict=True) for end in of_column]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for row in table.rows:
            values = [v for cell, of_column in zip(row, ends, strict=True) for v in parts(cell, len(of_column))]
            writer.writerow([f"{v:.4f}" if isinstance(v, float) else v for v in values])
    return path


def _csv_ends(column: Seq[Cell]) -> tuple[str, ...]:
    """What comes after a column's name in a CSV, for each of the columns that it becomes."""
    if any(isinstance(cell, tuple) for cell in column):
        return " low", " high"
    return ("", " sd") if any(isinstance(cell, Spread) for cell in column) else ("",)


FORMATS: dict[str, Callable[[Table], str]] = {"md": markdown, "tex": latex}


def scope(report: Report) -> str:
    """``DATASET (N sequences)``, or ``(N of M sequences)`` when some were left out."""
    scored, total = len(report.data), report.total
    of_all = f" of {total}" if total > scored else ""
    return f"{report.dataset} ({scored}{of_all} sequence{'' if total == 1 else 's'})"


def summary_table(report: Report) -> Table:
    """A row per tracker: its scores, and the 95 % interval of the first one; at the end, a row for repeated runs."""
    first = report.score_names[0]
    rows: list[list[Cell]] = [[one.label, *one.scores().values(), one.intervals()[first]] for one in report.trackers]
    everything = list(range(len(report.data)))
    rows += [[one.label, *run_spreads(one, everything), one.intervals()[first]] for one in report.repeated]
    title = f"{scope(report)}, {sum(report.frames)} frames, protocol {report.protocol}"
    return Table(title, ("Tracker", *report.score_names, f"{first} 95%"), rows, "column")


def mode_tables(report: Report) -> dict[str, Table]:
    """What was counted in runs with a simulated annotator, and in real time, by name; none of ordinary runs."""
    corrected: list[list[Cell]] = []
    skipped: list[list[Cell]] = []
    for tracker in report.trackers:
        first = read_provenance(tracker.files[0]) or {} if tracker.files else {}
        if CORRECTIONS not in first and SKIPPED not in first:  # an ordinary run, of which there is no more to read
            continue
        records = [first, *(read_provenance(path) or {} for path in tracker.files[1:])]
        frames = sum(record.get("frames", 1) - 1 for record in records)  # without the first, whose box is given
        if all(CORRECTIONS in record for record in records):
            count = sum(len(record[CORRECTIONS]) for record in records)
            corrected.append([tracker.label, records[0][ANNOTATOR], count, frames, 100 * count / max(frames, 1)])
        if all(SKIPPED in record for record in records):
            count = sum(record[SKIPPED] for record in records)
            skipped.append([tracker.label, records[0][REALTIME], count, frames, 100 * count / max(frames, 1)])
    tables = {
        "annotator": Table(
            f"Corrections by a simulated annotator, {scope(report)}",
            ("Tracker", "Below IoU", "Corrections", "Frames", "Per hundred frames"),
            corrected,
        ),
        "realtime": Table(
            f"In real time, {scope(report)}",
            ("Tracker", "Frames per second", "Skipped", "Frames", "Skipped %"),
            skipped,
        ),
    }
    return {name: table for name, table in tables.items() if table.rows}


def notes(report: Report) -> list[str]:
    """What was left out, what was missing, and what the results come from: a line each."""
    lines = []
    if report.absent:
        lines.append(f"left out, {len(report.absent)} of which there is no annotation here: {listed(report.absent)}")
    if report.first_only:
        lines.append(f"left out, only their first box is known: {listed(report.first_only)}")
    for label, names in report.missing.items():
        lines.append(f"left out, no results of {label}: {listed(names)}")
    if report.rules.flags_expected:
        unflagged = [one.name for one in report.data if one.official_visible is None]
        if unflagged:
            shown = ", ".join(unflagged[:5]) + (" ..." if len(unflagged) > 5 else "")
            lines.append(f"WARNING: no absence flags of {len(unflagged)} sequences ({shown}): scored as always visible")
    unknown = [tracker.label for tracker in report.trackers if list(tracker.origins) == [ORIGIN_UNKNOWN]]
    if unknown:
        lines.append(f"{ORIGIN_UNKNOWN}: {', '.join(unknown)}")
    for tracker in (one for one in report.trackers if one.label not in unknown):
        for origin, count in tracker.origins.items():
            mixed = f", {count} sequences" if len(tracker.origins) > 1 else ""
            lines.append(f"{tracker.label}: {origin}{mixed}")
        if len(tracker.origins) > 1:
            lines.append(f"WARNING: the results of {tracker.label} do not all come from the same model")
    for repeated in report.repeated:
        numbers = ", ".join(one.run[1] for one in repeated.trackers if one.run)
        lines.append(f"{repeated.label}: {numbers}, with their standard deviation")
    return lines


def summary_text(report: Report) -> str:
    """The table of scores in percent, the notes, and what other protocols say."""
    counted = [text(table) for table in mode_tables(report).values()]
    return "\n".join([text(summary_table(report)), *notes(report), *report.differences, *counted])


def part_scores(tracker: TrackerReport, indices: list[int]) -> list[float]:
    """The scores over some of the sequences, in percent; NaN where the rules leave no frame of them."""
    weights = tracker.weights[indices]
    values = weighted_mean(tracker.sequence_scores()[indices], weights) if weights.any() else None
    return [math.nan] * len(tracker.rules.scores) if values is None else values.tolist()


def run_spreads(repeated: RepeatedRuns, indices: list[int]) -> list[Spread]:
    """Mean and spread over runs of their scores over some of the sequences."""
    values = np.array([part_scores(one, indices) for one in repeated.trackers])
    return list(map(Spread, values.mean(axis=0).tolist(), values.std(axis=0, ddof=1).tolist()))


def _rows(report: Report, parts: Mapping[tuple[str, int], list[int]], header: tuple[str, ...], title: str) -> Table:
    """A row for each part of the sequences: all scores of a single tracker, or the first score of several, and of
    repeated runs."""
    one, first = report.trackers[0], report.score_names[0]
    single = len(report.trackers) == 1
    shown = len(report.score_names) if single else 1
    labels = *(each.label for each in report.trackers), *(each.label for each in report.repeated)
    columns = report.score_names if single else labels
    rows: list[list[Cell]] = [
        [
            *cells,
            *(score for tracker in report.trackers for score in part_scores(tracker, indices)[:shown]),
            *(run_spreads(repeated, indices)[0] for repeated in report.repeated),
        ]
        for cells, indices in parts.items()
    ]
    heading = f"{one.label if single else first} {title}, {scope(report)}, protocol {report.protocol}"
    return Table(heading, (*header, *columns), rows, "" if single else "row")


def sequence_table(report: Report) -> Table:
    """A row per sequence: all scores of a single tracker, or the first score of several."""
    parts = {(one.name, len(one.ground_truth)): [index] for index, one in enumerate(report.data)}
    return _rows(report, parts, ("Sequence", "Frames"), "by sequence")


def attribute_parts(report: Report) -> dict[str, list[int]]:
    """Which sequences have each attribute, attributes in alphabetical order; empty where there are none."""
    parts: dict[str, list[int]] = {}
    for index, sequence in enumerate(report.data):
        for attribute in sequence.attributes:
            parts.setdefault(attribute, []).append(index)
    return dict(sorted(parts.items()))


def attribute_table(report: Report) -> Table | None:
    """A row per attribute, scored over the sequences that have it; None where the benchmark has no attributes."""
    cells = {(name, len(indices)): indices for name, indices in attribute_parts(report).items()}
    return _rows(report, cells, ("Attribute", "Sequences"), "by attribute") if cells else None


def long_table(report: Report) -> Table:
    """A row per tracker and sequence: frames, frames with a valid target, and all scores."""
    header = ("Tracker", "Sequence", "Frames", "Valid frames", *report.score_names, "Protocol")
    rows = [
        [tracker.label, name, len(errors.valid), int(errors.valid.sum()), *scores, report.protocol]
        for tracker in report.trackers
        for name, errors, scores in zip(
            report.sequences, tracker.errors, tracker.sequence_scores().tolist(), strict=True
        )
    ]
    return Table(f"{scope(report)}, protocol {report.protocol}", header, rows)


def write_tables(report: Report, formats: Seq[str], folder: Path) -> list[Path]:
    """Write ``per_sequence.csv``, and in each format asked for (``md``, ``tex``, ``csv``) all tables of the report."""
    folder.mkdir(parents=True, exist_ok=True)
    candidates = {"summary": summary_table(report), "per_attribute": attribute_table(report)} if formats else {}
    tables = {name: table for name, table in candidates.items() if table} | (mode_tables(report) if formats else {})
    files = [write_csv(long_table(report), folder / "per_sequence.csv")]
    if "csv" in formats:
        files += [write_csv(table, folder / f"{name}.csv") for name, table in tables.items()]
    for suffix in (one for one in FORMATS if one in formats):
        for name, table in {**tables, "per_sequence": sequence_table(report)}.items():
            files.append(folder / f"{name}.{suffix}")
            files[-1].write_text(FORMATS[suffix](table), encoding="utf-8")
    return files
