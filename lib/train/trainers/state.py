"""The checkpoints of a training run: what is in them, which are kept, and which one a run goes on from."""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib.config.ostrack.defaults import EXTENSIONS
from lib.utils.checkpoint import load_checkpoint
from lib.utils.errors import CheckpointError, ConfigError

log = logging.getLogger(__name__)

_NAME = re.compile(r"OSTrack_ep(\d{4,})\.pth\.tar$")
# Keys that may change between a run and its continuation: they change how long or how fast it trains, not what.
_FREE_KEYS = (
    "TRAIN.EPOCH",
    "TRAIN.NUM_WORKER",
    "TRAIN.PRINT_INTERVAL",
    "TRAIN.VAL_EPOCH_INTERVAL",
    "TRAIN.CHECKPOINT_INTERVAL",
    "DATA.VAL.",
    "TEST.",
    "MODEL.PRETRAIN_FILE",
)


def checkpoint_path(folder: Path, epoch: int) -> Path:
    """``OSTrack_ep0300.pth.tar``, the published name."""
    return folder / f"OSTrack_ep{epoch:04d}.pth.tar"


def list_checkpoints(folder: Path) -> dict[int, Path]:
    """The checkpoints of ``folder`` by epoch, oldest first."""
    found = {int(m[1]): path for path in folder.glob("OSTrack_ep*.pth.tar") if (m := _NAME.search(path.name))}
    return dict(sorted(found.items()))


def find_resume(resume: str, folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The checkpoint to go on from, loaded.

    Args:
        resume: ``none``; ``latest``, the newest in ``folder`` that is whole, if there is any; or a path.

    Raises:
        CheckpointError: the path cannot be loaded, or all checkpoints in ``folder`` are damaged.
    """
    if resume == "none":
        return None
    if resume != "latest":
        return Path(resume), load_checkpoint(resume)
    candidates = list(list_checkpoints(folder).values())
    for path in reversed(candidates):
        try:
            return path, load_checkpoint(path)
        except CheckpointError as error:
            log.warning("%s; trying the one before", error)
    if candidates:
        raise CheckpointError(f"no checkpoint in {folder} can be loaded; move them away or use --resume none")
    return None


def remove_superseded(folder: Path, epoch: int, interval: int, own: set[int]) -> None:
    """After ``epoch`` is saved: delete the last but one before it, unless its number is a multiple of ``interval``.

    So the two newest are always there, and every ``interval``-th. Only epochs in ``own``, those that this process
    saved, are ever deleted.
    """
    old = epoch - 2
    if old in own and old % interval:
        checkpoint_path(folder, old).unlink(missing_ok=True)
        own.discard(old)


def check_same_config(stored: Mapping[str, Any], current: Mapping[str, Any], path: Path) -> None:
    """Refuse to go on with another experiment.

    Raises:
        ConfigError: naming every key that differs and matters.
    """
    before, now = ({**_flatten(EXTENSIONS), **_flatten(config)} for config in (stored, current))
    different = [
        f"{key} was {before.get(key, 'not set')}, is {now.get(key, 'not set')}"
        for key in sorted({*before, *now})
        if before.get(key) != now.get(key) and not key.startswith(_FREE_KEYS)
    ]
    if different:
        raise ConfigError(
            f"{path} was trained with another configuration: {'; '.join(different)}. "
            "Undo the change, or start anew with --resume none or another --save_dir"
        )


def rng_state() -> dict[str, Any]:
    """State of every global random generator, in primitive containers and tensors."""
    name, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": [name, torch.from_numpy(keys.astype(np.int64)), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_rng(state: Mapping[str, Any]) -> None:
    """Put the generators back; a checkpoint from a machine with other GPUs restores those that both have."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"].cpu())
    for device, cuda_state in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(cuda_state.cpu(), device)


def _flatten(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in table.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat
