"""Annotation files: text, tables of numbers, flags."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from lib.utils.errors import DataError

DATA_SPECS = Path(__file__).with_name("data_specs")
_SHOWN = 100  # characters of a line
DECIMAL_COMMAS = (
    "are these decimal commas? Write 10.5 for 10,5 (and polygons with nothing but commas between their numbers)"
)
_NUMBER_WORDS = {1: "one number", 4: "four numbers x, y, w, h"}


def read_text(path: Path) -> str:
    """Return the text of an annotation, list or result file. Raises DataError: missing, unreadable or no text."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    return decode_text(data, path)


def decode_text(data: bytes, name: str | Path) -> str:
    """Decode the text of a file's bytes, with ``\\n`` at the ends of lines; ``name`` is for the DataError."""
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not a text file: {error}") from error


def read_spec(name: str) -> list[str]:
    """Return the lines of a list file, without comments (``#``) and empty lines."""
    return [line for line in read_text(DATA_SPECS / name).splitlines() if line.strip() and not line.startswith("#")]


def read_table(path: str | Path, columns: int) -> np.ndarray:
    """Read a file with ``columns`` numbers per line, see :func:`parse_table`. Raises DataError: also, it is missing."""
    return parse_table(read_text(Path(path)), columns, path)


def parse_table(text: str, columns: int, path: str | Path) -> np.ndarray:
    """Parse ``columns`` numbers per line, separated by commas, tabs, spaces or a mixture of them: (N, columns) float64.

    NaN stays NaN. Raises DataError, which names ``path``: the text is empty, or a line (named) holds something else.
    """
    written = text.rstrip().split("\n")
    lines = text.rstrip().replace(",", " ").replace(";", " ").split("\n")
    table = _numbers(lines)
    if table.shape != (len(lines), columns):  # empty lines are skipped
        number = next(i for i, line in enumerate(lines) if _numbers([line]).shape != (1, columns))
        expected = _NUMBER_WORDS.get(columns, f"{columns} numbers")
        raise DataError(f"{path}, line {number + 1}: expected {expected}, found {describe_line(written[number])}")
    return table


def describe_line(line: str) -> str:
    """Describe a line in an error: its numbers or, where it seems so, that commas mark decimals."""
    if has_decimal_commas(line):
        return f"{' '.join(line.split())!r}; {DECIMAL_COMMAS}"
    shown = " ".join(line.replace(",", " ").split())
    return repr(shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]} ...")


def has_decimal_commas(line: str) -> bool:
    """Return whether numbers in a line seem to be written with decimal commas (``10,5``), four of them as boxes have.

    They stand apart by something else than a comma; or what follows every other comma begins with a zero as no whole
    number does (``10,5000,20,0625,...``).
    """
    parts = line.replace(";", " ").split()
    if len(parts) == 4 and any("," in part for part in parts):
        return all(re.fullmatch(r"[-+]?\d+(,\d+)?", part) for part in parts)
    decimals = line.split(",")[1::2] if re.fullmatch(r"\s*[-+]?\d+,\d+(,[-+]?\d+,\d+){3}\s*", line) else []
    return any(re.fullmatch(r"0\d+", part.strip()) for part in decimals)


def refuse_decimal_commas(lines: Iterable[str], path: str | Path) -> None:
    """Raise DataError, which names the line, where boxes with decimal commas would be read as polygons."""
    for number, line in enumerate(lines, start=1):
        if has_decimal_commas(line):
            raise DataError(f"{path}, line {number}: found {describe_line(line)}")


def _numbers(lines: list[str]) -> np.ndarray:
    """Parse the numbers of ``lines``, (rows, columns); (0, 0) where a line holds other things, or another count."""
    nothing = np.empty((0, 0))
    try:
        table = np.loadtxt(lines, ndmin=2, comments=None) if any(map(str.strip, lines)) else nothing
    except ValueError:
        return nothing
    return nothing if np.isinf(table).any() else table


def parse_boxes(text: str, path: str) -> np.ndarray:
    """Return a box x, y, w, h per line: (N, 4) float64."""
    return parse_table(text, 4, path)


def parse_exist(text: str, path: str) -> np.ndarray:
    """Anti-UAV's JSON, ``{"exist": [0 or 1, ...], "gt_rect": [[x, y, w, h] or [], ...]}``; zeros: no target."""
    try:
        content = json.loads(text)
        exist, rows = content["exist"], content["gt_rect"]
        boxes = [row if there and len(row) == 4 else [0, 0, 0, 0] for there, row in zip(exist, rows, strict=True)]
        return np.array(boxes, np.float64).reshape(-1, 4)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: expected JSON with lists exist and gt_rect of one length: {error!r}") from error


def parse_cover(text: str, path: str) -> np.ndarray:
    """Return which frames hide the target by GOT-10k's labels: how many eighths of it can be seen, 0 for nothing."""
    return ~(parse_table(text, 1, path)[:, 0] > 0)


def parse_flags(text: str, path: str | Path) -> np.ndarray:
    """Parse 0/1 flags, one per frame, separated by commas or white space: (N,) bool; ``path`` is for the error."""
    values = re.sub(",", " ", text).split()
    if not set(values) <= {"0", "1"}:
        bad = next(value for value in values if value not in ("0", "1"))
        raise DataError(f"{path}: expected flags 0 and 1, found {bad!r}")
    return np.array(values) == "1"
