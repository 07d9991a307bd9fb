"""Reading and writing video files as RGB frames."""

from __future__ import annotations

import hashlib
import logging
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from lib.data.containers import is_broken
from lib.utils.errors import DataError

logger = logging.getLogger(__name__)

VIDEO_SUFFIXES = {".mp4", ".avi", ".mkv", ".mov", ".webm"}
_DEFAULT_FPS = 25.0
_SAME_RATE = 0.02  # a mean rate this near to that of the header confirms it: timestamps are rounded
_MOST_TICKS = 65535  # of a second, that MPEG-4 can hold
_MORE_TRIES = 128  # after a frame that could not be decoded, more than a decoder holds back
_DIGESTED = 1 << 20  # bytes at either end of a file
# OpenCV takes a video for ended where this many packets of sound lie between two frames. Its default is reached when a
# recorded screen does not change for 80 seconds; this is more than an hour.
os.environ.setdefault("OPENCV_FFMPEG_READ_ATTEMPTS", "200000")


@dataclass
class VideoFile:
    """The frames of a video file, RGB uint8 (H, W, 3).

    It holds no open file, so it can be handed to threads and processes. Iterating is the fast way; ``frame`` decodes
    from the start, because seeking by frame number is inexact in many files; ``seek`` is quick and right in those where
    ``seeks_exactly``.

    The frames are those that the decoder gives. The number of frames in a header is an estimate in many containers
    (duration times rate, wrong where the rate varies), so nothing is decided by it alone.

    Every method raises DataError: the file is missing, no video, empty, damaged or cut short.
    """

    path: Path | int | str

    @property
    def fps(self) -> float:
        """Frames per second: those of the header where the timestamps agree, else the mean by timestamps, else 25."""
        nominal, mean = self._open().get(cv2.CAP_PROP_FPS), self._packets[1]
        if mean and abs(mean - nominal) > _SAME_RATE * nominal:
            return min(max(mean, 1.0), 1000.0)
        return nominal if 1 <= nominal <= 1000 else _DEFAULT_FPS

    @property
    def coded_frames(self) -> int | None:
        """The number of coded frames, found without decoding; None where that is not possible.

        As many as frames are decoded, or a few more: some are there for others, or cut off by an edit list.
        """
        return self._packets[0] or None

    @cached_property
    def _packets(self) -> tuple[int, float]:
        self._open()
        return _read_packets(str(self.path))

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
        """Return whether seeking gives the frames that decoding in order gives.

        OpenCV finds a frame by its time and a constant rate: each frame must lie where that rate puts it, and frames
        spread over the video are tried. Returns at the first that differs; otherwise the video is decoded to its end.
        """
        tried = set(np.linspace(0, len(self) - 1, samples).round().astype(int).tolist())
        capture = self._open()
        rate, first = capture.get(cv2.CAP_PROP_FPS), 0.0
        for t in range(len(self)):
            capture.grab()
            elapsed = capture.get(cv2.CAP_PROP_POS_MSEC)
            first = first if t else elapsed
            if elapsed > first and abs((elapsed - first) / 1000 * rate - t) > 0.5:  # 0 stands for no time
                return False
            if t not in tried:
                continue
            image = _retrieve(capture)
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
        """Tell a video that ends from one that is damaged: the decoder goes on, or the file is not whole."""
        if count == 0:
            code = int(capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
            codec = code.to_bytes(4, "little").decode("ascii", "replace").strip("\0 ")
            reason = f"it is damaged, or OpenCV cannot decode its codec {codec!r}"
            advice = "then convert it: ffmpeg -i IN -c:v libx264 OUT.mp4"
            raise DataError(f"video {self.path} has no frame that can be decoded: {reason} ({advice})")
        if any(capture.grab() for _ in range(_MORE_TRIES)):
            raise DataError(f"video {self.path}: frame {count} cannot be decoded: copy or download it again")
        # The header has their number, or duration times rate.
        if count < int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) and is_broken(str(self.path)):
            readable = f"{count} frames of it can be read"
            raise DataError(f"video {self.path} is damaged or cut short, {readable}: copy or download it again")


