"""A report as one HTML page that needs nothing else: no network, no other file, no build step.

The page is ``page/page.html`` with its style, its scripts and the report's numbers put in; the scripts draw everything
from the numbers. It holds about 25 MB at most, whatever is reported: strips of overlap and score over time have 600
columns, fewer for many trackers and sequences; pictures are as large as their share of :data:`PICTURE_BYTES` allows.
"""

from __future__ import annotations

import base64
import json
import logging
import math
from collections.abc import Sequence as Seq
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from lib.data.sequence import Sequence
from lib.test.analysis.metrics import FrameErrors, compare_scores, true_runs
from lib.test.analysis.plots import CURVES, line_style, plotted_scores
from lib.test.analysis.protocols import Score
from lib.test.analysis.report import RepeatedRuns, Report, TrackerReport
from lib.test.analysis.tables import mode_tables, notes, scope
from lib.test.evaluation.results import LOST_BELOW, read_scores, scores_path
from lib.utils.errors import DataError, OSTrackError

logger = logging.getLogger(__name__)

STRIP_COLUMNS, STRIP_BYTES = 600, 4_000_000  # of one strip, and of all; base64 makes 4 bytes of 3
PICTURE_BYTES = 12_000_000  # of all pictures, before base64
NO_TARGET = NO_SCORE = 255  # in a strip
_LISTED_RUNS = 20  # of low scores, of a sequence

_PAGE = Path(__file__).with_name("page")
_SCRIPTS = ("dom.js", "table.js", "curves.js", "sequence.js", "main.js")
_JPEGS = ((480, 80), (320, 75), (240, 70), (200, 60), (160, 50))  # width and quality: the first that is small enough
_SMALL_JPEG = 4_000  # bytes, about what the last of them takes
_LEAST_ZOOM, _ROOM = 1 / 3, 1.4  # a picture shows this part of its frame at least, and its boxes with room around
_DASHES = {"-": "", "--": "7 3", ":": "2 2.5", "-.": "7 2.5 2 2.5"}  # matplotlib's line styles, in SVG


