"""Drawing on pictures: boxes, labels, text, maps, and many pictures on one sheet. Images are RGB uint8 (H, W, 3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from lib.data.image_io import write_image
from lib.data.video_io import VideoWriter
from lib.utils.errors import DataError

T = TypeVar("T")

Color = tuple[int, int, int]
# Paul Tol's bright and muted schemes: apart for color-blind readers too.
COLORS = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#AA3377", "#66CCEE", "#882255", "#DD7711", "#332288", "#44AA99")
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_CAP_HEIGHT = 22  # of that font at scale 1, in pixels
_SHEET_GAP = 4
PAPER: Color = (24, 24, 27)
TRUTH: Color = (60, 200, 90)  # of an annotated box
TRUTH_AMONG_TRACKERS: Color = (255, 255, 255)  # of one beside boxes in COLORS, which have a green, too
PREDICTION: Color = (255, 170, 0)  # of a predicted box beside an annotated one
TARGET: Color = (255, 200, 0)  # of the box of a target that is alone
_RIM_COLOR: Color = (0, 0, 0)
INK: Color = (228, 228, 231)
_GRID: Color = (52, 52, 58)
_FADED: Color = (250, 250, 250)
_FADE = 0.78  # how much of a removed patch is paint
CAPTION_HEIGHT = 22
_STRIP_LOW, _STRIP_HIGH = np.array([235, 90, 70.0]), np.array([80, 205, 130.0])  # scores of 0 and 1


def rgb(code: str) -> Color:
    """Return a color that is written ``#RRGGBB``."""
    red, green, blue = bytes.fromhex(code.removeprefix("#"))
    return red, green, blue


def ink_on(color: Color) -> Color:
    """Black or white, whichever can be read on ``color``."""
    red, green, blue = color
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else (255, 255, 255)


def line_width(image: np.ndarray) -> int:
    """Return a line width in pixels that looks the same on images of any size: a 300th of the diagonal, at least 2."""
    return max(2, round(float(np.hypot(*image.shape[:2])) / 300))


def draw_box(
    image: np.ndarray, box: Sequence[float], color: Color = TARGET, label: str | None = None, thickness: int = 0
) -> np.ndarray:
    """Draw a frame around an ``xywh`` box in pixels on a copy of ``image``, RGB uint8 (H, W, 3).

    A thin dark rim lets it stand out from any background. The frame lies outside of the box, so that even a target of a
    few pixels stays visible; where the box reaches the image's border or lies beyond, it is drawn along the border.
    ``label`` (ASCII) stands on a filled tag above the box; below it where there is no room above, else inside. The line
    is ``thickness`` pixels wide, by default as fits the image, see :func:`line_width`.

    Raises DataError: the box is not four finite numbers.
    """
    if len(box) != 4 or not np.isfinite(box).all():
        raise DataError(f"cannot draw the box {list(box)}: it must be four finite numbers x, y, w, h")
    canvas = image.copy()
    thickness = thickness or line_width(image)
    height, width = image.shape[:2]
    x, y, w, h = (float(v) for v in box)
    left, right = (round(min(max(v, thickness), width - thickness)) for v in (x, x + w))
    top, bottom = (round(min(max(v, thickness), height - thickness)) for v in (y, y + h))
    for margin, paint in ((thickness + 1, _RIM_COLOR), (thickness, color)):
        canvas[max(0, top - margin) : bottom + margin, max(0, left - margin) : right + margin] = paint
    canvas[top:bottom, left:right] = image[top:bottom, left:right]
    if label:
        draw_label(canvas, label, (left - thickness, top - thickness), color, thickness, bottom + thickness)
    return canvas


