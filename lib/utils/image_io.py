"""Reading pictures: RGB arrays, or one error that names the file."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from lib.utils.errors import DataError

_JPEG_START, _JPEG_SCAN, _JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"


def decode_image(data: bytes, name: str) -> np.ndarray:
    """Decode an encoded picture to RGB uint8 (H, W, 3), its pixels as stored (EXIF rotation is not applied).

    OpenCV fills the missing part of a truncated JPEG with grey and says nothing; here that is an error too.

    Args:
        data: the bytes of the file.
        name: what to call it in an error.

    Raises:
        DataError: the bytes are no picture, or the picture is cut short.
    """
    if data.startswith(_JPEG_START) and data.rfind(_JPEG_END) < data.rfind(_JPEG_SCAN):
        raise DataError(f"image {name} is truncated: copy or download it again")
    image = None
    if data:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise DataError(f"image {name} cannot be decoded ({len(data)} bytes): it is damaged or not a picture")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read_image(path: str | Path) -> np.ndarray:
    """Read a picture file as RGB uint8 (H, W, 3).

    Raises:
        DataError: the file is missing, unreadable or damaged.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"image {path} cannot be read: {error.strerror}") from error
    return decode_image(data, str(path))


def write_image(path: str | Path, image: np.ndarray) -> None:
    """Write an RGB uint8 picture; the suffix chooses the format, the folder is made.

    Raises:
        DataError: the format is unknown or the file cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        encoded, data = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        if not encoded:
            raise DataError(f"image {path} cannot be encoded")
        path.write_bytes(data.tobytes())
    except (OSError, cv2.error) as error:
        raise DataError(f"image {path} cannot be written: {error}") from error