def write_html(report: Report, path: Path, thumbnails: int = 6, lost_below: float = LOST_BELOW) -> Path:
    """Write a report as a page, and return ``path``. Raises DataError: a file of scores is damaged.

    Args:
        thumbnails: how many pictures of the worst frames to put in for each sequence, at most; 0 needs no frames.
            Where frames cannot be read the page says so and does without.
        lost_below: frames of a lower score are counted and marked, where trackers give scores.
    """
    data = page_data(report, thumbnails, lost_below)
    page = Template((_PAGE / "page.html").read_text(encoding="utf-8")).substitute(
        title=escape(f"{report.dataset}, {report.protocol}"),
        style=(_PAGE / "style.css").read_text(encoding="utf-8"),
        script="\n".join((_PAGE / name).read_text(encoding="utf-8") for name in _SCRIPTS),
        # No "<": nothing in the data can close the element that holds it.
        data=json.dumps(data, allow_nan=False, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path


def page_data(report: Report, thumbnails: int, lost_below: float = LOST_BELOW) -> dict[str, Any]:
    """Everything that the page shows, as JSON; scores in percent with two decimals, null where there is no number."""
    sequences, unseen = _sequences(report, thumbnails, lost_below)
    lines = notes(report)
    for number, tracker in enumerate(report.trackers):
        told = [(one["told"][number]["low"], one["frames"]) for one in sequences if one["told"][number]]
        if told:
            low, frames = map(sum, zip(*told, strict=True))
            lines.append(f"{tracker.label}: score below {lost_below:g} in {low} of {frames} frames")
    for table in mode_tables(report).values():
        for label, *cells in table.texts.to_numpy().tolist():
            named = zip(table.frame.columns[1:], cells, strict=True)
            lines.append(f"{label}: {', '.join(f'{name} {cell}' for name, cell in named)}")
    if unseen:
        name, reason = next(iter(unseen.items()))
        lines.append(f"no pictures of {len(unseen)} of {len(sequences)} sequences; {name}: {reason}")
        logger.warning(lines[-1])
    attributes = []
    for name, indices in report.attributes.items():
        scores = [_rounded(tracker.part_scores(indices)) for tracker in report.trackers]
        attributes.append({"name": name, "sequences": len(indices), "scores": scores})
    return {
        "scope": scope(report),
        "protocol": report.protocol,
        "frames": sum(report.frames),
        "scores": report.score_names,
        "notes": lines,
        "differences": report.differences,
        "trackers": [_tracker(report, number) for number in range(len(report.trackers))],
        "repeated": [_repeated(one) for one in report.repeated],
        "curves": [_curve(report, score) for score in plotted_scores(report.rules)],
        "attributes": attributes,
        "sequences": sequences,
        "noTarget": NO_TARGET,
        "noScore": NO_SCORE,
        "lostBelow": lost_below,
    }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _rounded(values: Seq[float] | np.ndarray) -> list[float | None]:
    return [round(value, 2) if math.isfinite(value) else None for value in map(float, values)]


def _tracker(report: Report, number: int) -> dict[str, Any]:
    """Describe a tracker: its line in the plots, its scores, its difference from the first tracker."""
    tracker, best, style = report.trackers[number], report.trackers[0], line_style(number)
    found = compare_scores(tracker.sequence_scores()[:, 0], best.sequence_scores()[:, 0], best.weights)
    return {
        "label": tracker.label,
        "color": style["color"],
        "dash": _DASHES[style["linestyle"]],
        "scores": _rounded(list(tracker.scores().values())),
        "intervals": [_rounded(pair) for pair in tracker.intervals().values()],
        "difference": _rounded([found.difference, found.low, found.high]),
        "pValue": 0 if found.p_value < 0.0001 else round(found.p_value, 4),
        "better": found.better,
        "worse": found.worse,
        "verdict": found.verdict,
    }


def _repeated(runs: RepeatedRuns) -> dict[str, Any]:
    """Return the row of repeated runs: mean, standard deviation and interval of each score."""
    spreads = runs.scores()
    return {
        "label": runs.label,
        "scores": _rounded([one.mean for one in spreads]),
        "deviations": _rounded([one.deviation for one in spreads]),
        "intervals": [_rounded(pair) for pair in runs.intervals().values()],
    }


def _curve(report: Report, score: Score) -> dict[str, Any]:
    """Describe the mean curve of a score, as :mod:`lib.test.analysis.plots` draws it."""
    _, title, x_label, y_label = CURVES[score.curve]
    return {
        "title": title,
        "score": score.name,
        "at": score.read if isinstance(score.read, float | int) else None,
        "xLabel": x_label,
        "yLabel": y_label,
        "x": report.rules.thresholds(score.curve).tolist(),
        "y": [_rounded(100 * getattr(tracker.mean_curves(), score.curve)) for tracker in report.trackers],
    }


def _sequences(report: Report, thumbnails: int, lost_below: float) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return the sequences with strips and pictures; and why there are no pictures, by name of the sequence."""
    scores = [tracker.sequence_scores() for tracker in report.trackers]
    columns = max(1, min(STRIP_COLUMNS, STRIP_BYTES // (len(report.data) * 2 * len(report.trackers))))
    count = min(thumbnails, PICTURE_BYTES // (len(report.data) * _SMALL_JPEG))
    sequences, unseen = [], {}
    for index, sequence in enumerate(tqdm(report.data, "page", leave=False, disable=None)):
        errors = [tracker.errors[index] for tracker in report.trackers]
        pictures: list[dict[str, Any]] = []
        if count > 0:
            frames = worst_frames(errors[0].overlap, count)
            try:
                pictures = _pictures(sequence, frames, errors, PICTURE_BYTES // (len(report.data) * count))
            except OSTrackError as error:
                unseen[sequence.name] = str(error)
        sequences.append(
            {
                "name": sequence.name,
                "frames": len(errors[0].valid),
                "absent": int((~errors[0].valid).sum()),
                "attributes": sequence.attributes,
                "scores": [_rounded(rows[index]) for rows in scores],
                "strips": [_base64(strip(one.overlap, columns)) for one in errors],
                "told": [_told(tracker, index, columns, lost_below) for tracker in report.trackers],
                "pictures": pictures,
            }
        )
    return sequences, unseen


def strip(overlap: np.ndarray, columns: int) -> bytes:
    """Overlap over time: a byte per column, the mean over its frames in percent; NO_TARGET where none has a target.

    Column c of C covers the frames from ``c * frames // C`` up to, and without, ``(c + 1) * frames // C``. There are
    ``columns``, or one per frame where that is enough. ``overlap`` is ``(frames,)``, -1 where there is no target.
    """
    columns = min(columns, len(overlap))
    starts = np.arange(columns) * len(overlap) // columns
    valid = overlap >= 0
    counts = np.add.reduceat(valid.astype(np.int64), starts)
    means = 100 * np.add.reduceat(np.where(valid, overlap, 0), starts) / np.maximum(counts, 1)
    return np.where(counts > 0, means.round(), NO_TARGET).astype(np.uint8).tobytes()


def _told(tracker: TrackerReport, index: int, columns: int, lost_below: float) -> dict[str, Any] | None:
    """Return a tracker's own scores over sequence ``index``: a strip, see :func:`score_strip`, and where they are low.

    None if the tracker has none. Raises DataError: its file of scores does not fit.
    """
    scores = read_scores(tracker.files[index]) if tracker.files else None
    if scores is None:
        return None
    frames = len(tracker.errors[index].valid)
    boxes = min(tracker.errors[index].given, frames)
    if len(scores) < boxes:
        counts = f"{len(scores)} scores for {boxes} boxes"
        raise DataError(f"{scores_path(tracker.files[index])} has {counts}: delete it, or track this sequence again")
    scores = np.concatenate((scores, np.full(frames - boxes, np.nan)))[:frames]
    low = scores < lost_below
    runs = [(start, end - 1) for start, end in true_runs(low).tolist()]
    return {
        "strip": _base64(score_strip(scores, columns, lost_below)),
        "low": int(low.sum()),
        "stretches": runs[:_LISTED_RUNS],
        "more": len(runs[_LISTED_RUNS:]),
    }


def score_strip(scores: np.ndarray, columns: int, lost_below: float) -> bytes:
    """Scores over time: a byte per column as of :func:`strip`, the lowest of its frames, so that a short loss shows.

    It is the percentage, from 0 to 100, and 101 more where that frame is below ``lost_below``; NO_SCORE where no frame
    of the column has a score. ``scores`` are ``(frames,)``, NaN where there is none.
    """
    columns = min(columns, len(scores))
    known = np.where(np.isnan(scores), np.inf, scores)
    lowest = np.minimum.reduceat(known, np.arange(columns) * len(scores) // columns)
    percent = (100 * lowest.clip(0, 1)).round() + 101 * (lowest < lost_below)
    return np.where(np.isinf(lowest), NO_SCORE, percent).astype(np.uint8).tobytes()


def worst_frames(overlap: np.ndarray, count: int) -> list[int]:
    """Return the ``count`` frames of the lowest overlap, spread over time: no two closer than frames / (2 count).

    Overlaps in the same twentieth count as equal; of these the earliest is taken first, then the one farthest from all
    that were taken. The first frame, which is given, and those without target (overlap -1) are left out.
    """
    levels = np.floor(20 * overlap)
    allowed = overlap >= 0
    allowed[0] = False
    distance = np.full(len(overlap), len(overlap))
    chosen: list[int] = []
    while len(chosen) < count and allowed.any():
        worst = np.flatnonzero(allowed & (levels == levels[allowed].min()))
        chosen.append(int(worst[distance[worst].argmax()]))
        distance = np.minimum(distance, np.abs(np.arange(len(overlap)) - chosen[-1]))
        allowed &= distance >= max(1, len(overlap) // (2 * count))
    return sorted(chosen)


def _pictures(sequence: Sequence, frames: Seq[int], errors: Seq[FrameErrors], max_bytes: int) -> list[dict[str, Any]]:
    """Pictures of some frames with the boxes to draw on them. Raises DataError: the frames cannot be read."""
    sequence.check_length()
    pictures = []
    for t in frames:
        image = sequence.frames.frame(t)
        truth, *boxes = np.stack([sequence.ground_truth[t], *(one.boxes[t] for one in errors)]).round(1).tolist()
        x, y, w, h = region = picture_region([truth, *boxes], (image.shape[1], image.shape[0]))
        pictures.append(
            {
                "frame": t,
                "region": region,
                "truth": truth,
                "boxes": boxes,
                "overlaps": _rounded([one.overlap[t] for one in errors]),
                "jpeg": _base64(small_jpeg(image[y : y + h, x : x + w], max_bytes)),
            }
        )
    return pictures


def picture_region(
    boxes: Seq[Seq[float]], size: tuple[int, int], least_zoom: float = _LEAST_ZOOM
) -> tuple[int, int, int, int]:
    """Return the part x, y, w, h of a frame of ``size`` (width, height) that shows all boxes, in the frame's shape.

    It is at least ``least_zoom`` of the frame's width and height.
    """
    limits, array = np.array(size), np.array(boxes)
    low = np.clip(array[:, :2], 0, limits).min(axis=0)
    high = np.clip(array[:, :2] + array[:, 2:], 0, limits).max(axis=0)
    zoom = min(1.0, max(least_zoom, *(_ROOM * (high - low) / limits)))
    sides = np.maximum(1, np.round(zoom * limits)).astype(int)
    corner = np.clip(np.round((low + high - sides) / 2), 0, limits - sides).astype(int)
    return (*corner.tolist(), *sides.tolist())


def small_jpeg(image: np.ndarray, max_bytes: int) -> bytes:
    """Return an RGB image as JPEG of at most ``max_bytes`` where that can be: smaller and coarser until it fits."""
    for width, quality in _JPEGS:
        scale = min(1.0, width / image.shape[1])
        size = max(1, round(scale * image.shape[1])), max(1, round(scale * image.shape[0]))
        resized = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2BGR)
        _, data = cv2.imencode(".jpg", resized, (cv2.IMWRITE_JPEG_QUALITY, quality))
        if len(data) <= max_bytes:
            break
    return data.tobytes()
