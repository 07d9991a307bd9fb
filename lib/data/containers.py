"""Whether the structure of a video file is whole: AVI, MP4/MOV and Matroska/WebM."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_BROKEN = 1 << 63  # an end that no file has
_EBML, _SEGMENT, _CLUSTER = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"


def is_broken(path: str | Path) -> bool:
    """Check whether a part of the file's structure runs over its end: it was cut short, or sizes were overwritten.

    Headers alone are read. False for containers that are not known here. Raises OSError: the file cannot be read.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(12)
        if head[:4] == b"RIFF" and head[8:] == b"AVI ":
            ends = _chunk_ends(file)
        elif head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
            ends = _box_ends(file)
        elif head[:4] == _EBML:
            ends = _element_ends(file)
        else:
            return False
        return any(end > size for end in ends)


def _chunk_ends(file: BinaryIO) -> Iterator[int]:
    """Yield the ends of the chunks of an AVI; sizes of lists are passed over, which some recorders never fill in."""
    position = 0
    while len(head := _at(file, position, 8)) == 8:
        if head[:4] in (b"RIFF", b"LIST"):
            position += 12
            continue
        position += 8 + int.from_bytes(head[4:], "little")
        yield position
        position += position % 2


def _box_ends(file: BinaryIO) -> Iterator[int]:
    """Yield the ends of the outermost boxes of an MP4; the samples in them are found by tables for the decoder."""
    position = 0
    while len(head := _at(file, position, 16)) >= 8:
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:], "big")
        if length < 8:  # 0 is a box up to the end of the file
            return
        position += length
        yield position


def _element_ends(file: BinaryIO) -> Iterator[int]:
    """Yield the ends of the elements in segment and clusters of a Matroska file, whose own sizes may be unknown."""
    position, last = 0, _BROKEN
    while position < last and (head := _at(file, position, 17)):
        name = head[: _vint_length(head[0])]
        rest = head[len(name) :]
        if not name[0] or not rest or not rest[0]:
            yield _BROKEN
            return
        width = _vint_length(rest[0])
        length = int.from_bytes(rest[:width], "big") - (1 << 7 * width)
        position += len(name) + width
        if name == _SEGMENT and length < (1 << 7 * width) - 1:  # all ones are an unknown length
            last = position + length
        if name not in (_SEGMENT, _CLUSTER):
            position += length
            yield position


def _vint_length(first: int) -> int:
    """Return how many bytes a number of variable length has, by the zeros that its first byte begins with."""
    return 9 - first.bit_length()


def _at(file: BinaryIO, position: int, count: int) -> bytes:
    file.seek(position)
    return file.read(count)
