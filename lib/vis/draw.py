"""Drawing on pictures: boxes with labels, and many pictures on one sheet. Images are RGB uint8 (H, W, 3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from lib.data.image_io import write_image
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
    image: np.ndarray,
    box: Sequence[float],
    color: Color = TARGET,
    label: str | None = None,
    thickness: int | None = None,
) -> np.ndarray:
    """Draw a frame around a box, with a thin dark rim so that it stands out from any background.

    The frame lies outside of the box, so that even a target of a few pixels stays visible; where the box reaches the
    border of the image or lies beyond it, the frame is drawn along the border.

    Args:
        image: RGB uint8 (H, W, 3); it is not changed.
        box: ``x, y, w, h`` in pixels.
        color: RGB.
        label: text (ASCII) on a filled tag above the box; below it where there is no room above, else inside.
        thickness: line width in pixels; by default it follows the image size, see :func:`line_width`.

    Returns:
        A new image.

    Raises:
        DataError: the box is not four finite numbers.
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
    text_width = cv2.getTextSize(label, _FONT, scale, stroke)[0][0]
    text_height = round(_CAP_HEIGHT * scale)
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
    """Put images on one sheet, row by row, with a narrow dark gap around each.

    Args:
        images: RGB uint8 pictures; each is scaled to fit its tile, its shape kept, and centered in it.
        columns: tiles in a row.
        tile_width: in pixels; all tiles are as high as the tallest picture is at this width.

    Returns:
        RGB uint8, ``columns * (tile_width + 4) + 4`` pixels wide.

    Raises:
        DataError: there are no images.
    """
    if not images:
        raise DataError("no images for the contact sheet")
    tiles = []
    for image in images:
        height = max(1, round(image.shape[0] * tile_width / image.shape[1]))
        shrinking = tile_width < image.shape[1]
        interpolation = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
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

    Args:
        path: PNG file; where one cannot hold all, the others are ``NAME_2.png``, ``NAME_3.png`` ...

    Returns:
        The files written.

    Raises:
        DataError: there are no items, or a file cannot be written.
    """
    if not items:
        raise DataError(f"nothing to draw on the sheet {path}")
    size = columns * rows
    paths: list[Path] = []
    for start in range(0, len(items), size):
        paths.append(path.with_stem(f"{path.stem}_{len(paths) + 1}") if paths else path)
        write_image(paths[-1], contact_sheet([draw(item) for item in items[start : start + size]], columns, tile_width))
    return paths
