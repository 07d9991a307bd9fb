"""How benchmarks lie on disk: what a row of the table says, and how a sequence is read by it.

Paths are templates below the benchmark's folder: ``{name}`` is a sequence's name there; the finders say what else they
fill in.
"""

from __future__ import annotations

import configparser
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from lib.data.annotations import decode_text, parse_flags, parse_table
from lib.data.regions import parse_region_boxes
from lib.data.sequence import Annotations, ImageFrames, Sequence
from lib.data.splits import read_spec
from lib.data.storage import Storage, open_storage
from lib.data.video_io import VIDEO_SUFFIXES, VideoFile
from lib.test.evaluation.environment import EnvSettings
from lib.test.evaluation.finders import Found
from lib.utils.errors import DataError

logger = logging.getLogger(__name__)


def parse_boxes(text: str, path: str) -> np.ndarray:
    """A box x, y, w, h per line: (N, 4) float64."""
    return parse_table(text, 4, path)


def parse_vot(text: str, path: str) -> np.ndarray:
    """The boxes around VOT regions; where there is no region, a box of zeros, which no protocol counts as a target."""
    return np.nan_to_num(parse_region_boxes(text, path), nan=0.0)


def parse_own(text: str, path: str) -> np.ndarray:
    """Boxes or, if the first line holds a polygon or mask, VOT regions; NaN stands for no target."""
    first = text.lstrip().partition("\n")[0]
    mask, numbers = first.startswith("m"), len(first.replace(",", " ").replace(";", " ").split())
    if not mask and numbers <= 4:
        return parse_boxes(text, path)
    boxes = parse_region_boxes(text, path)
    if not mask:
        _say_polygons(path, numbers)
    return boxes


def parse_exist(text: str, path: str) -> np.ndarray:
    """Anti-UAV's JSON, ``{"exist": [0 or 1, ...], "gt_rect": [[x, y, w, h] or [], ...]}``; zeros: no target."""
    try:
        content = json.loads(text)
        exist, rows = content["exist"], content["gt_rect"]
        boxes = [row if there and len(row) == 4 else [0, 0, 0, 0] for there, row in zip(exist, rows, strict=True)]
        return np.array(boxes, np.float64).reshape(-1, 4)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: expected JSON with lists exist and gt_rect of one length: {error!r}") from error


@dataclass(frozen=True)
class Benchmark:
    """One row of the table. All but the first four have a default that fits a benchmark without the thing in question.

    Attributes:
        path_field: the setting of ``lib/test/evaluation/local.py`` that names the folder.
        find: lists the sequences of the folder.
        dataset: the tag of its metric rules.
        expected: the number of its sequences; 0 where that is up to the user.
        subfolder: part of the folder to look in.
        frames: template of the folder of frames; of several, the first that is there is taken.
        boxes: template of the file of boxes, likewise.
        parse: makes boxes of the text of that file.
        sequence_list: list of the sequences: a file in ``lib/data/data_specs``, or in the benchmark's folder, as
            ``find`` says.
        prefix: put before the names of its sequences, because other benchmarks have sequences of the same names.
        absence: templates of files of flags that mark frames without a visible target, as the published loader reads.
        absence_optional: these files may be missing.
        zero_is_absent: a box of zeros marks such frames (VastTrack, Anti-UAV).
        official_absence: template of the flags that only the benchmark's own evaluator reads.
        official_cover: template of a file of visible shares, for an evaluator that leaves out frames of share 0.
        language: template of the description.
        attributes: template of a file of 0/1 for each of ``attribute_names``; or, without ``{``, the name of a list in
            ``lib/data/data_specs`` of lines ``NAME: ATTRIBUTE ATTRIBUTE ...``.
        meta: template of GOT-10k's ``meta_info.ini``, whose classes of object and motion serve as attributes.
        lmdb: the files lie in an lmdb.
        as_stored: its own toolkit reads pictures as they are stored, whatever EXIF orientation they bear.
        note: what a user should know about this row.
    """

    path_field: str
    find: Callable[[Benchmark, Storage], list[Found]]
    dataset: str
    expected: int = 0
    subfolder: str = ""
    frames: tuple[str, ...] = ("{name}",)
    boxes: tuple[str, ...] = ("{name}/groundtruth.txt",)
    parse: Callable[[str, str], np.ndarray] = parse_boxes
    sequence_list: str = ""
    prefix: str = ""
    absence: tuple[str, ...] = ()
    absence_optional: bool = False
    zero_is_absent: bool = False
    official_absence: str = ""
    official_cover: str = ""
    language: str = ""
    attributes: str = ""
    attribute_names: tuple[str, ...] = ()
    meta: str = ""
    lmdb: bool = False
    as_stored: bool = False
    note: str = ""

    def root(self, env: EnvSettings) -> Path:
        """The folder that this benchmark is looked for in."""
        return Path(getattr(env, self.path_field)) / self.subfolder


