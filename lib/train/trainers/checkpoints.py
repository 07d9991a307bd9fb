"""The checkpoint files of a training run: their names, which ones to keep, and which one to resume from.

A run's folder holds two kinds: ``OSTrack_ep0003.pth.tar`` of epoch 3, the published name, and
``partial_ep0003_step000500.pth.tar`` after 500 steps of epoch 3.
"""

from __future__ import annotations

import logging
import re
import zipfile
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from lib.utils.checkpoint import load_checkpoint
from lib.utils.errors import CheckpointError

logger = logging.getLogger(__name__)

_EPOCH_NAME = re.compile(r"OSTrack_ep(\d{4,})\.pth\.tar")
_PARTIAL_NAME = re.compile(r"partial_ep(\d{4,})_step(\d{6,})\.pth\.tar")
_PARTIALS_KEPT = 2

Moment = tuple[int, int]  # completed epochs, and steps done in the next one


def checkpoint_path(folder: Path, epoch: int, step: int = 0) -> Path:
    """Return the file for ``epoch`` completed epochs and ``step`` steps of the next one."""
    if step:
        return folder / f"partial_ep{epoch + 1:04d}_step{step:06d}.pth.tar"
    return folder / f"OSTrack_ep{epoch:04d}.pth.tar"


def list_checkpoints(folder: Path) -> dict[int, Path]:
    """Return the checkpoints of completed epochs in ``folder`` by epoch, oldest first."""
    return {epoch: path for (epoch, step), path in list_moments(folder).items() if not step}


def list_moments(folder: Path) -> dict[Moment, Path]:
    """Return all checkpoints in ``folder``, those inside epochs too, oldest first."""
    found: dict[Moment, Path] = {}
    for path in folder.glob("*.pth.tar"):
        if match := _EPOCH_NAME.fullmatch(path.name):
            found[int(match[1]), 0] = path
        elif match := _PARTIAL_NAME.fullmatch(path.name):
            found[int(match[1]) - 1, int(match[2])] = path
    return dict(sorted(found.items()))


def find_resume(resume: str, folder: Path, whole_epochs: bool = False) -> tuple[Path, dict[str, Any]] | None:
    """Find and load the checkpoint to resume from.

    ``resume`` is ``none``; ``latest``, the newest undamaged one in ``folder``, if there is any, with ``whole_epochs``
    of those from the end of an epoch; or a path.

    Raises:
        CheckpointError: the path cannot be loaded, or all checkpoints in ``folder`` are damaged.
    """
    if resume == "none":
        return None
    if resume != "latest":
        return Path(resume), _load_whole(Path(resume))
    candidates = list((list_checkpoints if whole_epochs else list_moments)(folder).values())
    for path in reversed(candidates):
        try:
            return path, _load_whole(path)
        except CheckpointError as error:
            logger.warning("%s; trying the one before", error)
    if candidates:
        raise CheckpointError(f"no checkpoint in {folder} can be loaded; move them away or use --resume none")
    return None


def _load_whole(path: Path) -> dict[str, Any]:
    """Load a checkpoint and verify its checksums, which torch does not, so that corrupt weights are detected."""
    state = load_checkpoint(path)
    if zipfile.is_zipfile(path):
        try:
            damaged = zipfile.ZipFile(path).testzip()
        except (OSError, zipfile.BadZipFile) as error:
            raise CheckpointError(f"checkpoint {path} is damaged: {error}") from error
        if damaged:
            raise CheckpointError(f"checkpoint {path} is damaged: the checksum of {damaged} is wrong")
    return state


def set_aside_newer(folder: Path, moment: Moment) -> None:
    """Move checkpoints newer than ``moment`` into a sub-folder, so that ``latest`` never resumes from them.

    Incomplete files are removed, and ``folder`` is created if it does not exist.

    Raises:
        CheckpointError: the folder cannot be written (checked now rather than after the first epoch).
    """
    newer = [path for found, path in list_moments(folder).items() if found > moment]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=folder).close()
        for path in folder.glob("*.pth.tar.tmp"):
            path.unlink()
        if newer:
            aside = folder / f"replaced_{1 + len(list(folder.glob('replaced_*')))}"
            aside.mkdir()
            for path in newer:
                path.rename(aside / path.name)
            logger.warning("%d newer checkpoints, %s to %s, were moved to %s",
                        len(newer), newer[0].name, newer[-1].name, aside)  # fmt: skip
    except OSError as error:
        raise CheckpointError(f"checkpoint folder {folder} cannot be written: {error}") from error


def remove_superseded(folder: Path, moment: Moment, interval: int, own: set[int]) -> None:
    """Delete the checkpoints that are superfluous after that of ``moment``.

    Inside an epoch the two newest partial checkpoints are kept, at its end none. Of completed epochs the two newest and
    every ``interval``-th are kept. Only epochs in ``own``, saved by this process, are deleted.
    """
    epoch, step = moment
    partial = [path for (_, steps), path in list_moments(folder).items() if steps]
    for path in partial[:-_PARTIALS_KEPT] if step else partial:
        path.unlink(missing_ok=True)
    old = epoch - 2
    if not step and old in own and old % interval:
        checkpoint_path(folder, old).unlink(missing_ok=True)
        own.discard(old)
