"""The tables of a report, and how they are written: aligned text, Markdown, LaTeX, CSV."""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lib.test.analysis.report import Report, Spread, run_spreads
from lib.test.evaluation.results import ANNOTATOR, CORRECTIONS, ORIGIN_UNKNOWN, REALTIME, SKIPPED, read_provenance
from lib.utils.errors import listed

Cell = str | int | float | tuple[float, float] | Spread  # a float is a score, a pair an interval


@dataclass(frozen=True)
class Table:
    """A frame of a :data:`Cell` each, whose first column names the row, under a title."""

    title: str  # one line; it names data set and protocol
    frame: pd.DataFrame
    best: str = ""  # along what the best score stands out, where that can be set: each column, each row, or neither

    @property
    def texts(self) -> pd.DataFrame:
        """The frame as it is printed."""
        return self.frame.map(cell_text)


def cell_text(cell: Cell) -> str:
    """Return a cell with two decimals; a dash where there is no number."""
    if isinstance(cell, Spread):
        return "-" if math.isnan(cell.mean) else f"{cell.mean:.2f} \N{PLUS-MINUS SIGN} {cell.deviation:.2f}"
    if isinstance(cell, tuple):
        return "-" if math.isnan(cell[0]) else f"{cell[0]:.2f}..{cell[1]:.2f}"
    if isinstance(cell, float):
        return "-" if math.isnan(cell) else f"{cell:.2f}"
    return str(cell)


def align(texts: pd.DataFrame) -> str:
    """Columns of text under a ruled header: the first flush left, the others flush right."""
    columns = [[str(name), *map(str, column)] for name, column in texts.items()]
    widths = [max(map(len, column)) for column in columns]
    left = [[cell.ljust(widths[0]) for cell in columns[0]]]
    right = [[cell.rjust(w) for cell in column] for column, w in zip(columns[1:], widths[1:], strict=True)]
    header, *rows = map("  ".join, zip(*left, *right, strict=True))
    return "\n".join([header.rstrip(), "-" * len(header), *rows])


def text(table: Table) -> str:
    """Return a table as aligned text below its title."""
    return f"{table.title}\n{align(table.texts)}"


