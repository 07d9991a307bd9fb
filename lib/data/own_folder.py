"""Folders of sequences of one's own, for training and for tracking alike."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.data.annotations import parse_flags
from lib.data.image_io import decode_deep, is_turned
from lib.data.layouts import Layout, Plan, SequenceEntry, SequenceFiles, plan_of
from lib.data.regions import parse_own
from lib.data.splits import selected
from lib.data.storage import IMAGE_TYPES, FolderStorage, Storage, image_names
from lib.data.tracks import FrameKind, TrackTable, literal
from lib.data.video_io import VIDEO_SUFFIXES
from lib.utils.errors import DataError, ImageError

logger = logging.getLogger(__name__)

_ANNOTATIONS = ("groundtruth.txt", "groundtruth_rect.txt")
FRAME_FOLDERS = ("img", "imgs", "color", ".")
_FLAGS = ("absence.label", "full_occlusion.txt", "out_of_view.txt")
# Where frames and boxes lie apart: the folder of sequences, and that of their files NAME.txt; and of files of flags.
_APART = tuple((frames, boxes) for frames in ("sequences", "data_seq", "frames") for boxes in ("anno", "annotations"))
_FLAGS_APART = (
    *("absence/{name}.txt", "absence/{name}.label"),
    *("full_occlusion/{name}_full_occlusion.txt", "out_of_view/{name}_out_of_view.txt"),
)
_FORMS = "SEQ/ with frames and groundtruth.txt, or sequences/SEQ with anno/SEQ.txt"


@dataclass(frozen=True)
class OwnSequence:
    """One sequence.

    Attributes:
        name: what it is called.
        root: the folder that it is one of, see :func:`folder_label`.
        folder: where it lies: its folder, or its video file where that stands alone.
        boxes: the file with a box per frame.
        flags: files of flags that mark frames in which the target cannot be seen.
        frames: the folder of pictures, or the video file.
    """

    name: str
    root: Path
    folder: Path
    boxes: Path
    flags: tuple[Path, ...]
    frames: Path


def own_sequences(root: Path) -> list[OwnSequence]:
    """Return the sequences of a folder of sequences, or of a folder that is one sequence itself.

    A sequence is a folder with ``groundtruth.txt`` (or ``groundtruth_rect.txt``) and pictures in ``img/``, ``imgs/``,
    ``color/`` or itself, or one video file. Flags (``absence.label``, ``full_occlusion.txt``, ``out_of_view.txt``) are
    optional. Boxes may lie apart: ``sequences/NAME`` (such a folder, or a video ``NAME.mp4``) with ``anno/NAME.txt``,
    also ``data_seq`` or ``frames`` with ``annotations``; flags then are ``full_occlusion/NAME_full_occlusion.txt``,
    ``out_of_view/NAME_out_of_view.txt`` or ``absence/NAME.txt``.

    What has no annotation, or no frames that can be read, is left out with a warning.

    Raises:
        DataError: there is no such folder, or no sequence in it.
    """
    if not root.is_dir():
        raise DataError(f"folder:{root}: there is no such folder")
    sequences, problems = [], {}
    for candidate in _candidates(root):
        try:
            sequences.append(_sequence(candidate))
        except DataError as error:
            problems[candidate[2]] = str(error)
    if not sequences:
        reason = next((f"; {folder}: {problem}" for folder, problem in problems.items()), "")
        raise DataError(f"folder:{root}: no sequences; expected {_FORMS}{reason}")
    for folder, problem in problems.items():
        logger.warning("%s is left out: %s", folder, problem)
    return sequences


def own_files(found: OwnSequence, label: str = "") -> SequenceFiles:
    """Return the files of a sequence, by absolute paths; its ground truth may be VOT regions.

    Args:
        label: what training calls it.
    """
    frames, boxes, *flags = (literal(str(path)) for path in (found.frames, found.boxes, *found.flags))
    layout = Layout((frames,), (boxes,), parse_own, hidden=tuple((path, parse_flags) for path in flags))
    return SequenceFiles(layout, FolderStorage(""), SequenceEntry(found.name, label=label))


def folder_label(root: Path) -> str:
    """Name the folder of an own folder's results and plots: ``folder_NAME_HASH``, from its real path.

    So folders of one name are kept apart, whatever path or link leads to each.
    """
    real = os.path.realpath(root)
    mark = hashlib.sha256(os.fsencode(real)).hexdigest()[:8]
    return "_".join(("folder", re.sub(r"[^\w.-]+", "_", os.path.basename(real)), mark))


# What may be a sequence: its name, the folder that it is one of, its own folder, and possible files of boxes and flags.
_Candidate = tuple[str, Path, Path, tuple[Path, ...], tuple[Path, ...]]


def _candidates(root: Path) -> list[_Candidate]:
    whole = Path(os.path.abspath(root))
    inside = [root / name for name in FolderStorage(str(root)).names()]
    if any((root / name).is_file() for name in _ANNOTATIONS):
        return [_with_boxes_inside(whole.name, whole.parent, root)]
    apart = next(((root / f, root / b) for f, b in _APART if (root / f).is_dir() and (root / b).is_dir()), None)
    if apart is None:
        return [_with_boxes_inside(folder.name, whole, folder) for folder in inside if folder.is_dir()]
    candidates: list[_Candidate] = []
    for path in (apart[0] / name for name in FolderStorage(str(apart[0])).names()):
        if _is_video(path) or path.is_dir():
            name = path.stem if _is_video(path) else path.name
            boxes = (apart[1] / f"{name}.txt", *(path / file for file in _ANNOTATIONS))
            flags = tuple(root / template.format(name=name) for template in _FLAGS_APART)
            candidates.append((name, whole, path, boxes, flags))
    return candidates


def _with_boxes_inside(name: str, root: Path, folder: Path) -> _Candidate:
    boxes, flags = (tuple(folder / file for file in files) for files in (_ANNOTATIONS, _FLAGS))
    return name, root, folder, boxes, flags


def _sequence(candidate: _Candidate) -> OwnSequence:
    name, root, folder, boxes, flags = candidate
    found = next((path for path in boxes if path.is_file()), None)
    if found is None:
        names = (str(path.relative_to(folder) if path.is_relative_to(folder) else path) for path in boxes)
        raise DataError(f"it has no {' or '.join(names)}")
    frames = folder if _is_video(folder) else frames_in(folder)
    return OwnSequence(name, root, folder, found, tuple(path for path in flags if path.is_file()), frames)


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()


def frames_in(folder: Path) -> Path:
    """Find a sequence's frames: the folder of its pictures, or its video. Raises DataError: there are none."""
    for inside in (folder / name for name in FRAME_FOLDERS):
        if image_names(FolderStorage(str(inside)), ""):
            return inside
    videos = [path for path in folder.iterdir() if _is_video(path)]
    if len(videos) != 1:
        expected = f"expected pictures ({IMAGE_TYPES}, in img/, imgs/, color/ or itself) or one video"
        raise DataError(f"{expected}, found {len(videos)} videos ({', '.join(sorted(VIDEO_SUFFIXES))})")
    return videos[0]


