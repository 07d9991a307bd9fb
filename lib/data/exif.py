"""How a picture is to be turned: the EXIF orientation of JPEG, PNG and WebP files, and turning by it.

A TIFF file has its orientation in itself, and OpenCV turns it always.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

_ORIENTATION = 0x0112  # the tag
_JPEG, _PNG, _RIFF = b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"RIFF"


def exif_orientation(data: bytes) -> int:
    """The EXIF orientation of an encoded picture, 1 to 8; 1, as stored, where the file says nothing usable."""
    block = next(_exif_blocks(data), b"")
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", block, 4)
        (count,) = struct.unpack_from(f"{order}H", block, start)
        for entry in range(count):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", block, start + 2 + 12 * entry)
            if tag == _ORIENTATION:
                return value if 1 <= value <= 8 else 1
    except struct.error:  # the block is cut short: nothing usable
        pass
    return 1


def turned(image: np.ndarray, orientation: int) -> np.ndarray:
    """A picture (H, W, ...) as it is to be seen, given its EXIF orientation; sides are exchanged from 5 on."""
    if orientation >= 5:
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def _exif_blocks(data: bytes) -> Iterator[bytes]:
    """The EXIF blocks of a file, each from its byte order on."""
    if data.startswith(_JPEG):
        blocks = (content for kind, content in _jpeg_segments(data) if kind == 0xE1 and content.startswith(b"Exif\0\0"))
    elif data.startswith(_PNG):
        blocks = (content for kind, content in _chunks(data, 8, ">I4s", 4) if kind == b"eXIf")
    elif data.startswith(_RIFF) and data[8:12] == b"WEBP":
        blocks = (content for kind, content in _chunks(data, 12, "<4sI", 0) if kind == b"EXIF")
    else:
        return
    for content in blocks:
        yield content.removeprefix(b"Exif\0\0")


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and content of the segments before the first scan."""
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF and data[place + 1] != 0xDA:
        if data[place + 1] == 0xFF:  # fill
            place += 1
            continue
        size = int.from_bytes(data[place + 2 : place + 4], "big")
        yield data[place + 1], data[place + 4 : place + 2 + size]
        place += 2 + max(2, size)


def _chunks(data: bytes, place: int, form: str, after: int) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of the chunks of a PNG or RIFF file, ``after`` bytes of checksum behind each."""
    while place + 8 <= len(data):
        fields = struct.unpack_from(form, data, place)
        kind, size = fields if isinstance(fields[0], bytes) else fields[::-1]
        yield kind, data[place + 8 : place + 8 + size]
        place += 8 + size + after + (size % 2 if form[0] == "<" else 0)  # RIFF pads to even sizes
