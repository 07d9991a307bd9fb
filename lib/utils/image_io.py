"""Reading pictures: RGB arrays, or one error that names the file."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from lib.utils.errors import DataError

_JPEG_START, _JPEG_SCAN, _JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"


def decode_image(data: bytes, name: str, alpha: bool = False) -> np.ndarray:
    """Decode an encoded picture to RGB uint8 (H, W, 3), its pixels as stored (EXIF rotation is not applied).

    OpenCV fills the missing part of a truncated JPEG with grey and says nothing; here that is an error too.

    Args:
        data: the bytes of the file.
        name: what to call it in an error.
        alpha: the picture must have transparency, and the result is RGBA (H, W, 4).

    Raises:
        DataError: the bytes are no picture, the picture is cut short, or it lacks the alpha channel.
    """
    if data.startswith(_JPEG_START) and data.rfind(_JPEG_END) < data.rfind(_JPEG_SCAN):
        raise DataError(f"image {name} is truncated: copy or download it again")
    flags = cv2.IMREAD_UNCHANGED if alpha else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    if image is None:
        raise DataError(f"image {name} cannot be decoded ({len(data)} bytes): it is damaged or not a picture")
    if alpha and (image.ndim != 3 or image.shape[2] != 4 or image.dtype != np.uint8):
        raise DataError(f"image {name} has no 8-bit alpha channel: a picture with transparency is needed here")
    return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA if alpha else cv2.COLOR_BGR2RGB)


def read_image(path: str | Path, alpha: bool = False) -> np.ndarray:
    """Read a picture file as RGB uint8 (H, W, 3), or with ``alpha`` as RGBA; see :func:`decode_image`.

    Raises:
        DataError: the file is missing, unreadable or damaged, or lacks the alpha channel.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"image {path} cannot be read: {error.strerror}") from error
    return decode_image(data, str(path), alpha)


def write_image(path: str | Path, image: np.ndarray, jpeg_quality: int = 95) -> None:
    """Write an RGB or RGBA uint8 picture; the suffix chooses the format, the folder is made.

    Raises:
        DataError: the format is unknown or the file cannot be written.
    """
    path = Path(path)
    order = cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        encoded, data = cv2.imencode(path.suffix, cv2.cvtColor(image, order), (cv2.IMWRITE_JPEG_QUALITY, jpeg_quality))
        if not encoded:
            raise DataError(f"image {path} cannot be encoded")
        path.write_bytes(data.tobytes())
    except (OSError, cv2.error) as error:
        raise DataError(f"image {path} cannot be written: {error}") from error
