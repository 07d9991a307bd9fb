"""Evaluating whole sequences: several in one pass of the runner, next to the published loop over them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.bench_data import FRAMES
from benchmarks.published import PublishedTracker, published_read
from benchmarks.report import Row
from benchmarks.variants import PUBLISHED, Scene, Variant
from lib.config import config_hash, load_config
from lib.config.ostrack import OSTrackConfig
from lib.data.sequence import Annotations, ImageFrames, Sequence
from lib.models.family import DEFAULT_FAMILY
from lib.test.evaluation.results import run_provenance
from lib.test.evaluation.runner import RunOptions, run_sequences
from lib.test.tracker import Tracker
from lib.utils.errors import OSTrackError

LENGTH = 500  # frames of a sequence, over which the published code's building of a model is spread


def published_seconds(scene: Scene, frames: int) -> tuple[float, float]:
    """Seconds to build the model for a sequence, and seconds for each of its frames, read and tracked in turn."""
    torch.backends.cudnn.allow_tf32 = PUBLISHED.tf32
    start = time.perf_counter()
    cfg = load_config(OSTrackConfig, scene.config, list(scene.overrides))
    tracker = PublishedTracker(cfg, scene.checkpoint, scene.device)
    built = time.perf_counter()
    target = tracker.start(published_read(scene.file(0, 0)), scene.box(0, 0))
    begun = time.perf_counter()
    for number in range(1, frames):
        tracker.step([published_read(scene.file(0, number))], [target])
    return built - start, (time.perf_counter() - begun) / (frames - 1)


def pass_seconds(tracker: Tracker, variant: Variant, scene: Scene, count: int, frames: int, folder: Path) -> float:
    """Seconds by the clock for each frame when the runner tracks ``count`` sequences in one pass, decoding ahead."""
    torch.backends.cudnn.allow_tf32 = variant.tf32
    sequences = []
    for i in range(count):
        images = ImageFrames(scene.file(i, 0).parent, tuple(scene.file(i, t).name for t in range(frames)))
        boxes = np.array([scene.box(i, t) for t in range(frames)])
        sequences.append(Sequence(f"{i}", "folder", images, partial(Annotations, boxes)))
    identity, device = config_hash(tracker.cfg), str(scene.device)
    where = run_provenance(DEFAULT_FAMILY, scene.config, identity, scene.checkpoint, variant.precision, device)
    options = RunOptions(batch=count, fresh=True)
    summary = run_sequences(sequences, lambda device: tracker, folder, where, [device], options)
    if summary.failed:
        raise OSTrackError(str(summary))
    return summary.seconds / summary.frames


def measure_pass(
    scene: Scene, variants: Iterable[Variant], count: int, passes: int, folder: Path, frames: int = FRAMES // 2
) -> list[Row]:
    """Rows of the published way and of ``variants`` with ``count`` sequences in one pass of so many ``frames`` each.

    Times are medians of the passes, and the variants are interleaved; the first passes do not count, they may compile.
    Of the published way, the building of a model is spread over :data:`LENGTH` frames.
    """
    trackers = {variant: scene.tracker(variant) for variant in variants if variant != PUBLISHED}
    found: dict[Variant, list[float]] = {variant: [] for variant in (PUBLISHED, *trackers)}
    for number in range(passes + 1):
        building, tracking = published_seconds(scene, frames)
        seconds = {PUBLISHED: tracking + building / LENGTH}
        for variant, tracker in trackers.items():
            seconds[variant] = pass_seconds(tracker, variant, scene, count, frames, folder)
        for variant in seconds if number else ():
            found[variant].append(1000 * seconds[variant])
    rows, base = [], float(np.median(found[PUBLISHED]))
    for variant, times in found.items():
        p50, p95 = np.percentile(times, (50, 95)).tolist()
        rows.append(Row(scene.config, "sequences", count, variant.name, total=(p50, p95), total_speed=base / p50))
    return rows
