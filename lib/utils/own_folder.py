"""Folders of sequences of one's own, for training and for tracking alike."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from lib.utils.errors import DataError
from lib.utils.storage import FolderStorage, image_names
from lib.utils.video_io import VIDEO_SUFFIXES

logger = logging.getLogger(__name__)

_ANNOTATIONS = ("groundtruth.txt", "groundtruth_rect.txt")
FRAME_FOLDERS = ("img", "imgs", "color", ".")
_FLAGS = ("absence.label", "full_occlusion.txt", "out_of_view.txt")


@dataclass(frozen=True)
class OwnSequence:
    """One sequence.

    Attributes:
        folder: the sequence's folder.
        boxes: the file with a box per frame.
        flags: files of flags that mark frames in which the target cannot be seen.
        frames: the folder of pictures, or the video file.
    """

    folder: Path
    boxes: Path
    flags: tuple[Path, ...]
    frames: Path


def own_sequences(root: Path) -> list[OwnSequence]:
    """The sequences of a folder of sequences, or of a folder that is one sequence itself.

    A sequence is a folder with ``groundtruth.txt`` (or ``groundtruth_rect.txt``) and pictures in ``img/``, ``imgs/``,
    ``color/`` or itself, or one video file. Flags (``absence.label``, ``full_occlusion.txt``, ``out_of_view.txt``) are
    optional. A folder without annotation is left out with a warning.

    Raises:
        DataError: there is no such folder, no sequence in it, or a sequence has no frames.
    """
    if not root.is_dir():
        raise DataError(f"folder:{root}: there is no such folder")
    inside = [root / name for name in FolderStorage(str(root)).names()]
    folders = [root] if _first_file(root, _ANNOTATIONS) else [path for path in inside if path.is_dir()]
    sequences = []
    for folder in folders:
        boxes = _first_file(folder, _ANNOTATIONS)
        if boxes is None:
            logger.warning("%s is left out: it has no %s", folder, " or ".join(_ANNOTATIONS))
            continue
        flags = tuple(path for path in (folder / name for name in _FLAGS) if path.is_file())
        sequences.append(OwnSequence(folder, boxes, flags, frames_in(folder)))
    if not sequences:
        raise DataError(f"folder:{root}: no sequences; expected folders with frames and {_ANNOTATIONS[0]}")
    return sequences


def _first_file(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((path for path in (folder / name for name in names) if path.is_file()), None)


def frames_in(folder: Path) -> Path:
    """Where a sequence's frames are: the folder of its pictures, or its video. Raises DataError: there are none."""
    for place in (folder / name for name in FRAME_FOLDERS):
        if image_names(FolderStorage(str(place)), ""):
            return place
    videos = [path for path in folder.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES]
    if len(videos) != 1:
        places = "in img/, imgs/, color/ or itself"
        raise DataError(f"{folder}: expected pictures ({places}) or one video, found {len(videos)} videos")
    return videos[0]
