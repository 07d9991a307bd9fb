"""Steps per second and peak memory of training, by precision and options, compared with the published way.

The published way is explicit attention with all its weights in memory, and an optimizer that updates one tensor at a
time, in true float32. Data stay on the device, so loading is not counted. All variants start from the same weights:
their first losses should agree up to rounding.

A second table has the shares of a step of forward pass, losses, backward pass and optimizer, and the memory of the
weights with their gradients and the optimizer's state, and of what the forward pass keeps for the backward pass.
"""

import argparse
import gc
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else PyTorch's profiler complains where there is no GPU

import numpy as np
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.published import use_plain_attention
from lib.config import add_overrides, load_config
from lib.config.ostrack import OSTrackConfig
from lib.models.layers.block import DIRECT, training_execution
from lib.models.ostrack import build_ostrack
from lib.models.ostrack.elimination import keep_rate
from lib.train.actors import build_actor
from lib.train.actors.ostrack import OSTrackActor
from lib.train.optim import amp_dtype, build_optimizer, parameter_groups, set_precision
from lib.train.run_training import pick_device
from lib.train.trainers.step import StepOutcome, train_step
from lib.utils.devices import synchronize
from lib.utils.errors import run_cli


@dataclass(frozen=True)
class Variant:
    """A variant of training: its overrides; ``plain`` = the published step; ``cuda`` = for CUDA only."""

    name: str
    overrides: tuple[str, ...] = ()
    plain: bool = False
    cuda: bool = False


_TF32, _BF16, _COMPILE = "TRAIN.TF32=true", "TRAIN.AMP=bf16", "TRAIN.COMPILE=true"
# Variants start from no options, whatever the experiment sets.
_NONE = ("TRAIN.AMP=false", "TRAIN.TF32=false", "TRAIN.COMPILE=false", "TRAIN.ACTIVATION_CHECKPOINTING=false")
VARIANTS = (
    Variant("published way", plain=True),
    Variant("published way, TF32", (_TF32,), plain=True, cuda=True),
    Variant("float32"),
    Variant("TF32", (_TF32,), cuda=True),
    Variant("bf16", (_BF16,)),
    Variant("bf16 + compile", (_BF16, _COMPILE)),
    Variant("bf16 + compile, TF32 head", (_BF16, _COMPILE, _TF32), cuda=True),
    Variant("bf16 + checkpointing", (_BF16, "TRAIN.ACTIVATION_CHECKPOINTING=true")),
    Variant("fp16", ("TRAIN.AMP=fp16",), cuda=True),
)


@dataclass(frozen=True)
class Measured:
    """Cost of a training step of a variant."""

    seconds: float  # the median
    memory: int  # the peak in bytes, of all tensors
    loss: float  # of the first step
    # Of forward pass, losses, backward pass and optimizer, in a step of its own; they add up to 1.
    shares: tuple[float, ...]
    fixed: int  # bytes of weights, gradients and the optimizer's state
    kept: int  # bytes that the forward pass and the losses keep for the backward pass


def memory_of(run: Callable[[], object], device: torch.device) -> tuple[int, int]:
    """Return the bytes on the device that ``run`` takes: those of its result, and the peak."""
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        result = run()
        stays = torch.cuda.memory_allocated(device) - before
        del result
        return stays, torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        result = run()
    del result
    with tempfile.TemporaryDirectory() as folder:
        profiler.export_chrome_trace(f"{folder}/trace.json")
        events = json.loads(Path(folder, "trace.json").read_text())["traceEvents"]
    changes = sorted((event for event in events if event.get("name") == "[memory]"), key=lambda event: event["ts"])
    held = np.cumsum([0, *(change["args"]["Bytes"] for change in changes)])
    return int(held[-1]), int(held.max())


def now(device: torch.device) -> float:
    """Return the time in seconds, after waiting for the device."""
    synchronize(device)
    return time.perf_counter()


def step_shares(
    actor: OSTrackActor, batch: dict, optimizer: torch.optim.Optimizer, epoch: int, limit: float, steps: int
) -> tuple[float, ...]:
    """Return the shares of forward pass, losses, backward pass, and clipping with the optimizer's step.

    float16 is not scaled here, which does not change the costs.
    """
    times = []
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        moved = actor.to_device(batch)
        moments = [now(actor.device)]
        output = actor.run(moved, epoch)
        moments.append(now(actor.device))
        loss, _ = actor.losses(output, moved)
        moments.append(now(actor.device))
        loss.backward()
        moments.append(now(actor.device))
        torch.nn.utils.clip_grad_norm_(actor.net.parameters(), limit or math.inf)
        optimizer.step()
        moments.append(now(actor.device))
        times.append(np.diff(moments))
    means = np.mean(times, axis=0)
    return tuple((means / means.sum()).tolist())


