"""Results in the forms in which people share them: text, OTB's .mat, .json, .npz; in a folder, a zip or alone."""

from __future__ import annotations

import io
import json
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from scipy.io import loadmat

from lib.data.annotations import decode_text, parse_own
from lib.utils.errors import DataError

# Names, with that of the sequence before them, of what lies beside results.
_TIMES = re.compile(r"(.*_)?times?", re.IGNORECASE)
_SCORES = re.compile(r"(?:(.*?)_)?(?:object_presence_)?(?:confidences?|scores?)", re.IGNORECASE)
_BOX_KEYS = ("pred", "res", "boxes", "bboxes")


@dataclass(frozen=True)
class SharedResult:
    """A result in a source: the file on disk that holds it, and its path inside the source.

    The last of ``parts`` is, or contains, the name of the sequence, or the last but one is it. ``load`` reads boxes,
    (N, 4) float64 x, y, w, h, ``load_scores`` the scores that lie beside them, if any, (N,) float64, NaN for none. Both
    raise DataError.
    """

    file: Path
    parts: tuple[str, ...]
    load: Callable[[], np.ndarray]
    load_scores: Callable[[], np.ndarray] | None = None

    @property
    def where(self) -> str:
        """What to call it in a message."""
        return "/".join(self.parts)


def read_source(source: Path) -> list[SharedResult]:
    """List all results in a folder, a zip or a file. Boxes and scores are read later, except those of .json.

    Scores are what is called ``SEQ_scores``, ``SEQ_score`` or ``SEQ_confidence`` (.txt, .csv, VOT's .value, or a key of
    .npz or .json) beside the boxes of SEQ, or ``scores`` where they are of the only sequence there.

    Raises DataError: nothing is there, or a file cannot be read.
    """
    found = [result for file, inside, load in _files(source) for result in _results(file, inside, load)]
    results = [result for result in found if not _SCORES.fullmatch(result.parts[-1])]
    if not results:
        raise DataError(f"{source}: no results; expected files .txt, .mat, .json or .npz, in folders or in a zip")
    return _with_scores(results, [result for result in found if _SCORES.fullmatch(result.parts[-1])])


def _with_scores(results: list[SharedResult], scores: list[SharedResult]) -> list[SharedResult]:
    """Return the results, with the scores that lie beside them, which were found as results of such names."""
    beside: dict[tuple[str, ...], list[int]] = {}
    for i, result in enumerate(results):
        beside.setdefault(result.parts[:-1], []).append(i)
    for one in scores:
        found, there = _SCORES.fullmatch(one.parts[-1]), beside.get(one.parts[:-1], [])
        if base := found and found[1]:
            theirs = [i for i in there if base in (results[i].parts[-1], results[i].parts[-1].removesuffix("_001"))]
        else:
            above = [i for i in beside.get(one.parts[:-2], []) if results[i].parts == one.parts[:-1]]
            theirs = above or (there if len(there) == 1 else [])
        for i in theirs:
            results[i] = replace(results[i], load_scores=one.load)
    return results


def _files(source: Path) -> Iterator[tuple[Path, PurePosixPath, Callable[[], bytes]]]:
    """Yield the files of a source: the file on disk, the path inside the source, and how to read it."""
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            if path.is_file():
                yield path, PurePosixPath(path.relative_to(source).as_posix()), path.read_bytes
    elif zipfile.is_zipfile(source) and source.suffix != ".npz":
        with zipfile.ZipFile(source) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
        for name in names:
            yield source, PurePosixPath(name), partial(_read_member, source, name)
    elif source.suffix == ".zip" and source.is_file():
        raise DataError(f"{source} is no whole zip: copy or download it again")
    elif source.is_file():
        yield source, PurePosixPath(source.name), source.read_bytes
    else:
        raise DataError(f"there is no file or folder {source}")


