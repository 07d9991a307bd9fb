"""What a run reports: log file, TensorBoard, Weights & Biases, and the progress of an epoch with its statistics."""

from __future__ import annotations

import datetime
import logging
import os
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from lib.train.admin.settings import Settings
from lib.utils.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

logger = logging.getLogger(__name__)

_ON_BAR = ("Loss/total", "Loss/giou", "Loss/location", "IoU")


class _LogFile(logging.FileHandler):
    """A log file handler that ends the run when the file cannot be written."""

    def handleError(self, record: logging.LogRecord) -> None:
        raise


@contextmanager
def log_to_file(path: Path) -> Iterator[None]:
    """Append to ``path`` what the body logs, and the traceback of an error that ends it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler: Any = _LogFile(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    project = logging.getLogger("lib")
    level = project.level
    project.setLevel(logging.INFO)
    project.addHandler(handler)
    try:
        yield
    except BaseException:
        with suppress(OSError):
            handler.stream.write(traceback.format_exc())
            handler.flush()
        raise
    finally:
        project.removeHandler(handler)
        project.setLevel(level)
        with suppress(OSError):
            handler.close()


class RunLogger:
    """Log scalars and images to TensorBoard, if it is installed, and to wandb with ``use_wandb``.

    ``config`` is the experiment as plain values, shown by wandb; ``run_id`` the ID of the wandb run, None = a new one.
    TensorBoard no longer shows what an earlier run logged of epochs after the ``epoch`` completed ones.

    Raises:
        ConfigError: wandb is asked for and not installed, or does not start.
    """

    def __init__(self, settings: Settings, config: Mapping[str, Any], run_id: str | None = None, epoch: int = 0):
        self._board = _open_tensorboard(settings.tensorboard_dir, epoch)
        self._wandb = _open_wandb(settings, config, run_id) if settings.use_wandb else None
        self.run_id = run_id if self._wandb is None else self._wandb.id

    def log_step(self, split: str, values: Mapping[str, float], step: int) -> None:
        """Log running averages of an epoch, to wandb only."""
        if self._wandb is not None:
            self._wandb.log({f"{split}/{name}": value for name, value in values.items()}, step=step)

    def log_epoch(self, split: str, values: Mapping[str, float], epoch: int, step: int) -> None:
        """Log the averages of a finished epoch."""
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(f"{split}/{name}", value, epoch)
            self._board.flush()
        if self._wandb is not None:
            epoch_values = {f"{split}_epoch/{name}": value for name, value in values.items()}
            self._wandb.log({**epoch_values, "epoch": epoch}, step=step)

    def log_image(self, split: str, name: str, image: np.ndarray, epoch: int, step: int) -> None:
        """Log an image, RGB uint8 (H, W, 3)."""
        if self._board is not None:
            self._board.add_image(f"{split}/{name}", image, epoch, dataformats="HWC")
            self._board.flush()
        if self._wandb is not None:
            import wandb

            self._wandb.log({f"{split}/{name}": wandb.Image(image)}, step=step)

    def close(self) -> None:
        """Flush and close."""
        if self._board is not None:
            self._board.close()
            threading.excepthook = threading.__excepthook__
        if self._wandb is not None:
            self._wandb.finish()


def _open_tensorboard(folder: Path, epoch: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        logger.info("tensorboard is not installed: no curves in %s", folder)
        return None
    threading.excepthook = _pass_over_tensorboard
    return SummaryWriter(str(folder), purge_step=epoch + 1)


def _pass_over_tensorboard(args: threading.ExceptHookArgs) -> None:
    """Suppress tracebacks of TensorBoard's thread, such as on a full disk; its next call raises the error."""
    if not type(args.thread).__module__.startswith("tensorboard."):
        threading.__excepthook__(args)


def _open_wandb(settings: Settings, config: Mapping[str, Any], run_id: str | None) -> Any:
    try:
        import wandb
    except ImportError as error:
        raise ConfigError("--use_wandb 1 needs the package wandb: pip install wandb") from error
    # Without a login wandb would ask for a key.
    mode: Any = os.environ.get("WANDB_MODE") or ("online" if wandb.login(prompt=False, verify=False) else "offline")
    if mode == "offline":
        logger.info("wandb runs offline; send the run later with: wandb sync %s/wandb/offline-run-*", settings.save_dir)
    Path(settings.save_dir).mkdir(parents=True, exist_ok=True)
    names: dict[str, Any] = {"project": settings.script, "name": settings.config_name, "dir": settings.save_dir}
    try:
        return wandb.init(**names, config=dict(config), mode=mode, id=run_id, resume="allow")
    except wandb.errors.Error as error:
        raise ConfigError(f"wandb does not start: {error}; WANDB_MODE=offline needs no connection") from error


class EpochStats:
    """Weighted means by name, in the order in which names were first added.

    ``sums`` holds the weighted sum and the weight of each, for example of the steps before an interruption.
    """

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
    Of the ``steps`` of this epoch ``done`` were done before an interruption; ``later`` ones are of the epochs after it.
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
