"""What an annotated data set gives to the pair sampler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

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


_MOST_OF_PICTURE = 10  # times the width or height of a picture, that a box may have


def boxes_outside(bbox: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Return which ``xywh`` boxes (N, 4) lie wholly outside of their picture, or are absurdly large, bool (N,).

    Args:
        size: width and height of one picture, (2,), or of that of each box, (N, 2); NaN where it is not known.
    """
    outside = (bbox[:, :2] >= size).any(1) | (bbox[:, :2] + bbox[:, 2:] <= 0).any(1)
    return outside | (bbox[:, 2:] > _MOST_OF_PICTURE * size).any(1)


def valid_boxes(bbox: np.ndarray) -> np.ndarray:
    """Return which ``xywh`` boxes (N, 4) are finite and have a width and a height."""
    return np.isfinite(bbox).all(1) & (bbox[:, 2:] > 0).all(1)
