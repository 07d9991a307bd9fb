"""Devices to run on: the CPU, and GPUs of the kinds that PyTorch supports."""

from __future__ import annotations

import torch

from lib.utils.errors import ConfigError

GPUS = ("cuda", "mps", "xpu")  # of NVIDIA (and AMD), Apple and Intel


def gpu_count(kind: str) -> int:
    """Return how many GPUs of a kind of :data:`GPUS` PyTorch can use."""
    if kind == "mps":
        return int(torch.backends.mps.is_available())
    backend = getattr(torch, kind)
    return backend.device_count() if backend.is_available() else 0


def checked_device(device: str | torch.device) -> torch.device:
    """Return the device to run on; ``auto`` is CUDA where there is one, else the CPU.

    Raises:
        ConfigError: it is unknown or not available.
    """
    if device == "auto":
        return torch.device("cuda" if gpu_count("cuda") else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError:
        found = None
    if found is None or found.type not in ("cpu", *GPUS):
        raise ConfigError(f"device '{device}' is unknown; choose auto, cpu, cuda, cuda:N, mps (Apple) or xpu (Intel)")
    if found.type == "cpu":
        return found
    count = gpu_count(found.type)
    if count == 0:
        raise ConfigError(
            f"device {device} was asked for, but PyTorch sees no {found.type.upper()} device; use device cpu"
        )
    if (found.index or 0) >= count:
        raise ConfigError(f"device {device} was asked for, but PyTorch numbers them from 0 to {count - 1} here")
    return found


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type in GPUS:
        getattr(torch, device.type).synchronize()
