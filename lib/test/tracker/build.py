"""Building a tracker from an experiment and its weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from lib.config.ostrack import Config, config_name, load_config
from lib.models.ostrack import OSTrack, build_ostrack
from lib.models.ostrack.inference import InferenceModel, prepare_inference
from lib.models.ostrack.plain import PlainModel
from lib.models.ostrack.weights import load_weights
from lib.test.evaluation.environment import env_settings
from lib.test.running import BACKENDS, EXPORTED
from lib.test.tracker.backends import exported_network
from lib.test.tracker.networks import ModelNetwork, Network, feed_contiguous
from lib.test.tracker.ostrack import Tracker
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
        device: ``auto`` (CUDA where there is one, else the CPU), ``cpu``, ``cuda``, ``cuda:N``, ``mps`` (Apple) or
            ``xpu`` (Intel).
        precision: ``float32``, ``bf16``, ``fp16``, ``int8`` or ``auto``, see :func:`choose_precision`. Boxes and scores
            are float32 always.
        backend: ``torch``, the inference form of the model; ``cudagraph``, the same, recorded and replayed on a GPU;
            ``plain``, the model as it was trained; ``onnxruntime`` or ``openvino``, an exported file of it, which is
            made where there is none yet.
        compiled: run the inference form through ``torch.compile``.
        overrides: ``KEY.SUB=value`` strings on top of the experiment.
        save_dir: output folder, to look for checkpoints and keep exported files in; None = the configured one.

    Raises:
        ConfigError, CheckpointError: the experiment, weights, device, precision or backend cannot be had.
        OSTrackError: the backend's package is missing, or its file cannot be made.
    """
    device = checked_device(device)
    precision = choose_precision(precision, device, backend)
    cfg, name = load_config(config, overrides), config_name(config)
    checkpoint = Path(checkpoint) if checkpoint else find_checkpoint(cfg, name, save_dir)
    model = tracking_model(cfg, checkpoint)
    folder = exports_folder(save_dir)
    network = build_network(cfg, model, device, precision, backend, compiled, name=name, folder=folder)
    return Tracker(cfg, network, str(checkpoint))


def tracking_model(cfg: Config, checkpoint: Path | None = None) -> OSTrack:
    """The model of an experiment, for search regions of ``TEST.SEARCH_SIZE``; its weights are random without a file."""
    model = build_ostrack(cfg)
    if checkpoint is not None:
        load_weights(model, checkpoint)
    model.backbone.set_search_size(cfg.TEST.SEARCH_SIZE)
    return model


def build_network(
    cfg: Config,
    model: OSTrack,
    device: torch.device,
    precision: str,
    backend: str = "torch",
    compiled: bool = False,
    *,
    name: str = "network",
    folder: Path,
) -> Network:
    """What runs ``model`` for a tracker.

    Args:
        precision: from :func:`choose_precision`, for this device and backend.
        name: of the experiment.
        folder: where exported files are kept.
        device, backend, compiled: as of :func:`build_tracker`.
    """
    if compiled and backend != "torch":
        raise ConfigError(f"backend {backend} is not compiled: use backend torch")
    if device.type == "cuda":  # in float32 cuDNN would run the head's convolutions in TensorFloat-32
        torch.backends.cudnn.allow_tf32 = precision != "float32"
    if backend in EXPORTED:
        return exported_network(cfg, model, name, backend, precision, folder)
    dtype = _TYPES[precision]
    form: PlainModel | InferenceModel
    if backend == "plain":
        form = PlainModel(cfg, model.to(device, dtype))
    else:
        form = prepare_inference(cfg, model, dtype, device, pack=not compiled)
    if device.type == "mps":
        feed_contiguous(form)
    return ModelNetwork(form, compiled, recorded=backend == "cudagraph")


def choose_precision(precision: str, device: str | torch.device, backend: str) -> str:
    """The precision to compute in; ``auto`` is bf16 where CPU or CUDA and the backend are fast in it, else float32.

    Raises:
        ConfigError: backend or precision are unknown, or do not go together or with the device.
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
        fast = False  # as far as is known here
        if kind == "cuda":
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
        elif kind == "cpu":
            fast = fast_bf16()
        return "bf16" if fast and "bf16" in known else "float32"
    if precision not in known:
        raise ConfigError(f"backend {backend} knows no precision {precision!r}; choose auto, {', '.join(known)}")
    return precision


def exports_folder(save_dir: str | Path | None = None) -> Path:
    """Where exported files are kept: ``exports`` of the output folder; None = the configured one."""
    return Path(env_settings().saving_to(save_dir).save_dir) / "exports"


def find_checkpoint(cfg: Config, name: str, save_dir: str | Path | None = None) -> Path:
    """The weights of an experiment: the published place for epoch ``TEST.EPOCH``, else the ones that ship.

    Raises:
        CheckpointError: there are none; the message lists the places.
    """
    return find_weights("ostrack", name, cfg.TEST.EPOCH, env_settings().saving_to(save_dir).save_dir)
