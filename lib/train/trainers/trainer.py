"""The epoch loop: optimize, validate, log, save."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, NoReturn

import torch
from torch import nn

from lib.config import ExperimentConfig, validated_epochs
from lib.train import distributed, optim
from lib.train.actors import Actor
from lib.train.admin.loggers import EpochStats, Progress, RunLogger
from lib.train.admin.settings import Settings
from lib.train.data.loader import PairLoader, batches, worker_errors
from lib.train.optim import Ema
from lib.train.trainers import checkpoints
from lib.train.trainers.step import (
    NonFiniteLossError,
    StepOutcome,
    eval_step,
    report_eval_failure,
    report_train_failure,
    train_step,
)
from lib.train.trainers.stop import PATIENCE, NoDataError, Preempted, StopRequest
from lib.utils.checkpoint import save_checkpoint
from lib.utils.dist_info import DistInfo
from lib.vis.samples import sample_sheet

logger = logging.getLogger(__name__)

# Tracks a rank's share of some sequences with a network and yields the AUC of each, in percent.
SequenceScorer = Callable[[ExperimentConfig, nn.Module, DistInfo], Iterator[float]]


class Trainer:
    """Train an actor's network for ``cfg.TRAIN.EPOCH`` epochs, together with the other ranks if there are any.

    All ranks make the same decisions, by the averages of their statistics and stop requests. Rank 0 logs and saves.

    Attributes:
        net: the network itself; that of the actor is wrapped for data parallelism.
        run_logger: tensorboard and wandb, set on rank 0 before :meth:`train`.
        data_sizes: numbers of sequences or images in the training sets, by name, for comparison when resuming.
        epoch, epoch_step, step: completed epochs; steps done in the next one; steps done in all.
        history: mean of each statistic in each epoch, by split and name.
    """

    def __init__(
        self,
        actor: Actor,
        cfg: ExperimentConfig,
        settings: Settings,
        train_loader: PairLoader,
        val_loader: PairLoader | None,
        score_sequences: SequenceScorer | None = None,
    ):
        self.actor, self.cfg, self.settings = actor, cfg, settings
        self.train_loader, self.val_loader, self.score_sequences = train_loader, val_loader, score_sequences
        self.run_logger: RunLogger | None = None
        self.data_sizes: dict[str, int] = {}
        self.info = distributed.train_dist_info()
        self.net = actor.net
        self.optimizer = optim.build_optimizer(self.net, cfg)  # freezes layers, which must precede wrapping
        actor.net = distributed.wrap(self.net, actor.device)
        self.ema = Ema(self.net, cfg.TRAIN.EMA_DECAY) if cfg.TRAIN.EMA_DECAY else None
        self.evaluator = copy.copy(actor)
        self.evaluator.net = self.ema.module if self.ema else self.net
        self.scaler = torch.amp.GradScaler(actor.device.type, enabled=actor.amp_dtype is torch.float16)
        self.steps_per_epoch = len(train_loader) // cfg.TRAIN.ACCUM_STEPS
        self.history: dict[str, dict[str, list[float]]] = {}
        self.stats = EpochStats()
        self.epoch = self.epoch_step = self.step = 0
        self.stop = StopRequest()
        self._progress = partial(Progress, interval=cfg.TRAIN.PRINT_INTERVAL, quiet=not self.info.is_main)
        self._saved: set[int] = set()

    def train(self) -> None:
        """Run the remaining epochs. Raises Preempted: after SIGTERM."""
        epochs = self.cfg.TRAIN.EPOCH
        if self.epoch >= epochs:
            logger.info("all %d epochs are done", epochs)
        try:
            with self.stop, worker_errors():
                for epoch in range(self.epoch + 1, epochs + 1):
                    self._run_epoch(epoch)
        except BaseException:
            self.train_loader.end_workers()
            if self.val_loader:
                self.val_loader.end_workers()
            raise

    def _run_epoch(self, epoch: int) -> None:
        """Train, validate if due, log and save."""
        results = {"train": self._train_epoch(epoch)}
        if epoch in validated_epochs(self.cfg.TRAIN):
            validation = self._validate(epoch, self.val_loader) if self.val_loader else {}
            if self.score_sequences:
                validation["AUC"] = self._track(epoch, self.score_sequences)
            if validation:
                results["val"] = validation
        for split, averages in results.items():
            for name, value in averages.items():
                self.history.setdefault(split, {}).setdefault(name, []).append(value)
            if self.run_logger:
                self.run_logger.log_epoch(split, averages, epoch, self.step)
        self.epoch, self.epoch_step, self.stats = epoch, 0, EpochStats()
        self.save()

    def _train_epoch(self, epoch: int) -> dict[str, float]:
        """Run the remaining steps of ``epoch`` and return the means of all its steps."""
        train, done = self.cfg.TRAIN, self.epoch_step
        sampler = self.train_loader.sampler
        sampler.epoch, sampler.start_step = epoch, done
        source = batches(self.train_loader)
        optim.train_mode(self.net, self.cfg)
        later = (train.EPOCH - epoch) * self.steps_per_epoch
        with self._progress("train", epoch, self.steps_per_epoch, later=later, done=done) as progress:
            for step in range(done + 1, self.steps_per_epoch + 1):
                try:
                    group, data_time = self._take(source, train.ACCUM_STEPS)
                except NoDataError:
                    self._leave(epoch, together=self.info.world == 1)
                optim.set_learning_rate(self.optimizer, optim.lr_factor(self.cfg, epoch, step / self.steps_per_epoch))
                start = time.perf_counter()
                count = sum(len(batch["source"]) for batch in group) * self.info.world
                outcome = self._step(group, count, epoch, step)
                values = {**self.stats.averages(), **self._learning_rates()}
                progress.update(values, count, data_time, time.perf_counter() - start)
                if self.run_logger and step % train.PRINT_INTERVAL == 0:
                    self.run_logger.log_step("train", values, self.step)
                if step == done + 1 and not outcome.skipped:
                    self._log_picture(group[0], epoch)
                if outcome.stop:
                    self._leave(epoch)
                if train.SAVE_EVERY_STEPS and step % train.SAVE_EVERY_STEPS == 0 and step < self.steps_per_epoch:
                    self.save()
        return {**self.stats.averages(), **self._learning_rates(), **progress.rates()}

    def _step(self, group: list[dict[str, Any]], count: int, epoch: int, step: int) -> StepOutcome:
        """Run one optimization step on the ``count`` samples of all ranks, and add its statistics to the averages."""
        clip_norm, where, scaler = self.cfg.TRAIN.GRAD_CLIP_NORM, f"epoch {epoch}, step {step}", self.scaler
        try:
            outcome = train_step(self.actor, group, self.optimizer, scaler, epoch, clip_norm, self.stop.requested)
        except NonFiniteLossError as error:
            folder = self.settings.failure_dir
            raise report_train_failure(error, group, self.net, self.optimizer, f"train {where}", folder) from error
        self.step, self.epoch_step = self.step + 1, step
        if scaler.is_enabled():
            self.stats.update({"SkippedSteps": float(outcome.skipped)}, count)
        if outcome.skipped:
            logger.warning("%s: skipped, float16 overflowed; the loss scale falls to %g", where, scaler.get_scale())
            return outcome
        if self.ema:
            self.ema.update(self.net)
        self.stats.update({**outcome.stats, "GradNorm": outcome.norm}, count)
        return outcome

    def _validate(self, epoch: int, loader: PairLoader) -> dict[str, float]:
        """Return the means of the network, or its running average, on the validation samples of all ranks."""
        loader.sampler.epoch = 0  # the same samples every time
        distributed.share_buffers(self.evaluator.net)
        self.evaluator.net.eval()
        stats, source = EpochStats(), batches(loader)
        with self._progress("val", epoch, len(loader)) as progress:
            for step in range(1, len(loader) + 1):
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
                    where = f"val epoch {epoch}, step {step}"
                    raise report_eval_failure(error, batch, where, self.settings.failure_dir) from error
                progress.update(stats.averages(), count * self.info.world, data_time, time.perf_counter() - start)
        total = EpochStats()
        for sums in self._gathered(stats.sums, epoch):
            total.add(sums)
        averages = total.averages()
        if self.info.world > 1 and self.info.is_main:  # the lines before are of the samples of rank 0 alone
            found = "  ,  ".join(f"{name}: {value:.4f}" for name, value in averages.items())
            logger.info("[val: %d, all %d processes] %s", epoch, self.info.world, found)
        return averages

    def _track(self, epoch: int, score_sequences: SequenceScorer) -> float:
        """Return the mean AUC of the network, or its running average, over sequences split among the ranks."""
        distributed.share_buffers(self.evaluator.net)
        start, scores = time.perf_counter(), []
        for score in score_sequences(self.cfg, self.evaluator.net, self.info):
            scores.append(score)
            if self.stop.requested:
                break
        scores = [score for part in self._gathered(scores, epoch) for score in part]
        auc, seconds = fmean(scores), time.perf_counter() - start
        logger.info("[sequences: %d] AUC: %.2f, mean of %d, in %.0f s", epoch, auc, len(scores), seconds)
        return auc

    def _gathered(self, value: Any, epoch: int) -> list[Any]:
        """Return the values of all ranks; stop if one of them was asked to."""
        gathered = distributed.all_gather_object((value, self.stop.requested))
        if any(stop for _, stop in gathered):
            self._leave(epoch)
        return [found for found, _ in gathered]

    def _log_picture(self, batch: dict[str, Any], epoch: int) -> None:
        """Log an image of some samples of ``batch`` with the network's outputs; changes nothing."""
        if self.run_logger:
            self.evaluator.net.eval()
            with torch.no_grad():
                batch = batch | self.evaluator.to_device(batch)
                output = self.evaluator.run(batch, epoch)
            optim.train_mode(self.net, self.cfg)
            if not output["pred_boxes"].isfinite().all():
                return  # the weights are no numbers any more: the next step says so, and names its samples
            self.run_logger.log_image("train", "samples", sample_sheet(batch, output, self.cfg), epoch, self.step)

    def _take(self, source: Iterator[dict], count: int) -> tuple[list[dict], float]:
        """Return the next ``count`` batches and the seconds of waiting. Raises NoDataError: none came after SIGTERM."""
        start = time.perf_counter()
        with self.stop.waiting_for_data():
            return [next(source) for _ in range(count)], time.perf_counter() - start

    def _leave(self, epoch: int, together: bool = True) -> NoReturn:
        """Save and stop; without ``together`` only this rank stops, without saving."""
        done = f"stopped by SIGTERM after step {self.epoch_step} of {self.steps_per_epoch} of epoch {epoch}"
        if not together:
            raise Preempted(f"{done}, no data came for {PATIENCE:g} s; the last checkpoint counts", together=False)
        if self.epoch_step:
            raise Preempted(f"{done}, saved {self.save()}; the same command resumes it")
        raise Preempted(done + ("; the same command resumes it" if self.epoch else ": there is nothing to save"))

    def _learning_rates(self) -> dict[str, float]:
        return {f"LearningRate/group{i}": group["lr"] for i, group in enumerate(self.optimizer.param_groups)}

    def save(self) -> Path:
        """Write the current checkpoint on rank 0 and return its path; all ranks call this together.

        Raises:
            CheckpointError: it cannot be written; earlier ones are untouched.
        """
        folder, moment = self.settings.checkpoint_dir, (self.epoch, self.epoch_step)
        path = checkpoints.checkpoint_path(folder, *moment)
        state = checkpoints.snapshot(self)
        if self.info.is_main:
            save_checkpoint(state, path)
            if not self.epoch_step:
                self._saved.add(self.epoch)
            checkpoints.remove_superseded(folder, moment, self.cfg.TRAIN.CHECKPOINT_INTERVAL, self._saved)
        return path