def plan_own(storage: Storage, roots: Sequence[str], patterns: Sequence[str] = ()) -> Plan:
    """Folders of sequences (or of one), see :func:`own_sequences`. Keys are absolute paths.

    Args:
        roots: the folders.
        patterns: of the names of the sequences to take, see :func:`lib.data.splits.selected`.
    """
    found = [(Path(root).resolve(), item) for root in roots for item in own_sequences(Path(root).resolve())]
    names = set(selected([item.name for _, item in found], patterns, "FOLDER"))
    files = [own_files(item, str(item.folder.relative_to(root.parent))) for root, item in found if item.name in names]
    plan = plan_of(files)
    return Plan(plan.files, lambda: _with_remarks(plan.read()))


def _with_remarks(table: TrackTable) -> TrackTable:
    """Log what is done to the pixels of pictures that a user may not expect, with the first picture as example."""
    indices = np.flatnonzero(table.kinds == FrameKind.LISTED)
    firsts = [Path(table.keys[i].decode(), table.files[table.starts[i]].decode()) for i in indices]
    if path := next(filter(_is_turned, firsts), None):
        logger.info("%s and others like it are turned as their EXIF orientation says", path)
    if path := next(filter(_is_deep, firsts), None):
        logger.info("%s and others like it have more than 8 bits: limits of each sequence make 8 of them", path)
    return table


def _is_turned(path: Path) -> bool:
    with suppress(ImageError):  # reported when a sample is drawn from it
        return is_turned(path.read_bytes(), str(path))
    return False


def _is_deep(path: Path) -> bool:
    with suppress(ImageError):
        return decode_deep(path.read_bytes(), str(path)).dtype != np.uint8
    return False
