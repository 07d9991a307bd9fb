"""Training sets by the names that experiments use: the rows of :data:`TRAINING`, and folders of one's own."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from lib.data.datasets import TRACKINGNET_SETS, TRAINING, TrainingSpec, trackingnet
from lib.data.layouts import Plan
from lib.data.own_folder import plan_own, split_selection
from lib.data.pictures import plan_pictures
from lib.data.storage import FolderStorage, Storage, open_storage
from lib.data.tracks import TrackDataset, cache_path, cached_table
from lib.utils.errors import ConfigError, DataError, suggestion

logger = logging.getLogger(__name__)

CONFIGURE = (
    "set {setting} in lib/train/admin/local.py (tracking/create_default_local_file.py writes that file), "
    "or put the data there"
)
_MOST_LISTED = 5


class FolderSettings(Protocol):
    """Settings that name folders: ``cache_dir``, those of the rows of ``TRAINING``, and of :data:`OWN_FOLDERS`."""

    cache_dir: str


# Finds data in several folders: those whose name matches one of the patterns, or all without patterns.
FolderPlan = Callable[[Storage, Sequence[str], Sequence[str]], Plan]
# Data in folders of one's own: the entry that names them, their plan, whether they are video. They have no lmdb.
OWN_FOLDERS: dict[str, tuple[str, FolderPlan, bool]] = {
    "FOLDER": ("folder_dir", plan_own, True),
    "PICTURES": ("pictures_dir", plan_pictures, False),
}
NAMES = (*TRAINING, *OWN_FOLDERS, "IMAGES")


def own_setting(name: str) -> str:
    """Return the entry of ``local.py`` that names the folders of ``FOLDER`` or ``PICTURES``; else an empty text."""
    kind, _ = split_selection(name)
    return OWN_FOLDERS[kind][0] if kind in OWN_FOLDERS else ""


def find_spec(name: str) -> TrainingSpec:
    """Return the row of a data set. ``TRACKINGNET[0,4-7]`` is TrackingNet with some of its 12 sets only.

    Raises ConfigError: there is no such data set.
    """
    if match := re.fullmatch(r"TRACKINGNET\[(.*)]", name):
        return trackingnet(_numbers(match[1], name))
    if name not in TRAINING:
        known = f"known are {', '.join(NAMES)}"
        raise ConfigError(f"unknown training data set {name!r}: {suggestion(name, NAMES, known)}")
    return TRAINING[name]


def _numbers(text: str, name: str) -> tuple[int, ...]:
    """``0,4-6`` as (0, 4, 5, 6)."""
    parts = [re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part) for part in text.split(",")]
    numbers = [n for part in parts if part for n in range(int(part[1]), int(part[2] or part[1]) + 1)]
    if not all(parts) or not numbers or not set(numbers) <= set(TRACKINGNET_SETS):
        raise ConfigError(f"{name}: expected sets from 0 to 11, like TRACKINGNET[0,4-7]")
    return tuple(sorted(set(numbers)))


def open_dataset(name: str, env: FolderSettings, use_lmdb: bool = False) -> TrackDataset:
    """Open an annotated data set: any name but ``IMAGES``.

    ``FOLDER[cars_*,bike]`` takes the sequences with such names alone, ``PICTURES[voc*]`` the folders; these two have no
    lmdb, and are read from their folders with ``use_lmdb`` too.

    Raises ConfigError: unknown name, or its folder is not set; DataError: the data are missing or damaged.
    """
    kind, patterns = split_selection(name)
    row = None if kind in OWN_FOLDERS else find_spec(name)
    if row is None:
        setting, plan_folders, is_video = OWN_FOLDERS[kind]
        roots = folders(getattr(env, setting))
        if not roots:
            raise ConfigError(f"{kind}: " + CONFIGURE.format(setting=setting))
        root = "\n".join(roots)
    else:
        setting, is_video = row.lmdb_setting if use_lmdb else row.setting, row.is_video
        root = getattr(env, setting)
    try:
        if row is None:
            storage: Storage = FolderStorage("")
            plan = plan_folders(storage, roots, patterns)
        else:
            storage = open_storage(root, use_lmdb).within(row.lmdb_folder if use_lmdb else "")
            plan = row.plan(storage)
    except DataError as error:
        raise DataError(f"{name}: {error}; " + CONFIGURE.format(setting=setting)) from error
    try:
        table = cached_table(cache_path(env.cache_dir, name, root), storage.stamp(plan.files), plan.read)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    reasons = [text.decode() for text in table.left_out]
    for reason in reasons[:_MOST_LISTED]:
        logger.warning("%s", reason)
    if len(reasons) > _MOST_LISTED:
        logger.warning("%s: %d more sequences are left out", name, len(reasons) - _MOST_LISTED)
    return TrackDataset(name, storage, table, is_video, upright=kind == "FOLDER")


def folders(value: str | Path | Sequence[str | Path] | None) -> list[str]:
    """Return a setting that takes one folder, several or none, as a list."""
    several = [value] if isinstance(value, (str, Path)) else value or ()
    return [str(folder) for folder in several if folder]


def lmdb_jobs(name: str, env: FolderSettings) -> list[tuple[Path, Path, str, tuple[str, ...]]]:
    """List what makes the lmdb of a data set: source folder, lmdb, start of the keys, and what of the folder to take.

    Raises ConfigError: there is no such data set, or it has no lmdb.
    """
    if own_setting(name) or name == "IMAGES":
        raise ConfigError(f"{name} has no lmdb: it is read from its folders, with --use_lmdb 1 too")
    row = find_spec(name)
    source, target = Path(getattr(env, row.setting)), Path(getattr(env, row.lmdb_setting))
    if row.lmdb_per_folder:
        return [(source / part, target / f"{part}_lmdb", "", ()) for part in row.content]
    return [(source, target, row.lmdb_folder, row.content)]
