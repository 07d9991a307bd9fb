"""Report the progress of an epoch while it runs."""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from lib.train.admin.stats import EpochStats

logger = logging.getLogger(__name__)

_ON_BAR = ("Loss/total", "Loss/giou", "Loss/location", "IoU")


class Progress:
    """A progress bar on a terminal, and a log line every ``interval`` steps and at the end.

    The line shows running averages, times, samples per second (overall, and since the last line) and the time left.

    Args:
        split: ``train`` or ``val``.
        epoch: counted from 1.
        later_steps: steps of the remaining epochs, for the time left.
        done: steps of this epoch that were done before an interruption.
        quiet: show nothing; for processes that do not log.
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
        self._times = EpochStats()
        self._samples = self._logged_samples = 0

    def __enter__(self) -> Progress:
        self._bar: tqdm = tqdm(
            total=self.steps, initial=self.done, desc=f"{self.split} {self.epoch}", leave=False, dynamic_ncols=True,
            disable=True if self.quiet else None,  # None: shown only on a terminal
        )  # fmt: skip
        self._redirection = ExitStack()
        if not self._bar.disable:
            self._redirection.enter_context(logging_redirect_tqdm())
        self._start = self._logged_at = time.perf_counter()
        return self

    def __exit__(self, *error: Any) -> None:
        self._end = time.perf_counter()
        self._redirection.close()
        self._bar.close()

    def update(
        self,
        stats: EpochStats,
        samples: int,
        data_time: float,
        step_time: float,
        learning_rates: Mapping[str, float] | None = None,
    ) -> None:
        """Count a finished step.

        Args:
            samples: samples of this step on all ranks.
            data_time, step_time: seconds spent waiting for them, and on the step itself.
        """
        self.done += 1
        self._samples += samples
        self._times.update({"DataTime": data_time, "ForwardTime": step_time})
        averages = stats.averages()
        self._bar.set_postfix({name: f"{averages[name]:.3f}" for name in _ON_BAR if name in averages}, refresh=False)
        self._bar.update()
        if not self.quiet and (self.done % self.interval == 0 or self.done == self.steps):
            logger.info("%s", self._line(averages | dict(learning_rates or {})))
            self._logged_at, self._logged_samples = time.perf_counter(), self._samples

    def rates(self) -> dict[str, float]:
        """Return samples per second and mean times of the finished epoch, under their published names."""
        return {"FPS": self._samples / (self._end - self._start), **self._times.averages()}

    def _line(self, values: Mapping[str, float]) -> str:
        now = time.perf_counter()
        rate = self._samples / (now - self._start)
        recent = (self._samples - self._logged_samples) / (now - self._logged_at)
        left = (self.steps - self.done + self.later_steps) * (now - self._start) / (self.done - self._done_before)
        parts = [
            f"FPS: {rate:.1f} ({recent:.1f})",
            *(f"{name}: {value:.3f}" for name, value in self._times.averages().items()),
            *(f"{name}: {value:.3e}" if "Rate" in name else f"{name}: {value:.4f}" for name, value in values.items()),
            f"ETA: {datetime.timedelta(seconds=round(left))}",
        ]
        return f"[{self.split}: {self.epoch}, {self.done} / {self.steps}] " + "  ,  ".join(parts)
