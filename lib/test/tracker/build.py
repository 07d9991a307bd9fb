"""Building a tracker from an experiment and its weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from lib.config.ostrack import Config, config_name, load_config
from lib.models.ostrack import OSTrack, build_ostrack
from lib.models.ostrack.weights import load_weights
from lib.test.evaluation.environment import env_settings
from lib.test.tracker.networks import InferenceNetwork, Network, PlainNetwork
from lib.test.tracker.ostrack import Tracker
from lib.utils.checkpoint import find_weights
from lib.utils.errors import ConfigError

PRECISIONS = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def build_tracker(
    config: str | Path,
    checkpoint: str | Path | None = None,
    device: str | torch.device = "cpu",
    precision: str = "float32",
    *,
    backend: str = "torch",
    compiled: bool = False,
    overrides: Sequence[str] | None = None,
    save_dir: str | Path | None = None,
) -> Tracker:
    """Build a tracker that is ready for ``initialize``.

    Args:
        config: name or path of an experiment.
        checkpoint: weight file; None = the one that :func:`find_checkpoint` finds.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``float32``, ``bf16`` or ``fp16``. Boxes and scores are float32 always.
        backend: ``torch``, the inference form of the model; ``plain``, the model as it was trained.
        compiled: run the inference form through ``torch.compile``.
        overrides: ``KEY.SUB=value`` strings on top of the experiment.
        save_dir: output folder to look for checkpoints in; None = the configured one.

    Raises:
        ConfigError, CheckpointError: the experiment, weights, device or precision cannot be had.
    """
    device = checked_device(device, precision)
    cfg = load_config(config, overrides)
    checkpoint = Path(checkpoint) if checkpoint else find_checkpoint(cfg, config_name(config), save_dir)
    model = build_ostrack(cfg)
    load_weights(model, checkpoint)
    return Tracker(cfg, build_network(cfg, model, device, precision, backend, compiled), str(checkpoint))


def build_network(
    cfg: Config, model: OSTrack, device: torch.device, precision: str, backend: str = "torch", compiled: bool = False
) -> Network:
    """What runs ``model`` for a tracker; arguments as of :func:`build_tracker`."""
    dtype = PRECISIONS[precision]
    if backend == "torch":
        return InferenceNetwork(model.for_inference(cfg, dtype, device, pack=not compiled), compiled)
    if backend != "plain":
        raise ConfigError(f"backend {backend!r} is unknown; choose torch or plain")
    if compiled:
        raise ConfigError("backend plain is not compiled: use backend torch")
    return PlainNetwork(cfg, model.to(device, dtype))


def checked_device(device: str | torch.device, precision: str) -> torch.device:
    """The device to run on in ``precision``, made ready for it. Raises ConfigError: one of them cannot be had."""
    if precision not in PRECISIONS:
        raise ConfigError(f"precision {precision!r} is unknown; choose one of {', '.join(PRECISIONS)}")
    try:
        device = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"device {device!r} is unknown; choose cpu, cuda or cuda:N") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device {device} was asked for, but PyTorch sees no CUDA device; use device cpu")
    if device.type == "cuda":  # in float32 cuDNN would run the head's convolutions in TensorFloat-32
        torch.backends.cudnn.allow_tf32 = precision != "float32"
    return device


def find_checkpoint(cfg: Config, name: str, save_dir: str | Path | None = None) -> Path:
    """The weights of an experiment: the published place for epoch ``TEST.EPOCH``, else the ones that ship.

    Raises:
        CheckpointError: there are none; the message lists the places.
    """
    return find_weights("ostrack", name, cfg.TEST.EPOCH, env_settings().saving_to(save_dir).save_dir)
