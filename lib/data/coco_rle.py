"""Masks in COCO's run-length encoding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def decode_rle(size: Sequence[int], counts: str | bytes | Sequence[int]) -> np.ndarray:
    """Decode a COCO mask.

    Args:
        size: height and width.
        counts: lengths of alternating runs of 0 and 1 in column order, or COCO's string of them.

    Returns:
        bool (height, width).

    Raises:
        ValueError: the runs do not fill the picture exactly.
    """
    if isinstance(counts, (str, bytes)):
        counts = _decode_counts(counts.encode() if isinstance(counts, str) else counts)
    runs = np.asarray(counts, np.int64)
    height, width = size
    if runs.size and (runs.min() < 0 or runs.sum() != height * width):
        raise ValueError(f"the runs cover {runs.sum()} pixels of {height * width}")
    return np.repeat(np.arange(runs.size) % 2 == 1, runs).reshape(width, height).T


def _decode_counts(text: bytes) -> list[int]:
    """Decode numbers in little-endian groups of five bits from character 48 on; bit 5 says that more follow.

    From the fourth on, each number is the difference to the one two before it.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        group = character - 48
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:  # the sign bit of the last group
            value -= 1 << shift
        if len(counts) > 2:
            value += counts[-2]
        counts.append(value)
        value = shift = 0
    return counts
