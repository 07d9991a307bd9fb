"""One training run, from an experiment's name to its last checkpoint."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from lib.config import ExperimentConfig, drawn_datasets, to_plain, unused_keys
from lib.models.family import family_of, load_experiment
from lib.models.layers.block import training_execution
from lib.models.weights import pretrain_path
from lib.train import distributed, optim
from lib.train.actors import build_actor
from lib.train.admin.environment import env_settings
from lib.train.admin.loggers import RunLogger, log_to_file
from lib.train.admin.settings import Settings, TrainOptions
from lib.train.data.loader import build_loader, open_sources
from lib.train.other_experiments import load_previous, load_teacher
from lib.train.trainers import checkpoints
from lib.train.trainers.stop import Preempted
from lib.train.trainers.trainer import SequenceScorer, Trainer
from lib.utils.devices import checked_device, gpu_count
from lib.utils.dist_info import ALONE, DistInfo
from lib.utils.errors import CheckpointError, ConfigError

logger = logging.getLogger(__name__)

_DISK_ERRORS = "ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM", "ENOTDIR"


def run_training(
    config: str,
    overrides: Sequence[str] = (),
    options: TrainOptions = TrainOptions(),  # noqa: B008 (frozen)
    score_sequences: SequenceScorer | None = None,
) -> Path:
    """Train the experiment ``config``, a name or the path of a YAML file, and return the path of its last checkpoint.

    Several processes that call this with the environment of ``torchrun`` train together. ``overrides`` are
    ``KEY.SUB=value`` strings; ``score_sequences`` is what to track after each validation, see :class:`Trainer`.

    Raises:
        Preempted: SIGTERM stopped the run, and everything is saved.
        OSTrackError: configuration, data or checkpoint cannot be used; the message names the cause.
    """
    cfg, info = load_experiment(config, overrides, options.script), distributed.train_dist_info()
    device = pick_device(options.device, info)
    save_dir = str(options.save_dir or env_settings().save_dir)
    chosen = vars(options) | {"script": cfg.family, "save_dir": save_dir, "device": str(device)}
    settings = Settings(**chosen, config_name=cfg.name)
    if not info.is_main:  # the rest is in the log file
        for handler in logging.getLogger().handlers:
            handler.setLevel(logging.WARNING)
            handler.setFormatter(logging.Formatter(f"rank {info.rank}: %(message)s"))
    log_file = log_to_file(settings.log_file(info.rank))
    with _disk_errors(settings.save_dir), log_file, distributed.process_group(device):
        logger.info("experiment %s of %s on %s, %d processes, files in %s",
                    settings.config_name, settings.script, settings.device, info.world, settings.save_dir)  # fmt: skip
        try:
            return _train(cfg, settings, device, info, score_sequences)
        except Preempted as stop:
            logger.log(logging.INFO if stop.together else logging.WARNING, "%s", stop)
            if not stop.together:
                distributed.leave_group()
            preempted = stop
    # Outside the process group, where it would count as a failure: the ranks leave it together, after rank 0 has saved.
    raise preempted


def _train(
    cfg: ExperimentConfig, settings: Settings, device: torch.device, info: DistInfo, scorer: SequenceScorer | None
) -> Path:
    if info.is_main:
        for line in unused_keys(cfg, settings.config_teacher):
            logger.warning("%s", line)
    optim.set_precision(cfg, device)
    checkpoints.seed_generators(cfg.TRAIN.SEED + info.rank)
    last, checkpoint = _resume_point(cfg, settings, info) or (None, None)
    pretrained = checkpoint is None and not settings.config_prv
    if pretrained and cfg.MODEL.PRETRAIN_FILE:
        pretrain_path(cfg.MODEL.PRETRAIN_FILE)  # check it even if the family does not read it
    net = family_of(cfg).build(cfg, pretrained, training_execution(cfg.TRAIN, device))
    if checkpoint is None and settings.config_prv:
        load_previous(net, cfg, settings)
    teacher, amp = None, optim.amp_dtype(cfg.TRAIN.AMP, device)
    if name := settings.config_teacher:
        teacher = load_teacher(name, settings.save_dir, cfg, device, amp, settings.script_teacher)
    actor = build_actor(net.to(device), cfg, amp, teacher)
    if info.local_rank:  # the first process of each machine fills caches that the others read
        distributed.barrier()
    sources = open_sources(cfg, env_settings(), settings.use_lmdb)
    if not info.local_rank:
        distributed.barrier()
    train_loader, val_loader = build_loader(cfg, "TRAIN", sources, info, pin_memory=device.type == "cuda"), None
    if drawn_datasets(cfg, "VAL"):
        val_loader = build_loader(cfg, "VAL", sources, info, pin_memory=device.type == "cuda")
    else:
        logger.info("training without validation")
    trainer = Trainer(actor, cfg, settings, train_loader, val_loader, scorer)
    trainer.data_sizes = {name: len(sources[name]) for name in drawn_datasets(cfg, "TRAIN")}
    wandb_run_id = checkpoint.get("wandb_run_id") if checkpoint else None
    if last is not None and checkpoint is not None:
        checkpoints.restore(trainer, checkpoint, last)
    checkpoint = None  # as large as the network and its optimizer
    try:
        if info.is_main:
            trainer.run_logger = RunLogger(settings, to_plain(cfg), wandb_run_id, trainer.epoch)
            checkpoints.set_aside_newer(settings.checkpoint_dir, (trainer.epoch, trainer.epoch_step))
        trainer.train()
    finally:
        if trainer.run_logger:
            trainer.run_logger.close()
    distributed.barrier()
    written = checkpoints.checkpoint_path(settings.checkpoint_dir, trainer.epoch)
    last = written if last is None or written.is_file() else last  # nothing was left to train
    logger.info("finished: %s", last)
    return last


def _resume_point(cfg: ExperimentConfig, settings: Settings, info: DistInfo) -> tuple[Path, dict[str, Any]] | None:
    """Return the path and content of the checkpoint to resume from, which rank 0 chooses and each process reads.

    With ``resume_changed``, if the newest checkpoint has another configuration, use the newest of a completed epoch.
    """
    found = checkpoints.find_resume(settings.resume, settings.checkpoint_dir) if info.is_main else None
    if found and found[1].get("epoch_step") and settings.resume == "latest" and settings.resume_changed:
        if checkpoints.changes(found[1], cfg, info.world, settings.config_teacher):
            newest, found = found[0], checkpoints.find_resume("latest", settings.checkpoint_dir, whole_epochs=True)
            if found is None:
                raise CheckpointError(f"{newest} is of the first epoch; --resume_changed needs a complete one")
    chosen = distributed.all_gather_object(str(found[0]) if found else "none")[0]
    return found if info.is_main else checkpoints.find_resume(chosen, settings.checkpoint_dir)


def pick_device(name: str, info: DistInfo = ALONE) -> torch.device:
    """Return the device called ``name`` for this process; ``auto`` is CUDA when there is one.

    Of several processes on one machine, each uses the GPU of its local rank. Raises ConfigError: no such device here.
    """
    device = checked_device(name)
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"--device {name}: training runs on cpu and cuda, only trackers run on mps and xpu")
    if device.type == "cpu" or info.world == 1:
        return device
    if device.index is not None:
        raise ConfigError(f"--device {name}: with several processes each takes a GPU of its own; use --device cuda")
    if info.local_rank >= (count := gpu_count("cuda")):
        raise ConfigError(
            f"process {info.local_rank} of this machine has no GPU, there are {count}: "
            "start as many processes as there are GPUs, or use --device cpu"
        )
    return torch.device("cuda", info.local_rank)


@contextmanager
def _disk_errors(save_dir: str) -> Iterator[None]:
    """Convert the errors of a full or read-only disk into one-line errors."""
    try:
        yield
    except OSError as error:
        if errno.errorcode.get(error.errno or 0) not in _DISK_ERRORS:
            raise
        raise ConfigError(
            f"{error.filename or save_dir}: {error.strerror}; free space or fix its permissions, or choose another "
            "--save_dir. The last checkpoint is whole"
        ) from error
