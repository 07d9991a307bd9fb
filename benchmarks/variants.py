"""The variants of a tracker that are timed against each other, interleaved, on the same frames."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import torch

from benchmarks.bench_data import FRAMES, SEQUENCES, Drawn
from benchmarks.published import PublishedTracker, published_read
from lib.config import load_config
from lib.config.ostrack import OSTrackConfig
from lib.data.image_io import read_image
from lib.models.ostrack import build_ostrack
from lib.test.evaluation.protocol import BatchTracker
from lib.test.evaluation.writer import FrameTime
from lib.test.export import ExportOptions
from lib.test.spec import TrackerSpec
from lib.test.tracker import Tracker, build_tracker
from lib.test.tracker.backends import FORMAT_OF
from lib.utils.errors import ConfigError, OSTrackError
from tracking.export import export_experiment


@dataclass(frozen=True)
class Variant:
    """A way to track that is timed."""

    name: str  # in tables
    backend: str  # of :func:`build_tracker`; or ``published``; or ``opencv``, whose tracker ``name`` ends with
    precision: str = "float32"  # of :func:`build_tracker`
    compiled: bool = False  # likewise
    grows: bool = False  # stands in the tables of how the cost grows
    cuda: bool = False  # of use on CUDA only

    @property
    def tf32(self) -> bool:
        """Whether cuDNN may round to TensorFloat-32: PyTorch's setting, which the published code leaves as it is."""
        return self.backend == "published" or self.precision != "float32"


PUBLISHED = Variant("published", "published", grows=True)  # what all ratios are to
VARIANTS = (
    PUBLISHED,
    Variant("plain float32", "plain"),
    Variant("plain bf16", "plain", "bf16"),
    Variant("torch float32", "torch"),
    Variant("torch bf16", "torch", "bf16", grows=True),
    Variant("torch fp16", "torch", "fp16", cuda=True),
    Variant("cudagraph bf16", "cudagraph", "bf16", grows=True, cuda=True),
    Variant("cudagraph fp16", "cudagraph", "fp16", cuda=True),
    Variant("torch bf16 compiled", "torch", "bf16", compiled=True, cuda=True, grows=True),
    Variant("torch fp16 compiled", "torch", "fp16", compiled=True, cuda=True),
    Variant("onnxruntime float32", "onnxruntime"),
    Variant("onnxruntime int8", "onnxruntime", "int8"),
    Variant("openvino float32", "openvino"),
    Variant("openvino bf16", "openvino", "bf16"),
    Variant("openvino int8", "openvino", "int8"),
    Variant("OpenCV CSRT", "opencv"),
)


@dataclass(frozen=True)
class Scene:
    """The work that is timed: drawn sequences, one for each target (they repeat), experiment and weights."""

    data: Drawn
    config: str
    overrides: tuple[str, ...]
    checkpoint: Path
    device: torch.device

    def file(self, target: int, number: int) -> Path:
        return self.data.path(target % SEQUENCES, number)

    def box(self, target: int, number: int) -> list[float]:
        return self.data.boxes[target % SEQUENCES][number].tolist()

    def tracker(self, variant: Variant) -> Tracker:
        """See :func:`project_tracker`."""
        return project_tracker(variant, self.config, self.overrides, self.checkpoint, self.device)


def random_weights(config: str, overrides: Sequence[str], path: Path) -> Path:
    """Write weights from a fixed seed for an experiment: what a step costs does not depend on them."""
    torch.manual_seed(0)
    torch.save({"net": build_ostrack(load_config(OSTrackConfig, config, list(overrides))).state_dict()}, path)
    return path


class TrackerRunner:
    """A tracker of this project, or the published one, on ``targets`` targets in one step.

    The target of every frame is looked for where it truly was one frame before: all variants crop the same regions.
    """

    def __init__(self, tracker: BatchTracker, scene: Scene, targets: int, read: Callable[[Path], Any], tf32: bool):
        self.tracker, self.scene, self.read, self.tf32 = tracker, scene, read, tf32
        self.targets = [tracker.start(read(scene.file(i, 0)), scene.box(i, 0)) for i in range(targets)]

    def run(self, number: int) -> FrameTime:
        """Track frame ``number`` of the drawn sequences, from 1; 1 comes after the last."""
        torch.backends.cudnn.allow_tf32 = self.tf32  # one switch for all runners of this process
        for i, target in enumerate(self.targets):
            target.box = self.scene.box(i, number - 1)
        start = time.perf_counter()
        images = [self.read(self.scene.file(i, number)) for i in range(len(self.targets))]
        decoded = time.perf_counter()
        try:
            step = self.tracker.step(images, self.targets)
        except torch.OutOfMemoryError as error:
            raise OSTrackError(f"{len(images)} targets do not fit on {self.scene.device}: {error}") from error
        parts = decoded - start, time.perf_counter() - decoded, step.crop, step.network
        return FrameTime(*(seconds / len(self.targets) for seconds in parts))


