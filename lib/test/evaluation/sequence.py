"""A sequence to track: its frames and its annotation.

Nothing is read before it is asked for, so that a benchmark of thousands of sequences is listed in no time, and scoring
needs no frames.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from lib.utils.annotations import read_boxes, read_flags
from lib.utils.errors import DataError
from lib.utils.image_io import read_image

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp"}


class FrameSource(Protocol):
    """Where frames come from: pictures or a video. Iterating reads them in order, which is fast for both."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[np.ndarray]: ...

    def frame(self, t: int) -> np.ndarray:
        """Frame ``t`` (from 0) as RGB uint8 (H, W, 3)."""
        ...


@dataclass
class ImageFrames:
    """Frames that are picture files of one folder.

    Attributes:
        folder: where they lie.
        names: the file names in order; ``None`` takes every picture of the folder in the order of the numbers in its
            name (2.jpg before 10.jpg).
    """

    folder: Path
    names: tuple[str, ...] | None = None

    @cached_property
    def paths(self) -> list[Path]:
        """The picture files in order. Raises DataError when there are none."""
        if self.names is not None:
            return [self.folder / name for name in self.names]
        paths = list_images(self.folder)
        if not paths:
            raise DataError(f"no frames in {self.folder}: expected pictures ({', '.join(sorted(IMAGE_SUFFIXES))})")
        return paths

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[np.ndarray]:
        return map(read_image, self.paths)

    def frame(self, t: int) -> np.ndarray:
        return read_image(self.paths[t])


class Annotations(NamedTuple):
    """What is known about a sequence's target.

    Attributes:
        boxes: (N, 4) float64, x, y, w, h in pixels; NaN where the benchmark says nothing; N = 1 where it publishes the
            first box only.
        visible: (N,) bool, or ``None`` where the benchmark has no flags.
    """

    boxes: np.ndarray
    visible: np.ndarray | None = None


@dataclass
class Sequence:
    """One sequence of a benchmark.

    Attributes:
        name: as in the benchmark; result files are named after it.
        dataset: tag that chooses the metric rules: ``lasot``, ``otb``, ``got10k``, ``folder`` ...
        frames: the frames.
        read_annotations: reads the annotation when it is first needed.
        object_class: what the target is, where the benchmark says so.
    """

    name: str
    dataset: str
    frames: FrameSource
    read_annotations: Callable[[], Annotations]
    object_class: str | None = None

    @cached_property
    def _annotations(self) -> Annotations:
        return self.read_annotations()

    @property
    def ground_truth(self) -> np.ndarray:
        """(N, 4) float64 boxes x, y, w, h, see :class:`Annotations`."""
        return self._annotations.boxes

    @property
    def visible(self) -> np.ndarray | None:
        """(N,) bool, or ``None``, see :class:`Annotations`."""
        return self._annotations.visible

    @property
    def init_box(self) -> list[float]:
        """The box of the first frame, which is all that a tracker is told."""
        box = self.ground_truth[0]
        if not np.isfinite(box).all() or min(box[2:]) <= 0:
            raise DataError(f"sequence {self.name}: the first box {box.tolist()} has no area, nothing can be tracked")
        return box.tolist()

    @property
    def num_frames(self) -> int:
        """How many frames there should be: as many as boxes, so that no frame is looked at where that is enough."""
        return len(self.ground_truth) if len(self.ground_truth) > 1 else len(self.frames)

    def check_length(self) -> None:
        """Raise DataError unless there is a box for each frame (or only the first box is published)."""
        boxes, frames = len(self.ground_truth), len(self.frames)
        if boxes > 1 and boxes != frames:
            raise DataError(
                f"sequence {self.name}: {frames} frames but {boxes} boxes in the annotation; is the copy complete?"
            )


def natural_key(path: Path) -> tuple:
    """Sorts names by the numbers in them: ``img2.jpg`` before ``img10.jpg``."""
    parts = re.split(r"(\d+)", path.name)
    return tuple((int(part), part) if part.isdecimal() else part.lower() for part in parts)


def list_images(folder: Path) -> list[Path]:
    """The pictures of a folder in natural order; an empty list when there are none. Raises DataError: no folder."""
    try:
        paths = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]
    except OSError as error:
        raise DataError(f"frame folder {folder} cannot be read: {error.strerror}") from error
    return sorted((path for path in paths if not path.name.startswith(".")), key=natural_key)


def read_annotation_files(boxes: Path, absence: tuple[Path, ...] = (), skip: int = 0) -> Annotations:
    """Read a box file and the files of flags that mark frames in which the target cannot be seen.

    Args:
        boxes: box file.
        absence: flag files of as many entries; a frame is visible when none of them marks it.
        skip: leave out so many frames at the start.

    Raises:
        DataError: a file is missing or damaged, or a flag file has another length than the box file.
    """
    rows = read_boxes(boxes)
    visible = np.ones(len(rows), dtype=bool) if absence else None
    for path in absence:
        flags = read_flags(path)
        if len(flags) != len(rows):
            raise DataError(f"{path} has {len(flags)} flags for the {len(rows)} boxes of {boxes}")
        visible &= ~flags
    return Annotations(rows[skip:], None if visible is None else visible[skip:])
