"""What an annotated data set gives to the pair sampler, and how annotation files are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from lib.utils.errors import DataError

CONFIGURE = (
    "set {setting} in lib/train/admin/local.py (tracking/create_default_local_file.py writes that file), "
    "or put the data there"
)


@dataclass(frozen=True)
class SequenceInfo:
    """Annotation of one sequence of N frames.

    Attributes:
        bbox: ``xywh`` in pixels, float64 (N, 4).
        visible: the target can be seen and has a valid box, bool (N,).
        valid: the box has area, bool (N,).
    """

    bbox: np.ndarray
    visible: np.ndarray
    valid: np.ndarray


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


def valid_boxes(bbox: np.ndarray) -> np.ndarray:
    """Which ``xywh`` boxes (N, 4) are finite and have a width and a height."""
    return np.isfinite(bbox).all(1) & (bbox[:, 2:] > 0).all(1)


def read_table(path: Path, columns: int) -> np.ndarray:
    """Numbers separated by commas or white space, one row per line, as float64 (rows, columns).

    Raises:
        DataError: the file is missing, or a line holds something else.
    """
    try:
        lines = path.read_text().split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"annotation file {path} cannot be read: {error}") from error
    rows = [line.replace(",", " ").split() for line in lines if line.strip()]
    for number, row in enumerate(rows, 1):
        if len(row) != columns:
            raise DataError(f"{path}: row {number} has {len(row)} values instead of {columns}")
    try:
        return np.array(rows, dtype=np.float64).reshape(-1, columns)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
