"""The checkpoints of a training run: names, which ones to keep, content, and how a run resumes from one.

A run's folder holds two kinds: ``OSTrack_ep0003.pth.tar`` of epoch 3, the published name, and
``partial_ep0003_step000500.pth.tar`` after 500 steps of epoch 3.
"""

from __future__ import annotations

import logging
import math
import random
import re
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lib.config import ExperimentConfig, to_plain
from lib.models.weights import describe_misfit
from lib.train import distributed
from lib.train.admin.loggers import EpochStats
from lib.utils.checkpoint import load_checkpoint
from lib.utils.errors import CheckpointError, ConfigError
from lib.utils.versions import versions

if TYPE_CHECKING:
    from lib.train.trainers.trainer import Trainer

logger = logging.getLogger(__name__)

_EPOCH_NAME = re.compile(r"OSTrack_ep(\d{4,})\.pth\.tar")
_PARTIAL_NAME = re.compile(r"partial_ep(\d{4,})_step(\d{6,})\.pth\.tar")
_PARTIALS_KEPT = 2
# Keys that may change when a run is resumed: length and speed of training, how often it saves, how many broken images
# it tolerates. TF32 and AMP are not among them because they set the precision.
_FREE_KEYS = (
    "TRAIN.EPOCH", "TRAIN.NUM_WORKER", "TRAIN.DATA_TIMEOUT", "TRAIN.PRINT_INTERVAL", "TRAIN.VAL_EPOCH_INTERVAL",
    "TRAIN.CHECKPOINT_INTERVAL", "TRAIN.SAVE_EVERY_STEPS", "TRAIN.COMPILE", "TRAIN.ACTIVATION_CHECKPOINTING",
    "DATA.MAX_BROKEN_SHARE", "DATA.NORMALIZE_ON_DEVICE", "DATA.VAL.", "TEST.", "MODEL.PRETRAIN_FILE",
)  # fmt: skip
# Their product with the number of processes, the samples per step, must not change.
_BATCH_KEYS = ("TRAIN.BATCH_SIZE", "TRAIN.ACCUM_STEPS")
_ANEW = (
    "To start over use --resume none or another --save_dir, with MODEL.PRETRAIN_FILE={} from the weights of this run"
)

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


def snapshot(trainer: Trainer) -> dict[str, Any]:
    """Return what resuming needs, in the published format: tensors and primitive containers. All ranks call it."""
    return {
        "epoch": trainer.epoch,
        "actor_type": type(trainer.actor).__name__,
        "net_type": type(trainer.net).__name__,
        "net": trainer.net.state_dict(),
        "optimizer": trainer.optimizer.state_dict(),
        "stats": trainer.history,
        "settings": asdict(trainer.settings),
        "step": trainer.step,
        "epoch_step": trainer.epoch_step,
        "epoch_stats": trainer.stats.sums,
        "scheduler": {"type": trainer.cfg.TRAIN.SCHEDULER.TYPE, "epoch": trainer.epoch},
        "scaler": trainer.scaler.state_dict(),
        "ema": trainer.ema.state_dict() if trainer.ema else None,
        "rng": distributed.all_gather_object(rng_state()),
        "world": trainer.info.world,
        "wandb_run_id": trainer.run_logger.run_id if trainer.run_logger else None,
        "config": to_plain(trainer.cfg),
        "data_sizes": trainer.data_sizes,
        "versions": versions(),
    }


