"""Contact sheets of labeled sequences, to look at."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from lib.data.annotations import parse_boxes
from lib.data.image_io import read_image
from lib.vis.draw import draw_box, write_sheets
from lib.vis.panels import captioned, fitted

_MOMENTS = 3  # pictures of a sequence: the first, the last, and those between
_TILE = (150, 200)  # height and width of each, in pixels
_COLUMNS, _ROWS = 3, 12


def label_sheets(out: Path, sheet: Path) -> list[Path]:
    """Draw the sequences of :func:`lib.test.labeling.pseudo_label.label_videos` in folder ``out``.

    Args:
        sheet: PNG file, see :func:`lib.vis.draw.write_sheets`.

    Raises:
        DataError: there is no sequence, or its files are damaged.
    """
    folders = sorted(path.parent for path in out.glob("pseudo_*/groundtruth.txt"))
    return write_sheets(sheet, folders, _moments, _COLUMNS, _ROWS, _MOMENTS * _TILE[1])


def _moments(folder: Path) -> np.ndarray:
    """Draw some frames of a sequence with their boxes, side by side under its name and class."""
    text = (folder / "groundtruth.txt").read_text()
    boxes, files = parse_boxes(text, str(folder)), sorted((folder / "img").iterdir())
    meta = json.loads((folder / "meta.json").read_text())
    chosen = np.linspace(0, len(boxes) - 1, _MOMENTS).round().astype(int)
    tiles = [fitted(draw_box(read_image(files[i]), boxes[i]), *_TILE) for i in chosen]
    name = folder.name.removeprefix("pseudo_")
    return captioned(np.concatenate(tiles, axis=1), f"{meta['class']} {len(boxes)} {meta['agreement']:.2f} {name}")
