"""Reading and writing video files as RGB frames."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from lib.utils.errors import DataError

logger = logging.getLogger(__name__)

VIDEO_SUFFIXES = {".mp4", ".avi", ".mkv", ".mov", ".webm"}
# Headers count frames by duration times rate, which is off by a frame or two; more missing means a damaged file.
_HEADER_SLACK = 0.02
_DIGESTED = 1 << 20  # bytes at either end of a file


@dataclass
class VideoFile:
    """The frames of a video file, RGB uint8 (H, W, 3).

    It holds no open file, so it can be handed to threads and processes. Iterating is the fast way; ``frame`` decodes
    from the start, because seeking by frame number is inexact in many files; ``seek`` is quick and right in those
    where ``seeks_exactly``.

    Raises (from every method):
        DataError: the file is missing, no video, empty, or breaks off before its end.
    """

    path: Path | int | str

    @property
    def fps(self) -> float:
        """Frames per second as the header says; 25 when it says nothing usable."""
        rate = self._open().get(cv2.CAP_PROP_FPS)
        return rate if 1 <= rate <= 1000 else 25.0

    @property
    def declared_frames(self) -> int | None:
        """The number of frames that the header tells, which may be off by a few; None when it tells none."""
        return _declared(self._open()) or None

    @cached_property
    def digest(self) -> str:
        """Sixteen hex digits that tell the file from others: of its name, its size, and the bytes at both ends."""
        try:
            with open(self.path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                digest = hashlib.sha256(f"{Path(str(self.path)).name} {size}\n".encode())
                digest.update(file.read(_DIGESTED))
                file.seek(max(0, size - _DIGESTED))
                digest.update(file.read(_DIGESTED))
        except OSError as error:
            raise DataError(f"video {self.path} cannot be read: {error.strerror}") from error
        return digest.hexdigest()[:16]

    def __len__(self) -> int:
        return self._length

    @cached_property
    def _length(self) -> int:
        capture, count = self._open(), 0
        while capture.grab():
            count += 1
        self._check_end(capture, count)
        return count

    def __iter__(self) -> Iterator[np.ndarray]:
        capture, count = self._open(), 0
        while (image := _read(capture)) is not None:
            yield image
            count += 1
        self._check_end(capture, count)

    def frame(self, t: int) -> np.ndarray:
        """Frame ``t`` (from 0)."""
        capture = self._open()
        skipped = t >= 0 and all(capture.grab() for _ in range(t))
        image = _read(capture) if skipped else None
        if image is None:
            raise DataError(f"video {self.path} has no frame {t}")
        return image

    def seek(self, t: int) -> np.ndarray:
        """Frame ``t`` (from 0), found by seeking. In some files it is another one."""
        capture = self._open()
        image = _read(capture) if capture.set(cv2.CAP_PROP_POS_FRAMES, t) else None
        if image is None:
            raise DataError(f"video {self.path} has no frame {t}")
        return image

    def seeks_exactly(self, samples: int = 16) -> bool:
        """Whether seeking gives the frames that decoding in order gives, tried on frames spread over the video.

        Returns at the first that differs; otherwise the video is decoded to its end.
        """
        tried = set(np.linspace(0, len(self) - 1, samples).round().astype(int).tolist())
        capture = self._open()
        for t in range(len(self)):
            if t not in tried:
                capture.grab()
                continue
            image = _read(capture)
            try:
                same = image is not None and np.array_equal(image, self.seek(t))
            except DataError:
                same = False
            if not same:
                return False
        return True

    def _open(self) -> cv2.VideoCapture:
        if not Path(str(self.path)).is_file():
            raise DataError(f"video {self.path} does not exist")
        capture = cv2.VideoCapture(str(self.path))
        if not capture.isOpened():
            raise DataError(f"video {self.path} cannot be opened: it is damaged, empty or in an unknown format")
        return capture

    def _check_end(self, capture: cv2.VideoCapture, count: int) -> None:
        """Tell a video that ends from one that breaks off."""
        declared = _declared(capture)
        if count == 0:
            raise DataError(f"video {self.path} has no frame that can be decoded")
        if count < declared - max(2, _HEADER_SLACK * declared):
            raise DataError(f"video {self.path} breaks off after frame {count} of {declared}: it is damaged")


class LiveVideo(VideoFile):
    """The frames of a camera or of a stream, RGB uint8 (H, W, 3), which can be iterated once.

    Attributes:
        path: the number of a camera, or the URL of a stream.

    Raises (from every method):
        DataError: it cannot be opened, or gives no frame.
    """

    @property
    def declared_frames(self) -> int | None:
        return None

    def _open(self) -> cv2.VideoCapture:
        return self._capture

    @cached_property
    def _capture(self) -> cv2.VideoCapture:
        level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # it tells of each way that it tries
        capture = cv2.VideoCapture(self.path)
        cv2.utils.logging.setLogLevel(level)
        if not capture.isOpened():
            raise DataError(f"{self.name} cannot be opened: is it there, readable, and not in use by another program?")
        return capture

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return f"camera {self.path}" if isinstance(self.path, int) else f"stream {self.path}"

    def _check_end(self, capture: cv2.VideoCapture, count: int) -> None:
        if count == 0:
            raise DataError(f"{self.name} gives no frame that can be decoded")
        logger.info("%s ended after %d frames", self.name, count)


def open_video(source: str | Path) -> VideoFile:
    """The frames of a video file, of a camera (its number, or its device file) or of a stream (its URL).

    A file is not opened before its frames are asked for; a camera or stream is.

    Raises:
        DataError: the camera or stream cannot be opened.
    """
    text = str(source)
    if Path(text).is_file() or not (text.isdecimal() or "://" in text or Path(text).is_char_device()):
        return VideoFile(Path(text))
    live = LiveVideo(int(text) if text.isdecimal() else text)
    live._open()  # now, not when somebody waits for its first frame
    return live


def _declared(capture: cv2.VideoCapture) -> int:
    return max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))


def _read(capture: cv2.VideoCapture) -> np.ndarray | None:
    good, image = capture.read()
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if good else None


class VideoWriter:
    """Writes RGB frames of one size to an mp4 file; use it in a ``with`` block.

    Args:
        path: file to write, ending in ``.mp4``; its folder is made.
        fps: frames per second.

    Raises:
        DataError: the file cannot be written, by the end of the ``with`` block not whole, or a frame has another size
            than the first.
    """

    def __init__(self, path: str | Path, fps: float = 25.0) -> None:
        self.path, self.fps = Path(path), fps
        self._writer: cv2.VideoWriter | None = None
        self._shape: tuple[int, ...] = ()
        self._count = 0

    def write(self, image: np.ndarray) -> None:
        """Append a frame, RGB uint8 (H, W, 3)."""
        writer = self._writer or self._open(image)
        if image.shape != self._shape:  # OpenCV would drop such a frame without a word
            raise DataError(f"video {self.path}: a frame of shape {image.shape} among frames of shape {self._shape}")
        writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        self._count += 1

    def _open(self, image: np.ndarray) -> cv2.VideoWriter:
        problem = f"video {self.path} cannot be written"
        if self.path.suffix.lower() not in VIDEO_SUFFIXES:  # OpenCV would write a single picture to a .png
            raise DataError(f"{problem}: use a name ending in .mp4")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{problem}: the folder cannot be made ({error.strerror})") from error
        height, width = image.shape[:2]
        self._shape = image.shape
        self._writer = cv2.VideoWriter(str(self.path), cv2.VideoWriter.fourcc(*"mp4v"), self.fps, (width, height))
        if not self._writer.isOpened():
            raise DataError(f"{problem}: use a name ending in .mp4 in a writable folder")
        return self._writer

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is None:
            return
        self._writer.release()
        if error is None:
            self._check_written()

    def _check_written(self) -> None:
        """OpenCV says nothing when the disk is full: see whether the header tells of all frames."""
        declared = _declared(cv2.VideoCapture(str(self.path)))
        if declared < self._count - max(2, _HEADER_SLACK * self._count):
            raise DataError(f"video {self.path} was not written whole: is there room on its disk?")
