"""A sequence to track: its frames and its annotations.

Everything is read on first access, so that a benchmark of thousands of sequences is listed quickly, and scoring needs
no frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lib.data.image_io import WHOLE, Levels, decode_deep, is_turned, levels_of, sequence_levels, to_8_bit
from lib.data.storage import IMAGE_TYPES, FolderStorage, Storage, image_digest, image_names
from lib.data.tracks import valid_boxes
from lib.data.video_io import VideoFile
from lib.utils.errors import DataError


@dataclass
class ImageFrames:
    """Frames that are the image files of one folder, which may be in an lmdb.

    More than 8 bits are scaled to 8, with limits that are the same for the whole sequence.
    """

    folder: Path | Storage  # their folder: a path, or a part of a storage
    # The file names in order; ``None`` = all images of the folder, in natural order (2.jpg before 10.jpg).
    names: tuple[str, ...] | None = None
    upright: bool = True  # rotate images by their EXIF orientation

    def __post_init__(self) -> None:
        self.storage = FolderStorage(str(self.folder)) if isinstance(self.folder, Path) else self.folder

    @cached_property
    def files(self) -> tuple[str, ...]:
        """The names of the image files in order. Raises DataError when there are none."""
        names = tuple(image_names(self.storage, "")) if self.names is None else self.names
        if not names:
            raise DataError(f"no frames in {self.storage.path()}: expected a folder of pictures ({IMAGE_TYPES})")
        return names

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[np.ndarray]:
        return map(self.frame, range(len(self)))

    def frame(self, t: int) -> np.ndarray:
        """Return frame ``t`` (from 0) as RGB uint8 (H, W, 3)."""
        image = self._deep(t)
        return image if image.dtype == np.uint8 else to_8_bit(image, self.levels or levels_of([image]))

    @cached_property
    def digest(self) -> str:
        """A short hash that identifies these frames. Raises DataError: they are missing or unreadable."""
        return image_digest(self.storage, self.files)

    @cached_property
    def levels(self) -> Levels | None:
        """The limits for scaling to 8 bits, see :func:`sequence_levels`."""
        return sequence_levels(self._deep, len(self))

    def remarks(self) -> list[str]:
        """Describe conversions of the images read so far that a user may not expect."""
        found = []
        levels: Levels | None = vars(self).get("levels")  # set only if it was needed
        if levels and levels != WHOLE:
            values = f"values from {levels.low:g} to {levels.high:g} are stretched to 8 bits"
            found.append(f"its pictures have more than 8 bits: {values}, with these limits in all of its frames")
        if self.upright and is_turned(self.storage.read(self.files[0]), self.storage.path(self.files[0])):
            found.append("its pictures are turned as their EXIF orientation says: boxes belong to the turned ones")
        return found

    def _deep(self, t: int) -> np.ndarray:
        name = self.files[t]
        return decode_deep(self.storage.read(name), self.storage.path(name), self.upright)


FrameSource = ImageFrames | VideoFile  # iterating reads the frames in order, which is fast for both


class Annotations(NamedTuple):
    """Annotations of a sequence's target."""

    # (N, 4) float64, x, y, w, h in pixels; NaN where there is none; N = 1 if only the first box is published.
    boxes: np.ndarray
    visible: np.ndarray | None = None  # (N,) bool, or ``None`` if the published loader reads no flags


def _yes() -> bool:
    return True


