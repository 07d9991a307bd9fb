"""How annotated sequences lie on disk: a folder layout is a description, not a class.

A layout is a function of the storage that returns a :class:`Plan`: the files that the annotation consists of, and how
to make a table of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from lib.data.annotations import decode_text, parse_flags, parse_table
from lib.data.base import SequenceInfo, valid_boxes
from lib.data.storage import Storage, find_key, image_names
from lib.data.tracks import FrameKind, LeftOut, Track, TrackTable, literal
from lib.utils.errors import DataError


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
        boxes: key of the file of boxes. The last part of this and the following keys may have other capitals.
        frames: folder of the frames; of several, the first that is there.
        numbered: file name of a frame by its number, like ``{:08d}.jpg``; empty, or where the first frame is not called
            so: every picture in the folder, in natural order.
        first: number of the first frame.
        flags: keys of files that say in which frames the target can be seen, and how to read them.
        flags_optional: such a file may be missing; then it marks no frame.
    """

    sequences: Callable[[Storage], Found]
    boxes: str
    frames: str | tuple[str, ...]
    numbered: str = ""
    first: int = 1
    flags: tuple[tuple[str, Flags], ...] = ()
    flags_optional: bool = False

    def __call__(self, storage: Storage) -> Plan:
        found = self.sequences(storage)
        keys = [self.boxes, *(key for key, _ in self.flags), *([] if self.numbered else self._frame_folders())]
        files = [_find(storage, sequence, key)[0] for sequence in found for key in keys]
        return Plan(files, lambda: self._read(storage, found))

    def _frame_folders(self) -> tuple[str, ...]:
        return (self.frames,) if isinstance(self.frames, str) else self.frames

    def _read(self, storage: Storage, found: Found) -> TrackTable:
        return TrackTable.join(self._track(storage, item) for item in tqdm(found, desc="annotation", delay=2))

    def _track(self, storage: Storage, sequence: tuple[str, str]) -> Track | LeftOut:
        name = "/".join(part for part in sequence if part)
        info = self._info(storage, sequence)
        folder, _ = _find(storage, sequence, *self._frame_folders())
        if self.numbered:
            track = Track(name, info, f"{literal(folder)}/{self.numbered}", first=self.first)
            if storage.exists(track.place.format(self.first)) or len(image_names(storage, folder)) != len(info.bbox):
                return track  # where pictures are missing, the first one may be
        return listed_track(storage, name, folder, info)

    def _info(self, storage: Storage, sequence: tuple[str, str]) -> SequenceInfo:
        flags = [(*_find(storage, sequence, key), read) for key, read in self.flags]
        given = [(key, read) for key, there, read in flags if there or not self.flags_optional]
        return read_info(storage, _find(storage, sequence, self.boxes)[0], given)


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


def listed_track(storage: Storage, name: str, folder: str, info: SequenceInfo) -> Track | LeftOut:
    """A sequence of every picture in a folder; it is left out if there are not as many as boxes."""
    files = image_names(storage, folder)
    if len(files) == len(info.bbox):
        return Track(name, info, folder, FrameKind.LISTED, files=files)
    counts = f"{len(files)} frames but {len(info.bbox)} boxes in the annotation"
    return LeftOut(f"{storage.path(folder)} is left out: {counts}; is the copy complete?")


def _find(storage: Storage, sequence: tuple[str, str], *keys: str) -> tuple[str, bool]:
    """The first of these files of a sequence that is there; the first of all, and False, where none is."""
    group, name = sequence
    filled = [key.replace("{group}", group).replace("{name}", name).lstrip("/") for key in keys]
    found = find_key(storage, *filled)
    return found or filled[0], found is not None
