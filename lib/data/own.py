"""The data set ``FOLDER``: sequences of one's own, pictures or videos."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lib.data.exif import exif_orientation
from lib.data.image_io import decode_deep
from lib.data.layouts import Plan, listed_track, not_absent, read_info
from lib.data.own_folder import OwnSequence, own_sequences
from lib.data.selection import selected
from lib.data.storage import Storage
from lib.data.tracks import FrameKind, LeftOut, Track, TrackTable
from lib.data.video_io import VideoFile
from lib.utils.errors import ImageError

log = logging.getLogger(__name__)


def own_layout(storage: Storage, roots: Sequence[str], patterns: Sequence[str] = ()) -> Plan:
    """Folders of sequences (or of one), see :func:`lib.data.own_folder.own_sequences`. Keys are absolute paths.

    Args:
        roots: the folders.
        patterns: of the names of the sequences to take, see :func:`lib.data.selection.selected`.

    A video is decoded once when it is first seen: to count its frames, and to try whether seeking in it is exact.
    """
    found = [(Path(root).resolve(), item) for root in roots for item in own_sequences(Path(root).resolve())]
    names = set(selected([item.name for _, item in found], patterns, "FOLDER"))
    found = [(root, item) for root, item in found if item.name in names]
    files = [str(path) for _, item in found for path in (item.boxes, *item.flags, item.frames)]
    return Plan(files, lambda: _read(storage, found))


def _read(storage: Storage, found: list[tuple[Path, OwnSequence]]) -> TrackTable:
    return TrackTable.join(_track(storage, root, item) for root, item in tqdm(found, desc="annotation", delay=2))


def _track(storage: Storage, root: Path, item: OwnSequence) -> Track | LeftOut:
    name = str(item.folder.relative_to(root.parent))
    info = read_info(storage, str(item.boxes), [(str(path), not_absent) for path in item.flags])
    if item.frames.is_dir():
        track = listed_track(storage, name, str(item.frames), info)
        if isinstance(track, Track):
            _say_what_is_done(item.frames / track.files[0])
        return track
    video = VideoFile(item.frames)
    if len(video) != len(info.bbox):
        counts = f"{len(video)} frames but {len(info.bbox)} boxes in the annotation"
        return LeftOut(f"{item.frames} is left out: {counts}")
    exact = video.seeks_exactly()
    if not exact:
        log.warning("%s: seeking is inexact, so each frame is decoded from the start, which is slow; pictures in img/ "
                    "are faster", item.frames)  # fmt: skip
    return Track(name, info, str(item.frames), FrameKind.VIDEO if exact else FrameKind.SLOW_VIDEO)


def _say_what_is_done(first: Path) -> None:
    """Say once what is done to pictures like this one that a user may not expect."""
    data = first.read_bytes()
    if exif_orientation(data) != 1:
        _say_once("%s and others like it are turned as their EXIF orientation says", first)
    try:
        deep = decode_deep(data, str(first)).dtype != np.uint8
    except ImageError:  # told when a sample is drawn from it
        return
    if deep:
        _say_once("%s and others like it have more than 8 bits: limits of each sequence make 8 of them", first)


_said: set[str] = set()


def _say_once(message: str, path: Path) -> None:
    if message not in _said:
        _said.add(message)
        log.info(message, path)