class LiveVideo(VideoFile):
    """The frames of a camera or of a stream, RGB uint8 (H, W, 3), which can be iterated once.

    ``path`` is the number of a camera, or the URL of a stream. Every method raises DataError: it cannot be opened, or
    gives no frame.
    """

    @property
    def fps(self) -> float:
        """Frames per second as the source says; 25 when it says nothing usable."""
        rate = self._open().get(cv2.CAP_PROP_FPS)
        return rate if 1 <= rate <= 1000 else _DEFAULT_FPS

    @property
    def coded_frames(self) -> int | None:
        return None

    def _open(self) -> cv2.VideoCapture:
        return self._capture

    @cached_property
    def _capture(self) -> cv2.VideoCapture:
        level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # it logs each way that it tries
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
    """Return the frames of a video file, of a camera (its number, or its device file) or of a stream (its URL).

    A file is not opened before its frames are asked for; a camera or stream is. Raises DataError: that fails.
    """
    text = str(source)
    if Path(text).is_file() or not (text.isdecimal() or "://" in text or Path(text).is_char_device()):
        return VideoFile(Path(text))
    live = LiveVideo(int(text) if text.isdecimal() else text)
    live._open()  # now, not at its first frame
    return live


def _read_packets(path: str) -> tuple[int, float]:
    """Return the number of coded frames of a video file and their mean rate by timestamps, 0 where unknown.

    The file is read, not decoded.
    """
    capture, times = cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1]), []
    while capture.grab():
        times.append(capture.get(cv2.CAP_PROP_POS_MSEC))
    seconds = (max(times) - min(times)) / 1000 if times else 0.0  # they are in order of decoding
    return len(times), (len(times) - 1) / seconds if seconds > 0 else 0.0


def _read(capture: cv2.VideoCapture) -> np.ndarray | None:
    return _retrieve(capture) if capture.grab() else None


def _retrieve(capture: cv2.VideoCapture) -> np.ndarray | None:
    """Return the frame that was grabbed."""
    good, image = capture.retrieve()
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if good else None


class VideoWriter:
    """Writes RGB frames of one size to an mp4 file at ``fps`` frames per second; use it in a ``with`` block.

    Until the end of the block it is called ``NAME.part.mp4``, and an earlier file ``path`` is unchanged; its folder is
    made. After an error the file gets its name too if it is to ``keep``, with the frames until then; otherwise it is
    removed.

    Raises DataError: the file cannot be written, by the end of the block not whole, or a frame has another size than
    the first; OSError: its folder cannot be made.
    """

    def __init__(self, path: str | Path, fps: float = 25.0, keep: bool = True) -> None:
        self.path, self.fps, self.keep = Path(path), fps, keep
        self._unfinished = self.path.with_name(f"{self.path.stem}.part{self.path.suffix}")
        self._writer: cv2.VideoWriter | None = None
        self._shape: tuple[int, ...] = ()
        self._count = 0

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of the frames; None before the first."""
        return (self._shape[0], self._shape[1]) if self._shape else None

    def write(self, image: np.ndarray) -> None:
        """Append a frame, RGB uint8 (H, W, 3)."""
        writer = self._writer or self._open(image)
        if image.shape != self._shape:  # OpenCV would drop such a frame without a word
            raise DataError(f"video {self.path}: a frame of shape {image.shape} among frames of shape {self._shape}")
        writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        self._count += 1

    def _open(self, image: np.ndarray) -> cv2.VideoWriter:
        problem = f"video {self.path} cannot be written: use a name ending in .mp4"
        if self.path.suffix.lower() not in VIDEO_SUFFIXES:  # OpenCV would write a single picture to a .png
            raise DataError(problem)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        height, width = image.shape[:2]
        self._shape = image.shape
        digits = max(0, math.floor(math.log10(_MOST_TICKS / self.fps)))  # as many as MPEG-4 can hold
        coded, rate = cv2.VideoWriter.fourcc(*"mp4v"), round(self.fps, digits)
        writer = cv2.VideoWriter(str(self._unfinished), coded, rate, (width, height))
        if not writer.isOpened():
            raise DataError(f"{problem} in a writable folder")
        self._writer = writer
        return writer

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._writer is None:
            return
        self._writer.release()
        # OpenCV says nothing when the disk is full: see whether all frames are in the file.
        torn = error is None and _read_packets(str(self._unfinished))[0] < self._count
        if self.keep or (error is None and not torn):
            os.replace(self._unfinished, self.path)
        else:
            self._unfinished.unlink()
        if torn:
            raise DataError(f"video {self.path} was not written whole: is there room on its disk?")