def draw_label(
    canvas: np.ndarray, label: str, corner: tuple[int, int], color: Color, thickness: int, below: int | None = None
) -> None:
    """Write ``label`` on a filled tag that stands on ``corner``; where there is no room, it hangs from row ``below``.

    Where there is no room for that either, or ``below`` is not given, it hangs from the corner.
    """
    height, width = canvas.shape[:2]
    scale = max(0.45, 0.2 * thickness)
    stroke = max(1, round(1.8 * scale))
    text_width, text_height = cv2.getTextSize(label, _FONT, scale, stroke)[0][0], round(_CAP_HEIGHT * scale)
    pad = round(0.45 * text_height)
    tag_width, tag_height = text_width + 2 * pad, text_height + 2 * pad
    left = max(0, min(corner[0], width - tag_width))
    top = max(0, min(corner[1], height - tag_height))
    if corner[1] >= tag_height:
        top = corner[1] - tag_height
    elif below is not None and below + tag_height <= height:
        top = below
    cv2.rectangle(canvas, (left, top), (left + tag_width - 1, top + tag_height - 1), color, cv2.FILLED)
    cv2.putText(canvas, label, (left + pad, top + pad + text_height), _FONT, scale, ink_on(color), stroke, cv2.LINE_AA)


def contact_sheet(images: Sequence[np.ndarray], columns: int, tile_width: int) -> np.ndarray:
    """Put images on one sheet, row by row, with a narrow dark gap around each. Raises DataError: there are none.

    Each is scaled to fit its tile of ``tile_width`` pixels, its shape kept, and centered in it; all tiles are as high
    as the tallest picture is at this width. The sheet is ``columns * (tile_width + 4) + 4`` pixels wide.
    """
    if not images:
        raise DataError("no images for the contact sheet")
    tiles = []
    for image in images:
        height = max(1, round(image.shape[0] * tile_width / image.shape[1]))
        interpolation = cv2.INTER_AREA if tile_width < image.shape[1] else cv2.INTER_LINEAR
        tiles.append(cv2.resize(image, (tile_width, height), interpolation=interpolation))
    tile_height = max(tile.shape[0] for tile in tiles)
    rows = -(-len(tiles) // columns)
    pitch_x, pitch_y = tile_width + _SHEET_GAP, tile_height + _SHEET_GAP
    sheet = np.full((rows * pitch_y + _SHEET_GAP, columns * pitch_x + _SHEET_GAP, 3), PAPER, np.uint8)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        top = row * pitch_y + _SHEET_GAP + (tile_height - tile.shape[0]) // 2
        left = column * pitch_x + _SHEET_GAP
        sheet[top : top + tile.shape[0], left : left + tile_width] = tile
    return sheet


def write_sheets(
    path: Path, items: Sequence[T], draw: Callable[[T], np.ndarray], columns: int, rows: int, tile_width: int
) -> list[Path]:
    """Write contact sheets of many items, see :func:`contact_sheet`; only those of one sheet are drawn at a time.

    ``path`` is a PNG file; where one cannot hold all, the others are ``NAME_2.png``, ``NAME_3.png`` ... Returns the
    files written. Raises DataError: there are no items, or a file cannot be written.
    """
    if not items:
        raise DataError(f"nothing to draw on the sheet {path}")
    size = columns * rows
    paths: list[Path] = []
    for start in range(0, len(items), size):
        paths.append(path.with_stem(f"{path.stem}_{len(paths) + 1}") if paths else path)
        write_image(paths[-1], contact_sheet([draw(item) for item in items[start : start + size]], columns, tile_width))
    return paths


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
    cells = _cells(indices, grid, len(image))[..., None]
    return np.where(cells, cv2.addWeighted(image, 1 - _FADE, paint, _FADE, 0), image)


def _cells(indices: np.ndarray, grid: int, side: int) -> np.ndarray:
    """Return which pixels of a square picture belong to the patches at ``indices``: bool (side, side)."""
    chosen = np.zeros(grid * grid, np.uint8)
    chosen[indices] = 1
    return cv2.resize(chosen.reshape(grid, grid), (side, side), interpolation=cv2.INTER_NEAREST) > 0


def score_strip(scores: Sequence[float], total: int, width: int, height: int = 80) -> np.ndarray:
    """Return bars of the scores so far, from red (0) to green (1), from left to right, the newest with a white head.

    Args:
        scores: in [0, 1]; NaN leaves a gap.
        total: frames of the whole sequence: those to come stay empty; more scores than that are drawn narrower.
        width, height: of the picture, in pixels. Lines mark 0.5 and 1.
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
