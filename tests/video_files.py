"""Video files whose headers and clocks are not those that a writer of constant rate leaves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

SIZE = (64, 48)


def picture(t: int) -> np.ndarray:
    """Frame ``t`` (up to 24), RGB: a square that moves right by a pixel per frame while all around it gets brighter."""
    image = np.full((SIZE[1], SIZE[0], 3), 10 * t, np.uint8)
    image[16:28, 4 + t : 16 + t] = (250, 180, 20)
    return image


def write_mkv(path: Path, times: Sequence[int], sound: int = 0, duration: int | None = None) -> Path:
    """Frames shown at ``times`` (milliseconds, ascending), as a recorder of variable rate writes them.

    Args:
        path: of Matroska or WebM, in which each frame is a JPEG.
        times: of the frames; :func:`picture` draws them.
        sound: milliseconds of silence, in packets of 20.
        duration: milliseconds that the header tells; by default up to the last frame; 0 tells nothing, as a stream.
    """
    track = element(0xD7, b"\1") + element(0x73C5, b"\1") + element(0x83, b"\1") + element(0x86, b"V_MJPEG")
    width, height = (element(name, number(size)) for name, size in zip((0xB0, 0xBA), SIZE, strict=True))
    tracks = element(0xAE, track + element(0xE0, width + height))
    heard = element(0xD7, b"\2") + element(0x73C5, b"\2") + element(0x83, b"\2") + element(0x86, b"A_PCM/INT/LIT")
    rate = np.array(1000, ">f8").tobytes()
    heard += element(0xE1, element(0xB5, rate) + element(0x9F, b"\1") + element(0x6264, number(16)))
    tracks += element(0xAE, heard) if sound else b""
    blocks = [(time, b"\x81", jpeg(t)) for t, time in enumerate(times)]
    blocks += [(time, b"\x82", bytes(40)) for time in range(0, sound, 20)]
    clusters = [
        element(0x1F43B675, element(0xE7, number(time)) + element(0xA3, track + bytes(2) + b"\x80" + data))
        for time, track, data in sorted(blocks, key=lambda block: block[0])
    ]
    length = times[-1] if duration is None else duration
    told = element(0x4489, np.array(length, ">f8").tobytes()) if length else b""
    info = element(0x1549A966, element(0x2AD7B1, number(1_000_000)) + told)
    segment = element(0x18538067, info + element(0x1654AE6B, tracks) + b"".join(clusters))
    head = element(0x1A45DFA3, element(0x4282, b"webm" if path.suffix == ".webm" else b"matroska"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head + segment)
    return path


def jpeg(t: int) -> bytes:
    """Frame ``t`` as a file."""
    return cv2.imencode(".jpg", picture(t)[..., ::-1])[1].tobytes()


def element(name: int, data: bytes) -> bytes:
    """An element of Matroska: name, length, data."""
    return number(name) + (len(data) | 1 << 56).to_bytes(8, "big") + data


def number(value: int) -> bytes:
    """A whole number in as few bytes as it needs."""
    return value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big")


def write_avi(path: Path, frames: int, told: int | None = None) -> Path:
    """An AVI of Motion JPEG whose header tells of ``told`` frames; by default the truth."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, SIZE)
    for t in range(frames):
        writer.write(picture(t)[..., ::-1])
    writer.release()
    data = bytearray(path.read_bytes())
    for chunk, offset in ((b"avih", 24), (b"strh", 40)):  # dwTotalFrames and dwLength
        place = data.index(chunk) + offset
        data[place : place + 4] = (frames if told is None else told).to_bytes(4, "little")
    path.write_bytes(data)
    return path
