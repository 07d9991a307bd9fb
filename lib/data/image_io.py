"""Reading pictures: RGB arrays, or one error that names the file.

The decoder is OpenCV's (libjpeg-turbo, exact transform, smooth chroma), straight into RGB. torchvision, Pillow and
simplejpeg, set to the same, give the same pixels, and none is clearly faster: there is one decoder and no option.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from lib.utils.errors import DataError, ImageError

_JPEG_START, _JPEG_SCAN, _JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
_TIFF_STARTS = (b"II*\0", b"MM\0*")
_COLOR = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_ANYDEPTH
_EXIF_MARKS = (b"Exif", b"eXIf", b"EXIF", b"exif")  # of the block in JPEG, PNG, WebP, and as text in PNG
_FROM_UNCHANGED = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}  # by number of channels
_RANGE = 1 << 16
_SAMPLE = 16  # frames, spread over a sequence, that its limits are taken from
_OUTSIDE = 1e-4  # share of pixels that may lie below the limits, and above: dead and hot ones


class Levels(NamedTuple):
    """Values from ``low`` up to, and without, ``high`` become 0 to 255; what is outside becomes 0 or 255.

    Cameras of 12 or 14 bits, thermal ones above all, use a small part of 16: the upper 8 bits show little or nothing.
    """

    low: float
    high: float


WHOLE = Levels(0, _RANGE)  # gives the upper 8 of 16 bits


def levels_of(pictures: Sequence[np.ndarray]) -> Levels:
    """Return the limits for some pictures of one sequence, (H, W, 3) of one type other than uint8.

    Of 16-bit pictures it is :data:`WHOLE` where half of the range or more is used; else, and for other types, the
    values that all but a ten-thousandth of the pixels are in, at either end.
    """
    if pictures[0].dtype == np.uint16:
        counts = np.zeros(_RANGE, np.int64)
        for picture in pictures:
            counts += np.bincount(picture.ravel(), minlength=_RANGE)
        below = counts.cumsum()
        first = int(np.searchsorted(below, _OUTSIDE * below[-1], "right"))
        end = int(np.searchsorted(below, (1 - _OUTSIDE) * below[-1])) + 1
        return WHOLE if end - first > _RANGE // 2 else Levels(first, end)
    values = np.concatenate([picture[np.isfinite(picture)] for picture in pictures])
    if not values.size:
        return Levels(0, 1)
    low, high = np.quantile(values, (_OUTSIDE, 1 - _OUTSIDE)).tolist()
    return Levels(low, high if high > low else low + 1)


def sequence_levels(frame: Callable[[int], np.ndarray], count: int) -> Levels | None:
    """Find the limits for a sequence of ``count`` frames from some spread over it; None where these have 8 bits.

    ``frame`` reads one by its number, (H, W, 3) with all its bits.
    """
    chosen = np.unique(np.linspace(0, count - 1, _SAMPLE).round().astype(int)).tolist()
    deep = [image for image in map(frame, chosen) if image.dtype != np.uint8]
    return levels_of([image for image in deep if image.dtype == deep[0].dtype]) if deep else None


def to_8_bit(picture: np.ndarray, levels: Levels) -> np.ndarray:
    """Return a picture of any type as uint8; NaN becomes 0."""
    if picture.dtype == np.uint16:
        return _scaled(np.arange(_RANGE), levels)[picture]
    return _scaled(np.nan_to_num(picture.astype(np.float64), nan=levels.low), levels)


def _scaled(values: np.ndarray, levels: Levels) -> np.ndarray:
    return np.clip((values - levels.low) * (256 / (levels.high - levels.low)), 0, 255).astype(np.uint8)


def decode_image(data: bytes, name: str, alpha: bool = False) -> np.ndarray:
    """Decode an encoded picture, called ``name`` in errors, to RGB uint8 (H, W, 3), its pixels as stored.

    With ``alpha`` it must have transparency, and becomes RGBA (H, W, 4). OpenCV fills the missing part of a truncated
    JPEG with gray and says nothing; here that is an error too. Raises ImageError: the bytes are no picture, the picture
    is cut short, or it lacks the alpha channel.
    """
    if alpha:
        image = _decode(data, name, cv2.IMREAD_UNCHANGED)
        if image.ndim != 3 or image.shape[2] != 4 or image.dtype != np.uint8:
            raise ImageError(f"image {name} has no 8-bit alpha channel: a picture with transparency is needed here")
        return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA)
    image = decode_deep(data, name)
    return image if image.dtype == np.uint8 else to_8_bit(image, levels_of([image]))


def decode_deep(data: bytes, name: str, upright: bool = False) -> np.ndarray:
    """Decode an encoded picture to RGB (H, W, 3) with as many bits as the file has, see :func:`decode_image`.

    With ``upright`` it is turned as its EXIF orientation says; otherwise pixels stay as stored.
    """
    if data.startswith(_JPEG_START) and data.find(_JPEG_SCAN, data.rfind(_JPEG_END) + 1) >= 0:
        raise ImageError(f"image {name} is truncated: copy or download it again")
    if data.startswith(_TIFF_STARTS):  # OpenCV reads floating point only so
        image = _decode(data, name, cv2.IMREAD_UNCHANGED)
        channels = 1 if image.ndim == 2 else image.shape[2]
        if channels in _FROM_UNCHANGED:
            return cv2.cvtColor(image, _FROM_UNCHANGED[channels])
        return np.repeat(image.reshape(*image.shape[:2], -1)[..., :1], 3, axis=2)
    return _decode(data, name, _COLOR if upright else _COLOR | cv2.IMREAD_IGNORE_ORIENTATION)


def is_turned(data: bytes, name: str) -> bool:
    """Return whether EXIF orientation changes a picture's pixels; only a file with an EXIF block is decoded for it."""
    if not any(mark in data for mark in _EXIF_MARKS):
        return False
    return not np.array_equal(decode_deep(data, name, upright=True), decode_deep(data, name))