@dataclass
class Sequence:
    """One sequence of a benchmark. It goes to other processes, so what it holds can be pickled."""

    name: str  # in result files: the benchmark's own name, with a prefix if names of benchmarks clash
    dataset: str  # tag that selects the metric rules: ``lasot``, ``otb``, ``got10k``, ``folder`` ...
    frames: FrameSource
    read_annotations: Callable[[], Annotations]  # reads the annotations on first access
    object_class: str | None = None  # class of the target, if the list of the benchmark has it
    # Reads the flags of the benchmark's own evaluator, if they differ from ``visible``.
    read_official: Callable[[], np.ndarray | None] | None = None
    read_language: Callable[[], str | None] | None = None  # reads the language description of the target
    read_attributes: Callable[[], tuple[str, ...]] = tuple  # reads the names of the sequence's challenge attributes
    omitted: int = 0  # number of frames left out at the start of the benchmark's sequence, before the target appears
    # Sub-folder of its results in the folder of a tracker and config: for a user folder, see
    # :func:`lib.data.own_folder.folder_label`; empty if its name alone identifies it.
    group: str = ""
    annotation: str = "its annotation"  # the file of boxes, for error messages
    # has_frames, has_boxes: return whether they are on this machine, without reading them.
    has_frames: Callable[[], bool] = _yes
    has_boxes: Callable[[], bool] = _yes

    @property
    def label(self) -> str:
        """Its name, with its group if it has one."""
        return f"{self.group}/{self.name}" if self.group else self.name

    @cached_property
    def _annotations(self) -> Annotations:
        return self.read_annotations()

    @property
    def ground_truth(self) -> np.ndarray:
        """(N, 4) float64 boxes x, y, w, h, see :class:`Annotations`."""
        return self._annotations.boxes

    @property
    def visible(self) -> np.ndarray | None:
        """Flags of frames with a visible target by the published loader (protocol ``pytracking``), (N,), or None."""
        return self._annotations.visible

    @property
    def shown(self) -> np.ndarray:
        """The frames, (N,) bool, that have a box and, as far as the annotation tells, show the target."""
        shown = valid_boxes(self.ground_truth)
        return shown if self.visible is None else shown & self.visible

    @cached_property
    def official_visible(self) -> np.ndarray | None:
        """The same by the benchmark's own evaluator (protocol ``official``). Raises DataError: they are damaged."""
        flags = self.read_official() if self.read_official else self.visible
        if flags is not None and len(flags) != len(self.ground_truth):
            raise DataError(f"sequence {self.name}: {len(flags)} official flags for {len(self.ground_truth)} boxes")
        return flags

    @cached_property
    def language(self) -> str | None:
        """The language description of the target, if the benchmark has one."""
        return self.read_language() if self.read_language else None

    @cached_property
    def attributes(self) -> tuple[str, ...]:
        """Names of the sequence's challenge attributes in the benchmark; empty if it has none."""
        return self.read_attributes()

    @cached_property
    def image_size(self) -> tuple[int, int]:
        """Width and height of the first frame, which is decoded."""
        height, width = self.frames.frame(0).shape[:2]
        return width, height

    @property
    def init_box(self) -> list[float]:
        """The box of the first frame, x, y, w, h, the only annotation that a tracker gets."""
        box = self.ground_truth[0]
        if not np.isfinite(box).all() or min(box[2:]) <= 0:
            raise DataError(f"sequence {self.name}: the first box {box.tolist()} in {self.annotation} has no area")
        return box.tolist()

    @property
    def num_frames(self) -> int:
        """The expected number of frames: the number of boxes, or of frames if only the first box is published."""
        return len(self.ground_truth) if len(self.ground_truth) > 1 else len(self.frames)

    def check_length(self) -> None:
        """Raise DataError unless each frame has a box, or only the first box is published."""
        boxes, frames = len(self.ground_truth), len(self.frames)
        if boxes > 1 and boxes != frames:
            counts = f"{frames} frames but {boxes} boxes in {self.annotation}"
            raise DataError(f"sequence {self.name}: {counts}; is the copy complete?")

    def check_first_box(self, image: np.ndarray) -> None:
        """Raise DataError unless the first box overlaps the first frame, RGB (H, W, 3)."""
        (x, y, w, h), (height, width) = self.init_box, image.shape[:2]
        if x >= width or y >= height or x + w <= 0 or y + h <= 0:
            box = f"the first box {self.init_box} in {self.annotation}"
            raise DataError(f"sequence {self.name}: {box} lies outside of its picture of {width} x {height} pixels")
