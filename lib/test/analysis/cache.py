"""Numbers of result files that were read before, found again by what the files contain, not by name or date."""

from __future__ import annotations

import hashlib
import logging
import os
import zipfile
from pathlib import Path

import numpy as np

from lib.test.evaluation.results import read_result
from lib.utils.replacing import replacing

logger = logging.getLogger(__name__)

_FORMAT = b"boxes 1"  # part of every key: to be changed when files are read differently


def cached_boxes(path: Path, folder: Path | None) -> np.ndarray:
    """The boxes of a result file, (frames, 4), from ``folder`` when a file of the same content was read before.

    A damaged entry is written anew; its checksum is that of the zip format. ``None`` reads the file itself, and so does
    a folder that cannot be written to.

    Raises:
        DataError: the result file cannot be read.
    """
    if folder is None or not path.is_file():
        return read_result(path)
    entry = folder / f"{hashlib.sha256(_FORMAT + path.read_bytes()).hexdigest()[:32]}.npz"
    try:
        with np.load(entry, allow_pickle=False) as file:
            return file["boxes"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        boxes = read_result(path)
    try:
        with replacing(entry, f".{os.getpid()}.npz") as unfinished:
            np.savez(unfinished, boxes=boxes)
    except OSError as error:
        logger.debug("%s is not kept in %s: %s", path, folder, error)
    return boxes
