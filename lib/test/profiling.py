"""Operations, parameters and speed of an experiment's model."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lib.config.ostrack import config_name, load_config
from lib.models.ostrack import OSTrack, build_ostrack
from lib.test.tracker import Tracker
from lib.test.tracker.build import PRECISIONS
from lib.utils.errors import OSTrackError

FRAME_SIZE = (720, 1280)


@dataclass(frozen=True)
class Profile:
    """What :func:`profile` measured; times in milliseconds, medians."""

    name: str
    where: str
    gmacs: float
    mparams: float
    network: float
    end_to_end: float

    def __str__(self) -> str:
        return (
            f"{self.name} on {self.where}\n"
            f"MACs    {self.gmacs:8.2f} G   (thop: linear, convolution and norm layers)\n"
            f"params  {self.mparams:8.2f} M   (thop: without embeddings)\n"
            f"network {self.network:8.2f} ms  {1000 / self.network:7.1f} FPS   (forward pass, median)\n"
            f"tracker {self.end_to_end:8.2f} ms  {1000 / self.end_to_end:7.1f} FPS   "
            f"(crop, forward pass and box on {FRAME_SIZE[1]} x {FRAME_SIZE[0]} frames, median)"
        )


def count_operations(model: OSTrack, template_size: int, search_size: int) -> tuple[float, float]:
    """Multiply-accumulate operations in G and parameters in M, as ``thop`` counts them: the paper's figures.

    Raises:
        OSTrackError: ``thop`` is not installed.
    """
    try:
        from thop import profile as thop_profile
    except ImportError as error:
        raise OSTrackError("thop is not installed; run: pip install thop, or ./install.sh") from error
    images = torch.zeros(1, 3, template_size, template_size), torch.zeros(1, 3, search_size, search_size)
    with torch.no_grad():
        macs, params = thop_profile(model.eval(), inputs=images, verbose=False)
    return macs / 1e9, params / 1e6


def profile(
    config: str | Path,
    device: str = "cpu",
    precision: str = "float32",
    frames: int = 20,
    overrides: Sequence[str] | None = None,
) -> Profile:
    """Build the model with random weights and measure it; operations do not depend on the weights."""
    cfg = load_config(config, overrides)
    gmacs, mparams = count_operations(build_ostrack(cfg), cfg.DATA.TEMPLATE.SIZE, cfg.DATA.SEARCH.SIZE)
    tracker = Tracker(cfg, build_ostrack(cfg).to(device, PRECISIONS[precision]))
    noise = np.random.default_rng(0)
    images = [noise.integers(0, 256, (*FRAME_SIZE, 3), np.uint8) for _ in range(4)]
    tracker.initialize(images[0], {"init_bbox": [600, 300, 90, 60]})
    target = tracker.start(images[0], [600, 300, 90, 60])
    search, _ = tracker.crop_search(images[1], target)
    network = median_time(lambda i: tracker.predict(target.template, search, target.mask), frames, tracker.device)
    end_to_end = median_time(lambda i: tracker.track(images[i % 4]), frames, tracker.device)
    threads = f", {torch.get_num_threads()} threads" if tracker.device.type == "cpu" else ""
    where = f"{tracker.device}{threads}, {precision}"
    return Profile(config_name(config), where, gmacs, mparams, network, end_to_end)


def median_time(step: Callable[[int], object], count: int, device: torch.device) -> float:
    """Median milliseconds of ``step(i)`` over ``count`` calls, after a quarter as many that do not count."""
    times = []
    for i in range(-max(1, count // 4), count):
        start = time.perf_counter()
        step(i)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if i >= 0:
            times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)
