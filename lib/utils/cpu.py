"""What this process may use of the machine's processors, and what they are good at."""

from __future__ import annotations

import math
import os
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
CPU_MAX = Path("/sys/fs/cgroup/cpu.max")  # microseconds that all processes of a container may take in each period
# Products of bfloat16 matrices in hardware, as torch and as Linux call it on x86 and ARM.
_BF16 = {"avx512_bf16", "amx_bf16", "bf16", "sve_bf16", "svebf16"}


def cpu_count() -> int:
    """How many CPUs this process may keep busy: those that it is bound to, or fewer if its container's time is limited.

    At least 1. Limits are those of Linux control groups, version 2; ``PYTHON_CPU_COUNT`` counts from Python 3.13 on.
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
    """Whether this CPU multiplies bfloat16 matrices in hardware, so that bf16 is faster than float32.

    Asks torch where it can tell (``torch.cpu.get_capabilities``), else Linux; False where neither knows.
    """
    import torch  # slow to import

    if hasattr(torch.cpu, "get_capabilities"):
        found = {name for name, there in torch.cpu.get_capabilities().items() if there}
    else:
        try:
            found = set(CPUINFO.read_text().split())
        except OSError:
            return False
    return not found.isdisjoint(_BF16)
