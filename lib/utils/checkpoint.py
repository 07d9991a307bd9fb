"""Read and write checkpoint files.

A checkpoint is a pickle, which can call any function when loaded, and published ones contain classes of the code that
wrote them. :func:`load_checkpoint` resolves only the few functions that rebuild tensors; every other name becomes
an inert :class:`Placeholder`.
"""

from __future__ import annotations

import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from lib.utils.errors import CheckpointError, listed
from lib.utils.paths import shipped_file
from lib.utils.replacing import replacing

_ALLOWED = {
    ("collections", "OrderedDict"),
    ("torch", "Size"),
    ("torch", "device"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("_codecs", "encode"),
}

# Entries of a checkpoint with its weights, in order of precedence; averages come last.
_ENTRIES = (
    "net", "model", "state_dict", "model_state_dict", "network", "weights", "teacher", "student",
    "ema", "model_ema", "state_dict_ema", "ema_state_dict",
)  # fmt: skip
# Parts of parameter names added by wrappers: DataParallel, torch.compile, FSDP, activation checkpointing.
_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
_HOLDERS = {"model", "net", "network"}  # attribute names of the model in the saved object, such as a LightningModule
_COUNTS = {"total_ops", "total_params"}  # buffers that thop adds to every module


class Placeholder:
    """An inert object for a class named in a checkpoint: it stores the state without running the class's code."""

    arguments: tuple[Any, ...]
    items: dict[Any, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Placeholder:
        placeholder = object.__new__(cls)
        placeholder.arguments, placeholder.items = args, {}
        return placeholder

    def __init__(self, *args: Any, **kwargs: Any):
        """Accept any arguments; ``__new__`` has stored them."""

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items[key] = value

    def append(self, item: Any) -> None:
        """Keep an item of a pickled list subclass."""
        self.items[len(self.items)] = item


class _InertUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        allowed = (module, name) in _ALLOWED
        if module in ("torch", "torch.storage") and name.isidentifier():
            # Also a storage type (torch.FloatStorage) or a dtype (torch.float32).
            allowed |= name.endswith("Storage") or isinstance(getattr(torch, name, None), torch.dtype)
        if allowed:
            return super().find_class(module, name)
        return type(name.rpartition(".")[2], (Placeholder,), {"__module__": f"inert.{module}"})


_INERT_PICKLE = SimpleNamespace(
    Unpickler=_InertUnpickler,
    load=lambda file, **options: _InertUnpickler(file, **options).load(),
    __name__="inert pickle",
)


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint or a ``.safetensors`` file to CPU tensors without running code from it.

    Raises:
        CheckpointError: the file is missing, truncated, or holds no dictionary.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path} does not exist")
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=False, pickle_module=_INERT_PICKLE)
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, AttributeError, TypeError, IndexError,
            AssertionError, MemoryError, OverflowError, pickle.UnpicklingError, zipfile.BadZipFile,
            SafetensorError) as error:  # fmt: skip
        detail = next(iter(str(error).splitlines()), "no detail")
        raise CheckpointError(
            f"checkpoint {path} ({path.stat().st_size} bytes) cannot be read; it is truncated or no PyTorch file: copy "
            f"or download it again ({type(error).__name__}: {detail})"
        ) from error
    if not isinstance(state, dict):
        raise CheckpointError(
            f"checkpoint {path} holds a {type(state).__name__}, not a dictionary of weights: save its state_dict()"
        )
    return state


