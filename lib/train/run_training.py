"""One training run, from an experiment's name to its last checkpoint."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from lib.config.ostrack import Config, config_name, load_config, to_plain
from lib.models.ostrack import build_ostrack
from lib.train.actors.ostrack import OSTrackActor
from lib.train.admin.environment import env_settings
from lib.train.admin.loggers import RunLogger, log_to_file
from lib.train.admin.settings import Settings
from lib.train.data.loader import build_loader, open_sources
from lib.train.optim import amp_dtype
from lib.train.trainers.state import checkpoint_path, find_resume
from lib.train.trainers.trainer import Trainer
from lib.utils.errors import ConfigError

log = logging.getLogger(__name__)


def run_training(
    config: str,
    save_dir: str = "./output",
    device: str = "auto",
    resume: str = "latest",
    use_wandb: bool = False,
    overrides: Sequence[str] = (),
    script: str = "ostrack",
) -> Path:
    """Train the experiment ``config`` and return the path of its last checkpoint.

    Args:
        config: name of an experiment, or path of its YAML file.
        save_dir: where checkpoints, logs and curves go.
        device: ``auto`` (CUDA when there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        resume: ``latest``, ``none`` or the path of a checkpoint.
        overrides: ``KEY.SUB=value`` strings.

    Raises:
        OSTrackError: whatever is wrong with configuration, data or checkpoint, by name.
    """
    if script != "ostrack":
        raise ConfigError(f"unknown script {script!r}; there is ostrack")
    cfg = load_config(config, list(overrides))
    settings = Settings(script, config_name(config), str(save_dir), str(pick_device(device)), use_wandb, resume)
    with log_to_file(settings.log_file):
        log.info("experiment %s on %s, files in %s", settings.config_name, settings.device, settings.save_dir)
        return _train(cfg, settings)


def _train(cfg: Config, settings: Settings) -> Path:
    device = torch.device(settings.device)
    _seed(cfg.TRAIN.SEED)
    found = find_resume(settings.resume, settings.checkpoint_dir)
    net = build_ostrack(cfg, training=found is None).to(device)
    actor = OSTrackActor(net, cfg, amp_dtype(cfg.TRAIN.AMP, device))
    sources = open_sources(cfg, env_settings())
    loaders = [build_loader(cfg, split, sources, pin_memory=device.type == "cuda") for split in ("TRAIN", "VAL")]
    logger = RunLogger(settings, to_plain(cfg))
    try:
        trainer = Trainer(actor, cfg, settings, *loaders, logger)
        if found:
            trainer.load(found[1], found[0])
        trainer.train()
    finally:
        logger.close()
    last = checkpoint_path(settings.checkpoint_dir, trainer.epoch)
    log.info("finished: %s", last)
    return last


def pick_device(name: str) -> torch.device:
    """The device called ``name``; ``auto`` is CUDA when there is one.

    Raises:
        ConfigError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"--device {name}: no such device; use auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"--device {name}: this machine has {torch.cuda.device_count()} CUDA devices")
    return device


def _seed(seed: int) -> None:
    """Start every global generator: they draw the initial weights and stochastic depth; data have their own."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
