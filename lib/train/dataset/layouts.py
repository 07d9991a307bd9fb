"""How annotated sequences lie on disk: a folder layout is a description, not a class.

A layout is a function of the storage that returns a :class:`Plan`: the files that the annotation consists of, and how
to make a table of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from lib.train.dataset.base import SequenceInfo, valid_boxes
from lib.train.dataset.tracks import FrameKind, Track, TrackTable, literal
from lib.utils.annotations import decode_text, parse_flags, parse_table
from lib.utils.errors import DataError
from lib.utils.storage import Storage, image_names

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """How to make the table of a data set.

    Attributes:
        files: keys of the files and folders whose content, or list of names, the table depends on.
        read: makes the table. Raises DataError, which names a file that is damaged.
    """

    files: list[str]
    read: Callable[[], TrackTable]


Layout = Callable[[Storage], Plan]
# The group (a class or set of sequences, or nothing) and the name of each sequence.
Found = list[tuple[str, str]]
# Which frames show their target, by the text of a file of flags and its name for errors.
Flags = Callable[[str, str], np.ndarray]


def not_absent(text: str, path: str) -> np.ndarray:
    """Flags 0/1, where 1 marks a frame in which the target cannot be seen."""
    return ~parse_flags(text, path)


def covered(text: str, path: str) -> np.ndarray:
    """GOT-10k's cover labels: how many eighths of the target can be seen, 0 for nothing."""
    return parse_table(text, 1, path)[:, 0] > 0


@dataclass(frozen=True)
class SequenceFiles:
    """Layouts with a text file of ``x, y, w, h`` rows, and a folder of frames, for each sequence.

    In the texts ``{group}`` and ``{name}`` stand for those of a sequence.

    Attributes:
        sequences: lists the sequences of a storage. Raises DataError: it is not of this layout.
        boxes: key of the file of boxes.
        frames: folder of the frames.
        numbered: file name of a frame by its number, like ``{:08d}.jpg``; empty: every picture in the folder, in
            natural order.
        first: number of the first frame.
        flags: keys of files that say in which frames the target can be seen, and how to read them.
        flags_optional: such a file may be missing; then it marks no frame.
    """

    sequences: Callable[[Storage], Found]
    boxes: str
    frames: str
    numbered: str = ""
    first: int = 1
    flags: tuple[tuple[str, Flags], ...] = ()
    flags_optional: bool = False

    def __call__(self, storage: Storage) -> Plan:
        found = self.sequences(storage)
        keys = [self.boxes, *(key for key, _ in self.flags), *([] if self.numbered else [self.frames])]
        files = [_fill(key, sequence) for sequence in found for key in keys]
        return Plan(files, lambda: self._read(storage, found))

    def _read(self, storage: Storage, found: Found) -> TrackTable:
        tracks = (self._track(storage, sequence) for sequence in tqdm(found, desc="annotation", delay=2))
        return TrackTable.join([track for track in tracks if track])

    def _track(self, storage: Storage, sequence: tuple[str, str]) -> Track | None:
        name = "/".join(part for part in sequence if part)
        folder, info = _fill(self.frames, sequence), self._info(storage, sequence)
        if self.numbered:
            return Track(name, info, f"{literal(folder)}/{self.numbered}", first=self.first)
        return listed_track(storage, name, folder, info)

    def _info(self, storage: Storage, sequence: tuple[str, str]) -> SequenceInfo:
        key = _fill(self.boxes, sequence)
        flags = [(_fill(name, sequence), read) for name, read in self.flags]
        if self.flags_optional:
            flags = [(name, read) for name, read in flags if storage.exists(name)]
        return read_info(storage, key, flags)


def read_info(storage: Storage, boxes: str, flags: Iterable[tuple[str, Flags]]) -> SequenceInfo:
    """The annotation of one sequence from its file of boxes and its files of flags.

    Raises:
        DataError: a file is missing or damaged, or they differ in length.
    """

    def text(key: str) -> str:
        return decode_text(storage.read(key), storage.path(key))

    bbox = parse_table(text(boxes), 4, storage.path(boxes))
    valid = valid_boxes(bbox)
    visible = valid.copy()
    for key, read in flags:
        seen = read(text(key), storage.path(key))
        if len(seen) != len(bbox):
            raise DataError(f"{storage.path(key)} has {len(seen)} flags for the {len(bbox)} boxes of the sequence")
        visible &= seen
    return SequenceInfo(bbox, visible, valid)


def listed_track(storage: Storage, name: str, folder: str, info: SequenceInfo) -> Track | None:
    """A sequence of every picture in a folder; None, with a warning, if there are not as many as boxes."""
    files = image_names(storage, folder)
    if len(files) == len(info.bbox):
        return Track(name, info, folder, FrameKind.LISTED, files=files)
    log.warning("%s is left out: %d frames but %d boxes in the annotation; is the copy complete?",
                storage.path(folder), len(files), len(info.bbox))  # fmt: skip
    return None


def _fill(key: str, sequence: tuple[str, str]) -> str:
    group, name = sequence
    return key.replace("{group}", group).replace("{name}", name).lstrip("/")