def measure(
    cfg: OSTrackConfig, variant: Variant, device: torch.device, epoch: int, steps: int, warmup: int
) -> Measured:
    """Train on one batch and measure it."""
    torch.manual_seed(0)
    set_precision(cfg, device)
    execution = DIRECT if variant.plain else training_execution(cfg.TRAIN, device)
    net = build_ostrack(cfg, execution=execution).to(device).train()
    if variant.plain:
        use_plain_attention(net)
        groups = parameter_groups(net, cfg)
        optimizer = torch.optim.AdamW(groups, weight_decay=cfg.TRAIN.WEIGHT_DECAY, foreach=False, fused=False)
    else:
        optimizer = build_optimizer(net, cfg)
    dtype = amp_dtype(cfg.TRAIN.AMP, device)
    actor = build_actor(net, cfg, dtype)
    scaler = torch.amp.GradScaler(device.type, enabled=dtype is torch.float16)
    batch = random_batch(cfg, device)
    times, losses = [], []

    def step() -> StepOutcome:
        return train_step(actor, [batch], optimizer, scaler, epoch, cfg.TRAIN.GRAD_CLIP_NORM)

    for _ in range(warmup + steps):
        start = now(device)
        outcome = step()
        times.append(now(device) - start)
        losses.append(outcome.stats["Loss/total"])
    state = [value for each in optimizer.state.values() for value in each.values() if isinstance(value, Tensor)]
    lasting = sum(tensor.nbytes for tensor in (*net.parameters(), *net.buffers(), *state))
    gradients = sum(parameter.nbytes for parameter in net.parameters() if parameter.grad is not None)
    optimizer.zero_grad(set_to_none=True)
    kept, _ = memory_of(lambda: actor(batch, epoch), device)
    _, most = memory_of(step, device)
    shares = step_shares(actor, batch, optimizer, epoch, cfg.TRAIN.GRAD_CLIP_NORM, max(1, steps // 3))
    return Measured(float(np.median(times[warmup:])), lasting + most, losses[0], shares, lasting + gradients, kept)


def random_batch(cfg: OSTrackConfig, device: torch.device) -> dict[str, Tensor | list[str]]:
    """Make a batch of noise with boxes in the middle, in the form of the loader's."""
    count = cfg.TRAIN.BATCH_SIZE
    generator = torch.Generator().manual_seed(1)
    box = torch.tensor([0.3, 0.4, 0.25, 0.2], device=device).expand(1, count, 4)
    batch: dict[str, Tensor | list[str]] = {"source": ["noise"] * count}
    for kind, size in (("template", cfg.DATA.TEMPLATE.SIZE), ("search", cfg.DATA.SEARCH.SIZE)):
        batch[f"{kind}_images"] = torch.randn(1, count, 3, size, size, generator=generator).to(device)
        batch[f"{kind}_anno"] = box
    return batch


def row(variant: Variant, found: Measured, batch: int, first: Measured) -> str:
    """Format a line of the table; ratios are to the ``first`` variant."""
    speed = first.seconds / found.seconds
    return (
        f"{variant.name:26s} {1 / found.seconds:8.2f} {batch / found.seconds:9.1f} {speed:7.2f}x"
        f"  {found.memory / 2**30:6.2f}  {found.memory / first.memory:5.2f}x  {found.loss:10.4f}"
    )


def parts_row(variant: Variant, found: Measured, first: Measured) -> str:
    """Format a line of the second table; the ratio is to what the ``first`` variant keeps."""
    shares = " ".join(f"{100 * share:9.0f} %" for share in found.shares)
    ratio = found.kept / first.kept
    return f"{variant.name:26s} {shares}  {found.fixed / 2**30:6.2f}  {found.kept / 2**30:6.2f}  {ratio:5.2f}x"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--config", default="vitb_256_mae_ce_32x4_ep300", help="name or path of an experiment")
    parser.add_argument("--batch", type=int, default=32, help="samples of a step")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--epoch", type=int, help="sets the share of tokens that are kept; by default the last epoch")
    parser.add_argument("--steps", type=int, default=30, help="timed steps")
    parser.add_argument("--warmup", type=int, default=5, help="steps before them")
    parser.add_argument("--variants", nargs="+", choices=[v.name for v in VARIANTS], help="these only")
    add_overrides(parser)
    args = parser.parse_intermixed_args()
    device = pick_device(args.device)
    common = (*args.overrides, f"TRAIN.BATCH_SIZE={args.batch}")
    base = load_config(OSTrackConfig, args.config, common)
    epoch = args.epoch or base.TRAIN.EPOCH
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{args.config}, batch {args.batch}, epoch {epoch} (keep rate {keep_rate(base, epoch):.2f}); "
          f"{where}, torch {torch.__version__}; median of {args.steps} steps")  # fmt: skip
    print(f"{'':26s} {'steps/s':>8s} {'pairs/s':>9s} {'speed':>8s}  {'GiB':>6s}  {'memory':>6s}  {'first loss':>10s}")
    measured: dict[Variant, Measured] = {}
    for variant in VARIANTS:
        if args.variants and variant.name not in args.variants:
            continue
        if variant.cuda and device.type != "cuda":
            print(f"{variant.name:26s} skipped: for CUDA only")
            continue
        cfg = load_config(OSTrackConfig, args.config, [*common, *_NONE, *variant.overrides])
        try:
            found = measure(cfg, variant, device, epoch, args.steps, args.warmup)
        except torch.cuda.OutOfMemoryError:
            print(f"{variant.name:26s} out of memory")
            continue
        finally:
            torch.compiler.reset()
            gc.collect()
            if device.type == "cuda":
                torch.cuda.empty_cache()
        measured[variant] = found
        print(row(variant, found, args.batch, next(iter(measured.values()))), flush=True)
    heads = " ".join(f"{name:>11s}" for name in ("forward", "losses", "backward", "optimizer"))
    print(f"\n{'':26s} {heads}  {'fixed':>6s}  {'kept':>6s} GiB")
    for variant, found in measured.items():
        print(parts_row(variant, found, next(iter(measured.values()))))


if __name__ == "__main__":
    run_cli(main)
