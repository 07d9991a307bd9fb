"""The epoch loop: optimize, validate, log, save, go on."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import torch

from lib.config import ExperimentConfig, validated_epochs
from lib.train import distributed, optim
from lib.train.actors import Actor
from lib.train.admin.loggers import RunLogger
from lib.train.admin.progress import Progress
from lib.train.admin.settings import Settings
from lib.train.admin.stats import EpochStats, History
from lib.train.data.loader import PairLoader, batches
from lib.train.data.workers import worker_errors
from lib.train.ema import Ema
from lib.train.trainers import checkpoints
from lib.train.trainers import state as run_state
from lib.train.trainers.failure import report_eval_failure, report_train_failure
from lib.train.trainers.step import NonFiniteLossError, StepOutcome, eval_step, train_step
from lib.train.trainers.stop import PATIENCE, NoDataError, Preempted, StopRequest
from lib.utils.checkpoint import save_checkpoint
from lib.vis.samples import sample_sheet

log = logging.getLogger(__name__)


class Trainer:
    """Trains an actor's network for ``cfg.TRAIN.EPOCH`` epochs, together with the other processes if there are any.

    All processes decide alike: each step's statistics, and whether somebody was asked to stop, are averaged over them.
    Rank 0 logs and saves.

    Args:
        actor: network and losses; its network is wrapped here for data parallelism.
        cfg: the experiment.
        settings: where files go and what to resume.
        train_loader, val_loader: from :func:`lib.train.data.loader.build_loader`; without ``val_loader`` nothing is
            validated.
        logger: tensorboard and wandb; rank 0 has one.

    Attributes:
        net: the network itself.
        epoch: epochs that are complete.
        epoch_step: steps done in the one after them.
        step: steps done in all.
    """

    def __init__(
        self,
        actor: Actor,
        cfg: ExperimentConfig,
        settings: Settings,
        train_loader: PairLoader,
        val_loader: PairLoader | None,
        logger: RunLogger | None = None,
    ):
        self.actor, self.cfg, self.settings = actor, cfg, settings
        self.train_loader, self.val_loader = train_loader, val_loader
        self.logger = logger
        self.info = distributed.train_dist_info()
        self.net = actor.net
        self.optimizer = optim.build_optimizer(self.net, cfg)  # freezes layers, which the wrapping has to know
        actor.net = distributed.wrap(self.net, actor.device)
        self.ema = Ema(self.net, cfg.TRAIN.EMA_DECAY) if cfg.TRAIN.EMA_DECAY else None
        self.evaluator = copy.copy(actor)
        self.evaluator.net = self.ema.module if self.ema else self.net
        self.scaler = torch.amp.GradScaler(actor.device.type, enabled=actor.amp_dtype is torch.float16)
        self.steps_per_epoch = len(train_loader) // cfg.TRAIN.ACCUM_STEPS
        self.history, self.stats = History(), EpochStats()
        self.epoch = self.epoch_step = self.step = 0
        self.stop = StopRequest()
        self._saved: set[int] = set()

    def train(self) -> None:
        """Run the epochs that are left.

        Raises:
            Preempted: after SIGTERM.
            OSTrackError: the run cannot go on.
        """
        epochs = self.cfg.TRAIN.EPOCH
        if self.epoch >= epochs:
            log.info("all %d epochs are done", epochs)
        try:
            with self.stop, worker_errors():
                for epoch in range(self.epoch + 1, epochs + 1):
                    self._run_epoch(epoch)
        except BaseException:
            for loader in filter(None, (self.train_loader, self.val_loader)):
                loader.end_workers()
            raise

    def _run_epoch(self, epoch: int) -> None:
        """Train, validate where it is due, log and save."""
        results = {"train": self._train_epoch(epoch)}
        if self.val_loader and epoch in validated_epochs(self.cfg.TRAIN):
            results["val"] = self._validate(epoch, self.val_loader)
        for split, averages in results.items():
            self.history.update(split, averages)
            if self.logger:
                self.logger.log_epoch(split, averages, epoch, self.step)
        self.epoch, self.epoch_step, self.stats = epoch, 0, EpochStats()
        self.save()

    def _train_epoch(self, epoch: int) -> dict[str, float]:
        """The steps of ``epoch`` that are left, and what all of them came to."""
        train, first = self.cfg.TRAIN, self.epoch_step
        sampler = self.train_loader.sampler
        sampler.epoch, sampler.start_step = epoch, first
        source = batches(self.train_loader)
        self.net.train()
        later_steps = (train.EPOCH - epoch) * self.steps_per_epoch
        with self._progress("train", epoch, self.steps_per_epoch, later_steps, first) as progress:
            for index in range(first, self.steps_per_epoch):
                try:
                    group, data_time = self._take(source, train.ACCUM_STEPS)
                except NoDataError:
                    self._leave(epoch, together=self.info.world == 1)
                factor = optim.lr_factor(self.cfg, epoch, (index + 1) / self.steps_per_epoch)
                optim.set_learning_rate(self.optimizer, factor)
                start = time.perf_counter()
                outcome = self._step(group, epoch, index + 1)
                self.step += 1
                self.epoch_step = index + 1
                count = sum(len(batch["source"]) for batch in group) * self.info.world
                self._note(outcome, count, f"epoch {epoch}, step {index + 1}")
                progress.update(self.stats, count, data_time, time.perf_counter() - start, self._learning_rates())
                if self.logger and (index + 1) % train.PRINT_INTERVAL == 0:
                    self.logger.log_step("train", {**self.stats.averages(), **self._learning_rates()}, self.step)
                if index == first and not outcome.skipped:
                    self._log_picture(group[0], epoch)
                if outcome.stop:
                    self._leave(epoch)
                last = index + 1 == self.steps_per_epoch
                if train.SAVE_EVERY_STEPS and (index + 1) % train.SAVE_EVERY_STEPS == 0 and not last:
                    self.save()
        return {**self.stats.averages(), **self._learning_rates(), **progress.rates()}

    def _step(self, group: list[dict[str, Any]], epoch: int, step: int) -> StepOutcome:
        """One optimizer step; a failure is described and its batch kept."""
        clip_norm, stop = self.cfg.TRAIN.GRAD_CLIP_NORM, self.stop.requested
        try:
            outcome = train_step(self.actor, group, self.optimizer, self.scaler, epoch, clip_norm, stop)
        except NonFiniteLossError as error:
            where = f"train epoch {epoch}, step {step}"
            kept_in = self.settings.failure_dir
            raise report_train_failure(error, group, self.net, self.optimizer, where, kept_in) from error
        if self.ema and not outcome.skipped:
            self.ema.update(self.net)
        return outcome

    def _note(self, outcome: StepOutcome, count: int, where: str) -> None:
        """Take a step into the running averages of the epoch; a skipped one counts as such only."""
        if self.scaler.is_enabled():
            self.stats.update({"SkippedSteps": float(outcome.skipped)}, count)
        if outcome.skipped:
            log.warning("%s: skipped, float16 overflowed; the loss scale falls to %g", where, self.scaler.get_scale())
        else:
            self.stats.update({**outcome.stats, "GradNorm": outcome.norm}, count)

    def _validate(self, epoch: int, loader: PairLoader) -> dict[str, float]:
        """What the network, or its running average, comes to on the validation samples, over all processes."""
        loader.sampler.epoch = 0  # the same draws every time
        distributed.share_buffers(self.evaluator.net)
        self.evaluator.net.eval()
        stats, source = EpochStats(), batches(loader)
        with self._progress("val", epoch, len(loader)) as progress:
            for index in range(len(loader)):
                if self.stop.requested:
                    break
                try:
                    (batch,), data_time = self._take(source, 1)
                except NoDataError:
                    break
                start = time.perf_counter()
                count = len(batch["source"])
                try:
                    stats.update(eval_step(self.evaluator, batch, epoch), count)
                except NonFiniteLossError as error:
                    where = f"val epoch {epoch}, step {index + 1}"
                    raise report_eval_failure(error, batch, where, self.settings.failure_dir) from error
                progress.update(stats, count * self.info.world, data_time, time.perf_counter() - start)
        gathered = distributed.all_gather_object((stats.to_plain(), self.stop.requested))
        if any(stop for _, stop in gathered):
            self._leave(epoch)
        total = EpochStats()
        for plain, _ in gathered:
            total.add(plain)
        return total.averages()

    def _log_picture(self, batch: dict[str, Any], epoch: int) -> None:
        """A picture of some samples of ``batch`` with what the network makes of them; changes nothing."""
        if self.logger:
            self.evaluator.net.eval()
            with torch.no_grad():
                batch = batch | self.evaluator.to_device(batch)
                output = self.evaluator.forward(batch, epoch)
            self.net.train()
            self.logger.log_image("train", "samples", sample_sheet(batch, output, self.cfg), epoch, self.step)

    def _take(self, source: Iterator[dict], count: int) -> tuple[list[dict], float]:
        """The next ``count`` batches and the seconds that they took to come.

        Raises:
            NoDataError: after SIGTERM they do not come.
        """
        start = time.perf_counter()
        with self.stop.waiting_for_data():
            return [next(source) for _ in range(count)], time.perf_counter() - start

    def _leave(self, epoch: int, together: bool = True) -> NoReturn:
        """Save and stop; alone, without the other processes, only stop."""
        done = f"stopped by SIGTERM after step {self.epoch_step} of {self.steps_per_epoch} of epoch {epoch}"
        if not together:
            raise Preempted(f"{done}, no data came for {PATIENCE:g} s; the last checkpoint counts", together=False)
        if self.epoch_step:
            raise Preempted(f"{done}, saved {self.save()}; the same command goes on from there")
        if self.epoch:
            raise Preempted(f"{done}; the same command goes on from there")
        raise Preempted(f"{done}: there is nothing to save")

    def _progress(self, split: str, epoch: int, steps: int, later_steps: int = 0, done: int = 0) -> Progress:
        interval = self.cfg.TRAIN.PRINT_INTERVAL
        return Progress(split, epoch, steps, interval, later_steps, done, quiet=not self.info.is_main)

    def _learning_rates(self) -> dict[str, float]:
        return {f"LearningRate/group{i}": group["lr"] for i, group in enumerate(self.optimizer.param_groups)}

    def save(self) -> Path:
        """Write the checkpoint of this moment, by rank 0; all processes call this together.

        Raises:
            CheckpointError: it cannot be written; earlier ones are untouched.
        """
        folder = self.settings.checkpoint_dir
        path = (
            checkpoints.partial_path(folder, self.epoch + 1, self.epoch_step)
            if self.epoch_step
            else checkpoints.checkpoint_path(folder, self.epoch)
        )
        state = run_state.snapshot(self)
        if self.info.is_main:
            save_checkpoint(state, path)
            if not self.epoch_step:
                self._saved.add(self.epoch)
            moment = (self.epoch, self.epoch_step)
            checkpoints.remove_superseded(folder, moment, self.cfg.TRAIN.CHECKPOINT_INTERVAL, self._saved)
        return path