def _decode(data: bytes, name: str, flags: int) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    if image is None:
        raise ImageError(f"image {name} cannot be decoded ({len(data)} bytes): it is damaged or not a picture")
    return image


def read_image(path: str | Path, alpha: bool = False) -> np.ndarray:
    """Read a picture file as RGB uint8 (H, W, 3), or with ``alpha`` as RGBA; see :func:`decode_image`.

    Raises ImageError: the file is missing, unreadable or damaged, or lacks the alpha channel.
    """
    return decode_image(read_file(path), str(path), alpha)


def read_file(path: str | Path) -> bytes:
    """Return the bytes of a picture file. Raises ImageError: it is missing or unreadable."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ImageError(f"image {path} cannot be read: {error.strerror}") from error


class SequenceDecoder:
    """Decodes the pictures of a sequence as they come: upright, and to 8 bits with the same limits in all of them.

    The limits are those of the first picture of more than 8 bits, since later ones are not known.
    """

    def __init__(self) -> None:
        self._levels: Levels | None = None

    def __call__(self, data: bytes, name: str) -> np.ndarray:
        """RGB uint8 (H, W, 3), see :func:`decode_image`."""
        image = decode_deep(data, name, upright=True)
        if image.dtype == np.uint8:
            return image
        self._levels = self._levels or levels_of([image])
        return to_8_bit(image, self._levels)


def shrink(image: np.ndarray, longest: int) -> np.ndarray:
    """An image whose longest side is at most ``longest`` pixels; smaller ones stay as they are."""
    height, width = image.shape[:2]
    ratio = longest / max(height, width)
    if ratio >= 1:
        return image
    size = (max(round(width * ratio), 1), max(round(height * ratio), 1))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def write_image(path: str | Path, image: np.ndarray, jpeg_quality: int = 95) -> None:
    """Write an RGB or RGBA uint8 picture; the suffix chooses the format, the folder is made.

    Raises DataError: the format is unknown or the file cannot be written.
    """
    path = Path(path)
    if not cv2.haveImageWriter(path.name):
        raise DataError(f"image {path} cannot be written: its name must end in .png, .jpg or another kind of picture")
    order = cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        quality = (cv2.IMWRITE_JPEG_QUALITY, jpeg_quality) if path.suffix.lower() in (".jpg", ".jpeg") else ()
        encoded, data = cv2.imencode(path.suffix, cv2.cvtColor(image, order), quality)
        if not encoded:
            raise DataError(f"image {path} cannot be encoded")
        path.write_bytes(data.tobytes())
    except (OSError, cv2.error) as error:
        raise DataError(f"image {path} cannot be written: {error}") from error
