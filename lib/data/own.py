"""The data set ``FOLDER``: sequences of one's own, pictures or videos."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lib.data.exif import exif_orientation
from lib.data.image_io import decode_deep
from lib.data.layouts import Plan, plan_of
from lib.data.own_folder import own_files, own_sequences
from lib.data.selection import selected
from lib.data.storage import Storage
from lib.data.tracks import FrameKind, TrackTable
from lib.utils.errors import ImageError

log = logging.getLogger(__name__)


def own_layout(storage: Storage, roots: Sequence[str], patterns: Sequence[str] = ()) -> Plan:
    """Folders of sequences (or of one), see :func:`lib.data.own_folder.own_sequences`. Keys are absolute paths.

    Args:
        roots: the folders.
        patterns: of the names of the sequences to take, see :func:`lib.data.selection.selected`.
    """
    found = [(Path(root).resolve(), item) for root in roots for item in own_sequences(Path(root).resolve())]
    names = set(selected([item.name for _, item in found], patterns, "FOLDER"))
    files = [own_files(item, str(item.folder.relative_to(root.parent))) for root, item in found if item.name in names]
    plan = plan_of(files)
    return Plan(plan.files, lambda: _say_what_is_done(plan.read()))


def _say_what_is_done(table: TrackTable) -> TrackTable:
    """Say once what is done to pictures like these that a user may not expect."""
    for index in np.flatnonzero(table.kinds == FrameKind.LISTED):
        first = Path(table.places[index].decode(), table.files[table.starts[index]].decode())
        data = first.read_bytes()
        if exif_orientation(data) != 1:
            _say_once("%s and others like it are turned as their EXIF orientation says", first)
        try:
            deep = decode_deep(data, str(first)).dtype != np.uint8
        except ImageError:  # told when a sample is drawn from it
            continue
        if deep:
            _say_once("%s and others like it have more than 8 bits: limits of each sequence make 8 of them", first)
    return table


_said: set[str] = set()


def _say_once(message: str, path: Path) -> None:
    if message not in _said:
        _said.add(message)
        log.info(message, path)
