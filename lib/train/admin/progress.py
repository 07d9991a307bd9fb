"""What a person sees of an epoch while it runs."""

from __future__ import annotations

import datetime
import logging
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from lib.train.admin.stats import AverageMeter, EpochStats

log = logging.getLogger(__name__)


class Progress:
    """A bar on a terminal, and a log line every ``interval`` steps and at the end.

    They show running averages, times, samples per second (and those since the last line) and the time that is left.

    Args:
        split: ``train`` or ``val``.
        epoch: counted from 1.
        steps: steps of this epoch.
        interval: steps between two lines.
        later_steps: steps of the epochs that follow, for the time left.
        done: steps of this epoch that were made before, in a run that was resumed.
        quiet: show nothing; for the processes that do not log.
    """

    def __init__(
        self,
        split: str,
        epoch: int,
        steps: int,
        interval: int,
        later_steps: int = 0,
        done: int = 0,
        quiet: bool = False,
    ):
        self.split, self.epoch, self.steps = split, epoch, steps
        self.interval, self.later_steps = interval, later_steps
        self.done = self._done_before = done
        self.quiet = quiet
        self.data_time, self.step_time = AverageMeter(), AverageMeter()
        self._samples = 0
        self._resources = ExitStack()

    def __enter__(self) -> Progress:
        self._bar = None
        if sys.stderr.isatty() and not self.quiet:
            self._resources.enter_context(logging_redirect_tqdm())
            self._bar = self._resources.enter_context(
                tqdm(
                    total=self.steps,
                    initial=self.done,
                    desc=f"{self.split} {self.epoch}",
                    leave=False,
                    dynamic_ncols=True,
                )
            )
        self._start = self._interval_start = time.perf_counter()
        self._interval_samples = 0
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end = time.perf_counter()
        self._resources.close()

    def update(
        self,
        stats: EpochStats,
        samples: int,
        data_time: float,
        step_time: float,
        rates: Mapping[str, float] | None = None,
    ) -> None:
        """One step is done.

        Args:
            stats: running averages.
            samples: samples of this step, of all processes.
            data_time, step_time: seconds that it waited for them, and that it took.
            rates: learning rates of this step.
        """
        self.done += 1
        self._samples += samples
        self.data_time.update(data_time)
        self.step_time.update(step_time)
        if self._bar is not None:
            shown = {name: f"{value:.3f}" for name, value in stats.averages().items() if name in _ON_BAR}
            self._bar.set_postfix(shown, refresh=False)
            self._bar.update()
        if not self.quiet and (self.done % self.interval == 0 or self.done == self.steps):
            log.info("%s", self._line({**stats.averages(), **(rates or {})}))
            self._interval_start, self._interval_samples = time.perf_counter(), self._samples

    def rates(self) -> dict[str, float]:
        """Samples per second and mean times of the finished epoch, under their published names."""
        return {
            "FPS": self._samples / (self._end - self._start),
            "DataTime": self.data_time.avg,
            "ForwardTime": self.step_time.avg,
        }

    def _line(self, values: Mapping[str, float]) -> str:
        now = time.perf_counter()
        rate = self._samples / (now - self._start)
        recent = (self._samples - self._interval_samples) / (now - self._interval_start)
        left = (self.steps - self.done + self.later_steps) * (now - self._start) / (self.done - self._done_before)
        parts = [
            f"FPS: {rate:.1f} ({recent:.1f})",
            f"DataTime: {self.data_time.avg:.3f}",
            f"ForwardTime: {self.step_time.avg:.3f}",
            *(f"{name}: {value:.3e}" if "Rate" in name else f"{name}: {value:.4f}" for name, value in values.items()),
            f"ETA: {datetime.timedelta(seconds=round(left))}",
        ]
        return f"[{self.split}: {self.epoch}, {self.done} / {self.steps}] " + "  ,  ".join(parts)


_ON_BAR = ("Loss/total", "Loss/giou", "Loss/location", "IoU")
