"""Operations, parameters, speed and memory of an experiment's model."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from lib.config import ExperimentConfig
from lib.models.family import family_of, load_experiment, resolve
from lib.models.state import join_states
from lib.test.export.graph import noise_inputs
from lib.test.spec import TrackerSpec
from lib.test.tracker import Tracker
from lib.test.tracker.build import build_network, choose_precision, tracking_model
from lib.utils.devices import checked_device, synchronize
from lib.utils.errors import ConfigError, OSTrackError

FRAME_SIZE = (720, 1280)  # height and width
TARGET_BOX = (600.0, 300.0, 90.0, 60.0)


@dataclass(frozen=True)
class Timing:
    """How long a step takes, in milliseconds, and how many frames it gets through at its median time."""

    p50: float
    p95: float
    fps: float

    def __str__(self) -> str:
        return f"{self.p50:9.2f} ms median, {self.p95:.2f} ms at the 95th percentile, {self.fps:.1f} FPS"


@dataclass(frozen=True)
class Profile:
    """What :func:`profile` measured."""

    name: str  # of the experiment
    device: str  # ``cpu``, or kind and index of the GPU, with its name on CUDA
    threads: int  # that PyTorch computes with on the CPU
    # backend, precision, batch, compiled: how it ran; a batch is so many targets, each in a frame of its own.
    backend: str
    precision: str
    batch: int
    compiled: bool
    frames: int  # timed steps
    # gmacs, mparams: of one target as ``thop`` counts them.
    gmacs: float
    mparams: float
    gflops: float  # of one target as PyTorch counts them
    network: Timing  # the forward pass alone
    tracker: Timing  # crop, forward pass and boxes
    memory_mib: float  # peak
    memory_kind: str  # what the peak is of

    def __str__(self) -> str:
        how = f"{self.device}, {self.threads} CPU threads, {self.backend}, {self.precision}, batch {self.batch}"
        height, width = FRAME_SIZE
        return (
            f"{self.name} on {how}{', compiled' if self.compiled else ''}; {self.frames} timed steps\n"
            f"MACs    {self.gmacs:9.2f} G   (thop, as in the paper: linear, convolution and norm layers)\n"
            f"FLOPs   {self.gflops:9.2f} G   (PyTorch's counter: matrix products and convolutions, with attention)\n"
            f"params  {self.mparams:9.2f} M   (thop, as in the paper: without embeddings)\n"
            f"network {self.network}   (forward pass)\n"
            f"tracker {self.tracker}   (crop, forward pass and box on {width} x {height} frames)\n"
            f"memory  {self.memory_mib:9.1f} MiB (peak, {self.memory_kind})"
        )


class _Frame(nn.Module):
    """One frame of one target by a model as it was trained, as a module: search region in, outputs out."""

    def __init__(self, cfg: ExperimentConfig, model: nn.Module) -> None:
        super().__init__()
        inputs = {name: torch.from_numpy(value) for name, value in noise_inputs(cfg, 1).items()}
        self.form: Any = family_of(cfg).plain(cfg, model)
        self.search = inputs.pop("search")
        self.state = self.form.prepare(inputs)

    def forward(self, search: Tensor) -> dict[str, Tensor]:
        return self.form.run(self.state, search)[0]


def count_operations(cfg: ExperimentConfig, model: nn.Module) -> tuple[float, float]:
    """Multiply-accumulate operations in G and parameters in M, as ``thop`` counts them: the paper's figures.

    Raises OSTrackError: ``thop`` is not installed.
    """
    try:
        from thop import profile as thop_profile
    except ImportError as error:
        raise OSTrackError("thop is not installed; run: pip install thop, or ./install.sh") from error
    with torch.no_grad():
        frame = _Frame(cfg, model)
        macs, params = thop_profile(frame, inputs=(frame.search,), verbose=False)
    return macs / 1e9, params / 1e6


def count_flops(cfg: ExperimentConfig, model: nn.Module) -> float:
    """Floating-point operations in G of one target, by PyTorch's counter.

    It counts two for each multiply-accumulate of matrix products and convolutions, those of attention among them, which
    ``thop`` does not see; and nothing for the rest.
    """
    with torch.no_grad():
        frame = _Frame(cfg, model)
        with FlopCounterMode(display=False) as counter:
            frame(frame.search)
    return counter.get_total_flops() / 1e9


def profile(spec: TrackerSpec, frames: int = 20, batch: int = 1) -> Profile:
    """Build the model with random weights and measure it; neither operations nor times depend on the weights.

    The model is in evaluation mode, with candidate elimination as in tracking. So many steps (``frames``) of ``batch``
    targets, each in a frame of its own, are waited for; a quarter as many run first that do not count. Frames are noise
    of :data:`FRAME_SIZE`; the target stays where it is, so that every search region has the same size.

    Raises ConfigError: the experiment, the device or a number cannot be used; OSTrackError: ``thop`` or what
    ``torch.compile`` needs is missing, or the memory does not suffice.
    """
    if batch < 1 or frames < 1:
        raise ConfigError(f"batch {batch} and frames {frames}: both must be at least 1")
    cfg, where = load_experiment(spec.config, spec.overrides, spec.family), checked_device(spec.device)
    precision = choose_precision(spec.precision, where, spec.backend)
    if precision == "int8":
        raise ConfigError("int8 has to be calibrated, which random weights cannot be: time it with tracking/test.py")
    try:
        with TemporaryDirectory() as folder:  # for an exported file
            model = tracking_model(cfg)
            network = build_network(cfg, model, where, precision, spec.backend, spec.compiled, folder=Path(folder))
            tracker = resolve(family_of(cfg).tracker)(cfg, network)
            network_time, tracker_time = _time_tracker(tracker, frames, batch)
    except torch.OutOfMemoryError as error:
        raise ConfigError(f"batch {batch} does not fit on {where}, use a smaller one: {error}") from error
    except RuntimeError as error:
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        reason = str(error).strip().partition("\n")[0]
        raise OSTrackError(f"the model cannot be compiled here ({reason}); leave --compile out") from error
    memory, kind = _peak_memory(where)  # before the counts, which need memory of their own
    plain = tracking_model(cfg)
    gflops = count_flops(cfg, plain)
    gmacs, mparams = count_operations(cfg, plain)
    device = f"{where} ({torch.cuda.get_device_name(where)})" if where.type == "cuda" else str(where)
    how = device, torch.get_num_threads(), spec.backend, precision, batch, spec.compiled, frames
    return Profile(cfg.name, *how, gmacs, mparams, gflops, network_time, tracker_time, memory, kind)


def _time_tracker(tracker: Tracker, frames: int, batch: int) -> tuple[Timing, Timing]:
    """Return the times of the network alone and of whole steps, each of ``batch`` targets."""
    noise = np.random.default_rng(0)
    images = [noise.integers(0, 256, (*FRAME_SIZE, 3), np.uint8) for _ in range(batch + 3)]
    targets = [tracker.start(image, TARGET_BOX) for image in images[:batch]]
    state = join_states([target.state for target in targets])
    search, _ = tracker.crop_search(images[:batch], [target.box for target in targets])

    def whole(number: int) -> None:
        for target in targets:
            target.box = list(TARGET_BOX)
        start = number % 4
        tracker.step(images[start : start + batch], targets)

    def network(number: int) -> None:
        tracker.read(tracker.predict(state, search)[0]).tolist()

    return measure(network, frames, batch, tracker.device), measure(whole, frames, batch, tracker.device)


def measure(step: Callable[[int], object], count: int, batch: int, device: torch.device) -> Timing:
    """Time ``step(i)`` over ``count`` calls of ``batch`` frames each, after a quarter as many that do not count."""
    times = []
    for i in tqdm(range(-max(1, count // 4), count), "timing", unit="step", delay=2, leave=False):
        start = time.perf_counter()
        step(i)
        synchronize(device)
        if i >= 0:
            times.append(1000 * (time.perf_counter() - start))
    p50, p95 = np.percentile(times, (50, 95)).tolist()
    return Timing(p50, p95, 1000 * batch / p50)


def _peak_memory(device: torch.device) -> tuple[float, str]:
    """Return the peak so far in MiB, and what it is of."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20, "tensors on the GPU"
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, "resident set of the whole process"
