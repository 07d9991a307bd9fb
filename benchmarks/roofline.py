"""The machine's roofline, as measured: the best rate of matrix products, and the rate of a large copy."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from lib.utils.devices import synchronize

_COPIED = 2**28  # bytes of the copy: more than caches hold
_SIZES = {"cpu": (512, 1024, 2048), "cuda": (2048, 4096, 8192)}
_PRECISIONS = {"cpu": ("float32", "bf16"), "cuda": ("float32", "tf32", "bf16", "fp16")}
_DTYPES = {"float32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


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
