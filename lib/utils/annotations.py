"""Annotation files: text, tables of numbers, flags."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from lib.utils.errors import DataError

_NUMBER_WORDS = {1: "one number", 4: "four numbers x, y, w, h"}


def read_text(path: Path) -> str:
    """The text of an annotation, list or result file. Raises DataError: missing, unreadable or no text."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    return decode_text(data, path)


def decode_text(data: bytes, name: str | Path) -> str:
    """The text that the bytes of a file hold, with ``\\n`` at the ends of lines; ``name`` is for the DataError."""
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not a text file: {error}") from error


def read_table(path: str | Path, columns: int) -> np.ndarray:
    """Read a file with ``columns`` numbers per line, see :func:`parse_table`. Raises DataError: also, it is missing."""
    return parse_table(read_text(Path(path)), columns, path)


def parse_table(text: str, columns: int, path: str | Path) -> np.ndarray:
    """``columns`` numbers per line, separated by commas, tabs, spaces or a mixture of them.

    Args:
        text: the text of a file.
        path: what to call it in an error.

    Returns:
        (N, columns) float64; NaN stays NaN.

    Raises:
        DataError: the text is empty, or a line holds something else (its number is named).
    """
    lines = text.rstrip().replace(",", " ").replace(";", " ").split("\n")
    table = _numbers(lines)
    if table is None or table.shape != (len(lines), columns):  # empty lines are skipped
        number, line = next((i, line) for i, line in enumerate(lines, start=1) if not _is_row(line, columns))
        expected = _NUMBER_WORDS.get(columns, f"{columns} numbers")
        raise DataError(f"{path}, line {number}: expected {expected}, found {' '.join(line.split())!r}")
    return table


def _numbers(lines: list[str]) -> np.ndarray | None:
    """The numbers of ``lines``, two-dimensional; None where a line holds other things, or another number of them."""
    try:
        table = np.loadtxt(lines, ndmin=2, comments=None) if any(map(str.strip, lines)) else None
    except ValueError:
        return None
    return None if table is None or np.isinf(table).any() else table


def _is_row(line: str, columns: int) -> bool:
    table = _numbers([line])
    return table is not None and table.shape == (1, columns)


def read_boxes(path: str | Path) -> np.ndarray:
    """Read a file with one ``x, y, w, h`` box per line, see :func:`read_table`."""
    return read_table(path, 4)


def read_flags(path: str | Path) -> np.ndarray:
    """Read 0/1 flags, one per frame, separated by commas or white space. Returns (N,) bool. Raises DataError."""
    return parse_flags(read_text(Path(path)), path)


def parse_flags(text: str, path: str | Path) -> np.ndarray:
    """0/1 flags of a text, see :func:`read_flags`; ``path`` is what to call it in an error."""
    values = re.sub(",", " ", text).split()
    if not set(values) <= {"0", "1"}:
        bad = next(value for value in values if value not in ("0", "1"))
        raise DataError(f"{path}: expected flags 0 and 1, found {bad!r}")
    return np.array(values) == "1"