@contextmanager
def _named(problem: str) -> Iterator[None]:
    """Raise DataError with the text ``problem`` and the reason, where a file cannot be read."""
    try:
        yield
    except (OSError, ValueError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{problem}: {error}") from error


def _read_member(source: Path, name: str) -> bytes:
    with _named(f"{source}: {name} cannot be read"), zipfile.ZipFile(source) as archive:
        return archive.read(name)


def _results(file: Path, inside: PurePosixPath, load: Callable[[], bytes]) -> Iterator[SharedResult]:
    """Yield the results in one file, and the scores, as if they were results; none if it is of another kind."""
    if any(part[0] in "._" for part in inside.parts) or _TIMES.fullmatch(inside.stem):
        return
    parts = inside.with_suffix("").parts
    where = f"{file}" if file.name == inside.name else f"{file}: {inside}"
    if _SCORES.fullmatch(inside.stem):
        if inside.suffix in (".txt", ".csv", ".value"):
            yield SharedResult(file, parts, partial(_text_scores, load, where))
    elif inside.suffix in (".txt", ".csv"):
        yield SharedResult(file, parts, partial(_text_boxes, load, where))
    elif inside.suffix == ".mat":
        yield SharedResult(file, parts, partial(_mat_boxes, load, where))
    elif inside.suffix == ".npz":
        with _named(f"{where} is not a readable .npz"):
            archive = np.load(io.BytesIO(load()))
        for key in archive.files:
            names = key.split("/")
            make = _scores if _SCORES.fullmatch(names[-1]) else _boxes
            yield SharedResult(file, (*parts, *names), partial(_array, archive, key, where, make))
    elif inside.suffix == ".json":
        with _named(f"{where} is not a readable .json"):
            content = json.loads(decode_text(load(), where))
        for path, rows in _json_lists(content, (), where):
            make = _scores if path and _SCORES.fullmatch(path[-1]) else _boxes
            yield SharedResult(file, (*parts, *path), partial(make, rows, f"{where}: {'/'.join(path)}"))


def _boxes(rows: Any, where: str) -> np.ndarray:
    with _named(f"{where}: the rows are not all of four numbers"):
        boxes = np.array(rows, np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or len(boxes) == 0:
        raise DataError(f"{where}: an array of shape {boxes.shape}, expected (frames, 4): x, y, w, h")
    return boxes


def _scores(values: Any, where: str) -> np.ndarray:
    with _named(f"{where}: not all of the scores are numbers"):
        scores = np.array(values, np.float64)
    if scores.ndim == 2 and 1 in scores.shape:
        scores = scores.ravel()
    if scores.ndim != 1:
        raise DataError(f"{where}: scores of shape {scores.shape}, expected one for each frame")
    return np.where(np.isfinite(scores), scores, np.nan)


def _text_scores(load: Callable[[], bytes], where: str) -> np.ndarray:
    """Return a score per line, or all in one; an empty line is none, as in VOT's files for the first frame."""
    lines = decode_text(load(), where).rstrip().replace(",", " ").split("\n")
    return _scores(lines[0].split() if len(lines) == 1 else [line.strip() or "nan" for line in lines], where)


def _text_boxes(load: Callable[[], bytes], where: str) -> np.ndarray:
    return parse_own(decode_text(load(), where), where)


def _mat_boxes(load: Callable[[], bytes], where: str) -> np.ndarray:
    """``results{1}.res`` of the OTB toolkit, whose other entries are runs from other starts."""
    try:
        file: Any = io.BytesIO(load())  # which scipy takes, but its types do not say so
        content = loadmat(file, squeeze_me=True, struct_as_record=False)
        first = np.atleast_1d(content["results"]).ravel()[0]
        kind, rows = getattr(first, "type", "rect"), first.res
    except NotImplementedError as error:
        raise DataError(f"{where} is a .mat file of version 7.3 (HDF5): save it again in MATLAB with '-v7'") from error
    except Exception as error:  # on a damaged file scipy raises almost anything
        raise DataError(f"{where} holds no results{{1}}.res of the OTB toolkit: {error}") from error
    if kind != "rect":
        raise DataError(f"{where}: regions of type {kind!r}; only boxes (rect) can be imported")
    return _boxes(np.atleast_2d(rows), where)


def _array(archive: Any, key: str, where: str, make: Callable[[Any, str], np.ndarray]) -> np.ndarray:
    with _named(f"{where}: {key} cannot be read"):
        return make(archive[key], f"{where}: {key}")


def _json_lists(value: Any, path: tuple[str, ...], where: str) -> Iterator[tuple[tuple[str, ...], list]]:
    """Lists of boxes and of scores in nested dictionaries, with the keys that lead to them.

    ``{"SEQ": [[x, y, w, h], ...]}``, also ``{"TRACKER": {"SEQ": ...}}``, also with ``pred``, ``res`` or ``boxes`` below
    a sequence, and ``scores`` beside it, also OTB's ``[{"res": ...}]``.
    """
    if isinstance(value, list) and value and isinstance(value[0], dict):
        value = value[0]
    if isinstance(value, list):
        if value and (isinstance(value[0], list) and len(value[0]) == 4 or path and _SCORES.fullmatch(path[-1])):
            yield path, value
    elif isinstance(value, dict):
        if "gt_rect" in value:
            raise DataError(f"{where} describes pysot's data set (gt_rect), it holds no tracker's results")
        for key, below in value.items():
            yield from _json_lists(below, path if key in _BOX_KEYS else (*path, key), where)
