"""The annotation of a whole data set in a few arrays, its copy on disk, and the data set that reads frames by it.

One flat table serves every layout: it is written to the cache as it is, and worker processes share its memory.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from enum import IntEnum
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from lib.data.image_io import Levels, decode_deep, levels_of, sequence_levels, to_8_bit
from lib.data.storage import Storage
from lib.data.video_io import VideoFile
from lib.utils.errors import DataError, ImageError
from lib.utils.replacing import replacing

logger = logging.getLogger(__name__)

# To be raised whenever a layout makes another table of the same files.
_FORMAT = 4


@dataclass(frozen=True)
class SequenceInfo:
    """Annotation of one sequence of N frames."""

    bbox: np.ndarray  # ``xywh`` in pixels, float64 (N, 4)
    visible: np.ndarray  # the target can be seen and has a valid box, bool (N,)
    valid: np.ndarray  # the box has area, bool (N,)


class AnnotatedDataset(Protocol):
    """A list of sequences (or still images: ``is_video`` False, one frame each) with a box for every frame."""

    name: str
    is_video: bool

    def __len__(self) -> int: ...

    def sequence(self, index: int) -> SequenceInfo: ...

    def sequence_name(self, index: int) -> str: ...

    def frame(self, index: int, frame: int) -> np.ndarray:
        """RGB uint8 (H, W, 3)."""
        ...


_MOST_OF_PICTURE = 10  # times the width or height of a picture, that a box may have


def boxes_outside(bbox: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Return which ``xywh`` boxes (N, 4) lie wholly outside of their picture, or are absurdly large, bool (N,).

    ``size`` is width and height of one picture, (2,), or of that of each box, (N, 2); NaN where it is not known.
    """
    outside = (bbox[:, :2] >= size).any(1) | (bbox[:, :2] + bbox[:, 2:] <= 0).any(1)
    return outside | (bbox[:, 2:] > _MOST_OF_PICTURE * size).any(1)


def valid_boxes(bbox: np.ndarray) -> np.ndarray:
    """Return which ``xywh`` boxes (N, 4) are finite and have a width and a height."""
    return np.isfinite(bbox).all(1) & (bbox[:, 2:] > 0).all(1)


class FrameKind(IntEnum):
    """What the key of a sequence's frames stands for."""

    NUMBERED = 0  # the key of a frame with a format field for its number, "a/b/{:08d}.jpg"
    LISTED = 1  # a folder; the table names its files
    VIDEO = 2  # a video in which seeking is exact
    SLOW_VIDEO = 3  # a video in which it is not: a frame is decoded from the start


@dataclass(frozen=True)
class Track:
    """One sequence, on its way into a table."""

    name: str
    info: SequenceInfo  # its boxes and flags
    key: str  # of its frames, see :class:`FrameKind`; literal braces of a numbered one are doubled
    kind: FrameKind = FrameKind.NUMBERED
    first: int = 0  # number of the first frame, where frames are numbered
    files: Sequence[str] = ()  # file names of the frames, where they are listed


@dataclass(frozen=True)
class LeftOut:
    """A sequence of the data set that cannot be used, on its way into a table; ``reason`` names it."""

    reason: str


@dataclass(frozen=True)
class TrackTable:
    """S sequences of N frames in all, one after the other. Texts are UTF-8 bytes, a quarter of the memory."""

    # names, keys: of each sequence, bytes (S,), see :class:`Track`.
    names: np.ndarray
    keys: np.ndarray
    kinds: np.ndarray  # :class:`FrameKind`, uint8 (S,)
    firsts: np.ndarray  # number of the first frame, int64 (S,)
    # Where in the following arrays each sequence starts, and the end of the last one, int64 (S + 1,).
    starts: np.ndarray
    bbox: np.ndarray  # ``xywh`` in pixels, float64 (N, 4)
    # visible, valid: see :class:`SequenceInfo`, bool (N,).
    visible: np.ndarray
    valid: np.ndarray
    files: np.ndarray  # file names of listed frames, bytes (N,), or (0,) where no sequence lists them
    # Which further sequences cannot be used, and why, bytes (L,).
    left_out: np.ndarray = field(default_factory=lambda: texts([]))

    @classmethod
    def join(cls, found: Iterable[Track | LeftOut]) -> TrackTable:
        """Return the table of these sequences. Raises DataError: there are none."""
        found = list(found)
        tracks = [item for item in found if isinstance(item, Track)]
        left_out = [item.reason for item in found if isinstance(item, LeftOut)]
        if not tracks:
            raise DataError("there is no sequence in it" + (f" that can be used: {left_out[0]}" if left_out else ""))
        files = [name for track in tracks for name in (track.files or [""] * len(track.info.bbox))]
        return cls(
            names=texts(track.name for track in tracks),
            keys=texts(track.key for track in tracks),
            kinds=np.array([track.kind for track in tracks], np.uint8),
            firsts=np.array([track.first for track in tracks], np.int64),
            starts=np.cumsum([0, *(len(track.info.bbox) for track in tracks)]),
            bbox=np.concatenate([track.info.bbox for track in tracks]),
            visible=np.concatenate([track.info.visible for track in tracks]),
            valid=np.concatenate([track.info.valid for track in tracks]),
            files=texts(files if any(track.files for track in tracks) else []),
            left_out=texts(left_out),
        )


