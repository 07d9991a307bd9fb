"""The forms in which four numbers stand for a box, told apart by the first box, which is that of the ground truth."""

from __future__ import annotations

import numpy as np

from lib.test.analysis.metrics import box_overlap
from lib.utils.errors import DataError

FORMS = {
    "xywh": "x, y, width, height",
    "xyxy": "x1, y1, x2, y2 (two corners)",
    "cxcywh": "x, y of the centre, width, height",
}
_FITS, _CLEARLY = 0.5, 0.2  # overlap with the ground truth, and how much more it has to be than that of another form


def to_xywh(boxes: np.ndarray, form: str) -> np.ndarray:
    """Boxes (N, 4) of a form of :data:`FORMS` as x, y, width, height."""
    first, last = boxes[:, :2], boxes[:, 2:]
    if form == "xyxy":
        return np.hstack((first, last - first))
    return np.hstack((first - last / 2, last)) if form == "cxcywh" else boxes


def check_form(firsts: np.ndarray, truths: np.ndarray, form: str) -> None:
    """Raise DataError where most of the first boxes (N, 4) fit the true ones, x, y, w, h, in another form only."""
    overlaps = {name: _overlap(to_xywh(firsts, name), truths) for name in FORMS}
    for name, overlap in overlaps.items():
        others = int(((overlap > _FITS) & (overlap > overlaps[form] + _CLEARLY)).sum())
        if others > len(firsts) / 2:
            raise DataError(
                f"by their first box the results are {FORMS[name]}, not {FORMS[form]}, in {others} of {len(firsts)} "
                f"sequences: give --form {name}"
            )


def _overlap(boxes: np.ndarray, truths: np.ndarray) -> np.ndarray:
    known = np.nan_to_num(boxes)
    return np.where((known[:, 2:] > 0).all(axis=1), box_overlap(known, truths), 0.0)
