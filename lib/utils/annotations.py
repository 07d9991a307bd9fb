"""Annotation files: text, tables of numbers, flags."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path

import numpy as np

from lib.utils.errors import DataError

_NUMBER_WORDS = {1: "one number", 4: "four numbers x, y, w, h"}


def read_text(path: Path) -> str:
    """The text of an annotation, list or result file. Raises DataError: missing, unreadable or no text."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a text file: {error}") from error


def read_table(path: str | Path, columns: int) -> np.ndarray:
    """Read a file with ``columns`` numbers per line, separated by commas, tabs, spaces or a mixture of them.

    Returns:
        (N, columns) float64; NaN stays NaN.

    Raises:
        DataError: the file is missing or empty, or a line holds something else (its number is named).
    """
    rows = [line.split() for line in re.sub("[,;]", " ", read_text(Path(path))).rstrip().split("\n")]
    try:
        table = np.array(list(map(float, chain.from_iterable(rows)))).reshape(len(rows), columns)
        good = all(len(row) == columns for row in rows) and not np.isinf(table).any()
    except ValueError:  # not a number, or not the right number of them
        good = False
    if not good:
        number, row = next((i, row) for i, row in enumerate(rows, start=1) if not _is_row(row, columns))
        expected = _NUMBER_WORDS.get(columns, f"{columns} numbers")
        raise DataError(f"{path}, line {number}: expected {expected}, found {' '.join(row)!r}")
    return table


def _is_row(row: list[str], columns: int) -> bool:
    try:
        return len(row) == columns and not np.isinf([float(value) for value in row]).any()
    except ValueError:
        return False


def read_boxes(path: str | Path) -> np.ndarray:
    """Read a file with one ``x, y, w, h`` box per line, see :func:`read_table`."""
    return read_table(path, 4)


def read_flags(path: str | Path) -> np.ndarray:
    """Read 0/1 flags, one per frame, separated by commas or white space. Returns (N,) bool. Raises DataError."""
    values = re.sub(",", " ", read_text(Path(path))).split()
    if not set(values) <= {"0", "1"}:
        bad = next(value for value in values if value not in ("0", "1"))
        raise DataError(f"{path}: expected flags 0 and 1, found {bad!r}")
    return np.array(values) == "1"
