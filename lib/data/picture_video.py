"""Pictures that follow each other, read as the frames of a video."""

from __future__ import annotations

import glob
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from lib.data.own_folder import FRAME_FOLDERS, frames_in
from lib.data.sequence import ImageFrames
from lib.data.storage import FolderStorage, image_names, natural_key
from lib.data.video_io import VideoFile, open_video
from lib.utils.errors import DataError

logger = logging.getLogger(__name__)

_PRINTF = re.compile(r"%0?\d*d")


@dataclass
class PictureVideo(VideoFile):
    """The frames in picture files, RGB uint8 (H, W, 3), of any sizes; 25 of them are a second.

    They are turned as their EXIF orientation says, and more than 8 bits are stretched to 8 by the same limits in all.
    ``path`` is the folder, or the pattern of the files' names. Whatever gives frames raises DataError: a picture is
    missing or damaged, or there is no such frame.
    """

    files: tuple[Path, ...]

    @property
    def fps(self) -> float:
        return 25.0

    @property
    def coded_frames(self) -> int | None:
        return len(self.files)

    @property
    def name(self) -> str:
        """That of the sequence: of the folder, or of the one above a folder that only says what is in it (``img``)."""
        folder = self.files[0].absolute().parent
        return folder.parent.name if folder.name in FRAME_FOLDERS else folder.name

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[np.ndarray]:
        return map(self.frame, range(len(self)))

    def frame(self, t: int) -> np.ndarray:
        if not 0 <= t < len(self.files):
            raise DataError(f"{self.path} has no frame {t}")
        return self._pictures.frame(t)

    @cached_property
    def _pictures(self) -> ImageFrames:
        return ImageFrames(FolderStorage(""), tuple(map(str, self.files)))

    seek = frame

    def seeks_exactly(self, samples: int = 16) -> bool:
        return True


def open_frames(source: str | Path) -> VideoFile:
    """Return the frames of a folder of pictures, of files that match a pattern, or of what :func:`open_video` opens.

    A folder holds pictures, itself or in ``img/``, ``imgs/`` or ``color/``, or one video. A pattern is one of printf,
    ``walk/%05d.jpg``, which takes numbers from the least that is there on, or of the shell, ``walk/*.jpg``.

    Raises DataError: there are none, or a camera or stream cannot be opened.
    """
    path, text = Path(source), str(source)
    if path.is_dir():
        try:
            frames = frames_in(path)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
        if frames.is_file():
            return open_video(frames)
        return PictureVideo(path, tuple(frames / name for name in image_names(FolderStorage(str(frames)), "")))
    if path.exists() or "://" in text or not (_PRINTF.search(path.name) or glob.has_magic(text)):
        return open_video(source)
    found = _numbered(path) if _PRINTF.search(path.name) else map(Path, sorted(glob.glob(text), key=natural_key))
    if not (files := tuple(found)):
        raise DataError(f"no file matches {source}: write it as walk/%05d.jpg, or name a folder of pictures")
    return PictureVideo(path, files)


def _numbered(pattern: Path) -> list[Path]:
    """Return the files of a printf pattern by their number; it is said when some are missing in between."""
    before, after = (re.escape(part) for part in _PRINTF.split(pattern.name, maxsplit=1))
    form = re.compile(f"{before}(\\d+){after}")
    found = {int(match[1]): pattern.parent / name for name in FolderStorage(str(pattern.parent)).names()
             if (match := form.fullmatch(name))}  # fmt: skip
    missing = sorted(set(range(min(found, default=0), max(found, default=-1))) - found.keys())
    if missing:
        logger.warning("%s: %d numbers are missing, the first is %d; the frames on both sides follow each other",
                       pattern, len(missing), missing[0])  # fmt: skip
    return [found[number] for number in sorted(found)]