def restore(trainer: Trainer, state: dict[str, Any], path: Path) -> None:
    """Resume ``trainer`` from ``state``, read from ``path``; all ranks call this together.

    With ``resume_changed`` the configuration may differ: weights and their average, the optimizer's moments, the loss
    scale, statistics and the number of epochs are restored; everything else follows the new configuration.

    Raises:
        CheckpointError: the checkpoint has weights only, or they do not fit.
        ConfigError: the checkpoint belongs to another experiment.
    """
    missing = snapshot(trainer).keys() - state.keys() - {"data_sizes"}  # new: earlier checkpoints do not have it
    if missing:
        raise CheckpointError(
            f"{path} cannot be resumed: it has no {', '.join(sorted(missing))}. To start from its weights, "
            "name it in MODEL.PRETRAIN_FILE"
        )
    info, settings, optimizer = trainer.info, trainer.settings, state["optimizer"]
    settings.changes[:] = state["settings"].get("changes", [])
    different = "; ".join(changes(state, trainer.cfg, info.world, settings.config_teacher))
    if different:
        if not settings.resume_changed:
            raise ConfigError(
                f"{path} was trained with another configuration: {different}. Undo the change, or resume "
                "with it from the end of the last epoch (--resume_changed keeps weights, optimizer and epoch). "
                f"{_ANEW.format(path)}"
            )
        optimizer = _changed_optimizer(trainer, state, path)
        settings.changes.append(f"epoch {state['epoch'] + 1}: {different}")
        if info.is_main:
            logger.warning("resumes with another configuration from epoch %d: %s", state["epoch"] + 1, different)
    trainer.net.load_state_dict(state["net"])
    trainer.optimizer.load_state_dict(optimizer)
    if trainer.ema:
        trainer.ema.load_state_dict(state["ema"] or {"net": state["net"], "updates": 0})
    if state["scaler"]:
        trainer.scaler.load_state_dict(state["scaler"])
    before, now = state.get("data_sizes", {}), trainer.data_sizes
    changed = [
        f"{name} had {before[name]}, has {now[name]}" for name in now if before.get(name, now[name]) != now[name]
    ]
    if changed and info.is_main:
        logger.warning("the training data are not those of %s, so other samples follow; sequences or images: %s",
                       path, "; ".join(changed))  # fmt: skip
    trainer.history, trainer.stats = state["stats"], EpochStats(state["epoch_stats"])
    trainer.epoch, trainer.epoch_step, trainer.step = state["epoch"], state["epoch_step"], state["step"]
    if info.world == state["world"]:
        restore_rng(state["rng"][info.rank])
    else:
        seed_generators(trainer.cfg.TRAIN.SEED + info.world * (trainer.step + 1) + info.rank)
        if not different:
            logger.warning("%s was written by %d processes, now there are %d: the same samples follow, but batch norm "
                           "and stochastic depth will not be bit for bit what they would have been",
                           path, state["world"], info.world)  # fmt: skip
    logger.info("resumed from %s: %d epochs and %d steps are done, %d steps in all",
                path, trainer.epoch, trainer.epoch_step, trainer.step)  # fmt: skip


def _changed_optimizer(trainer: Trainer, state: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return what another configuration keeps of the optimizer: moments, not learning rates and weight decay."""
    if state["epoch_step"]:
        raise CheckpointError(
            f"{path} was written inside an epoch; --resume_changed resumes from the end of one: name such a checkpoint"
        )
    before, now = state["config"]["TRAIN"], trainer.cfg.TRAIN
    frozen = (
        (before["FREEZE_LAYERS"], before.get("FREEZE_PARTS", [])),  # FREEZE_PARTS only if it was set
        (list(now.FREEZE_LAYERS), list(now.FREEZE_PARTS)),
    )
    groups = trainer.optimizer.state_dict()["param_groups"]
    members = [[group["params"] for group in found] for found in (state["optimizer"]["param_groups"], groups)]
    different = describe_misfit(trainer.net.state_dict(), state["net"])
    if not different and (frozen[0] != frozen[1] or members[0] != members[1]):
        different = ["The optimizer has other groups of parameters."]
    if different:
        raise CheckpointError(
            f"--resume_changed: {path} does not fit. {' '.join(different)} MODEL, sizes, what is frozen and the "
            f"groups of TRAIN.LAYER_DECAY must stay. {_ANEW.format(path)}"
        )
    return {**state["optimizer"], "param_groups": groups}


def changes(checkpoint: Mapping[str, Any], cfg: ExperimentConfig, world: int, teacher: str) -> list[str]:
    """List the relevant keys that differ from the run of ``checkpoint``, with their old and new values.

    Another number of processes, ``world``, is irrelevant if a step has the same samples; ``teacher`` is its experiment.
    """
    now = _flatten(to_plain(cfg, complete=True))
    before = _flatten(to_plain(type(cfg)(), complete=True)) | _flatten(checkpoint["config"])
    before["--config_teacher"], now["--config_teacher"] = checkpoint["settings"].get("config_teacher", ""), teacher
    before["number of processes"], now["number of processes"] = checkpoint["world"], world
    batch_keys = (*_BATCH_KEYS, "number of processes")
    same_batch = math.prod(before[key] for key in batch_keys) == math.prod(now[key] for key in batch_keys)
    free = (*_FREE_KEYS, *(batch_keys if same_batch else ()))
    return [
        f"{key} was {before.get(key, 'not set')}, is {now.get(key, 'not set')}"
        for key in sorted({*before, *now})
        if before.get(key) != now.get(key) and not key.startswith(free)
    ]


def seed_generators(seed: int) -> None:
    """Seed the global generators, used for initial weights and stochastic depth; data loading has its own."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def rng_state() -> dict[str, Any]:
    """Return the state of every global random generator, in primitive containers and tensors."""
    state: Any = np.random.get_state()
    name, keys, *rest = state
    return {
        "python": random.getstate(),
        "numpy": [name, torch.from_numpy(keys.astype(np.int64)), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def restore_rng(state: Mapping[str, Any]) -> None:
    """Restore the global random generators; that of the GPU only if there was one and is one."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())


def _flatten(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat
