"""Boxes of several trackers on the frames of a sequence. Images are RGB uint8 (H, W, 3), boxes ``xywh`` pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from lib.vis.draw import CAPTION_HEIGHT, PAPER, Color, blank, contact_sheet, draw_box, resized, write

TILE_WIDTH, COLUMNS = 480, 3
_SWATCH, _GAP, _SCALE = 12, 6, 0.45


class Mark(NamedTuple):
    """A box on a frame, if any, and a short text (ASCII) below the frame, after a small square of its color."""

    box: Sequence[float] | None
    color: Color
    text: str


class Entry(NamedTuple):
    """A line of a legend: a color and what it stands for (ASCII)."""

    color: Color
    text: str


def marked_frame(image: np.ndarray, marks: Sequence[Mark], scale: float = 1.0) -> np.ndarray:
    """Scale a frame and draw its boxes; the first mark lies on top."""
    picture = resized(image, scale)
    for mark in reversed(marks):
        if mark.box is not None:
            picture = draw_box(picture, [scale * float(value) for value in mark.box], mark.color)
    return picture


def line(entries: Sequence[Entry], title: str = "") -> np.ndarray:
    """Return a line of text, each entry after a small square of its color; 22 pixels high, and as wide as it needs."""
    parts = ([Entry(PAPER, title)] if title else []) + list(entries)
    sizes = [cv2.getTextSize(entry.text, cv2.FONT_HERSHEY_SIMPLEX, _SCALE, 1)[0] for entry in parts]
    widths = [_SWATCH + 2 * _GAP + width for width, _ in sizes]
    bar = blank(CAPTION_HEIGHT, sum(widths) + _GAP)
    left = _GAP if not title else _GAP - _SWATCH - _GAP  # a title has no square
    for entry, width in zip(parts, widths, strict=True):
        top = (CAPTION_HEIGHT - _SWATCH) // 2
        bar[top : top + _SWATCH, max(0, left) : max(0, left + _SWATCH)] = entry.color
        write(bar, entry.text, (left + _SWATCH + _GAP, 15), _SCALE)
        left += width
    return bar


def caption(entries: Sequence[Entry], title: str, width: int) -> list[np.ndarray]:
    """Return the lines of :func:`line` that entries need below a title in ``width`` pixels; one entry at least each."""
    lines, rest = [], list(entries)
    while rest or title:
        count = len(rest)
        while count > 1 - bool(title) and line(rest[:count], title).shape[1] > width:
            count -= 1
        lines.append(line(rest[:count], title)[:, :width])
        rest, title = rest[count:], ""
    return lines


def stacked(images: Sequence[np.ndarray], least_width: int = 0) -> np.ndarray:
    """Stack pictures on a background as wide as the widest, of an even number of pixels each way."""
    width = max(least_width, *(image.shape[1] for image in images))
    canvas = blank(*(size + size % 2 for size in (sum(len(image) for image in images), width)))
    top = 0
    for image in images:
        canvas[top : top + len(image), : image.shape[1]] = image
        top += len(image)
    return canvas


def marked_sheet(
    frames: Sequence[np.ndarray],
    titles: Sequence[str],
    marks: Sequence[Sequence[Mark]],
    legend: Sequence[Entry],
    tile_width: int = TILE_WIDTH,
) -> np.ndarray:
    """Draw frames, of any size, with their marks on one sheet, three in a row, under the legend.

    ``titles`` stand below each frame, before the texts of its marks; the legend has a line each; tiles are
    ``tile_width`` pixels wide.
    """
    texts = [[Entry(mark.color, mark.text) for mark in of_frame if mark.text] for of_frame in marks]
    captions = [caption(of_frame, title, tile_width) for of_frame, title in zip(texts, titles, strict=True)]
    most = max(map(len, captions), default=0)
    tiles = []
    for image, of_frame, lines in zip(frames, marks, captions, strict=True):
        empty = [blank(CAPTION_HEIGHT, tile_width)] * (most - len(lines))
        tiles.append(stacked([marked_frame(image, of_frame, tile_width / image.shape[1]), *lines, *empty]))
    return stacked([*(line([entry]) for entry in legend), contact_sheet(tiles, min(COLUMNS, len(tiles)), tile_width)])


def choose_frames(overlaps: np.ndarray, count: int) -> dict[int, bool]:
    """Choose frames to show: half of them spread over the sequence, half those in which some tracker is worst.

    ``overlaps`` is (trackers, frames) in [0, 1], NaN where nothing is known; such frames are not chosen as the worst.
    The worst keep some distance from each other, so that one failure does not fill the sheet.

    Returns ``count`` frame numbers in order, all if there are fewer, and whether they were chosen as the worst.
    """
    total = overlaps.shape[1]
    if total <= count:
        return dict.fromkeys(range(total), False)
    worst_of_frame = np.where(np.isnan(overlaps), np.inf, overlaps).min(axis=0)
    wanted = min(count // 2, int(np.isfinite(worst_of_frame).sum()))
    spread = np.linspace(0, total - 1, count - wanted).round().astype(int).tolist()
    chosen = dict.fromkeys(spread, False)
    for gap in (total // (2 * count), 0):  # without distance where there are too few frames at a distance
        for frame in np.argsort(worst_of_frame, kind="stable").tolist():
            if len(chosen) < count and np.isfinite(worst_of_frame[frame]):
                if min(abs(frame - other) for other in chosen) > gap:
                    chosen[frame] = True
    return dict(sorted(chosen.items()))
