"""Run a tracker's exported network with onnxruntime or OpenVINO, on the CPU.

The file is exported at first use and stored in ``exports`` of the output folder, under a name that changes with
everything that it depends on: weights, architecture, precision, code and versions.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import lib.drawing
import lib.models
from lib.config import ExperimentConfig
from lib.models.family import family_of, head_of
from lib.models.state import State
from lib.test import export
from lib.test.export.formats import FORMATS, Run, required
from lib.test.export.graph import network_hash
from lib.utils.errors import ConfigError

logger = logging.getLogger(__name__)

FORMAT_OF = {"onnxruntime": "onnx", "openvino": "openvino"}  # file format that each backend runs


class ExportedNetwork:
    """An exported network for one target, a :class:`lib.test.tracker.networks.Network`.

    Several targets are run one after the other: on a CPU a batch is hardly faster, and would need a file for each size.

    Args:
        run: runs the file.
        outputs: names of the head's outputs, in the file's order.
        changes: names of the state entries that change, which follow them; from the file's record.
    """

    def __init__(self, run: Run, outputs: Sequence[str], changes: Sequence[str] = ()):
        self.device = torch.device("cpu")
        self._run, self._outputs, self._changes = run, outputs, changes

    def prepare(self, state: State) -> State:
        """Return the state itself: embedding the template, half a percent of the work, is in the file."""
        return state

    def run(self, state: State, crops: Tensor) -> tuple[dict[str, Tensor], State]:
        """See :class:`lib.test.tracker.networks.Network`."""
        inputs = {name: value.numpy() for name, value in (*state.items(), ("search", crops))}
        found = [self._run({key: value[i : i + 1] for key, value in inputs.items()}) for i in range(len(crops))]
        tensors = [torch.from_numpy(np.concatenate(parts)) for parts in zip(*found, strict=True)]
        named = dict(zip((*self._outputs, *self._changes), tensors, strict=True))
        return {name: named[name] for name in self._outputs}, {name: named[name] for name in self._changes}


def exported_network(
    cfg: ExperimentConfig, model: nn.Module, backend: str, precision: str, folder: Path
) -> ExportedNetwork:
    """Return the exported network of ``model`` for a tracker; export it if there is no file yet.

    Args:
        backend: ``onnxruntime`` or ``openvino``.
        precision: one of the backend's precisions.
        folder: folder of the exported files.

    Raises:
        ConfigError: there is no int8 file, which ``tracking/export.py`` makes.
        CheckpointError: the file is damaged, or its content does not match its name.
        OSTrackError: a package is missing, or the export failed.
    """
    required(backend)
    format, weights = FORMAT_OF[backend], network_hash(cfg, model)
    path = kept_file(cfg, weights, format, precision, folder)
    if not path.is_file():
        if precision == "int8":
            command = f"python tracking/export.py --format {format} --precision int8"
            options = "the same --config, --script, --checkpoint, --save_dir and settings"
            raise ConfigError(f"there is no {path}; int8 is calibrated first: {command}, with {options}")
        logger.info("Exporting %s for %s, once, into %s", cfg.name, backend, path)
        export.export_network(cfg, model, format, path, export.ExportOptions(precision))
    opened = export.open_network(format, path, weights, precision)
    changes = [name for name in opened.record.get("state", "").split(",") if name]
    return ExportedNetwork(opened.run, head_of(cfg).outputs, changes)


def kept_file(cfg: ExperimentConfig, weights: str, format: str, precision: str, folder: Path) -> Path:
    """Return the path of an experiment's exported network, given its :func:`network_hash`.

    Raises:
        OSTrackError: a package that the format needs is missing.
    """
    packages = ["torch", *FORMATS[format].packages]
    for package in packages:
        required(package)
    parts = [weights.encode(), *(f"{package} {version(package)}".encode() for package in packages)]
    digest = hashlib.sha256(b"\n".join([*parts, *(file.read_bytes() for file in _code(cfg, precision))]))
    return folder / f"{cfg.name}_{precision}_{digest.hexdigest()[:16]}{FORMATS[format].suffix}"


def _code(cfg: ExperimentConfig, precision: str) -> list[Path]:
    """List the modules that a file depends on: of the network, and of its calibration."""
    files = [*Path(lib.models.__file__).parent.rglob("*.py"), *Path(export.__file__).parent.glob("*.py")]
    files += family_of(cfg).own_code()
    if precision == "int8":
        files += [*Path(lib.drawing.__file__).parent.glob("*.py"), Path(__file__).with_name("calibration.py")]
    return sorted(files)