@dataclass(frozen=True)
class Place:
    """Where one sequence of a benchmark lies; reads what is known about it, when asked."""

    row: Benchmark
    storage: Storage
    found: Found

    def key(self, *templates: str) -> str:
        """The first of the templates, filled in, that exists; the first of all when none does."""
        keys = [template.format(name=self.found.name, **self.found.keys) for template in templates]
        return next((key for key in keys if len(keys) > 1 and self.storage.exists(key)), keys[0])

    def has_boxes(self) -> bool:
        """Whether the file of boxes is there."""
        return self.storage.exists(self.key(*self.row.boxes))

    def has_frames(self) -> bool:
        """Whether the folder of frames or the video is there; in an lmdb, which has no folders, always."""
        return self.row.lmdb or self.storage.exists(self.key(*self.row.frames))

    def frames(self) -> ImageFrames | VideoFile:
        """The frames, unread."""
        key = self.key(*self.row.frames)
        path = Path(self.storage.path(key))
        if path.suffix.lower() in VIDEO_SUFFIXES and not path.is_dir():
            return VideoFile(path)
        return ImageFrames(self.storage.within(key), self.found.frames, upright=not self.row.as_stored)

    def sequence(self) -> Sequence:
        row, found = self.row, self.found
        return Sequence(
            row.prefix + found.name,
            row.dataset,
            self.frames(),
            self.annotations,
            found.object_class,
            read_official=self.official_visible if row.official_absence or row.official_cover else None,
            read_language=self.language if row.language else None,
            read_attributes=self.attributes if row.attributes or row.meta else tuple,
            omitted=found.omitted,
            annotation=self.storage.path(self.key(*row.boxes)),
            has_frames=self.has_frames,
            has_boxes=self.has_boxes,
        )

    def annotations(self) -> Annotations:
        """Boxes and flags. Raises DataError: a file is missing or damaged, or they differ in length."""
        key = self.key(*self.row.boxes)
        boxes = self.row.parse(self._text(key), self.storage.path(key))
        hidden = [(boxes == 0).all(axis=1)] if self.row.zero_is_absent else []
        for flag_key in map(self.key, self.row.absence):
            if self.row.absence_optional and not self.storage.exists(flag_key):
                continue
            flags = parse_flags(self._text(flag_key), self.storage.path(flag_key))
            if len(flags) != len(boxes):
                raise DataError(
                    f"{self.storage.path(flag_key)} has {len(flags)} flags for the {len(boxes)} boxes of {key}"
                )
            hidden.append(flags)
        visible = ~np.any(hidden, axis=0) if hidden else None
        start = self.found.omitted
        return Annotations(boxes[start:], None if visible is None else visible[start:])

    def official_visible(self) -> np.ndarray | None:
        """The flags of the benchmark's evaluator; None, with a warning, where the user's copy lacks them."""
        key = self.key(self.row.official_absence or self.row.official_cover)
        if not self.storage.exists(key):
            _warn_once(f"{self.row.dataset}: official scores without the flags of its evaluator: no {key} and the like")
            return None
        text, path = self._text(key), self.storage.path(key)
        visible = parse_table(text, 1, path)[:, 0] > 0 if self.row.official_cover else ~parse_flags(text, path)
        return visible[self.found.omitted :]

    def language(self) -> str | None:
        key = self.key(self.row.language)
        return self._text(key).strip() if self.storage.exists(key) else None

    def attributes(self) -> tuple[str, ...]:
        """Names of attributes; none where the user's copy lacks the file. Raises DataError: it is damaged."""
        if self.row.attributes and "{" not in self.row.attributes:
            return _attribute_list(self.row.attributes).get(self.found.name, ())
        key = self.key(self.row.meta or self.row.attributes)
        if not self.storage.exists(key):
            return ()
        text, names = self._text(key), self.row.attribute_names
        if self.row.meta:
            return _got10k_classes(text, self.storage.path(key))
        flags = parse_flags(text, self.storage.path(key))
        if len(flags) != len(names):
            raise DataError(f"{self.storage.path(key)}: expected {len(names)} attributes, found {len(flags)}")
        return tuple(name for name, flag in zip(names, flags, strict=True) if flag)

    def _text(self, key: str) -> str:
        return decode_text(self.storage.read(key), self.storage.path(key))


def places(row: Benchmark, root: Path) -> list[Place]:
    """The sequences of a benchmark's folder. Raises DataError: folder or list is missing or damaged."""
    storage = open_storage(root, row.lmdb)
    return [Place(row, storage, found) for found in row.find(row, storage)]


@cache
def _attribute_list(name: str) -> dict[str, tuple[str, ...]]:
    pairs = (line.rsplit(":", 1) for line in read_spec(name))
    return {sequence: tuple(attributes.split()) for sequence, attributes in pairs}


def _got10k_classes(text: str, path: str) -> tuple[str, ...]:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(text)
        section = parser["METAINFO"]
    except (configparser.Error, KeyError) as error:
        raise DataError(f"{path} is not a file with a section METAINFO: {error}") from error
    return tuple(section[key].strip() for key in ("object_class", "motion_class") if section.get(key))


@cache
def _warn_once(message: str) -> None:
    logger.warning(message)


_polygons_said: set[int] = set()


def _say_polygons(path: str, numbers: int) -> None:
    """Say once that, and where, lines are read as polygons: boxes in another form than expected look like them."""
    if numbers not in _polygons_said:
        _polygons_said.add(numbers)
        logger.info("%s: its %d numbers a line are read as polygons, around which boxes are put", path, numbers)
