"""The checkpoint files of a training run: their names, which are kept, and which one a run goes on from.

Two kinds lie in a run's folder: ``OSTrack_ep0003.pth.tar`` after epoch 3, the published name, and
``partial_ep0003_step000500.pth.tar`` after 500 steps of epoch 3. Both are ordered by how far training had come.
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

log = logging.getLogger(__name__)

_EPOCH_NAME = re.compile(r"OSTrack_ep(\d{4,})\.pth\.tar")
_PARTIAL_NAME = re.compile(r"partial_ep(\d{4,})_step(\d{6,})\.pth\.tar")
_PARTIALS_KEPT = 2

# Epochs that are complete, and steps done in the one after them.
Moment = tuple[int, int]


def checkpoint_path(folder: Path, epoch: int) -> Path:
    """``OSTrack_ep0300.pth.tar``, the published name."""
    return folder / f"OSTrack_ep{epoch:04d}.pth.tar"


def partial_path(folder: Path, epoch: int, step: int) -> Path:
    """The file for the time after ``step`` steps of ``epoch``, counted from 1."""
    return folder / f"partial_ep{epoch:04d}_step{step:06d}.pth.tar"


def list_checkpoints(folder: Path) -> dict[int, Path]:
    """The checkpoints of complete epochs in ``folder`` by epoch, oldest first."""
    return {epoch: path for (epoch, step), path in list_moments(folder).items() if not step}


def list_moments(folder: Path) -> dict[Moment, Path]:
    """All checkpoints of ``folder``, those inside of epochs too, oldest first."""
    found: dict[Moment, Path] = {}
    for path in folder.glob("*.pth.tar"):
        if match := _EPOCH_NAME.fullmatch(path.name):
            found[int(match[1]), 0] = path
        elif match := _PARTIAL_NAME.fullmatch(path.name):
            found[int(match[1]) - 1, int(match[2])] = path
    return dict(sorted(found.items()))


def find_resume(resume: str, folder: Path, whole_epochs: bool = False) -> tuple[Path, dict[str, Any]] | None:
    """The checkpoint to go on from, loaded.

    Args:
        resume: ``none``; ``latest``, the newest in ``folder`` that is whole, if there is any; or a path.
        whole_epochs: of those in ``folder`` take the ones that were written at the end of an epoch only.

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
            log.warning("%s; trying the one before", error)
    if candidates:
        raise CheckpointError(f"no checkpoint in {folder} can be loaded; move them away or use --resume none")
    return None


def _load_whole(path: Path) -> dict[str, Any]:
    """Load a checkpoint and compare its checksums, which torch passes over: a hole in it would become weights."""
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
    """Move checkpoints of ``folder`` that are newer than ``moment`` into a sub-folder, and remove half-written files.

    A run that starts there writes its own in their place; were they left, ``latest`` would one day go on from them.
    The folder is made where it is missing.

    Raises:
        CheckpointError: nothing can be written there: better now than after the first epoch.
    """
    newer = [path for found, path in list_moments(folder).items() if found > moment]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=folder).close()
        for path in folder.glob("*.pth.tar.tmp"):
            path.unlink()
        if newer:
            number = 1 + sum(1 for _ in folder.glob("replaced_*"))
            aside = folder / f"replaced_{number}"
            aside.mkdir()
            for path in newer:
                path.rename(aside / path.name)
            log.warning("%d newer checkpoints, %s to %s, were moved to %s",
                        len(newer), newer[0].name, newer[-1].name, aside)  # fmt: skip
    except OSError as error:
        raise CheckpointError(f"checkpoint folder {folder} cannot be written: {error}") from error


def remove_superseded(folder: Path, moment: Moment, interval: int, own: set[int]) -> None:
    """After the checkpoint of ``moment`` is written: delete what it makes superfluous.

    Inside an epoch the two newest partial checkpoints stay. At the end of one its partial checkpoints go, and so does
    the last but one epoch before it, unless its number is a multiple of ``interval``: the two newest are always there,
    and every ``interval``-th. Only epochs in ``own``, those that this process saved, are ever deleted.
    """
    epoch, step = moment
    partial = [path for (_, steps), path in list_moments(folder).items() if steps]
    for path in partial[:-_PARTIALS_KEPT] if step else partial:
        path.unlink(missing_ok=True)
    old = epoch - 2
    if not step and old in own and old % interval:
        checkpoint_path(folder, old).unlink(missing_ok=True)
        own.discard(old)
