"""The CPUs that this process may use, and their support of bfloat16."""

from __future__ import annotations

import math
import os
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
CPU_MAX = Path("/sys/fs/cgroup/cpu.max")  # CPU time limit of a container per period, in microseconds
# Names of hardware support for bfloat16 matrix products, in torch and in Linux on x86 and ARM.
_BF16 = {"avx512_bf16", "amx_bf16", "bf16", "sve_bf16", "svebf16"}


def cpu_count() -> int:
    """Return how many CPUs this process may use, at least 1: those of its affinity, within the limit of its container.

    Limits are those of Linux control groups, version 2; from Python 3.13 on also ``PYTHON_CPU_COUNT``.
    """
    if hasattr(os, "process_cpu_count"):
        count = os.process_cpu_count() or 1
    elif hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    try:
        quota, period = map(int, CPU_MAX.read_text().split())
    except (OSError, ValueError):  # no such limit; unlimited is written "max"
        return count
    return max(1, min(count, math.ceil(quota / period)))


def fast_bf16() -> bool:
    """Return whether this CPU multiplies bfloat16 matrices in hardware, as known to torch or Linux; else False."""
    import torch  # slow to import

    if hasattr(torch.cpu, "get_capabilities"):
        found = {name for name, there in torch.cpu.get_capabilities().items() if there}
    else:
        try:
            found = set(CPUINFO.read_text().split())
        except OSError:
            return False
    return not found.isdisjoint(_BF16)
