"""Folders of sequences of one's own, for training and for tracking alike."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from lib.data.annotations import parse_flags, parse_own
from lib.data.image_io import decode_deep, is_turned
from lib.data.layouts import Layout, Plan, SequenceEntry, SequenceFiles, plan_of
from lib.data.storage import IMAGE_TYPES, FolderStorage, Storage, image_names
from lib.data.tracks import FrameKind, TrackTable, literal
from lib.data.video_io import VIDEO_SUFFIXES
from lib.utils.errors import ConfigError, DataError, ImageError

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
    """One sequence."""

    name: str
    root: Path  # the folder that it is one of, see :func:`folder_label`
    folder: Path  # where it lies: its folder, or its video file where that stands alone
    boxes: Path  # the file with a box per frame
    flags: tuple[Path, ...]  # files of flags that mark frames in which the target cannot be seen
    frames: Path  # the folder of pictures, or the video file


def own_sequences(root: Path) -> list[OwnSequence]:
    """Return the sequences of a folder of sequences, or of a folder that is one sequence itself.

    A sequence is a folder with ``groundtruth.txt`` (or ``groundtruth_rect.txt``) and pictures in ``img/``, ``imgs/``,
    ``color/`` or itself, or one video file. Flags (``absence.label``, ``full_occlusion.txt``, ``out_of_view.txt``) are
    optional. Boxes may lie apart: ``sequences/NAME`` (such a folder, or a video ``NAME.mp4``) with ``anno/NAME.txt``,
    also ``data_seq`` or ``frames`` with ``annotations``; flags then are ``full_occlusion/NAME_full_occlusion.txt``,
    ``out_of_view/NAME_out_of_view.txt`` or ``absence/NAME.txt``.

    What has no annotation, or no frames that can be read, is left out with a warning.

    Raises DataError: there is no such folder, or no sequence in it.
    """
    if not root.is_dir():
        raise DataError(f"folder:{root}: there is no such folder")
    whole, frames, apart = Path(os.path.abspath(root)), root, None
    if any((root / name).is_file() for name in _ANNOTATIONS):
        whole, places = whole.parent, [root]
    else:
        found = ((root / f, root / b) for f, b in _APART if (root / f).is_dir() and (root / b).is_dir())
        frames, apart = next(found, (root, None))
        inside = [frames / name for name in FolderStorage(str(frames)).names()]
        places = [path for path in inside if path.is_dir() or (apart and _is_video(path))]
    sequences, problems = [], {}
    for folder in places:
        try:
            sequences.append(_sequence(folder, whole, apart))
        except DataError as error:
            problems[folder] = str(error)
    if not sequences:
        reason = next((f"; {folder}: {problem}" for folder, problem in problems.items()), "")
        raise DataError(f"folder:{root}: no sequences; expected {_FORMS}{reason}")
    for folder, problem in problems.items():
        logger.warning("%s is left out: %s", folder, problem)
    return sequences


def own_files(found: OwnSequence, label: str = "") -> SequenceFiles:
    """Return the files of a sequence that training calls ``label``; its ground truth may be VOT regions."""
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


def _sequence(folder: Path, root: Path, apart: Path | None) -> OwnSequence:
    """Return the sequence in a folder or video of ``root``; boxes may lie in the folder ``apart``. Raises DataError."""
    video, path = _is_video(folder), Path(os.path.abspath(folder))
    name = path.stem if video else path.name
    boxes, flags = ([folder / file for file in files] for files in (_ANNOTATIONS, _FLAGS))
    if apart:
        boxes = [apart / f"{name}.txt", *boxes]
        flags = [apart.parent / template.format(name=name) for template in _FLAGS_APART]
    found = next(filter(Path.is_file, boxes), None)
    if found is None:
        names = (str(path.relative_to(folder) if path.is_relative_to(folder) else path) for path in boxes)
        raise DataError(f"it has no {' or '.join(names)}")
    frames = folder if video else frames_in(folder)
    return OwnSequence(name, root, folder, found, tuple(filter(Path.is_file, flags)), frames)


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


def split_selection(name: str) -> tuple[str, tuple[str, ...]]:
    """``FOLDER[a_*, b]`` as ``FOLDER`` and its patterns; a name without brackets has none."""
    match = re.fullmatch(r"(\w+)\[(.*)]", name)
    if match is None:
        return name, ()
    return match[1], tuple(part.strip() for part in match[2].split(","))


def selected(names: Sequence[str], patterns: Sequence[str], what: str) -> list[str]:
    """Return the names that match a shell pattern (``*``, ``?``, ``[abc]``), in their order; all, where there is none.

    Raises ConfigError: a pattern of the data set ``what`` matches no name; a few names from first to last are listed.
    """
    if not patterns:
        return list(names)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            ordered = sorted(set(names))
            spread = ordered if len(ordered) < 6 else [ordered[i * (len(ordered) - 1) // 4] for i in range(5)]
            raise ConfigError(f"{what}[{pattern}] matches none of the {len(names)} names, such as {', '.join(spread)}")
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def plan_own(storage: Storage, roots: Sequence[str], patterns: Sequence[str] = ()) -> Plan:
    """Folders of sequences (or of one), see :func:`own_sequences`, whose names match (:func:`selected`); keys are
    absolute.
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
    if path := _first_with(is_turned, firsts):
        logger.info("%s and others like it are turned as their EXIF orientation says", path)
    if path := _first_with(lambda data, name: decode_deep(data, name).dtype != np.uint8, firsts):
        logger.info("%s and others like it have more than 8 bits: limits of each sequence make 8 of them", path)
    return table


def _first_with(feature: Callable[[bytes, str], bool], pictures: Sequence[Path]) -> Path | None:
    """Return the first picture with a feature, which is a function of its bytes and name; None if there is none."""
    for path in pictures:
        with suppress(ImageError):  # reported when a sample is drawn from it
            if feature(path.read_bytes(), str(path)):
                return path
    return None
