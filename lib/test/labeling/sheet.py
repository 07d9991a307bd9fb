"""Contact sheets of labeled sequences, to look at."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from lib.data.annotations import parse_boxes
from lib.data.image_io import read_image, write_image
from lib.utils.errors import DataError
from lib.vis.draw import contact_sheet, draw_box
from lib.vis.panels import captioned, fitted

_MOMENTS = 3  # pictures of a sequence: the first, the last, and those between
_TILE = (150, 200)  # height and width of each, in pixels
_COLUMNS, _ROWS = 3, 12


def write_sheets(out: Path, sheet: Path) -> list[Path]:
    """Draw the sequences of :func:`lib.test.labeling.pseudo_label.label_videos` in folder ``out``.

    Args:
        sheet: PNG file; where one cannot hold all, the others are ``NAME_2.png``, ``NAME_3.png`` ...

    Raises:
        DataError: there is no sequence, or its files are damaged.
    """
    folders = sorted(path.parent for path in out.glob("pseudo_*/groundtruth.txt"))
    if not folders:
        raise DataError(f"no sequences in {out} for the sheet {sheet}")
    rows, size = [_moments(folder) for folder in folders], _COLUMNS * _ROWS
    paths = []
    for number, start in enumerate(range(0, len(rows), size), start=1):
        path = sheet if number == 1 else sheet.with_stem(f"{sheet.stem}_{number}")
        write_image(path, contact_sheet(rows[start : start + size], _COLUMNS, _MOMENTS * _TILE[1]))
        paths.append(path)
    return paths


def _moments(folder: Path) -> np.ndarray:
    """Some frames of a sequence with their boxes, side by side under its name and class."""
    text = (folder / "groundtruth.txt").read_text()
    boxes, files = parse_boxes(text, str(folder)), sorted((folder / "img").iterdir())
    meta = json.loads((folder / "meta.json").read_text())
    chosen = np.linspace(0, len(boxes) - 1, _MOMENTS).round().astype(int)
    tiles = [fitted(draw_box(read_image(files[i]), boxes[i]), *_TILE) for i in chosen]
    name = folder.name.removeprefix("pseudo_")
    return captioned(np.concatenate(tiles, axis=1), f"{meta['class']} {len(boxes)} {meta['agreement']:.2f} {name}")
