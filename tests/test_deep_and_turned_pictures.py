"""Pictures of more than 8 bits, and such with an EXIF orientation: what becomes of their pixels, and what is said."""

from __future__ import annotations

import logging
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.data.image_io import WHOLE, Levels, SequenceDecoder, decode_deep, decode_image, is_turned, levels_of, to_8_bit
from lib.data.registry import open_dataset
from lib.data.sequence import ImageFrames
from lib.test.evaluation import get_dataset
from lib.test.evaluation.environment import EnvSettings
from tests.evaluation_fakes import run
from tests.miniature import environment

GRAY = np.arange(48 * 64).reshape(48, 64) % 256  # every value twelve times


def encoded(image: np.ndarray, suffix: str = ".png") -> bytes:
    return cv2.imencode(suffix, image)[1].tobytes()


def exif(orientation: int, order: str = "<") -> bytes:
    """A block with another entry before the orientation."""
    entries = struct.pack(f"{order}HHHII", 2, 0x0100, 4, 1, 64)
    entries += struct.pack(f"{order}HHIHH", 0x0112, 3, 1, orientation, 0)
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8) + entries + bytes(4)


def with_exif(data: bytes, block: bytes) -> bytes:
    """A JPEG, PNG or WebP with an EXIF block."""
    if data[:2] == b"\xff\xd8":
        content = b"Exif\0\0" + block
        return data[:2] + b"\xff\xff\xe1" + struct.pack(">H", len(content) + 2) + content + data[2:]  # a byte of fill
    if data[:4] == b"RIFF":
        return data + b"EXIF" + struct.pack("<I", len(block)) + block
    chunk = struct.pack(">I", len(block)) + b"eXIf" + block + struct.pack(">I", zlib.crc32(b"eXIf" + block))
    return data[:33] + chunk + data[33:]


# More than 8 bits


def test_a_small_part_of_the_range_is_stretched_and_all_of_it_is_not() -> None:
    thermal = (20000 + GRAY).astype(np.uint16)
    for suffix in (".png", ".tiff", ".pgm"):
        image = decode_image(encoded(thermal, suffix), "x")
        assert image.dtype == np.uint8 and image.shape == (48, 64, 3)
        np.testing.assert_array_equal(image, np.repeat(GRAY[..., None], 3, axis=2))
    assert levels_of([thermal]) == Levels(20000, 20256)
    whole = np.random.default_rng(0).integers(0, 65536, (48, 64, 3)).astype(np.uint16)
    assert levels_of([whole]) == WHOLE
    np.testing.assert_array_equal(decode_image(encoded(whole), "x"), whole[..., ::-1] >> 8)  # as before
    degrees = (GRAY / 8 - 5).astype(np.float32)
    np.testing.assert_allclose(decode_image(encoded(degrees, ".tiff"), "x")[..., 0], GRAY, atol=1)
    color = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    for suffix in (".png", ".tiff", ".webp"):
        image = decode_image(encoded(color, suffix), "x").astype(int)
        assert np.abs(image - color[..., ::-1]).mean() < (40 if suffix == ".webp" else 1e-9)


def test_dead_and_hot_pixels_do_not_set_the_limits() -> None:
    thermal = np.tile((20000 + GRAY).astype(np.uint16), (4, 4))  # 192 x 256: of 49152 pixels 4 are a ten-thousandth
    thermal[0, :2], thermal[1, :2] = 0, 65535
    assert levels_of([thermal]) == Levels(20000, 20256)
    image = to_8_bit(thermal, Levels(20000, 20256))
    assert image[0, :3].tolist() == [0, 0, 2] and image[1, :2].tolist() == [255, 255]
    flat = np.full((4, 4), 7, np.uint16)
    assert to_8_bit(flat, levels_of([flat])).max() == 0
    assert levels_of([np.full((2, 2), np.nan, np.float32)]) == (0, 1)