def texts(values: Iterable[str]) -> np.ndarray:
    """Texts as an array of bytes."""
    return np.array([value.encode() for value in values], np.bytes_)


def literal(text: str) -> str:
    """Escape text that is part of a numbered key."""
    return text.replace("{", "{{").replace("}", "}}")


def cache_path(cache_dir: str | Path, name: str, root: str, suffix: str = ".npz") -> Path:
    """Return the file kept for the data set ``name`` in ``root``."""
    mark = hashlib.sha256(f"{name}\n{os.path.abspath(root)}".encode()).hexdigest()[:10]
    return Path(cache_dir) / f"{re.sub(r'[^A-Za-z0-9_]+', '_', name).strip('_')}-{mark}{suffix}"


def cached_table(path: Path, stamp: str, make: Callable[[], TrackTable]) -> TrackTable:
    """Read the table in the file ``path``, see :func:`cache_path`; where that is missing, damaged or of another
    ``stamp`` (the state of the files that it is made of), make a new one, and keep it.
    """
    stamp = f"{_FORMAT} {stamp}"
    table = _load(path, stamp)
    if table is None:
        table = make()
        _save(path, stamp, table)
    return table


def _load(path: Path, stamp: str) -> TrackTable | None:
    try:
        with np.load(path, allow_pickle=False) as archive:
            if archive["stamp"].item() == stamp:
                return TrackTable(**{field.name: archive[field.name] for field in fields(TrackTable)})
            logger.info("%s is out of date: reading the annotation anew", path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        logger.warning("%s is damaged (%s): reading the annotation anew", path, error)
    return None


def _save(path: Path, stamp: str, table: TrackTable) -> None:
    try:
        with replacing(path, f".{os.getpid()}.tmp") as unfinished, open(unfinished, "wb") as file:
            np.savez(file, stamp=np.array(stamp), **vars(table))
    except OSError as error:
        logger.warning("%s cannot be written (%s): the annotation will be read again next time; set cache_dir in "
                    "lib/train/admin/local.py to a folder that can", path, error)  # fmt: skip


@dataclass(eq=False)
class TrackDataset:
    """An annotated data set (:class:`AnnotatedDataset`) by its table and its files."""

    name: str
    storage: Storage
    table: TrackTable
    is_video: bool = True
    # Pictures are turned as their EXIF orientation says. Those of published data sets are taken as stored.
    upright: bool = False
    # By sequence, of those whose pictures have more than 8 bits.
    _levels: dict[int, Levels | None] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.table.names)

    def sequence(self, index: int) -> SequenceInfo:
        part = slice(self.table.starts[index], self.table.starts[index + 1])
        return SequenceInfo(self.table.bbox[part], self.table.visible[part], self.table.valid[part])

    def sequence_name(self, index: int) -> str:
        return self.table.names[index].decode()

    def length(self, index: int) -> int:
        """Return the number of frames of a sequence."""
        return int(self.table.starts[index + 1] - self.table.starts[index])

    def video(self, index: int) -> VideoFile | None:
        """Return the video that a sequence is, or None if it consists of pictures."""
        is_video = self.table.kinds[index] in (FrameKind.VIDEO, FrameKind.SLOW_VIDEO)
        return VideoFile(Path(self.storage.path(self.table.keys[index].decode()))) if is_video else None

    def frame_key(self, index: int, frame: int) -> str:
        """Return the key of the picture that a frame (from 0) is."""
        key = self.table.keys[index].decode()
        if self.table.kinds[index] == FrameKind.LISTED:
            return f"{key}/{self.table.files[self.table.starts[index] + frame].decode()}"
        return key.format(self.table.firsts[index] + frame)

    def frame_file(self, index: int, frame: int) -> str:
        """Return the key of the file that a frame (from 0) lies in: its picture or its video."""
        return self.table.keys[index].decode() if self.video(index) else self.frame_key(index, frame)

    def frame(self, index: int, frame: int) -> np.ndarray:
        """Frame ``frame`` (from 0) as RGB uint8 (H, W, 3). Raises ImageError, which names it: missing or damaged."""
        video = self.video(index)
        try:
            if video is not None:
                return video.seek(frame) if self.table.kinds[index] == FrameKind.VIDEO else video.frame(frame)
            image = self._deep(index, frame)
            if image.dtype == np.uint8:
                return image
            if index not in self._levels:
                self._levels[index] = sequence_levels(partial(self._deep, index), self.length(index))
            return to_8_bit(image, self._levels[index] or levels_of([image]))
        except DataError as error:
            raise ImageError(str(error)) from error

    def _deep(self, index: int, frame: int) -> np.ndarray:
        key = self.frame_key(index, frame)
        return decode_deep(self.storage.read(key), self.storage.path(key), self.upright)
