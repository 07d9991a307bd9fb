"""Pictures of the sequences that a tracker does worst on: the template, the frame of the failure, and a later one."""

from __future__ import annotations

import numpy as np

from lib.data.sequence import Sequence
from lib.test.analysis.html import picture_region
from lib.test.analysis.metrics import true_runs
from lib.test.analysis.on_frames import Track, chosen_frames, frame_marks, legend
from lib.test.analysis.report import TrackerReport
from lib.vis.compare import Mark, marked_sheet
from lib.vis.draw import COLORS, rgb

LOST = 0.1  # overlap
TILE_WIDTH = 320  # pixels
_LEAST_ZOOM = 1 / 8  # a tile shows this part of its frame at least


def worst_sequences(tracker: TrackerReport, count: int) -> list[int]:
    """Return the numbers of the ``count`` sequences with the lowest first score, the lowest first.

    Sequences in which no frame but the first has a target are left out.
    """
    scores = tracker.sequence_scores()[:, 0]
    order = np.argsort(scores, kind="stable").tolist()  # NaN last
    return [index for index in order if tracker.errors[index].valid[1:].any()][:count]


def scored_track(tracker: TrackerReport, index: int) -> Track:
    """Return the result of a tracker on sequence number ``index`` of its report, to draw."""
    errors = tracker.errors[index]
    overlap = np.where(errors.valid, errors.overlap, np.nan)
    return Track(tracker.label, rgb(COLORS[1]), errors.boxes, overlap, origin="")


def failure_frames(overlap: np.ndarray) -> tuple[int, int]:
    """Return the frame in which a tracker went wrong, and a later one: both ends of its longest failure.

    A failure is a run of frames with an overlap of 0.1 at most, or of the lowest one where that is more; of
    runs of equal length the earliest counts. If it is a single frame, the later one is the last with a target.

    Args:
        overlap: (frames,); NaN without a target, which neither makes nor ends a failure. The first frame is left out;
            some other must have a target.
    """
    seen = 1 + np.flatnonzero(np.isfinite(overlap[1:]))
    wrong = overlap[seen] <= max(LOST, overlap[seen].min())
    starts, ends = true_runs(wrong).T
    longest = int(np.argmax(ends - starts))
    first, last = int(seen[starts[longest]]), int(seen[ends[longest] - 1])
    return first, last if last > first else int(seen[-1])


def is_lost(overlap: np.ndarray) -> bool:
    """Return whether a target is lost at all: some frame after the first has an overlap of 0.1 at most."""
    return bool(np.nanmin(overlap[1:]) <= LOST)


def failure_strip(sequence: Sequence, track: Track) -> np.ndarray:
    """Return the frames of :func:`failure_frames` beside the first one, close up, with true box and prediction.

    Returns:
        RGB uint8, three tiles (two where the failure is the last frame) of 320 pixels under a legend.

    Raises:
        DataError: the frames cannot be read.
    """
    wrong, later = failure_frames(track.overlap)
    titles = {0: "template", later: "later", wrong: "goes wrong" if is_lost(track.overlap) else "lowest overlap"}
    images, marks = [], []
    sequence.check_length()
    for t, image in zip(sorted(titles), chosen_frames(sequence, set(titles)), strict=True):
        of_frame = frame_marks(sequence, [track] if t else [], t)  # in the first frame both boxes are the same
        image, of_frame = _close_up(image, of_frame)
        images.append(image)
        marks.append(of_frame)
    captions = [f"frame {t}, {titles[t]}" for t in sorted(titles)]
    return marked_sheet(images, captions, marks, legend([track]), TILE_WIDTH)


def _close_up(image: np.ndarray, marks: list[Mark]) -> tuple[np.ndarray, list[Mark]]:
    """Return the part of a frame that shows its boxes, and the marks in that part."""
    boxes = [mark.box for mark in marks if mark.box is not None]
    x, y, w, h = picture_region(boxes, (image.shape[1], image.shape[0]), _LEAST_ZOOM)
    moved = [mark._replace(box=(np.array(mark.box) - (x, y, 0, 0)).tolist()) if mark.box else mark for mark in marks]
    return image[y : y + h, x : x + w], moved