def markdown(table: Table) -> str:
    """Return a table in Markdown below its title."""
    ruler = ["---", *["---:"] * (table.frame.shape[1] - 1)]
    rows: list[list[str]] = [list(map(str, table.frame)), ruler, *table.texts.to_numpy().tolist()]
    lines = ["| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in rows]
    return "\n".join([table.title, "", *lines, ""])


_TEX = {
    "\\": r"\textbackslash{}",
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\^{}",
    "\N{PLUS-MINUS SIGN}": r"$\pm$",
}


def latex(table: Table) -> str:
    """Return a table as a LaTeX ``table``, which needs no package; the best scores are bold."""

    def escape(cell: str) -> str:
        return "".join(_TEX.get(character, character) for character in cell).replace("..", "--")

    cells = table.texts.map(escape)
    scores = table.frame.map(lambda cell: cell if isinstance(cell, float) else math.nan)
    if table.best == "column":
        cells = cells.mask(scores == scores.max(), r"\textbf{" + cells + "}")
    elif table.best == "row":
        cells = cells.mask(scores.eq(scores.max(axis=1), axis=0), r"\textbf{" + cells + "}")
    names = [escape(str(name)) for name in table.frame]
    header, *lines = [" & ".join(row) + r" \\" for row in (names, *cells.to_numpy().tolist())]
    begin = [r"\begin{table}", r"\centering", rf"\caption{{{escape(table.title)}}}"]
    begin.append(rf"\begin{{tabular}}{{l{'r' * (table.frame.shape[1] - 1)}}}")
    end = [r"\hline", r"\end{tabular}", r"\end{table}", ""]
    return "\n".join([*begin, r"\hline", header, r"\hline", *lines, *end])


def write_csv(table: Table, path: Path) -> Path:
    """Write a table without its title, scores with four decimals and an interval as two columns.

    A column with spreads is two also: the mean, or the score of one run, and ``sd``, empty for one run.
    """

    def part(cell: Cell, number: int) -> str | int:
        value = cell[number] if isinstance(cell, tuple) else ("" if number else cell)
        return f"{value:.4f}" if isinstance(value, float) else value

    columns: dict[str, list[str | int]] = {}
    for name, column in table.frame.items():
        kinds = {type(cell) for cell in column}
        ends = ("", " sd") if Spread in kinds else (" low", " high") if tuple in kinds else ("",)
        columns |= {f"{name}{end}": [part(cell, number) for cell in column] for number, end in enumerate(ends)}
    pd.DataFrame(columns).to_csv(path, index=False, lineterminator="\r\n")
    return path


FORMATS: dict[str, Callable[[Table], str]] = {"md": markdown, "tex": latex}


def scope(report: Report) -> str:
    """``DATASET (N sequences)``, or ``(N of M sequences)`` when some were left out."""
    scored, total = len(report.data), report.total
    of_all = f" of {total}" if total > scored else ""
    return f"{report.dataset} ({scored}{of_all} sequence{'' if total == 1 else 's'})"


def summary_table(report: Report) -> Table:
    """Make a row per tracker, its scores and the 95 % interval of the first one; then a row for repeated runs."""
    first = report.score_names[0]
    rows: list[list[Cell]] = [[one.label, *one.scores().values(), one.intervals()[first]] for one in report.trackers]
    rows += [[one.label, *one.scores(), one.intervals()[first]] for one in report.repeated]
    title = f"{scope(report)}, {sum(report.frames)} frames, protocol {report.protocol}"
    return Table(title, pd.DataFrame(rows, columns=["Tracker", *report.score_names, f"{first} 95%"]), "column")


def mode_tables(report: Report) -> dict[str, Table]:
    """Tables of runs with a simulated annotator and in real time, by name; empty for ordinary runs."""
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
    header = ["Tracker", "Below IoU", "Corrections", "Frames", "Per hundred frames"]
    in_time = ["Tracker", "Frames per second", "Skipped", "Frames", "Skipped %"]
    tables = {
        "annotator": (f"Corrections by a simulated annotator, {scope(report)}", header, corrected),
        "realtime": (f"In real time, {scope(report)}", in_time, skipped),
    }
    return {name: Table(title, pd.DataFrame(rows, columns=c)) for name, (title, c, rows) in tables.items() if rows}


def notes(report: Report) -> list[str]:
    """Write lines about sequences that were left out, missing results, and the origin of results."""
    left_out: list[tuple[str, Seq[str]]] = [
        (f"{len(report.absent)} of which there is no annotation here", report.absent),
        (f"{len(report.frameless)} without frames here and without results", report.frameless),
        ("only their first box is known", report.first_only),
        *((f"no results of {label}", names) for label, names in report.missing.items()),
    ]
    lines = [f"left out, {why}: {listed(names)}" for why, names in left_out if names]
    if report.rules.flags_expected:
        unflagged = [one.name for one in report.data if one.official_visible is None]
        if unflagged:
            count, shown = len(unflagged), listed(unflagged, 5)
            lines.append(f"WARNING: no absence flags of {count} sequences ({shown}): scored as always visible")
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
        # Runs may have weights of their own, as those of several trainings.
        settings = {origin.partition(", config ")[2] for one in repeated.trackers for origin in one.origins}
        if len(settings) > 1:
            lines.append(f"WARNING: the runs of {repeated.label} are not all of one configuration")
    return lines


def summary_text(report: Report) -> str:
    """Return the table of scores in percent, the notes, and what other protocols say."""
    counted = [text(table) for table in mode_tables(report).values()]
    return "\n".join([text(summary_table(report)), *notes(report), *report.differences, *counted])


def _parts_table(report: Report, frame: pd.DataFrame, by: list[str], title: str) -> Table:
    """Make a table of a frame with a row per tracker and part; the columns ``by`` name the part.

    It has all scores of a single tracker, or the first score of several, and of repeated runs.
    """
    one, first = report.trackers[0], report.score_names[0]
    heading = f"{scope(report)}, protocol {report.protocol}"
    if len(report.trackers) == 1:
        return Table(f"{one.label} {title}, {heading}", frame[[*by, *report.score_names]])
    columns = {str(label): rows[first].tolist() for label, rows in frame.groupby("Tracker", sort=False)}
    columns |= {runs.label: run_spreads([columns[run.label] for run in runs.trackers]) for runs in report.repeated}
    parts = frame.loc[frame["Tracker"] == one.label, by]
    return Table(f"{first} {title}, {heading}", parts.assign(**columns), "row")


def sequence_table(report: Report) -> Table:
    """Make a row per sequence: all scores of a single tracker, or the first score of several."""
    return _parts_table(report, report.frame, ["Sequence", "Frames"], "by sequence")


def attribute_table(report: Report) -> Table | None:
    """Make a row per attribute, scored over the sequences that have it; None where there are no attributes."""
    frame = report.attribute_frame
    return None if frame.empty else _parts_table(report, frame, ["Attribute", "Sequences"], "by attribute")


def write_tables(report: Report, formats: Seq[str], folder: Path) -> list[Path]:
    """Write ``per_sequence.csv``, and in each format asked for (``md``, ``tex``, ``csv``) all tables of the report."""
    folder.mkdir(parents=True, exist_ok=True)
    candidates = {"summary": summary_table(report), "per_attribute": attribute_table(report)} if formats else {}
    tables = {name: table for name, table in candidates.items() if table} | (mode_tables(report) if formats else {})
    files = [write_csv(Table(scope(report), report.frame), folder / "per_sequence.csv")]
    if "csv" in formats:
        files += [write_csv(table, folder / f"{name}.csv") for name, table in tables.items()]
    for suffix in (one for one in FORMATS if one in formats):
        for name, table in {**tables, "per_sequence": sequence_table(report)}.items():
            files.append(folder / f"{name}.{suffix}")
            files[-1].write_text(FORMATS[suffix](table), encoding="utf-8")
    return files
