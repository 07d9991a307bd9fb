"""The epoch loop: optimise, validate, log, save, go on."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from lib.config.ostrack import Config, to_plain
from lib.train import optim
from lib.train.actors.ostrack import OSTrackActor
from lib.train.admin.loggers import RunLogger
from lib.train.admin.progress import Progress
from lib.train.admin.settings import Settings
from lib.train.admin.stats import EpochStats, History
from lib.train.data.loader import batches
from lib.train.trainers import state as run_state
from lib.train.trainers.step import NonFiniteLossError, eval_step, train_step
from lib.utils.checkpoint import save_checkpoint
from lib.utils.errors import CheckpointError
from lib.utils.versions import versions

log = logging.getLogger(__name__)


class Trainer:
    """Trains an actor's network for ``cfg.TRAIN.EPOCH`` epochs.

    Args:
        actor: network and losses.
        cfg: the experiment.
        settings: where files go and what to resume.
        train_loader, val_loader: from :func:`lib.train.data.loader.build_loader`.
        logger: tensorboard and wandb.
    """

    def __init__(
        self,
        actor: OSTrackActor,
        cfg: Config,
        settings: Settings,
        train_loader: DataLoader,
        val_loader: DataLoader,
        logger: RunLogger,
    ):
        self.actor, self.cfg, self.settings = actor, cfg, settings
        self.train_loader, self.val_loader = train_loader, val_loader
        self.logger = logger
        self.optimizer = optim.build_optimizer(actor.net, cfg)
        self.scaler = torch.amp.GradScaler(actor.device.type, enabled=actor.amp_dtype is torch.float16)
        self.steps_per_epoch = len(train_loader) // cfg.TRAIN.ACCUM_STEPS
        self.history = History()
        self.epoch = 0
        self.step = 0
        self._saved: set[int] = set()

    def train(self) -> None:
        """Run the epochs that are left."""
        epochs, interval = self.cfg.TRAIN.EPOCH, self.cfg.TRAIN.VAL_EPOCH_INTERVAL
        if self.epoch >= epochs:
            log.info("all %d epochs are done", epochs)
        for epoch in range(self.epoch + 1, epochs + 1):
            self._run_epoch(epoch)
            self.epoch = epoch
            if epoch % interval == 0 or epoch == epochs:
                self._validate(epoch)
            self.save()

    def _run_epoch(self, epoch: int) -> None:
        self.actor.net.train()
        self.train_loader.sampler.epoch = epoch
        stats, accumulate = EpochStats(), self.cfg.TRAIN.ACCUM_STEPS
        later_steps = (self.cfg.TRAIN.EPOCH - epoch) * self.steps_per_epoch
        source = batches(self.train_loader)
        with Progress("train", epoch, self.steps_per_epoch, self.cfg.TRAIN.PRINT_INTERVAL, later_steps) as progress:
            for index in range(self.steps_per_epoch):
                group, data_time = _timed_take(source, accumulate)
                optim.set_learning_rate(
                    self.optimizer, optim.lr_factor(self.cfg, epoch, (index + 1) / self.steps_per_epoch)
                )
                start = time.perf_counter()
                with _located("train", epoch, index + 1):
                    values, norm = train_step(
                        self.actor, group, self.optimizer, self.scaler, epoch, self.cfg.TRAIN.GRAD_CLIP_NORM
                    )
                self.step += 1
                count = sum(len(batch["source"]) for batch in group)
                stats.update({**values, "GradNorm": norm}, count)
                progress.update(stats, count, data_time, time.perf_counter() - start, self._learning_rates())
                if (index + 1) % self.cfg.TRAIN.PRINT_INTERVAL == 0:
                    self.logger.log_step("train", {**stats.averages(), **self._learning_rates()}, self.step)
        self._close_epoch("train", epoch, {**stats.averages(), **self._learning_rates(), **progress.rates()})

    def _validate(self, epoch: int) -> None:
        self.actor.net.eval()
        self.val_loader.sampler.epoch = 0  # the same draws every time
        stats, source = EpochStats(), batches(self.val_loader)
        with Progress("val", epoch, len(self.val_loader), self.cfg.TRAIN.PRINT_INTERVAL) as progress:
            for index in range(len(self.val_loader)):
                (batch,), data_time = _timed_take(source, 1)
                start = time.perf_counter()
                with _located("val", epoch, index + 1):
                    stats.update(eval_step(self.actor, batch, epoch), len(batch["source"]))
                progress.update(stats, len(batch["source"]), data_time, time.perf_counter() - start)
        self._close_epoch("val", epoch, stats.averages())

    def _close_epoch(self, split: str, epoch: int, averages: dict[str, float]) -> None:
        self.history.update(split, averages)
        self.logger.log_epoch(split, averages, epoch, self.step)

    def _learning_rates(self) -> dict[str, float]:
        return {f"LearningRate/group{i}": group["lr"] for i, group in enumerate(self.optimizer.param_groups)}

    def save(self) -> None:
        """Write the checkpoint of this epoch; see :func:`lib.train.trainers.state.remove_superseded`."""
        folder = self.settings.checkpoint_dir
        save_checkpoint(self.state(), run_state.checkpoint_path(folder, self.epoch))
        self._saved.add(self.epoch)
        run_state.remove_superseded(folder, self.epoch, self.cfg.TRAIN.CHECKPOINT_INTERVAL, self._saved)

    def state(self) -> dict[str, Any]:
        """Everything a run needs to go on, in the published form; tensors and primitive containers only."""
        return {
            "epoch": self.epoch,
            "actor_type": type(self.actor).__name__,
            "net_type": type(self.actor.net).__name__,
            "net": self.actor.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "stats": self.history.to_plain(),
            "settings": self.settings.to_plain(),
            "step": self.step,
            "scheduler": {"type": self.cfg.TRAIN.SCHEDULER.TYPE, "epoch": self.epoch},
            "scaler": self.scaler.state_dict(),
            "rng": run_state.rng_state(),
            "config": to_plain(self.cfg),
            "versions": versions(),
        }

    def load(self, state: dict[str, Any], path: Path) -> None:
        """Go on from ``state``, which was read from ``path``.

        Raises:
            CheckpointError: it holds weights only.
            ConfigError: it belongs to another experiment.
        """
        missing = self.state().keys() - state.keys()
        if missing:
            raise CheckpointError(
                f"{path} cannot be resumed: it has no {', '.join(sorted(missing))}. To start from its weights, "
                "name it in MODEL.PRETRAIN_FILE"
            )
        run_state.check_same_config(state["config"], to_plain(self.cfg), path)
        self.actor.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.history = History(state["stats"])
        self.epoch, self.step = state["epoch"], state["step"]
        run_state.restore_rng(state["rng"])
        log.info("resumed from %s: %d epochs, %d steps done", path, self.epoch, self.step)


@contextmanager
def _located(split: str, epoch: int, step: int) -> Iterator[None]:
    """Say where a loss went wrong."""
    try:
        yield
    except NonFiniteLossError as error:
        raise NonFiniteLossError(f"{split} epoch {epoch}, step {step}: {error}") from error


def _timed_take(source: Iterator[dict], count: int) -> tuple[list[dict], float]:
    """The next ``count`` batches and the seconds that they took to come."""
    start = time.perf_counter()
    return [next(source) for _ in range(count)], time.perf_counter() - start