def save_checkpoint(state: dict[str, Any], path: str | Path) -> None:
    """Write a checkpoint atomically: to a temporary name, flushed to disk, then renamed.

    Raises:
        CheckpointError: the folder cannot be written or the disk is full, or the name has the suffix of another format;
            an earlier file of that name is unchanged.
    """
    if Path(path).suffix == ".safetensors":
        hub = "tracking/export.py --format hub writes safetensors"
        raise CheckpointError(f"checkpoint {path} would be a file of PyTorch's: call it .pth; {hub}")
    try:
        with replacing(Path(path)) as unfinished, open(unfinished, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:
        # torch's message for a full disk, and for Ctrl-C, is "unexpected pos"; what really happened is its context.
        if isinstance(error.__context__, KeyboardInterrupt):
            raise error.__context__ from None
        reason = error.__context__ if isinstance(error.__context__, OSError) else error
        raise CheckpointError(f"checkpoint {path} cannot be written: {reason}") from error


def network_state(checkpoint: dict[str, Any], path: str | Path) -> OrderedDict[str, torch.Tensor]:
    """Return the weights in a checkpoint, under the model's own names.

    They are entries ``net`` (trackers), ``model`` (MAE), ``state_dict`` and the like, also nested, or the checkpoint
    itself. Prefixes of DataParallel, ``torch.compile`` and other wrappers, and entries of the profiler thop, are
    removed.

    Raises:
        CheckpointError: there are none, an entry is no tensor or holds NaN or infinity, or two have the same name.
    """
    state = _with_tensors(checkpoint)
    if state is None:
        hint = "".join(f"; {text}" for key in _ENTRIES if (text := _no_weights(checkpoint, key)))
        raise CheckpointError(
            f"checkpoint {path} holds no weights: it has {', '.join(map(str, list(checkpoint)[:8])) or 'no entry'}, "
            f"and they are looked for under {', '.join(_ENTRIES)}, or without any of these{hint}"
        )
    clean: OrderedDict[str, torch.Tensor] = OrderedDict()
    for name, value in state.items():
        own = own_name(str(name))
        if own.rpartition(".")[2] in _COUNTS:
            continue
        if not isinstance(value, torch.Tensor):
            raise CheckpointError(f"checkpoint {path}: entry {name!r} is a {type(value).__name__}, not a tensor")
        if value.is_floating_point() and not value.isfinite().all():
            raise CheckpointError(f"checkpoint {path}: {name!r} holds NaN or infinite values")
        if own in clean and not torch.equal(clean[own], value):
            raise CheckpointError(f"checkpoint {path} holds two different {own!r}, one as {name!r}: keep one")
        clean[own] = value
    return clean


def _no_weights(checkpoint: dict[str, Any], key: str) -> str:
    """Describe what an entry has instead of weights; return an empty text if there is no such entry."""
    found = checkpoint.get(key)
    if found is None or found == {}:
        return ""
    if isinstance(found, dict):
        name, value = next(iter(found.items()))
        return f"in {key!r}, {name!r} is a {type(value).__name__}: save tensors"
    return f"{key!r} is a {type(found).__name__}: save its state_dict() instead"


def _with_tensors(state: dict[str, Any]) -> dict[str, Any] | None:
    """Return the dictionary of weights in a checkpoint, or None."""
    inside = (_with_tensors(state[key]) for key in _ENTRIES if isinstance(state.get(key), dict))
    whole = state if any(isinstance(value, torch.Tensor) for value in state.values()) else None
    return next((found for found in inside if found), whole)


def own_name(name: str) -> str:
    """Return a parameter's name without the parts added by wrappers and by the saved object."""
    parts = [part for part in name.split(".") if part not in _WRAPPERS]
    while len(parts) > 1 and parts[0] in _HOLDERS:
        parts = parts[1:]
    return ".".join(parts)


def find_weights(script: str, config: str, epoch: int, save_dir: str | Path, otherwise: str = "") -> Path:
    """Return the path of an experiment's weights: its training checkpoint of ``epoch``, else the shipped weights.

    Args:
        otherwise: further advice for the error message.

    Raises:
        CheckpointError: there are none.
    """
    trained = Path(save_dir) / "checkpoints" / "train" / script / config / f"OSTrack_ep{epoch:04d}.pth.tar"
    shipped = shipped_file(f"pretrained_models/{script}_{config}.pth")
    for path in (trained, shipped):
        if path.is_file():
            return path
    raise CheckpointError(f"no weights for {config}: put them at {trained}{otherwise}")


def _mixed(
    first: OrderedDict[str, torch.Tensor], second: OrderedDict[str, torch.Tensor], share: float, where: str
) -> OrderedDict[str, torch.Tensor]:
    """Return the average of two sets of weights, the first with weight ``share``; integers are those of the first."""
    misfits = sorted(first.keys() ^ second.keys()) or [
        name for name, value in first.items() if value.shape != second[name].shape
    ]
    if misfits:
        raise CheckpointError(f"{where} are not of the same model, so they cannot be mixed: {listed(misfits, 3)}")
    return OrderedDict(
        (name, torch.lerp(second[name].float(), value.float(), share) if value.is_floating_point() else value)
        for name, value in first.items()
    )


def _average(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return the averaged weights of a checkpoint; empty if there are none (``ema`` may be a number)."""
    found = checkpoint.get("ema")
    return found if isinstance(found, dict) else {}


def strip_checkpoint(
    path: str | Path,
    out: str | Path,
    *,
    half: bool = True,
    ema: bool = False,
    mix: str | Path | None = None,
    share: float = 0.5,
) -> None:
    """Write the weights of a training checkpoint with its epoch and config, without optimizer state and history.

    Args:
        half: in half precision; loading converts them back.
        ema: the averaged weights (``TRAIN.EMA_DECAY``) instead of the newest.
        mix: other weights of the same model to average with, where ``share`` is the weight of the checkpoint. With
            ``ema`` their averaged weights are used, if they have any.

    Raises:
        CheckpointError: the checkpoint cannot be used or holds no averaged weights, the weights to mix with are of
            another model, a weight is too large for half precision, or ``out`` cannot be written or is one of the
            files to read: a run could not be resumed from it any more.
    """
    checkpoint = load_checkpoint(path)
    if any(Path(source).resolve() == Path(out).resolve() for source in (path, mix) if source is not None):
        raise CheckpointError(f"{out} would be replaced by its own weights, and the rest of it lost: name another file")
    if ema and not _average(checkpoint):
        raise CheckpointError(f"checkpoint {path} holds no averaged weights: it was trained with TRAIN.EMA_DECAY 0")
    net = network_state(checkpoint["ema"] if ema else checkpoint, path)
    if mix is not None:
        other = load_checkpoint(mix)
        average = _average(other) if ema else {}
        net = _mixed(net, network_state(average or other, mix), share, f"{path} and {mix}")
    if half:
        net = OrderedDict((name, value.half() if value.is_floating_point() else value) for name, value in net.items())
        too_large = [name for name, value in net.items() if value.is_floating_point() and not value.isfinite().all()]
        if too_large:
            raise CheckpointError(f"{path}: {', '.join(too_large)} cannot be held in half precision; use --float32")
    kept: dict[str, Any] = {"net": net}
    for key in ("epoch", "net_type", "config", "versions"):
        if key in checkpoint:
            kept[key] = checkpoint[key]
    save_checkpoint(kept, out)
