"""Steps per second and peak memory of training, by precision and options, next to a step done the published way.

The published way is attention as it is written down, with all its weights in memory, and an optimiser that takes one
tensor at a time, in true float32. Data are drawn once and left on the device, so reading them is not counted. All
variants start from the same weights: their first losses should agree to rounding.
"""

import argparse
import gc
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from torch import Tensor

from benchmarks.published import use_plain_attention
from lib.config.ostrack import Config, load_config
from lib.models.ostrack import build_ostrack
from lib.models.ostrack.candidate_elimination import keep_rate
from lib.models.ostrack.training import prepare_for_training
from lib.train.actors import build_actor
from lib.train.optim import amp_dtype, build_optimizer, parameter_groups, set_precision
from lib.train.run_training import pick_device
from lib.train.trainers.step import train_step
from lib.utils.errors import run_cli


@dataclass(frozen=True)
class Variant:
    """A way to train: what it overrides; ``plain`` = the published step; ``cuda`` = of no use elsewhere."""

    name: str
    overrides: tuple[str, ...] = ()
    plain: bool = False
    cuda: bool = False


_TF32, _BF16, _COMPILE = "TRAIN.TF32=true", "TRAIN.AMP=bf16", "TRAIN.COMPILE=true"
# Whatever the experiment says: a variant starts from none of the options.
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
    """Median seconds of a step, peak memory in GiB (None where it cannot be told), loss of the first step."""

    seconds: float
    memory: float | None
    loss: float


def measure(cfg: Config, variant: Variant, device: torch.device, epoch: int, steps: int, warmup: int) -> Measured:
    """Train on one batch; see :class:`Measured`."""
    torch.manual_seed(0)
    set_precision(cfg, device)
    net = build_ostrack(cfg).to(device).train()
    if variant.plain:
        use_plain_attention(net)
        groups = parameter_groups(net, cfg)
        optimizer = torch.optim.AdamW(groups, weight_decay=cfg.TRAIN.WEIGHT_DECAY, foreach=False, fused=False)
    else:
        optimizer = build_optimizer(net, cfg)
    prepare_for_training(net, cfg)
    dtype = amp_dtype(cfg.TRAIN.AMP, device)
    actor = build_actor(net, cfg, dtype)
    scaler = torch.amp.GradScaler(device.type, enabled=dtype is torch.float16)
    batch = random_batch(cfg, device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    times, losses = [], []
    for _ in range(warmup + steps):
        start = time.perf_counter()
        outcome = train_step(actor, [batch], optimizer, scaler, epoch, cfg.TRAIN.GRAD_CLIP_NORM)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
        losses.append(outcome.stats["Loss/total"])
    memory = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None
    return Measured(float(np.median(times[warmup:])), memory, losses[0])


def random_batch(cfg: Config, device: torch.device) -> dict[str, Tensor | list[str]]:
    """Noise with boxes in the middle, in the form that the loader gives."""
    count = cfg.TRAIN.BATCH_SIZE
    generator = torch.Generator().manual_seed(1)
    box = torch.tensor([0.3, 0.4, 0.25, 0.2], device=device).expand(1, count, 4)
    batch: dict[str, Tensor | list[str]] = {"source": ["noise"] * count}
    for kind, size in (("template", cfg.DATA.TEMPLATE.SIZE), ("search", cfg.DATA.SEARCH.SIZE)):
        batch[f"{kind}_images"] = torch.randn(1, count, 3, size, size, generator=generator).to(device)
        batch[f"{kind}_anno"] = box
    return batch


def row(variant: Variant, found: Measured, batch: int, first: Measured) -> str:
    """A line of the table; ratios are to the ``first`` variant."""
    speed, memory = first.seconds / found.seconds, "     -       -"
    if found.memory is not None and first.memory is not None:
        memory = f"{found.memory:6.1f}  {found.memory / first.memory:5.2f}x"
    return (
        f"{variant.name:26s} {1 / found.seconds:8.2f} {batch / found.seconds:9.1f} {speed:7.2f}x"
        f"  {memory}  {found.loss:10.4f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--config", default="vitb_256_mae_ce_32x4_ep300", help="name or path of an experiment")
    parser.add_argument("--batch", type=int, default=32, help="samples of a step")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--epoch", type=int, help="sets the share of tokens that are kept; by default the last epoch")
    parser.add_argument("--steps", type=int, default=30, help="timed steps")
    parser.add_argument("--warmup", type=int, default=5, help="steps before them")
    parser.add_argument("--variants", nargs="+", choices=[v.name for v in VARIANTS], help="these only")
    parser.add_argument("overrides", nargs="*", metavar="KEY.SUB=value", help="values instead of the experiment's")
    args = parser.parse_intermixed_args()
    device = pick_device(args.device)
    common = (*args.overrides, f"TRAIN.BATCH_SIZE={args.batch}")
    base = load_config(args.config, common)
    epoch = args.epoch or base.TRAIN.EPOCH
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{args.config}, batch {args.batch}, epoch {epoch} (keep rate {keep_rate(base, epoch):.2f}); "
          f"{where}, torch {torch.__version__}; median of {args.steps} steps")  # fmt: skip
    print(f"{'':26s} {'steps/s':>8s} {'pairs/s':>9s} {'speed':>8s}  {'GiB':>6s}  {'memory':>6s}  {'first loss':>10s}")
    first: Measured | None = None
    for variant in VARIANTS:
        if args.variants and variant.name not in args.variants:
            continue
        if variant.cuda and device.type != "cuda":
            print(f"{variant.name:26s} skipped: for CUDA only")
            continue
        cfg = load_config(args.config, [*common, *_NONE, *variant.overrides])
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
        first = first or found
        print(row(variant, found, args.batch, first), flush=True)


if __name__ == "__main__":
    run_cli(main)