def write_thermal(folder: Path, offsets: list[int]) -> None:
    folder.mkdir(parents=True)
    for t, offset in enumerate(offsets):
        (folder / f"{t}.png").write_bytes(encoded((20000 + offset + GRAY // 2).astype(np.uint16)))


def test_the_limits_are_those_of_the_whole_sequence(tmp_path: Path) -> None:
    write_thermal(tmp_path / "img", [0, 64, 128])
    frames = ImageFrames(tmp_path / "img")
    assert frames.levels == Levels(20000, 20256)
    for t, image in enumerate(frames):
        np.testing.assert_array_equal(image[..., 0], GRAY // 2 + 64 * t)  # and not each from 0 to 255
    # Where later frames are not known, as in a conversation with the VOT toolkit, the first sets the limits.
    decode = SequenceDecoder()
    for t, path in enumerate(sorted((tmp_path / "img").iterdir())):
        image = decode(path.read_bytes(), "x")
        np.testing.assert_array_equal(image[..., 0], np.minimum(255, 2 * (GRAY // 2 + 64 * t)))


def test_training_takes_the_limits_of_each_sequence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    env = environment(tmp_path)
    for name, offsets in (("hot", [4000, 4128, 4000]), ("cold", [0, 0, 0])):
        write_thermal(Path(env.folder_dir) / name, offsets)
        (Path(env.folder_dir) / name / "groundtruth.txt").write_text("1,2,3,4\n" * 3)
    with caplog.at_level(logging.INFO):
        data = open_dataset("FOLDER", env)
    assert [m for m in caplog.messages if "8 bits" in m] == [
        f"{env.folder_dir}/cold/0.png and others like it have more than 8 bits: limits of each sequence make 8 of them"
    ]
    index = {data.sequence_name(i): i for i in range(2)}
    np.testing.assert_array_equal(data.frame(index["folder/cold"], 1)[..., 0], 2 * (GRAY // 2))
    np.testing.assert_array_equal(data.frame(index["folder/hot"], 1)[..., 0], GRAY // 2 + 128)


# EXIF orientation


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_opencv_turns_them(orientation: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (24, 32, 3)).astype(np.uint8)
    for suffix, order in ((".jpg", "<"), (".jpg", ">"), (".png", ">")):
        data = with_exif(encoded(image, suffix), exif(orientation, order))
        assert is_turned(data, "x") == (orientation > 1)
        expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        np.testing.assert_array_equal(decode_deep(data, "x", upright=True), expected)
        assert decode_image(data, "x").shape == (24, 32, 3)
        assert decode_deep(data, "x", upright=True).shape[:2] == ((32, 24) if orientation > 4 else (24, 32))


@pytest.mark.parametrize("block", [b"", b"II*\0", exif(9), exif(0), exif(6)[:20], b"XX" + exif(6)[2:]])
def test_exif_that_says_nothing_usable_turns_nothing(block: bytes) -> None:
    for suffix in (".jpg", ".png", ".webp"):
        assert not is_turned(with_exif(encoded(GRAY.astype(np.uint8), suffix), block), "x")


def write_turned(folder: Path, orientation: int = 6) -> None:
    """Two frames that are 10 wide and 20 high when they are upright."""
    folder.mkdir(parents=True)
    for t in range(2):
        data = with_exif(encoded(np.full((10, 20, 3), 5 * t, np.uint8), ".jpg"), exif(orientation))
        (folder / f"{t + 1:08d}.jpg").write_bytes(data)


def test_frames_are_turned_but_where_the_toolkit_of_a_benchmark_does_not(tmp_path: Path) -> None:
    env = EnvSettings(data_dir=tmp_path / "data")
    places = {"lasot": "lasot/zebra/zebra-17/img", "got10k_val": "got10k/val/GOT-10k_Val_000001"}
    for place in (*places.values(), "own/clip"):
        write_turned(tmp_path / "data" / place)
        (tmp_path / "data" / place / "groundtruth.txt").write_text("1,2,3,4\n" * 2)
    sizes = {}
    for name in (*places, f"folder:{tmp_path}/data/own"):
        (found,) = (one for one in get_dataset(name, env=env) if one.has_frames())
        sizes[found.dataset] = found.image_size
    assert sizes == {"lasot": (10, 20), "folder": (10, 20), "got10k": (20, 10)}


@pytest.mark.usefixtures("quick_workers")
def test_what_is_done_to_pictures_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name, offsets in (("a", [0, 64, 128]), ("b", [0, 0, 0])):
        write_thermal(tmp_path / "data" / name / "img", offsets)
        (tmp_path / "data" / name / "groundtruth.txt").write_text("1,2,3,4\n" * 3)
    for name in "cd":
        write_turned(tmp_path / "data" / name / "img")
        (tmp_path / "data" / name / "groundtruth.txt").write_text("1,15,3,4\n" * 2)  # inside of the turned one only
    with caplog.at_level(logging.INFO):
        summary = run(tmp_path / "data", tmp_path / "out", workers=1)
    assert len(summary.done) == 4
    assert [message for message in caplog.messages if message.startswith("sequence ")] == [
        "sequence a: its pictures have more than 8 bits: values from 20000 to 20256 are stretched to 8 bits, with "
        "these limits in all of its frames",
        "sequence c: its pictures are turned as their EXIF orientation says: boxes belong to the turned ones",
    ]


def test_pictures_of_8_bits_are_not_spoken_of(tmp_path: Path) -> None:
    write_turned(tmp_path / "img", 1)
    frames = ImageFrames(tmp_path / "img")
    assert [int(image.mean()) for image in frames] == [0, 5] and frames.remarks() == []
    whole = np.random.default_rng(0).integers(0, 65536, (8, 8)).astype(np.uint16)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/1.png").write_bytes(encoded(whole))
    frames = ImageFrames(tmp_path / "deep")
    assert frames.frame(0).tolist() == np.repeat(whole[..., None] >> 8, 3, axis=2).tolist() and frames.remarks() == []
