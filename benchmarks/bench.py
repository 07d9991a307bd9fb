"""How fast OSTrack runs here: next to the published way, to OpenCV's CSRT, and to the machine's roofline.

All variants track the same drawn frames with the same random weights, and take turns. ``network`` is the time from the
crop's pixels to the box and its score, ``all`` that of decoding, crop, network and box one after the other, with the
95th percentiles beside the medians and the shares of the parts at the right; milliseconds for one frame of one target.
``speed`` is how many times as fast as the published way (benchmarks/published.py), ``limit`` how near to the limit that
the machine's best matrix products and its memory set. The tables after the first show how the cost grows: with the
targets in one step, the side of the search region, the threads, and the sequences in one pass of the runner.
"""

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np
import torch

from benchmarks.bench_data import FRAMES, SEQUENCES, Drawn, parse_size
from benchmarks.published import PublishedTracker, published_read
from benchmarks.report import HEADER, Row, figures
from benchmarks.variants import (
    PUBLISHED,
    VARIANTS,
    Scene,
    Turns,
    Variant,
    build_runner,
    interleave,
    random_weights,
    set_threads,
)
from lib.config import config_hash, load_config
from lib.config.ostrack import OSTrackConfig
from lib.data.sequence import Annotations, ImageFrames, Sequence
from lib.drawing.textures import procedural_textures
from lib.models.family import DEFAULT_FAMILY
from lib.test.evaluation.results import run_provenance
from lib.test.evaluation.runner import RunOptions, run_sequences
from lib.test.profiling import count_flops
from lib.test.tracker import Tracker
from lib.test.tracker.build import tracking_model
from lib.train.run_training import pick_device
from lib.utils.cpu import cpu_count, fast_bf16
from lib.utils.devices import synchronize
from lib.utils.errors import ConfigError, OSTrackError, run_cli

LENGTH = 500  # frames of a sequence, over which the published code's building of a model is spread
CONFIGS = ("vitb_256_mae_ce_32x4_ep300", "vits_256_ce_images")
BYTES = {"float32": 4, "bf16": 2, "fp16": 2}
# Of the roofline.
_COPIED = 2**28  # bytes of the copy: more than caches hold
_SIZES = {"cpu": (512, 1024, 2048), "cuda": (2048, 4096, 8192)}
_PRECISIONS = {"cpu": ("float32", "bf16"), "cuda": ("float32", "tf32", "bf16", "fp16")}
_DTYPES = {"float32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Plan:
    """Extent of a run: turns of the first table and of the others, repeats of the roofline, points of each axis."""

    turns: Turns
    growth: Turns
    repeats: int
    batch: tuple[int, ...]
    search: tuple[int, ...]
    threads: tuple[int, ...]
    sequences: tuple[int, ...]


FULL = Plan(
    Turns(8, 5), Turns(4, 2), 15, (1, 2, 4, 8, 16, 32, 64), (192, 256, 320, 384, 448, 512), (1, 2), (1, 2, 4, 8, 16, 32)
)
QUICK = Plan(Turns(3, 3), Turns(2, 1), 5, (), (), (), ())


def machine(device: torch.device) -> dict[str, str | int]:
    """Description of the machine; ratios are comparable between machines of the same ``kind``."""
    threads = torch.get_num_threads()
    if device.type == "cuda":
        name = kind = torch.cuda.get_device_name(device)
    else:
        bf16 = ", bf16" if fast_bf16() else ""
        name = platform.processor() or platform.machine()
        kind = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}{bf16}, threads {threads}"
    versions = {"torch": torch.__version__, "opencv": cv2.__version__, "python": platform.python_version()}
    return {"kind": kind, "device": name, "threads": threads, **versions}


