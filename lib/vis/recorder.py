"""Views in files: a picture of everything there is to see of a frame, and a video or a folder of such pictures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from lib.data.image_io import write_image
from lib.data.video_io import VideoWriter
from lib.vis.draw import CAPTION_HEIGHT, PAPER, captioned, contact_sheet, fitted, score_strip
from lib.vis.views import Panel, Show, View, captions, frame_picture, panels

_TILE = 216  # side of a panel in pixels
_SMALLEST_TILE = 180  # where many share a row
_GAP = 4  # around each, as on a contact sheet
_FRAME_HEIGHT = 2 * (_TILE + CAPTION_HEIGHT) + _GAP  # as high as two panels
_FRAME_SHAPES = (0.75, 2.2)  # width over height of the area for the frame
_BESIDE = 4  # panels beside the frame: template, search region and the two maps
_STRIP_HEIGHT = 72


class Dashboard:
    """Draws the views of one sequence of a name and ``total`` frames, all in the same size.

    The frame is on the left, beside it template, search region and score maps, below it the stages of candidate
    elimination and the attention maps, and at the foot the scores over time.
    """

    def __init__(self, sequence: str, total: int) -> None:
        self.sequence, self.total = sequence, total
        self.scores: list[float] = []
        self.frame_width = 0

    def draw(self, view: View) -> np.ndarray:
        """Return the picture of the next view, RGB uint8; width and height are even, as video wants them."""
        if not self.frame_width:
            low, high = _FRAME_SHAPES
            self.frame_width = round(_FRAME_HEIGHT * min(max(view.image.shape[1] / view.image.shape[0], low), high))
        self.scores.append(view.score)
        shown = list(panels(view).values())
        top = fitted(frame_picture(view, _FRAME_HEIGHT, self.frame_width), _FRAME_HEIGHT, self.frame_width)
        beside = _sheet(shown[:_BESIDE], 2, _TILE)
        rows = [np.concatenate((_bordered(top, top=_GAP, bottom=_GAP, left=_GAP), beside), axis=1)]
        width = rows[0].shape[1]
        if below := shown[_BESIDE:]:
            most = (width - _GAP) // (_SMALLEST_TILE + _GAP)
            columns = -(-len(below) // -(-len(below) // most))  # as many in each row
            rows.append(_sheet(below, columns, min(_TILE, (width - _GAP) // columns - _GAP)))
        title = "   ".join(captions(view, self.sequence, self.total))
        rows.append(captioned(score_strip(self.scores, self.total, width, _STRIP_HEIGHT), title))
        sheet = np.concatenate([_bordered(row, right=width - row.shape[1]) for row in rows])
        return _bordered(sheet, bottom=sheet.shape[0] % 2, right=sheet.shape[1] % 2)


def _sheet(shown: list[Panel], columns: int, tile: int) -> np.ndarray:
    return contact_sheet([captioned(fitted(p.picture, tile, tile), p.title) for p in shown], columns, tile)


def _bordered(image: np.ndarray, top: int = 0, bottom: int = 0, left: int = 0, right: int = 0) -> np.ndarray:
    return cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_CONSTANT, value=PAPER)


@contextmanager
def record_video(folder: Path, fps: float, sequence: str, total: int) -> Iterator[Show]:
    """Write the views of a sequence to ``folder/SEQUENCE.mp4``; give it folder and rate, and it is a :data:`Screen`.

    The file appears when the sequence is complete; what a failing one leaves is called ``SEQUENCE.part.mp4``. Raises
    DataError: it cannot be written.
    """
    path, board = folder / f"{sequence}.mp4", Dashboard(sequence, total)
    unfinished = path.with_suffix(".part.mp4")
    with VideoWriter(unfinished, fps) as video:
        yield lambda view: video.write(board.draw(view))
    unfinished.replace(path)


@contextmanager
def record_pictures(folder: Path, sequence: str, total: int) -> Iterator[Show]:
    """Write each view of a sequence to ``folder/SEQUENCE/00000001.jpg`` and so on; given the folder, a :data:`Screen`.

    Pictures that an earlier run left there, maybe of another sequence of that name, are removed first. Raises
    DataError: one cannot be written.
    """
    board, pictures = Dashboard(sequence, total), folder / sequence
    for stale in pictures.glob("[0-9]" * 8 + ".jpg"):
        stale.unlink()
    yield lambda view: write_image(pictures / f"{view.number + 1:08d}.jpg", board.draw(view), jpeg_quality=90)
