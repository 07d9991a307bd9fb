"""Pictures of more than 8 bits: which of their values become 0 and 255.

16-bit pictures of cameras that measure 12 or 14 bits, thermal ones above all, use a small part of their range, of which
the upper 8 bits show little or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

_RANGE = 1 << 16
_SAMPLE = 16  # frames, spread over a sequence, that its limits are taken from
_OUTSIDE = 1e-4  # share of pixels that may lie below the limits, and above: dead and hot ones


class Levels(NamedTuple):
    """Values from ``low`` up to, and without, ``high`` become 0 to 255; what is outside becomes 0 or 255."""

    low: float
    high: float


WHOLE = Levels(0, _RANGE)  # gives the upper 8 of 16 bits


def levels_of(pictures: Sequence[np.ndarray]) -> Levels:
    """Return the limits for some pictures of one sequence, (H, W, 3) of one type other than uint8.

    Of 16-bit pictures it is :data:`WHOLE` where half of the range or more is used; else, and for other types, the
    values that all but a ten-thousandth of the pixels are in, at either end.
    """
    if pictures[0].dtype == np.uint16:
        counts = np.zeros(_RANGE, np.int64)
        for picture in pictures:
            counts += np.bincount(picture.ravel(), minlength=_RANGE)
        below = counts.cumsum()
        first = int(np.searchsorted(below, _OUTSIDE * below[-1], "right"))
        end = int(np.searchsorted(below, (1 - _OUTSIDE) * below[-1])) + 1
        return WHOLE if end - first > _RANGE // 2 else Levels(first, end)
    values = np.concatenate([picture[np.isfinite(picture)] for picture in pictures])
    if not values.size:
        return Levels(0, 1)
    low, high = (float(value) for value in np.quantile(values, (_OUTSIDE, 1 - _OUTSIDE)))
    return Levels(low, high if high > low else low + 1)


def sequence_levels(frame: Callable[[int], np.ndarray], count: int) -> Levels | None:
    """Find the limits for a sequence of ``count`` frames from some spread over it; None where these have 8 bits.

    ``frame`` reads one by its number, (H, W, 3) with all its bits.
    """
    chosen = np.unique(np.linspace(0, count - 1, _SAMPLE).round().astype(int)).tolist()
    deep = [image for image in map(frame, chosen) if image.dtype != np.uint8]
    return levels_of([image for image in deep if image.dtype == deep[0].dtype]) if deep else None


def to_8_bit(picture: np.ndarray, levels: Levels) -> np.ndarray:
    """Return a picture of any type as uint8; NaN becomes 0."""
    if picture.dtype == np.uint16:
        return _scaled(np.arange(_RANGE), levels)[picture]
    return _scaled(np.nan_to_num(picture.astype(np.float64), nan=levels.low), levels)


def _scaled(values: np.ndarray, levels: Levels) -> np.ndarray:
    return np.clip((values - levels.low) * (256 / (levels.high - levels.low)), 0, 255).astype(np.uint8)