class OpenCVRunner:
    """A tracker of OpenCV in a process of its own, which finds opencv-contrib in ``folder``.

    Raises ConfigError: it is not there.
    """

    def __init__(self, kind: str, scene: Scene, folder: Path | None):
        path = os.pathsep.join(filter(None, (str(folder) if folder else "", os.environ.get("PYTHONPATH", ""))))
        command = [sys.executable, str(Path(__file__).with_name("opencv_trackers.py"))]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
        )
        files, boxes = zip(*((str(scene.file(0, t)), scene.box(0, t)) for t in range(FRAMES)), strict=True)
        what = {"kind": kind, "threads": torch.get_num_threads(), "files": files, "boxes": boxes}
        if (answer := self._ask(what)) != "ready":
            self.close()
            raise ConfigError(f"{answer}, then --opencv-contrib FOLDER")

    def run(self, number: int) -> FrameTime:
        answer = self._ask(number)
        if not answer:
            raise OSTrackError("OpenCV's tracker has died; its own message stands above")
        return FrameTime(*json.loads(answer))

    def close(self) -> None:
        """End the process."""
        self.process.communicate()

    def _ask(self, what: Any) -> str:
        try:
            self.process.stdin.write(json.dumps(what) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return ""
        return self.process.stdout.readline().strip()


Runner = TrackerRunner | OpenCVRunner  # a variant, built and ready


def project_tracker(
    variant: Variant, config: str, overrides: Sequence[str], checkpoint: Path, device: torch.device
) -> Tracker:
    """Return the tracker of a variant of :func:`build_tracker`. Raises OSTrackError: it is not available here."""
    if variant.cuda and device.type != "cuda":
        raise ConfigError("for CUDA only")
    if variant.precision == "int8":  # other files are made by build_tracker, this one has to be calibrated
        spec = TrackerSpec(config, checkpoint=checkpoint, overrides=tuple(overrides))
        export_experiment(spec, FORMAT_OF[variant.backend], ExportOptions("int8"))
    how = {"backend": variant.backend, "compiled": variant.compiled, "overrides": list(overrides)}
    return build_tracker(config, checkpoint, device, variant.precision, **how)


def build_runner(variant: Variant, scene: Scene, targets: int, contrib: Path | None, stack: ExitStack) -> Runner:
    """Build a variant; what it leaves open ends with ``stack``. The published way always has one target.

    Raises OSTrackError: it is not available here; the message says why.
    """
    if variant.backend == "opencv":
        runner = OpenCVRunner(variant.name.split()[-1], scene, contrib)
        stack.callback(runner.close)
        return runner
    if variant.backend == "published":
        cfg = load_config(OSTrackConfig, scene.config, list(scene.overrides))
        tracker = PublishedTracker(cfg, scene.checkpoint, scene.device)
        return TrackerRunner(tracker, scene, 1, published_read, variant.tf32)
    return TrackerRunner(scene.tracker(variant), scene, targets, read_image, variant.tf32)


@dataclass(frozen=True)
class Turns:
    """How runners are interleaved: ``number`` of turns each, of so many timed ``frames``."""

    number: int
    frames: int

    def __str__(self) -> str:
        return f"{self.number} turns of {self.frames} frames"


def interleave(runners: Mapping[str, Runner], turns: Turns) -> dict[str, list[FrameTime]]:
    """Time the runners in turn (A B C A B C ...), so that the machine's drift falls on all of them alike.

    A first turn does not count, nor does the first frame of each: it brings weights back into the caches.
    """
    found: dict[str, list[FrameTime]] = {name: [] for name in runners}
    number = 0
    for turn in range(turns.number + 1):
        for name, runner in runners.items():
            frames = [runner.run(1 + (number + i) % (FRAMES - 1)) for i in range(turns.frames + 1)]
            found[name] += frames[1:] if turn else []
        number += turns.frames + 1
    return found


def set_threads(count: int) -> None:
    """Let PyTorch and OpenCV compute with so many threads."""
    torch.set_num_threads(count)
    cv2.setNumThreads(count)
