"""Which tracker runs, and how: the choices, and their options on the command line. Imports nothing heavy."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lib.config import add_overrides

if TYPE_CHECKING:
    from lib.test.tracker.tracker import Tracker

# In which precisions each backend computes.
BACKENDS = {
    "torch": ("float32", "bf16", "fp16"),
    "plain": ("float32", "bf16", "fp16"),
    "cudagraph": ("float32", "bf16", "fp16"),
    "onnxruntime": ("float32", "fp16", "int8"),  # fp16: of the weights in the file
    "openvino": ("float32", "bf16", "int8"),
}
SAME_BOXES = ("torch", "plain", "cudagraph")  # but for rounding
EXPORTED = ("onnxruntime", "openvino")  # the backends that run an exported file, on the CPU
PRECISIONS = ("float32", "bf16", "fp16", "int8")


@dataclass(frozen=True)
class TrackerSpec:
    """A tracker that can be built, here or in another process.

    Attributes:
        config: name or path of an experiment.
        family: of the experiment; empty = by its folder, see :func:`lib.models.family.experiment_family`.
        checkpoint: weight file; None = the one that :func:`lib.test.tracker.build.find_checkpoint` finds.
        device: ``auto`` (CUDA where there is one, else the CPU), ``cpu``, ``cuda``, ``cuda:N``, ``mps`` (Apple) or
            ``xpu`` (Intel).
        precision: ``float32``, ``bf16``, ``fp16``, ``int8`` or ``auto``, see
            :func:`lib.test.tracker.build.choose_precision`. Boxes and scores are float32 always.
        backend: ``torch``, the inference form of the model; ``cudagraph``, the same, recorded and replayed on a GPU;
            ``plain``, the model as it was trained; ``onnxruntime`` or ``openvino``, an exported file of it, which is
            made where there is none yet.
        compiled: run the inference form through ``torch.compile``.
        overrides: ``KEY.SUB=value`` strings on top of the experiment.
        save_dir: output folder, to look for checkpoints and keep exported files in; None = the configured one.
    """

    config: str | Path
    family: str = ""
    checkpoint: str | Path | None = None
    device: str = "cpu"
    precision: str = "float32"
    backend: str = "torch"
    compiled: bool = False
    overrides: tuple[str, ...] = ()
    save_dir: str | Path | None = None

    def build(self) -> Tracker:
        """See :func:`lib.test.tracker.build.build_tracker`."""
        from lib.test.tracker.build import build_from_spec  # heavy

        return build_from_spec(self)

    @classmethod
    def from_arguments(cls, args: argparse.Namespace, family: str = "") -> TrackerSpec:
        """Make a spec of the options of :func:`add_tracker_options`, and ``config``."""
        how = args.device, args.precision, args.backend, args.compile
        return cls(args.config, family, args.checkpoint, *how, tuple(args.overrides), args.save_dir)


def add_tracker_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a :class:`TrackerSpec`, but for the experiment and its family, ``config`` and ``script``."""
    parser.add_argument("--checkpoint", type=Path, help="weight file (default: the experiment's own)")
    parser.add_argument("--save_dir", type=Path, help="output folder (default: the configured one, ./output)")
    add_running_options(parser)
    add_overrides(parser)


def add_running_options(parser: argparse.ArgumentParser, device: str = "auto") -> None:
    """Add ``--device``, which is ``device`` by default, ``--precision``, ``--backend`` and ``--compile``."""
    add_device_option(parser, device)
    fast = "auto: bf16 where the device computes fast in it (default: float32)"
    parser.add_argument("--precision", choices=[*PRECISIONS, "auto"], default="float32", help=fast)
    runs = (
        "what runs the network; plain: as trained; cudagraph: recorded and replayed on a GPU; "
        "onnxruntime, openvino: an exported file (docs/export.md)"
    )
    parser.add_argument("--backend", choices=list(BACKENDS), default="torch", help=runs)
    parser.add_argument("--compile", action="store_true", help="run the network through torch.compile")


def add_family_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--script``."""
    parser.add_argument("--script", default="", help="family of trackers (default: by the experiment's folder)")


def add_device_option(parser: argparse.ArgumentParser, default: str = "auto") -> None:
    """Add ``--device``."""
    names = "auto (CUDA where there is one, else cpu), cpu, cuda, cuda:N, mps (Apple) or xpu (Intel)"
    parser.add_argument("--device", default=default, help=f"{names}; default: {default}")


def add_visdom_options(parser: argparse._ActionsContainer) -> None:
    """Add ``--visdom_server`` and ``--visdom_port``."""
    parser.add_argument("--visdom_server", default="http://localhost", help="address of the visdom server")
    parser.add_argument("--visdom_port", type=int, default=8097)