def measure_roofline(device: torch.device, repeats: int) -> dict[str, float]:
    """Rates of a device: FLOP/s by precision, of square matrix products; bytes/s of ``copy``, read and written."""
    rates = {name: _product_rate(name, device, repeats) for name in _PRECISIONS[device.type]}
    source = torch.ones(_COPIED, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return rates | {"copy": 2 * _COPIED / _median_seconds(lambda: target.copy_(source), device, repeats)}


def _product_rate(precision: str, device: torch.device, repeats: int) -> float:
    """Return the best over some sizes; two operations for each multiply-accumulate."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    best = 0.0
    try:
        for size in _SIZES[device.type]:
            a, b = torch.randn(2, size, size, device=device).to(_DTYPES[precision])
            out = torch.empty_like(a)
            seconds = _median_seconds(lambda a=a, b=b, out=out: torch.mm(a, b, out=out), device, repeats)
            best = max(best, 2 * size**3 / seconds)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    return best


def _median_seconds(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    times = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        work()
        synchronize(device)
        times.append(time.perf_counter() - start)
    return float(np.median(times[2:]))


def limit_seconds(scene: Scene, variant: Variant, targets: int, rates: dict[str, float]) -> float | None:
    """Roofline time of the network for one target: of its operations, or of reading weights once for all targets."""
    if variant.precision not in rates or variant.backend == "opencv":
        return None
    cfg = load_config(OSTrackConfig, scene.config, list(scene.overrides))
    net = tracking_model(cfg)
    weights = BYTES[variant.precision] * sum(parameter.numel() for parameter in net.parameters())
    return max(1e9 * count_flops(cfg, net) / rates[variant.precision], weights / targets / rates["copy"])


def measure(
    scene: Scene, variants: list[Variant], point: tuple[str, int], turns: Turns, rates: dict, contrib: Path | None
) -> list[Row]:
    """Rows of ``variants`` at a ``point``, an axis and a value; the published way is always among them."""
    targets, rows = point[1] if point[0] == "batch" else 1, []
    with ExitStack() as stack:
        runners, missing = {}, {}
        for variant in variants:
            try:
                runners[variant.name] = build_runner(variant, scene, targets, contrib, stack)
            except (OSTrackError, ImportError) as error:
                if variant == PUBLISHED:
                    raise
                missing[variant.name] = str(error)
        found = {name: figures(frames) for name, frames in interleave(runners, turns).items()}
    base: dict[str, Any] = found[PUBLISHED.name]
    for variant in variants:
        if variant.name in missing:
            rows.append(Row(scene.config, *point, variant.name, missing=missing[variant.name]))
            continue
        row: dict[str, Any] = found[variant.name]
        row["total_speed"] = base["total"][0] / row["total"][0]
        if "network" in row:
            limit = limit_seconds(scene, variant, 1 if variant == PUBLISHED else targets, rates)
            row["network_speed"] = base["network"][0] / row["network"][0]
            row["of_limit"] = None if limit is None else 1000 * limit / row["network"][0]
        rows.append(Row(scene.config, *point, variant.name, **row))
    torch.compiler.reset()  # every point compiles its own sizes
    return rows


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


def measure_all(args: argparse.Namespace, plan: Plan, device: torch.device, rates: dict) -> Iterator[list[Row]]:
    """Yield all tables, piece by piece."""
    wanted = [v for v in VARIANTS if v == PUBLISHED or not args.variants or v.name in args.variants]
    growing = [v for v in wanted if v.grows and (device.type == "cuda" or not v.cuda)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = Drawn(folder / "frames", parse_size(args.size), procedural_textures(SEQUENCES), 90)

        def scene(config: str, *overrides: str) -> Scene:
            weights = random_weights(config, overrides, folder / "weights.pth")
            return Scene(data, config, overrides, weights, device)

        for config in args.config:
            yield measure(scene(config), wanted, ("model", 1), plan.turns, rates, args.opencv_contrib)
        config = args.config[0]
        for targets in plan.batch:
            yield measure(scene(config), growing, ("batch", targets), plan.growth, rates, None)
        for side in plan.search:
            sized = scene(config, f"DATA.SEARCH.SIZE={side}", f"TEST.SEARCH_SIZE={side}")
            yield measure(sized, growing, ("search", side), plan.growth, rates, None)
        for threads in plan.threads:
            set_threads(threads)
            yield measure(scene(config), growing, ("threads", threads), plan.growth, {}, None)
        set_threads(args.cpu_threads)
        for count in plan.sequences:
            yield measure_pass(scene(config), growing, count, plan.growth.number, folder / "results")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", nargs="+", default=list(CONFIGS), help="experiments; the first shows the growth")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--cpu_threads", type=int, default=cpu_count(), help="of all but that axis (%(default)s)")
    parser.add_argument("--variants", nargs="+", choices=[v.name for v in VARIANTS], help="these and the published way")
    parser.add_argument("--size", default="1280x720", metavar="WxH", help="of the frames (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="few turns, and none of the axes unless named")
    for axis, what in (
        ("batch", "targets in one step"),
        ("search", "sides of the search region in pixels"),
        ("threads", "threads of the CPU"),
        ("sequences", "sequences in one pass"),
    ):
        points = " ".join(map(str, getattr(FULL, axis)))
        parser.add_argument(f"--{axis}", type=int, nargs="*", metavar="N", help=f"{what} (default: {points})")
    parser.add_argument("--opencv-contrib", type=Path, metavar="FOLDER", help="see benchmarks/opencv_trackers.py")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write everything to this file too")
    args = parser.parse_args()
    axes = {axis: getattr(args, axis) for axis in ("batch", "search", "threads", "sequences")}
    if any(value < 1 for values in axes.values() for value in values or ()) or args.cpu_threads < 1:
        raise ConfigError("batches, sides, threads and sequences are 1 or more")
    base = QUICK if args.quick else FULL
    plan = Plan(**{**vars(base), **{axis: tuple(values) for axis, values in axes.items() if values is not None}})
    device = pick_device(args.device)
    set_threads(args.cpu_threads)
    about = machine(device)
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    rates = measure_roofline(device, plan.repeats)
    products = ", ".join(f"{name} {rate / 1e9:.0f}" for name, rate in rates.items() if name != "copy")
    copied = f"{rates['copy'] / 1e9:.1f} GB/s in a copy (read and written)"
    print(f"at most: {products} GFLOP/s in matrix products, {copied}")
    print(f"frames of {args.size}; {plan.turns}, {plan.growth} in the growth; a pass: a model for {LENGTH} frames")
    rows: list[Row] = []
    for piece in measure_all(args, plan, device, rates):
        if not rows or (rows[-1].config, rows[-1].axis) != (piece[0].config, piece[0].axis):
            print(f"\n{piece[0].config}\n{HEADER}")
        print(*piece, sep="\n", flush=True)
        rows += piece
        if args.json:  # after each piece, so that a long run that is stopped has left what it measured
            settings = {"size": args.size, **asdict(plan)}
            run = {"machine": about, "settings": settings, "roofline": rates, "rows": [asdict(row) for row in rows]}
            args.json.write_text(json.dumps(run, indent=1) + "\n")


if __name__ == "__main__":
    run_cli(main)
