"""The annotation of a whole data set in a few arrays, and the data set that reads frames by it.

One flat table serves every layout: it is written to the cache as it is, and worker processes share its memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import partial
from pathlib import Path

import numpy as np

from lib.data.base import SequenceInfo
from lib.data.image_io import decode_deep
from lib.data.levels import Levels, levels_of, sequence_levels, to_8_bit
from lib.data.storage import Storage
from lib.data.video_io import VideoFile
from lib.utils.errors import DataError, ImageError


class FrameKind(IntEnum):
    """What the key of a sequence's frames stands for."""

    NUMBERED = 0  # the key of a frame with a format field for its number, "a/b/{:08d}.jpg"
    LISTED = 1  # a folder; the table names its files
    VIDEO = 2  # a video in which seeking is exact
    SLOW_VIDEO = 3  # a video in which it is not: a frame is decoded from the start


@dataclass(frozen=True)
class Track:
    """One sequence, on its way into a table.

    Attributes:
        name: what it is called.
        info: its boxes and flags.
        key: of its frames, see :class:`FrameKind`; literal braces of a numbered one are doubled.
        first: number of the first frame, where frames are numbered.
        files: file names of the frames, where they are listed.
    """

    name: str
    info: SequenceInfo
    key: str
    kind: FrameKind = FrameKind.NUMBERED
    first: int = 0
    files: Sequence[str] = ()


@dataclass(frozen=True)
class LeftOut:
    """A sequence of the data set that cannot be used, on its way into a table; ``reason`` names it."""

    reason: str


@dataclass(frozen=True)
class TrackTable:
    """S sequences of N frames in all, one after the other. Texts are UTF-8 bytes, which take a quarter of the memory.

    Attributes:
        names, keys: of each sequence, bytes (S,), see :class:`Track`.
        kinds: :class:`FrameKind`, uint8 (S,).
        firsts: number of the first frame, int64 (S,).
        starts: where in the following arrays each sequence starts, and the end of the last one, int64 (S + 1,).
        bbox: ``xywh`` in pixels, float64 (N, 4).
        visible, valid: see :class:`SequenceInfo`, bool (N,).
        files: file names of listed frames, bytes (N,), or (0,) where no sequence lists them.
        left_out: which further sequences cannot be used, and why, bytes (L,).
    """

    names: np.ndarray
    keys: np.ndarray
    kinds: np.ndarray
    firsts: np.ndarray
    starts: np.ndarray
    bbox: np.ndarray
    visible: np.ndarray
    valid: np.ndarray
    files: np.ndarray
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


@dataclass(eq=False)
class TrackDataset:
    """An annotated data set (:class:`lib.data.base.AnnotatedDataset`) by its table and its files.

    Attributes:
        upright: pictures are turned as their EXIF orientation says. Those of published data sets are taken as stored.
    """

    name: str
    storage: Storage
    table: TrackTable
    is_video: bool = True
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
            if video is None:
                image = self._deep(index, frame)
                return image if image.dtype == np.uint8 else self._with_8_bits(index, image)
            return video.seek(frame) if self.table.kinds[index] == FrameKind.VIDEO else video.frame(frame)
        except DataError as error:
            raise ImageError(str(error)) from error

    def _deep(self, index: int, frame: int) -> np.ndarray:
        key = self.frame_key(index, frame)
        return decode_deep(self.storage.read(key), self.storage.path(key), self.upright)

    def _with_8_bits(self, index: int, image: np.ndarray) -> np.ndarray:
        if index not in self._levels:
            self._levels[index] = sequence_levels(partial(self._deep, index), self.length(index))
        return to_8_bit(image, self._levels[index] or levels_of([image]))
