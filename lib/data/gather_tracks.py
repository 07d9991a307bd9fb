"""Tracks of single objects out of clones of public repositories: out of videos, and pictures that follow each other."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lib.data.image_io import shrink, write_image
from lib.data.track_forms import FORMS, AnnotatedVideo, Boxes, options_of
from lib.utils.errors import DataError

log = logging.getLogger(__name__)

LEAST_FRAMES = 20  # of a track
MOST_PIXELS = 640  # of the longer side of a stored frame
LEAST_PIXELS = 3  # of a side of a box in a stored frame
_JPEG_QUALITY = 90


def gather(name: str, form: str, options: Mapping[str, Any], clones: Sequence[Path], out: Path) -> tuple[int, int]:
    """Make the tracks of the set ``name``; earlier ones are replaced.

    A track becomes a folder ``out/video/NAME_NUMBER`` of ``img/*.jpg``, ``groundtruth.txt`` (``xywh``) and
    ``meta.json``, which tells what it was cut from. Its object has a box in each frame. Damaged videos are left out.

    Args:
        form: one of ``FORMS``.
        options: the other keys of the set's row, see :class:`lib.data.track_forms.Options`.
        clones: the working trees of the set's repositories; frames lie in the first, boxes in the last.

    Returns:
        the number of frames, and that of boxes, which is the same.

    Raises:
        DataError: an option is unknown or missing, a folder or file is missing or damaged, or nothing is found.
    """
    chosen = options_of(name, options)
    for old in (out / "video").glob(f"{name}_*"):
        if re.fullmatch(r"\d+", old.name.removeprefix(f"{name}_")):
            shutil.rmtree(old)
    lengths: list[int] = []
    for place, boxes in zip(chosen.frames, chosen.boxes, strict=True):
        for video in FORMS[form](clones[0] / place, clones[-1] / boxes, chosen):
            lengths += _write(video, chosen.stride, out / "video" / name, len(lengths))
    for number in chosen.drop:
        shutil.rmtree(out / "video" / f"{name}_{number:04d}", ignore_errors=True)
    kept = [length for number, length in enumerate(lengths) if number not in chosen.drop]
    if not kept:
        places = ", ".join(str(clones[0] / place) for place in chosen.frames)
        raise DataError(f"{name}: no object has a box in {LEAST_FRAMES} frames in a row in {places}")
    log.info("%s: %d tracks", name, len(kept))
    return sum(kept), sum(kept)


def _write(video: AnnotatedVideo, stride: int, prefix: Path, first: int) -> list[int]:
    """Write the tracks of a video into ``PREFIX_NUMBER``, from number ``first`` on; the numbers of their frames."""
    folders: list[Path] = []
    try:
        objects = [_in_pixels(boxes, video.size, video.frames.frame(0)) for boxes in video.objects]
        found = [(boxes, run) for boxes in objects for run in _runs(boxes, stride)]
        folders = [prefix.with_name(f"{prefix.name}_{first + number:04d}") for number in range(len(found))]
        places = [(frame, folder, number) for folder, (_, run) in zip(folders, found, strict=True)
                  for number, frame in enumerate(run, 1)]  # fmt: skip
        places.sort(key=lambda place: place[0], reverse=True)
        for frame, image in enumerate(video.frames if places else ()):
            small = shrink(image, MOST_PIXELS) if places and places[-1][0] == frame else image
            while places and places[-1][0] == frame:
                _, folder, number = places.pop()
                write_image(folder / f"img/{number:08d}.jpg", small, _JPEG_QUALITY)
            if not places:
                break
        if places:
            raise DataError(f"{video.name} has fewer frames than boxes")
    except DataError as error:
        log.info("left out: %s", error)
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        return []
    for folder, (boxes, run) in zip(folders, found, strict=True):
        np.savetxt(folder / "groundtruth.txt", [boxes[frame] for frame in run], fmt="%.2f", delimiter=",")
        meta = {"video": video.name, "first_frame": run[0], "stride": stride, "frames": len(run)}
        (folder / "meta.json").write_text(json.dumps(meta))
    return [len(run) for _, run in found]


def _in_pixels(boxes: Boxes, size: tuple[float, float] | None, image: np.ndarray) -> Boxes:
    """Boxes in pixels of stored frames, cut at their sides; those that are too small are left out."""
    unit = np.array(size or image.shape[1::-1], np.float64)
    stored = np.array(shrink(image, MOST_PIXELS).shape[1::-1], np.float64)
    kept = {}
    for frame, box in boxes.items():
        start = np.clip(box[:2] / unit, 0, 1) * stored
        sides = np.clip((box[:2] + box[2:]) / unit, 0, 1) * stored - start
        if sides.min() >= LEAST_PIXELS:
            kept[frame] = np.concatenate((start, sides))
    return kept


def _runs(boxes: Boxes, stride: int) -> list[list[int]]:
    """Every ``stride``-th of frames in a row that have a box."""
    frames = np.array(sorted(boxes), np.int64)
    parts = np.split(frames, np.flatnonzero(np.diff(frames) != 1) + 1)
    return [part[::stride].tolist() for part in parts if len(part[::stride]) >= LEAST_FRAMES]
