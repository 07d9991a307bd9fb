"""Parts of the pictures that show a tracker at work. Images are RGB uint8 (H, W, 3)."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from lib.data.video_io import VideoWriter
from lib.vis.draw import PAPER, Color

INK: Color = (228, 228, 231)
_GRID: Color = (52, 52, 58)
_FADED: Color = (250, 250, 250)
_FADE = 0.78  # how much of a removed patch is paint
CAPTION_HEIGHT = 22
_STRIP_LOW, _STRIP_HIGH = np.array([235, 90, 70.0]), np.array([80, 205, 130.0])  # scores of 0 and 1


def blank(height: int, width: int) -> np.ndarray:
    """Return a picture of nothing but background."""
    return np.full((height, width, 3), PAPER, np.uint8)


def write(image: np.ndarray, text: str, origin: tuple[int, int], scale: float = 0.45, color: Color = INK) -> None:
    """Write ASCII text onto ``image`` itself; ``origin`` is the left end of its base line, x, y."""
    cv2.putText(image, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, color, 1, cv2.LINE_AA)


def captioned(image: np.ndarray, text: str) -> np.ndarray:
    """Return the picture under a line of text, 22 pixels higher than before; text that is too long is cut off."""
    bar = blank(CAPTION_HEIGHT, image.shape[1])
    write(bar, text, (4, 15))
    return np.concatenate((bar, image))


def resized(image: np.ndarray, scale: float) -> np.ndarray:
    """Return the picture ``scale`` times as large, one pixel at least."""
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def fitted(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the picture scaled to fit into ``height`` x ``width``, its shape kept, in the middle of background."""
    small = resized(image, min(height / image.shape[0], width / image.shape[1]))
    canvas = blank(height, width)
    top, left = (height - small.shape[0]) // 2, (width - small.shape[1]) // 2
    canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
    return canvas


def write_fitted(writer: VideoWriter, image: np.ndarray) -> None:
    """Append a picture to a video; one of another size than the first is scaled to fit into it, see :func:`fitted`."""
    writer.write(fitted(image, *writer.size) if writer.size and image.shape[:2] != writer.size else image)


def heat(values: np.ndarray, side: int, highest: float = 1.0) -> np.ndarray:
    """Color a map (S, S) from dark blue (0) to yellow (``highest``), one square per cell; NaN is background."""
    known = np.isfinite(values)
    shares = np.where(known, values, 0) / highest if highest > 0 else np.zeros_like(values)
    colors = cv2.applyColorMap((shares.clip(0, 1) * 255).round().astype(np.uint8), cv2.COLORMAP_VIRIDIS)
    colors = cv2.cvtColor(colors, cv2.COLOR_BGR2RGB)
    colors[~known] = PAPER
    return cv2.resize(colors, (side, side), interpolation=cv2.INTER_NEAREST)


def lit(image: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return a square picture under a map (S, S): the brighter and warmer, the nearer to the map's own maximum.

    NaN is no part of the map: those cells of the picture fade, as in :func:`faded`.
    """
    grid = len(values)
    highest = float(np.nanmax(values, initial=0))
    colors = cv2.addWeighted(image, 0.35, heat(values, len(image), highest), 0.65, 0)
    gone = np.flatnonzero(~np.isfinite(values))
    cells = _cells(gone, grid, len(image))
    colors[cells] = faded(image, gone, grid)[cells]
    return colors


def faded(image: np.ndarray, indices: np.ndarray, grid: int) -> np.ndarray:
    """Return a square picture whose patches at ``indices`` (in a ``grid`` x ``grid`` of patches) fade to white."""
    paint = np.full_like(image, _FADED)
    return np.where(
        _cells(indices, grid, len(image))[..., None], cv2.addWeighted(image, 1 - _FADE, paint, _FADE, 0), image
    )


def _cells(indices: np.ndarray, grid: int, side: int) -> np.ndarray:
    """Return which pixels of a square picture belong to the patches at ``indices``: bool (side, side)."""
    chosen = np.zeros(grid * grid, np.uint8)
    chosen[indices] = 1
    return cv2.resize(chosen.reshape(grid, grid), (side, side), interpolation=cv2.INTER_NEAREST) > 0


def score_strip(scores: Sequence[float], total: int, width: int, height: int = 80) -> np.ndarray:
    """Return the scores of the frames so far, from left to right; frames that are yet to come stay empty.

    Args:
        scores: in [0, 1]; NaN leaves a gap.
        total: frames of the whole sequence; more scores than that are drawn narrower.
        width, height: of the picture, in pixels. Lines mark 0.5 and 1.

    Returns:
        Bars from red (0) to green (1), the newest with a white head.
    """
    strip = blank(height, width)
    top, bottom, total = 6, height - 3, max(total, len(scores), 1)
    for level in (0.5, 1.0):
        strip[round(bottom - level * (bottom - top))] = _GRID
    edges = np.linspace(0, width, total + 1).round().astype(int)
    # Where a column holds several frames, the lowest score shows: a short loss of the target must not vanish.
    lowest = np.full(width, np.inf)
    for score, left, right in zip(scores, edges, edges[1:], strict=False):
        if np.isfinite(score):
            columns = slice(left, max(left + 1, right))
            lowest[columns] = np.minimum(lowest[columns], min(max(score, 0.0), 1.0))
    for column in np.flatnonzero(np.isfinite(lowest)):
        rise = round(lowest[column] * (bottom - top))
        strip[bottom - rise : bottom + 1, column] = _STRIP_LOW + lowest[column] * (_STRIP_HIGH - _STRIP_LOW)
    if len(scores):
        head = min(int(edges[len(scores)]), width) - 1
        strip[top:, max(0, head - 1) : head + 1] = 255
    return strip
