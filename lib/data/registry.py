"""Training data sets by the names that experiments use: one row of a table each, over a few layouts.

To add a data set, add a row; see docs/add_a_data_set.md.
"""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from lib.data import coco, imagenet_vid
from lib.data.base import CONFIGURE
from lib.data.cache import cache_path, cached_table
from lib.data.layouts import Layout, Plan, SequenceFiles, covered, not_absent
from lib.data.own import own_layout
from lib.data.pictures import pictures_layout
from lib.data.selection import split_selection
from lib.data.sequence_lists import (
    class_folders,
    got10k_sequences,
    lasot_sequences,
    tnl2k_sequences,
    trackingnet_sequences,
)
from lib.data.storage import FolderStorage, Storage, open_storage
from lib.data.tracks import TrackDataset
from lib.utils.errors import ConfigError, DataError

log = logging.getLogger(__name__)

_MOST_LISTED = 5


class FolderSettings(Protocol):
    """Settings that name folders: ``cache_dir``, and those of the rows of :data:`TABLE` and of :data:`OWN_FOLDERS`."""

    cache_dir: str


TRACKINGNET_SETS = tuple(range(12))


@dataclass(frozen=True)
class DatasetSpec:
    """One training data set.

    Attributes:
        setting: the entry of ``lib/train/admin/local.py`` that names its folder.
        layout: finds its sequences and reads its annotation.
        lmdb_setting: the entry that names its lmdb.
        lmdb_folder: what the keys of the lmdb begin with.
        content: what of the folder belongs to it; nothing: all.
        lmdb_per_folder: the lmdb is one for each folder of ``content``, called ``FOLDER_lmdb``.
        is_video: sequences of frames, not still images.
        counted: a folder of frames holds as many pictures as its sequence has boxes.
    """

    setting: str
    layout: Layout
    lmdb_setting: str
    lmdb_folder: str = ""
    content: tuple[str, ...] = ()
    lmdb_per_folder: bool = False
    is_video: bool = True
    counted: bool = True


_LASOT = SequenceFiles(
    lasot_sequences,
    boxes="{group}/{name}/groundtruth.txt",
    frames="{group}/{name}/img",
    numbered="{:08d}.jpg",
    flags=(("{group}/{name}/full_occlusion.txt", not_absent), ("{group}/{name}/out_of_view.txt", not_absent)),
)
_GOT10K = SequenceFiles(
    got10k_sequences(),
    boxes="{name}/groundtruth.txt",
    frames="{name}",
    numbered="{:08d}.jpg",
    flags=(("{name}/absence.label", not_absent), ("{name}/cover.label", covered)),
    flags_optional=True,
)
_TRACKINGNET = SequenceFiles(
    trackingnet_sequences(TRACKINGNET_SETS),
    boxes="{group}/anno/{name}.txt",
    frames="{group}/frames/{name}",
    numbered="{:d}.jpg",
    first=0,
)
_TNL2K = SequenceFiles(tnl2k_sequences, boxes="{group}/{name}/groundtruth.txt", frames="{group}/{name}/imgs")
_VASTTRACK = SequenceFiles(
    class_folders,
    boxes="{group}/{name}/Groundtruth.txt",
    frames=("{group}/{name}/imgs", "{group}/{name}/img"),
    numbered="{:05d}.jpg",
)
_GOT10K_ROW = DatasetSpec("got10k_dir", _GOT10K, "got10k_lmdb_dir", lmdb_folder="train")

TABLE = {
    "LASOT": DatasetSpec("lasot_dir", _LASOT, "lasot_lmdb_dir"),
    "GOT10K_vottrain": replace(_GOT10K_ROW, layout=replace(_GOT10K, sequences=got10k_sequences("vottrain"))),
    "GOT10K_votval": replace(_GOT10K_ROW, layout=replace(_GOT10K, sequences=got10k_sequences("votval"))),
    "GOT10K_train_full": _GOT10K_ROW,
    "GOT10K_official_val": replace(_GOT10K_ROW, setting="got10k_val_dir", lmdb_folder="val"),
    "COCO17": DatasetSpec(
        "coco_dir",
        coco.coco_layout,
        "coco_lmdb_dir",
        content=(coco.ANNOTATION, coco.IMAGES),
        is_video=False,
        counted=False,
    ),
    "VID": DatasetSpec(
        "imagenet_dir",
        imagenet_vid.vid_layout,
        "imagenet_lmdb_dir",
        content=(imagenet_vid.ANNOTATIONS, imagenet_vid.FRAMES),
        counted=False,
    ),
    "TRACKINGNET": DatasetSpec(
        "trackingnet_dir",
        _TRACKINGNET,
        "trackingnet_lmdb_dir",
        content=tuple(f"TRAIN_{number}" for number in TRACKINGNET_SETS),
        lmdb_per_folder=True,
    ),
    "TNL2K": DatasetSpec("tnl2k_dir", _TNL2K, "tnl2k_lmdb_dir"),
    "VASTTRACK": DatasetSpec("vasttrack_dir", _VASTTRACK, "vasttrack_lmdb_dir"),
}


class FolderLayout(Protocol):
    """Finds data in several folders; takes those whose name matches one of the patterns, or all without patterns."""

    def __call__(self, storage: Storage, roots: Sequence[str], patterns: Sequence[str] = ()) -> Plan: ...


