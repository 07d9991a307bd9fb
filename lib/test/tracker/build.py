"""Build a tracker from an experiment and its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from lib.config import ExperimentConfig
from lib.models.family import build_trained, family_of, load_experiment, resolve
from lib.test.evaluation.environment import env_settings
from lib.test.spec import BACKENDS, EXPORTED, TrackerSpec
from lib.test.tracker.backends import exported_network
from lib.test.tracker.networks import ModelNetwork, Network, feed_contiguous
from lib.test.tracker.tracker import Tracker
from lib.utils.checkpoint import find_weights
from lib.utils.cpu import fast_bf16
from lib.utils.devices import checked_device
from lib.utils.errors import ConfigError

_TYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def build_tracker(
    config: str | Path,
    checkpoint: str | Path | None = None,
    device: str | torch.device = "cpu",
    precision: str = "float32",
    **options: Any,
) -> Tracker:
    """Build a tracker that is ready for ``initialize``.

    Args:
        config, checkpoint, device, precision, options: the attributes of a :class:`TrackerSpec`.

    Raises:
        ConfigError, CheckpointError: the experiment, weights, device, precision or backend are not available.
        OSTrackError: the backend's package is missing, or the export failed.
    """
    overrides = tuple(options.pop("overrides", None) or ())
    return build_from_spec(
        TrackerSpec(
            config, checkpoint=checkpoint, device=str(device), precision=precision, overrides=overrides, **options
        )
    )


def build_from_spec(spec: TrackerSpec, cfg: ExperimentConfig | None = None) -> Tracker:
    """Build the tracker of a spec; ``cfg`` is its experiment, if loaded already. Raises as :func:`build_tracker`."""
    device = checked_device(spec.device)
    precision = choose_precision(spec.precision, device, spec.backend)
    cfg = cfg or load_experiment(spec.config, spec.overrides, spec.family)
    checkpoint = Path(spec.checkpoint) if spec.checkpoint else find_checkpoint(cfg, spec.save_dir)
    model = tracking_model(cfg, checkpoint)
    folder = exports_folder(spec.save_dir)
    network = build_network(cfg, model, device, precision, spec.backend, spec.compiled, folder=folder)
    return resolve(family_of(cfg).tracker)(cfg, network, str(checkpoint))


def tracking_model(cfg: ExperimentConfig, checkpoint: Path | None = None) -> nn.Module:
    """Build the model of an experiment for search regions of ``TEST.SEARCH_SIZE``; None = random weights."""
    return build_trained(cfg, checkpoint, cfg.TEST.SEARCH_SIZE)


def build_network(
    cfg: ExperimentConfig,
    model: nn.Module,
    device: torch.device,
    precision: str,
    backend: str = "torch",
    compiled: bool = False,
    *,
    folder: Path,
) -> Network:
    """Build the network that runs ``model`` for a tracker.

    Args:
        precision: from :func:`choose_precision`, for this device and backend.
        folder: folder of exported files.
        device, backend, compiled: see :class:`TrackerSpec`.
    """
    check_compiled(compiled, backend)
    if device.type == "cuda":  # otherwise cuDNN runs float32 convolutions of the head in TensorFloat-32
        torch.backends.cudnn.allow_tf32 = precision != "float32"
    if backend in EXPORTED:
        return exported_network(cfg, model, backend, precision, folder)
    dtype, family = _TYPES[precision], family_of(cfg)
    if backend == "plain":
        form = family.plain(cfg, model.to(device, dtype))
    else:
        form = family.tracking_form(cfg, model, dtype, device, pack=not compiled)
    if device.type == "mps" and isinstance(form, nn.Module):
        feed_contiguous(form)
    return ModelNetwork(form, compiled, recorded=backend == "cudagraph")


def check_compiled(compiled: bool, backend: str) -> None:
    """Raise ConfigError if ``compiled`` is set with a backend other than ``torch``."""
    if compiled and backend != "torch":
        raise ConfigError(f"backend {backend} is not compiled: use backend torch")


def choose_precision(precision: str, device: str | torch.device, backend: str) -> str:
    """Return the precision to compute in; ``auto`` is bf16 if device and backend are fast in it, else float32.

    Raises:
        ConfigError: backend or precision are unknown, or incompatible with each other or the device.
    """
    if backend not in BACKENDS:
        raise ConfigError(f"backend {backend!r} is unknown; choose one of {', '.join(BACKENDS)}")
    kind, known = torch.device(device).type, BACKENDS[backend]
    if backend in EXPORTED and kind != "cpu":
        raise ConfigError(f"backend {backend} runs on the CPU: use --device cpu")
    if backend == "cudagraph" and kind != "cuda":
        raise ConfigError("backend cudagraph runs on a GPU: use --device cuda")
    if precision == "bf16" and kind == "mps" and not torch.backends.mps.is_macos_or_newer(14, 0):
        raise ConfigError("device mps computes in bf16 from macOS 14 on: use --precision float32 or fp16")
    if precision == "auto":
        fast = False  # not known for other backends and devices
        if kind == "cuda":
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
        elif kind == "cpu":
            fast = fast_bf16()
        return "bf16" if fast and "bf16" in known else "float32"
    if precision not in known:
        raise ConfigError(f"backend {backend} knows no precision {precision!r}; choose auto, {', '.join(known)}")
    return precision


def exports_folder(save_dir: str | Path | None = None) -> Path:
    """Return the folder of exported files: ``exports`` of the output folder; None = the configured one."""
    return Path(env_settings().saving_to(save_dir).save_dir) / "exports"


def find_checkpoint(cfg: ExperimentConfig, save_dir: str | Path | None = None) -> Path:
    """Return the weights of an experiment: at the published path for epoch ``TEST.EPOCH``, else the shipped ones.

    Raises:
        CheckpointError: there are none; the message lists the paths.
    """
    folder, otherwise = env_settings().saving_to(save_dir).save_dir, ", or name a file with --checkpoint"
    return find_weights(cfg.family, cfg.name, cfg.TEST.EPOCH, folder, otherwise)
