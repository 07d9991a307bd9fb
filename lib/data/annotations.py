"""Annotation files: text, tables of numbers, flags, and regions, with the boxes around them.

A line of the VOT toolkit's ground truth holds a rectangle (``x,y,w,h``), a polygon (``x1,y1,x2,y2,x3,y3,...``), a mask
(``m`` and numbers), or one number, a code that stands for no region.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from lib.utils.errors import DataError

logger = logging.getLogger(__name__)

DATA_SPECS = Path(__file__).with_name("data_specs")
_SHOWN = 100  # characters of a line
DECIMAL_COMMAS = (
    "are these decimal commas? Write 10.5 for 10,5 (and polygons with nothing but commas between their numbers)"
)
_NUMBER_WORDS = {1: "one number", 4: "four numbers x, y, w, h"}
_NOTHING = np.full(4, np.nan)
_polygons_said: set[int] = set()


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


def parse_region_boxes(text: str, path: str | Path) -> np.ndarray:
    """Return the axis-aligned box around each region of a text, one per line: (N, 4) float64 x, y, w, h.

    NaN where a line says that there is no region, or an empty mask. Raises DataError, which names ``path``: a line
    (named) holds something else.
    """
    lines = text.rstrip().split("\n")
    refuse_decimal_commas(lines, path)
    columns = len(lines[0].replace(",", " ").split())
    if columns in (4, 8) and "m" not in text and all(line.count(",") == lines[0].count(",") for line in lines):
        table = parse_table(text, columns, path)
        return table if columns == 4 else _around(table[:, 0::2], table[:, 1::2])
    boxes = np.empty((len(lines), 4))
    for i, line in enumerate(lines):
        try:
            boxes[i] = region_box(line)
        except ValueError as error:
            expected = f"expected a rectangle, polygon or mask: {error}"
            raise DataError(f"{path}, line {i + 1}: {expected}, found {describe_line(line)}") from error
    return boxes


def region_box(line: str) -> np.ndarray:
    """Return the box (4,) around one region, see :func:`parse_region_boxes`. Raises ValueError: it is none."""
    line = line.strip()
    if line.startswith("m"):
        return _mask_box([int(value) for value in line[1:].split(",")])
    values = np.array([float(value) for value in line.replace(",", " ").split()])
    if len(values) == 1:
        return _NOTHING
    if len(values) == 4:
        return values
    if len(values) < 6 or len(values) % 2:
        raise ValueError(f"{len(values)} numbers")
    return _around(values[None, 0::2], values[None, 1::2])[0]


def _around(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return boxes (N, 4) around the points (N, K)."""
    corner = np.stack((x.min(axis=1), y.min(axis=1)), axis=1)
    return np.hstack((corner, np.stack((x.max(axis=1), y.max(axis=1)), axis=1) - corner))


def _mask_box(numbers: list[int]) -> np.ndarray:
    """Return the box around a mask: left, top, width and height of a window, then lengths of alternating runs of 0 and
    1 that fill the window row by row; what is left after the last run is 0."""
    if len(numbers) < 4:
        raise ValueError("a mask begins with left, top, width and height")
    (left, top, width, height), runs = numbers[:4], numbers[4:]
    rest = [0] * (len(runs) % 2) + [width * height - sum(runs)]
    rows, columns = decode_rle((width, height), runs + rest).T.nonzero()  # COCO's go column by column
    if not rows.size:
        return _NOTHING
    x, y = columns.min(), rows.min()
    return np.array([left + x, top + y, columns.max() - x + 1, rows.max() - y + 1], np.float64)


def decode_rle(size: Sequence[int], counts: str | bytes | Sequence[int]) -> np.ndarray:
    """Decode a COCO mask of ``size`` height and width: bool (height, width).

    ``counts`` are lengths of alternating runs of 0 and 1 in column order, or COCO's string of them. Raises ValueError:
    they do not fill the picture exactly.
    """
    if isinstance(counts, (str, bytes)):
        counts = _decode_counts(counts.encode() if isinstance(counts, str) else counts)
    runs = np.asarray(counts, np.int64)
    height, width = size
    if runs.size and (runs.min() < 0 or runs.sum() != height * width):
        raise ValueError(f"the runs cover {runs.sum()} pixels of {height * width}")
    return np.repeat(np.arange(runs.size) % 2 == 1, runs).reshape(width, height).T


def _decode_counts(text: bytes) -> list[int]:
    """Decode numbers in little-endian groups of five bits from character 48 on; bit 5 says that more follow.

    From the fourth on, each number is the difference to the one two before it.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        group = character - 48
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:  # the sign bit of the last group
            value -= 1 << shift
        if len(counts) > 2:
            value += counts[-2]
        counts.append(value)
        value = shift = 0
    return counts


def parse_vot(text: str, path: str) -> np.ndarray:
    """Parse VOT regions to boxes; where there is no region, a box of zeros, which no protocol counts as a target."""
    return np.nan_to_num(parse_region_boxes(text, path), nan=0.0)


def parse_own(text: str, path: str) -> np.ndarray:
    """Parse boxes or, if the first line holds a polygon or mask, VOT regions; NaN stands for no target."""
    first = text.lstrip().partition("\n")[0]
    mask, numbers = first.startswith("m"), len(first.replace(",", " ").replace(";", " ").split())
    if not mask and numbers <= 4:
        return parse_boxes(text, path)
    boxes = parse_region_boxes(text, path)
    if not mask and numbers == 8 and "." not in text:
        _refuse_no_polygons(text, path)
    if not mask and numbers not in _polygons_said:  # once, as boxes in another form than expected look like polygons
        _polygons_said.add(numbers)
        logger.info("%s: its %d numbers a line are read as polygons, around which boxes are put", path, numbers)
    return boxes


def _refuse_no_polygons(text: str, path: str) -> None:
    """Raise DataError where eight whole numbers are, in most lines that have them, no corners in order around a target.

    So are boxes with decimal commas that stand apart by commas, too; the four corners of a target bulge everywhere.
    """
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1)]
    eight = [(number, line) for number, line in lines if len(line.replace(",", " ").split()) == 8]
    corners = np.array([line.replace(",", " ").split() for _, line in eight], np.float64).reshape(-1, 4, 2)
    sides = np.roll(corners, -1, axis=1) - corners
    x, y = sides[..., 0], sides[..., 1]
    turns = x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1)
    dented = (turns.min(axis=1) < 0) & (turns.max(axis=1) > 0)
    flat = (turns == 0).all(axis=1) & (np.ptp(corners, axis=1).max(axis=1) > 0)
    wrong = (dented | flat).nonzero()[0]
    if len(wrong) > len(corners) / 2:
        number, line = eight[wrong[0]]
        raise DataError(f"{path}, line {number}: found {line!r}, no polygon around a target; {DECIMAL_COMMAS}")
