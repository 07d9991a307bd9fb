"""A sequence to track: its frames and its annotation.

Nothing is read before it is asked for, so that a benchmark of thousands of sequences is listed in no time, and scoring
needs no frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from lib.data.image_io import decode_deep, is_turned
from lib.data.levels import WHOLE, Levels, levels_of, sequence_levels, to_8_bit
from lib.data.storage import IMAGE_TYPES, FolderStorage, Storage, image_digest, image_names
from lib.utils.errors import DataError


class FrameSource(Protocol):
    """Where frames come from: pictures or a video. Iterating reads them in order, which is fast for both."""

    @property
    def digest(self) -> str:
        """A short text that identifies these frames. Raises DataError: they are missing or unreadable."""
        ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[np.ndarray]: ...

    def frame(self, t: int) -> np.ndarray:
        """Frame ``t`` (from 0) as RGB uint8 (H, W, 3)."""
        ...


@dataclass
class ImageFrames:
    """Frames that are picture files of one folder, which may lie in an lmdb.

    Attributes:
        folder: where they lie: a path, or the part of a storage.
        names: the file names in order; ``None`` takes every picture of the folder in the order of the numbers in its
            name (2.jpg before 10.jpg).
        upright: pictures are turned as their EXIF orientation says.

    Pictures of more than 8 bits are stretched to 8 by limits that are the same for the whole sequence.
    """

    folder: Path | Storage
    names: tuple[str, ...] | None = None
    upright: bool = True

    def __post_init__(self) -> None:
        self.storage = FolderStorage(str(self.folder)) if isinstance(self.folder, Path) else self.folder

    @cached_property
    def files(self) -> tuple[str, ...]:
        """The names of the picture files in order. Raises DataError when there are none."""
        names = tuple(image_names(self.storage, "")) if self.names is None else self.names
        if not names:
            raise DataError(f"no frames in {self.storage.path()}: expected a folder of pictures ({IMAGE_TYPES})")
        return names

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[np.ndarray]:
        return map(self.frame, range(len(self)))

    def frame(self, t: int) -> np.ndarray:
        image = self._deep(t)
        return image if image.dtype == np.uint8 else to_8_bit(image, self.levels or levels_of([image]))

    @cached_property
    def digest(self) -> str:
        return image_digest(self.storage, self.files)

    @cached_property
    def levels(self) -> Levels | None:
        """How more than 8 bits become 8, see :func:`lib.data.levels.sequence_levels`."""
        return sequence_levels(self._deep, len(self))

    def remarks(self) -> list[str]:
        """Describe what was done to the pixels of pictures that were read, where a user may not expect it."""
        found = []
        levels: Levels | None = vars(self).get("levels")  # there where it was needed
        if levels and levels != WHOLE:
            found.append(
                f"its pictures have more than 8 bits: values from {levels.low:g} to {levels.high:g} are stretched to "
                "8 bits, with these limits in all of its frames"
            )
        if self.upright and is_turned(self.storage.read(self.files[0]), self.storage.path(self.files[0])):
            found.append("its pictures are turned as their EXIF orientation says: boxes belong to the turned ones")
        return found

    def _deep(self, t: int) -> np.ndarray:
        name = self.files[t]
        return decode_deep(self.storage.read(name), self.storage.path(name), self.upright)


class Annotations(NamedTuple):
    """What is known about a sequence's target.

    Attributes:
        boxes: (N, 4) float64, x, y, w, h in pixels; NaN where the benchmark says nothing; N = 1 where it publishes the
            first box only.
        visible: (N,) bool, or ``None`` where the published loader reads no flags.
    """

    boxes: np.ndarray
    visible: np.ndarray | None = None


def _yes() -> bool:
    return True


@dataclass
class Sequence:
    """One sequence of a benchmark.

    Attributes:
        name: as result files are named: the benchmark's own name, with a prefix where names of benchmarks clash.
        dataset: tag that chooses the metric rules: ``lasot``, ``otb``, ``got10k``, ``folder`` ...
        frames: the frames.
        read_annotations: reads the annotation when it is first needed.
        object_class: what the target is, where the list of the benchmark says so.
        read_official: reads the flags of the benchmark's own evaluator, where they are not those of the published
            loader.
        read_language: reads the description of the target.
        read_attributes: reads the names of the sequence's attributes.
        omitted: how many frames the benchmark has before the first one here, because the target is not there yet.
        group: the folder that its results lie in, among those of a tracker and config: that of a folder of one's own,
            see :func:`lib.data.own_folder.folder_label`; empty where its name alone identifies it.
        annotation: the file of boxes, to name in errors.
        has_frames, has_boxes: whether they are on this machine, without looking into them.
    """

    name: str
    dataset: str
    frames: FrameSource
    read_annotations: Callable[[], Annotations]
    object_class: str | None = None
    read_official: Callable[[], np.ndarray | None] | None = None
    read_language: Callable[[], str | None] | None = None
    read_attributes: Callable[[], tuple[str, ...]] = tuple
    omitted: int = 0
    group: str = ""
    annotation: str = "its annotation"
    has_frames: Callable[[], bool] = _yes
    has_boxes: Callable[[], bool] = _yes

    @property
    def label(self) -> str:
        """Its name, with its group where it has one."""
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
        """Frames in which the target can be seen, as the published loader (protocol ``pytracking``) knows them: (N,)
        bool, or ``None`` where it has no flags."""
        return self._annotations.visible

    @cached_property
    def official_visible(self) -> np.ndarray | None:
        """The same as the benchmark's own evaluator (protocol ``official``) knows them. Raises DataError: damaged."""
        flags = self.read_official() if self.read_official else self.visible
        if flags is not None and len(flags) != len(self.ground_truth):
            raise DataError(f"sequence {self.name}: {len(flags)} official flags for {len(self.ground_truth)} boxes")
        return flags

    @cached_property
    def language(self) -> str | None:
        """The description of the target in words, where the benchmark has one."""
        return self.read_language() if self.read_language else None

    @cached_property
    def attributes(self) -> tuple[str, ...]:
        """Names of the difficulties that the benchmark ascribes to the sequence; empty where it has none."""
        return self.read_attributes()

    @cached_property
    def image_size(self) -> tuple[int, int]:
        """Width and height of the first frame, which is decoded for it."""
        height, width = self.frames.frame(0).shape[:2]
        return width, height

    @property
    def init_box(self) -> list[float]:
        """The box of the first frame, the only annotation that a tracker gets."""
        box = self.ground_truth[0]
        if not np.isfinite(box).all() or min(box[2:]) <= 0:
            raise DataError(f"sequence {self.name}: the first box {box.tolist()} in {self.annotation} has no area")
        return box.tolist()

    @property
    def num_frames(self) -> int:
        """How many frames there should be: as many as boxes, so that no frame is looked at where that is enough."""
        return len(self.ground_truth) if len(self.ground_truth) > 1 else len(self.frames)

    def check_length(self) -> None:
        """Raise DataError unless there is a box for each frame (or only the first box is published)."""
        boxes, frames = len(self.ground_truth), len(self.frames)
        if boxes > 1 and boxes != frames:
            counts = f"{frames} frames but {boxes} boxes in {self.annotation}"
            raise DataError(f"sequence {self.name}: {counts}; is the copy complete?")

    def check_first_box(self, image: np.ndarray) -> None:
        """Raise DataError unless the first box has a part in the first frame, RGB (H, W, 3)."""
        (x, y, w, h), (height, width) = self.init_box, image.shape[:2]
        if x >= width or y >= height or x + w <= 0 or y + h <= 0:
            box = f"the first box {self.init_box} in {self.annotation}"
            raise DataError(f"sequence {self.name}: {box} lies outside of its picture of {width} x {height} pixels")
