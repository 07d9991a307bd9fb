"""Annotation parsed once: tables kept in ``cache_dir`` for as long as the files that they were made of are the same."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import zipfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np

from lib.data.tracks import TrackTable
from lib.utils.replacing import replacing

logger = logging.getLogger(__name__)

# To be raised whenever a layout makes another table of the same files.
_FORMAT = 4


def cache_path(cache_dir: str | Path, name: str, root: str, suffix: str = ".npz") -> Path:
    """Return the file kept for the data set ``name`` in ``root``."""
    mark = hashlib.sha256(f"{name}\n{os.path.abspath(root)}".encode()).hexdigest()[:10]
    return Path(cache_dir) / f"{re.sub(r'[^A-Za-z0-9_]+', '_', name).strip('_')}-{mark}{suffix}"


def cached_table(path: Path, stamp: str, make: Callable[[], TrackTable]) -> TrackTable:
    """Read the table in the file ``path``; where that is missing, damaged or outdated, make a new one, and keep it.

    Args:
        path: see :func:`cache_path`.
        stamp: the state of the files that the table is made of.
        make: makes the table.
    """
    stamp = f"{_FORMAT} {stamp}"
    table = _load(path, stamp)
    if table is None:
        table = make()
        _save(path, stamp, table)
    return table


def _load(path: Path, stamp: str) -> TrackTable | None:
    try:
        with np.load(path, allow_pickle=False) as archive:
            if archive["stamp"].item() == stamp:
                return TrackTable(**{field.name: archive[field.name] for field in fields(TrackTable)})
            logger.info("%s is out of date: reading the annotation anew", path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        logger.warning("%s is damaged (%s): reading the annotation anew", path, error)
    return None


def _save(path: Path, stamp: str, table: TrackTable) -> None:
    try:
        with replacing(path, f".{os.getpid()}.tmp") as unfinished, open(unfinished, "wb") as file:
            np.savez(file, stamp=np.array(stamp), **vars(table))
    except OSError as error:
        logger.warning("%s cannot be written (%s): the annotation will be read again next time; set cache_dir in "
                    "lib/train/admin/local.py to a folder that can", path, error)  # fmt: skip
