"""Tracks of single objects out of clones of public repositories: out of videos, and pictures that follow each other.

Boxes are read as people publish them.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from scipy.io import loadmat

from lib.data.annotations import parse_table, read_text
from lib.data.gather_pictures import FORMS as LABELS
from lib.data.gather_pictures import JPEG_QUALITY, MOST_PIXELS, Labeled, files_in
from lib.data.gather_table import parse_options
from lib.data.image_io import read_image, shrink, write_image
from lib.data.picture_video import PictureVideo, open_frames
from lib.data.storage import natural_key
from lib.data.video_io import VIDEO_SUFFIXES, VideoFile
from lib.utils.box_ops import box_xywh_to_xyxy, paired_iou
from lib.utils.errors import DataError, ImageError

log = logging.getLogger(__name__)

LEAST_FRAMES = 20  # of a track
LEAST_PIXELS = 3  # of a side of a box in a stored frame
_SMALL = (32, 32)  # pictures are compared at this size
_MISSING = 3  # of the usual difference between the numbers of pictures; with a larger one another video begins

Boxes = dict[int, np.ndarray]  # of an object: ``xywh`` by the number of the frame, from 0


@dataclass(frozen=True)
class AnnotatedVideo:
    """A video and the objects in it."""

    name: str  # where it comes from
    frames: VideoFile
    objects: Sequence[Boxes]  # the boxes of each object
    # Width and height of a frame in the unit of the boxes; by default that is a pixel.
    size: tuple[float, float] | None = None


@dataclass(frozen=True)
class Options:
    """Where repositories keep a set."""

    # Folders in the first repository, of the frames of one video or, as the form may be, of videos.
    frames: Sequence[str]
    boxes: Sequence[str]  # for each of them the file or folder of its boxes, in the last repository
    stride: int = 1  # of a video every so many frames are taken
    # Width and height of the frames that boxes were drawn in, where those of the videos differ.
    size: Sequence[float] = ()
    overlap: float = 0.3  # boxes of two pictures are of one object when their intersection over union is at least this
    jump: float = 30.0  # with a larger mean difference of two pictures, in gray levels, another video begins
    drop: Sequence[int] = ()  # numbers of tracks that are left out: somebody looked at them, and their boxes are wrong


def options_of(name: str, options: Mapping[str, Any]) -> Options:
    """The options of the set ``name``. Raises DataError: keys, values or lengths of lists are wrong."""
    chosen = parse_options(Options, name, options)
    if len(chosen.frames) != len(chosen.boxes):
        raise DataError(f"{name}: {len(chosen.frames)} frames but {len(chosen.boxes)} boxes; give one for each")
    return chosen


def _read_mot(frames: Path, boxes: Path, options: Options) -> Iterator[AnnotatedVideo]:
    """A video, and a file of lines frame, object, left, top, width, height, and perhaps 0 for what is no object.

    Frames and pixels count from 1.
    """
    table = _table(boxes)
    objects: defaultdict[int, Boxes] = defaultdict(dict)
    for row in table[table[:, 6] != 0] if table.shape[1] > 6 else table:
        objects[int(row[1])][int(row[0]) - 1] = row[2:6] - (1, 1, 0, 0)
    yield AnnotatedVideo(str(frames), open_frames(frames), list(objects.values()))


def _read_rows(frames: Path, boxes: Path, options: Options) -> Iterator[AnnotatedVideo]:
    """A video of one object, and a file with a line that begins with its box for each frame; zeros: it is not there."""
    video = open_frames(frames)
    yield AnnotatedVideo(str(frames), video, [{i: row[:4] for i, row in enumerate(_table(boxes)[: len(video)])}])


def _table(path: Path) -> np.ndarray:
    text = read_text(path)
    return parse_table(text, len(text.partition("\n")[0].replace(",", " ").split()), path)


def _read_frame_files(frames: Path, boxes: Path, options: Options) -> Iterator[AnnotatedVideo]:
    """Videos of one object, and an archive with a file ``VIDEO_NUMBER.txt`` for a frame, which counts from 1.

    ``VIDEO`` is the path of the video with ``_`` for ``/``. The file holds class, left, top, right, bottom; pixels
    count from 1, both ends included.
    """
    found: defaultdict[str, Boxes] = defaultdict(dict)
    try:
        with zipfile.ZipFile(boxes) as archive:
            for item in archive.namelist():
                if match := re.fullmatch(r"(?:.*/)?([^/]+)_(\d+)\.txt", item):
                    x, y, right, bottom = (float(value) for value in archive.read(item).split()[1:])
                    found[match[1]][int(match[2]) - 1] = np.array((x - 1, y - 1, right - x + 1, bottom - y + 1))
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{boxes} is not an archive of boxes: {error}") from error
    for path in files_in(frames, VIDEO_SUFFIXES):
        name = "_".join(path.relative_to(frames).with_suffix("").parts)
        if name in found:
            yield AnnotatedVideo(name, VideoFile(path), [found[name]])


def _read_tubes(frames: Path, boxes: Path, options: Options) -> Iterator[AnnotatedVideo]:
    """Videos, and the MATLAB file of UCF101-24: of each video, by its name, tubes with first frame and boxes."""
    try:
        items = loadmat(str(boxes), squeeze_me=True, struct_as_record=False)["annot"]
        tubes = {item.name.rpartition("/")[2]: np.atleast_1d(item.tubes) for item in np.atleast_1d(items)}
    except (OSError, ValueError, KeyError, AttributeError, NotImplementedError) as error:
        raise DataError(f"{boxes} is not an annotation of UCF101-24: {type(error).__name__} {error}") from error
    size = (options.size[0], options.size[1]) if options.size else None
    for path in files_in(frames, VIDEO_SUFFIXES):
        objects = [
            {int(tube.sf) - 1 + i: box.astype(np.float64) for i, box in enumerate(np.atleast_2d(tube.boxes))}
            for tube in tubes.get(path.stem, ())
        ]
        yield AnnotatedVideo(path.stem, VideoFile(path), objects, size)


def _linked(labels: str) -> Callable[[Path, Path, Options], Iterator[AnnotatedVideo]]:
    """Pictures whose names count, and boxes in the form ``labels``, which overlap from one picture to the next."""

    def read(frames: Path, boxes: Path, options: Options) -> Iterator[AnnotatedVideo]:
        items = sorted(LABELS[labels](frames, boxes, ()), key=lambda item: natural_key(item.path.name))
        for shot in _shots(items, options.jump):
            video = PictureVideo(frames, tuple(item.path for item in shot))
            size = shot[0].size if all(shot[0].size) else None
            yield AnnotatedVideo(f"{shot[0].path} ...", video, _chains(shot, options.overlap), size)

    return read


def _shots(items: Sequence[Labeled], jump: float) -> Iterator[list[Labeled]]:
    """Pictures that follow each other: none is missing or damaged, they have one size and do not differ much."""
    numbers = [int("0" + (re.findall(r"\d+", item.path.stem) or [""])[-1]) for item in items]
    steps, counts = np.unique(np.diff(numbers), return_counts=True)
    most = _MISSING * max(1, int(steps[counts.argmax()])) if len(steps) else 0
    shot: list[Labeled] = []
    last, small_before, shape_before = 0, np.zeros(_SMALL), (0, 0, 0)
    for item, number in zip(items, numbers, strict=True):
        try:
            image = read_image(item.path)
        except ImageError as error:
            log.info("left out: %s", error)
            continue
        small = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), _SMALL, interpolation=cv2.INTER_AREA).astype(float)
        differs = image.shape != shape_before or np.abs(small - small_before).mean() > jump
        if shot and (differs or item.size != shot[-1].size or number - last > most):
            yield shot
            shot = []
        shot.append(item)
        last, small_before, shape_before = number, small, image.shape
    if shot:
        yield shot


def _chains(shot: Sequence[Labeled], overlap: float) -> list[Boxes]:
    """Boxes of one class that overlap from one picture to the next; of several that do, the pair that does most."""
    chains: list[tuple[str, Boxes]] = []
    live: list[tuple[str, Boxes]] = []
    for frame, item in enumerate(shot):
        boxes = [(label, np.array(box, np.float64)) for label, box in item.boxes]
        pairs = [(i, j) for i, (old, _) in enumerate(live) for j, (new, _) in enumerate(boxes) if old == new]
        sides = [[live[i][1][frame - 1] for i, _ in pairs], [boxes[j][1] for _, j in pairs]]
        old, new = (box_xywh_to_xyxy(torch.from_numpy(np.array(side).reshape(-1, 4))) for side in sides)
        now: dict[int, tuple[str, Boxes]] = {}
        used: set[int] = set()
        for value, (i, j) in sorted(zip(paired_iou(old, new)[0].tolist(), pairs, strict=True), reverse=True):
            if value >= overlap and i not in used and j not in now:
                used.add(i)
                now[j] = live[i]
        for j, (label, box) in enumerate(boxes):
            if j not in now:
                now[j] = label, {}
                chains.append(now[j])
            now[j][1][frame] = box
        live = list(now.values())
    return [boxes for _, boxes in chains]


# Each takes the folder of frames or of videos, the file or folder of boxes, and the options.
FORMS: dict[str, Callable[[Path, Path, Options], Iterator[AnnotatedVideo]]] = {
    "mot": _read_mot,
    "rows": _read_rows,
    "frame_files": _read_frame_files,
    "tubes": _read_tubes,
    "linked_voc": _linked("voc"),
    "linked_yolo": _linked("yolo"),
}


def gather(name: str, form: str, options: Mapping[str, Any], clones: Sequence[Path], out: Path) -> tuple[int, int]:
    """Make the tracks of the set ``name`` of a form of :data:`FORMS`; earlier ones are replaced.

    A track becomes a folder ``out/video/NAME_NUMBER`` of ``img/*.jpg``, ``groundtruth.txt`` (``xywh``) and
    ``meta.json``, which tells what it was cut from. Its object has a box in each frame. Damaged videos are left out.

    ``options`` are the other keys of the set's row, see :class:`Options`; ``clones`` are the working trees of its
    repositories: frames lie in the first, boxes in the last. Returns the number of frames, and that of boxes, which is
    the same. Raises DataError: an option is unknown or missing, a folder or file is missing or damaged, or nothing is
    found.
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
                write_image(folder / f"img/{number:08d}.jpg", small, JPEG_QUALITY)
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