# Data in folders of one's own: the entry that names them, their layout, whether they are video. They have no lmdb.
OWN_FOLDERS: dict[str, tuple[str, FolderLayout, bool]] = {
    "FOLDER": ("folder_dir", own_layout, True),
    "PICTURES": ("pictures_dir", pictures_layout, False),
}
NAMES = (*TABLE, *OWN_FOLDERS, "IMAGES")


def own_setting(name: str) -> str:
    """The entry of ``local.py`` that names the folders of ``FOLDER`` or ``PICTURES``; empty for other data sets."""
    kind, _ = split_selection(name)
    return OWN_FOLDERS[kind][0] if kind in OWN_FOLDERS else ""


def find_spec(name: str) -> DatasetSpec:
    """The row of a data set. ``TRACKINGNET[0,4-7]`` is TrackingNet with some of its 12 sets only.

    Raises:
        ConfigError: there is no such data set.
    """
    if match := re.fullmatch(r"TRACKINGNET\[(.*)]", name):
        sets = _numbers(match[1], name)
        layout = replace(_TRACKINGNET, sequences=trackingnet_sequences(sets))
        return replace(TABLE["TRACKINGNET"], layout=layout, content=tuple(f"TRAIN_{number}" for number in sets))
    if name not in TABLE:
        near = difflib.get_close_matches(name, NAMES, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ConfigError(f"unknown training data set {name!r}: {hint}known are {', '.join(NAMES)}")
    return TABLE[name]


def _numbers(text: str, name: str) -> list[int]:
    """``0,4-6`` as [0, 4, 5, 6]."""
    parts = [re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part) for part in text.split(",")]
    numbers = [n for part in parts if part for n in range(int(part[1]), int(part[2] or part[1]) + 1)]
    if not all(parts) or not numbers or not set(numbers) <= set(TRACKINGNET_SETS):
        raise ConfigError(f"{name}: expected sets from 0 to 11, like TRACKINGNET[0,4-7]")
    return sorted(set(numbers))


def open_dataset(name: str, env: FolderSettings, use_lmdb: bool = False) -> TrackDataset:
    """Open an annotated data set: any name but ``IMAGES``.

    Args:
        name: name of a data set. ``FOLDER[cars_*,bike]`` takes the sequences with such names alone, ``PICTURES[voc*]``
            the folders.
        use_lmdb: read it from its lmdb; ``FOLDER`` and ``PICTURES`` have none, and are read from their folders.

    Raises:
        ConfigError: unknown name, or its place is not set.
        DataError: the data are missing or damaged.
    """
    kind, patterns = split_selection(name)
    if kind in OWN_FOLDERS:
        setting, layout, is_video = OWN_FOLDERS[kind]
        roots = folders(getattr(env, setting))
        if not roots:
            raise ConfigError(f"{kind}: " + CONFIGURE.format(setting=setting))
        found = partial(layout, roots=roots, patterns=patterns)
        return _open(name, FolderStorage(""), found, env, setting, "\n".join(roots), is_video)
    row = find_spec(name)
    setting = row.lmdb_setting if use_lmdb else row.setting
    place = getattr(env, setting)
    try:
        storage = open_storage(place, use_lmdb)
    except DataError as error:
        raise DataError(f"{name}: {error}; " + CONFIGURE.format(setting=setting)) from error
    storage = storage.within(row.lmdb_folder) if use_lmdb else storage
    return _open(name, storage, row.layout, env, setting, place, row.is_video)


def _open(
    name: str, storage: Storage, layout: Layout, env: FolderSettings, setting: str, place: str, video: bool = True
) -> TrackDataset:
    try:
        plan: Plan = layout(storage)
    except DataError as error:
        raise DataError(f"{name}: {error}; " + CONFIGURE.format(setting=setting)) from error
    try:
        table = cached_table(cache_path(env.cache_dir, name, place), storage.stamp(plan.files), plan.read)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    reasons = [text.decode() for text in table.left_out]
    for reason in reasons[:_MOST_LISTED]:
        log.warning("%s", reason)
    if len(reasons) > _MOST_LISTED:
        log.warning("%s: %d more sequences are left out", name, len(reasons) - _MOST_LISTED)
    return TrackDataset(name, storage, table, video, upright=split_selection(name)[0] == "FOLDER")


def folders(value: str | list[str]) -> list[str]:
    """A setting that takes one folder, several or none, as a list."""
    return [value] if isinstance(value, str) and value else list(value)


def lmdb_jobs(name: str, env: FolderSettings) -> list[tuple[Path, Path, str, tuple[str, ...]]]:
    """What makes the lmdb of a data set: source folder, lmdb, start of the keys, and what of the folder to take.

    Raises:
        ConfigError: there is no such data set, or it has no lmdb.
    """
    if own_setting(name) or name == "IMAGES":
        raise ConfigError(f"{name} has no lmdb: it is read from its folders, with --use_lmdb 1 too")
    row = find_spec(name)
    source, target = Path(getattr(env, row.setting)), Path(getattr(env, row.lmdb_setting))
    if row.lmdb_per_folder:
        return [(source / part, target / f"{part}_lmdb", "", ()) for part in row.content]
    return [(source, target, row.lmdb_folder, row.content)]
