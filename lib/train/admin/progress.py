"""Running statistics of an epoch, and the report of its progress."""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

logger = logging.getLogger(__name__)

_ON_BAR = ("Loss/total", "Loss/giou", "Loss/location", "IoU")


class EpochStats:
    """Weighted means by name, in the order in which names were first added; ``sums`` has the sum and weight of each."""

    def __init__(self, sums: Mapping[str, tuple[float, int]] | None = None) -> None:
        self.sums = dict(sums or {})

    def update(self, values: Mapping[str, float], n: int = 1) -> None:
        """Add ``values``, each the mean of ``n`` samples."""
        self.add({name: (value * n, n) for name, value in values.items()})

    def add(self, sums: Mapping[str, tuple[float, int]]) -> None:
        """Add the ``sums`` of other statistics."""
        for name, (total, count) in sums.items():
            before, counted = self.sums.get(name, (0.0, 0))
            self.sums[name] = (before + total, counted + count)

    def averages(self) -> dict[str, float]:
        """Return the mean of each name."""
        return {name: total / count for name, (total, count) in self.sums.items()}


class Progress:
    """A progress bar on a terminal, and a log line every ``interval`` steps and at the end; neither if ``quiet``.

    The line shows running averages, times, samples per second (overall, and since the last line) and the time left.
    ``later`` steps belong to the epochs after this one, of which ``done`` were done before an interruption.
    """

    def __init__(
        self, split: str, epoch: int, steps: int, interval: int, later: int = 0, done: int = 0, quiet: bool = False
    ):
        self.split, self.epoch, self.steps, self.interval = split, epoch, steps, interval
        self.later, self.done, self._done_before, self.quiet = later, done, done, quiet
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

    def update(self, values: Mapping[str, float], samples: int, data_time: float, step_time: float) -> None:
        """Count a finished step of ``samples`` on all ranks, and show the averages and learning rates ``values``."""
        self.done += 1
        self._samples += samples
        self._times.update({"DataTime": data_time, "ForwardTime": step_time})
        self._bar.set_postfix({name: f"{values[name]:.3f}" for name in _ON_BAR if name in values}, refresh=False)
        self._bar.update()
        if not self.quiet and (self.done % self.interval == 0 or self.done == self.steps):
            logger.info("%s", self._line(values))
            self._logged_at, self._logged_samples = time.perf_counter(), self._samples

    def rates(self) -> dict[str, float]:
        """Return samples per second and mean times of the finished epoch, under their published names."""
        return {"FPS": self._samples / (self._end - self._start), **self._times.averages()}

    def _line(self, values: Mapping[str, float]) -> str:
        now = time.perf_counter()
        rate = self._samples / (now - self._start)
        recent = (self._samples - self._logged_samples) / (now - self._logged_at)
        left = (self.steps - self.done + self.later) * (now - self._start) / (self.done - self._done_before)
        parts = [
            f"FPS: {rate:.1f} ({recent:.1f})",
            *(f"{name}: {value:.3f}" for name, value in self._times.averages().items()),
            *(f"{name}: {value:.3e}" if "Rate" in name else f"{name}: {value:.4f}" for name, value in values.items()),
            f"ETA: {datetime.timedelta(seconds=round(left))}",
        ]
        return f"[{self.split}: {self.epoch}, {self.done} / {self.steps}] " + "  ,  ".join(parts)
