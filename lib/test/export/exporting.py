"""Export a network to a file, and check the file's outputs before it gets its name."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lib.config import ExperimentConfig
from lib.test.export.formats import FORMATS, Inputs, Opened, required, tensors
from lib.test.export.graph import NetworkGraph, describe, noise_inputs
from lib.test.export.opset import OLDEST
from lib.utils.errors import CheckpointError, ConfigError, OSTrackError

_FLOAT32_ERROR = 1e-3  # most that any output of a float32 file may differ from torch's
# Most that outputs in reduced precision may differ on average: a dropped token may change a cell altogether.
_MEAN_ERROR = {"bf16": 0.05, "fp16": 0.01, "int8": 0.1}
_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Exported:
    """A file that was written; its outputs differ from torch's float32 by ``largest`` at most, ``mean`` on average."""

    path: Path
    largest: float
    mean: float


@dataclass(frozen=True)
class ExportOptions:
    """Precision, batch size and opset of an exported file.

    Attributes:
        precision: one of the format's; OpenVINO's files of bf16 hold float32, and say what to compute in.
        batch: targets that it takes at a time.
        opset: version of the operators of an ONNX file, from :data:`lib.test.export.opset.OLDEST` on; None = PyTorch's.
    """

    precision: str = "float32"
    batch: int = 1
    opset: int | None = None

    def check(self, format: str, path: Path) -> None:
        """Raise ConfigError: a file of this format and name cannot hold it."""
        if format not in FORMATS:
            raise ConfigError(f"format {format!r} is unknown; choose one of {', '.join(FORMATS)}")
        kind, opset = FORMATS[format], self.opset
        if self.precision not in kind.precisions:
            held = ", ".join(kind.precisions)
            raise ConfigError(f"format {format} holds {held}, not {self.precision} (see docs/export.md)")
        if self.batch < 1:
            raise ConfigError(f"batch {self.batch}: at least 1 target")
        if opset is not None and format != "onnx":
            raise ConfigError(f"opset {opset}: format {format} has no such choice, only onnx has")
        if opset is not None and opset < OLDEST:
            raise ConfigError(f"opset {opset}: {OLDEST} is the oldest that the network can be written in")
        if path.suffix != kind.suffix:
            raise ConfigError(f"{path}: the name of a file of format {format} ends with {kind.suffix}")


def export_network(
    cfg: ExperimentConfig,
    model: nn.Module,
    format: str,
    path: str | Path,
    options: ExportOptions = ExportOptions(),  # noqa: B008 (frozen)
    calibration: Sequence[Inputs] = (),
    origin: dict[str, str] | None = None,
) -> Exported:
    """Write the network of a tracker as one graph of fixed shapes.

    The file is run once and compared with torch; it gets its name ``path`` only after that.

    Args:
        cfg: the experiment.
        model: its model, with the weights.
        format: one of :data:`FORMATS`.
        options: see :class:`ExportOptions`.
        calibration: inputs of one target each, like those that it will see, for int8.
        origin: more to write into the file's record.

    Raises:
        ConfigError: format, precision, batch or opset are not possible.
        OSTrackError: a package is missing, or the file does not give what torch gives.
        OSError: the file cannot be written.
    """
    path, precision, batch = Path(path), options.precision, options.batch
    options.check(format, path)
    if precision == "int8" and not calibration:
        raise ConfigError("int8 needs pictures to calibrate with: use tracking/export.py --precision int8")
    kind = FORMATS[format]
    for package in kind.packages:
        required(package)
    batches = _in_batches(calibration, batch)
    inputs = batches[0] if batches else noise_inputs(cfg, batch)
    graph = NetworkGraph(cfg, model)
    with torch.inference_mode():
        expected = [output.numpy() for output in graph(**tensors(inputs))]
    if format == "torch" and precision in _TYPES:
        graph = NetworkGraph(cfg, model, _TYPES[precision])
    record = describe(cfg, model, precision, batch) | {"state": ",".join(graph.changes)} | (origin or {})
    if options.opset is not None:
        record["opset"] = str(options.opset)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=path.parent) as folder:
        written = Path(folder, path.name)
        kind.write(graph, inputs, written, record, batches)
        found = _open(format, written).run(inputs)
        largest, mean = _compare(expected, found, precision, path)
        for file in sorted(Path(folder).iterdir(), key=lambda file: file.suffix == kind.suffix):
            os.replace(file, path.with_name(file.name))  # the one that is opened last: with it all are there
    return Exported(path, largest, mean)


def open_network(format: str, path: Path, weights: str, precision: str, batch: int = 1) -> Opened:
    """Read an exported file of the network with the :func:`network_hash` ``weights``.

    Raises:
        CheckpointError: it is damaged, or of another network, precision or batch.
    """
    opened = _open(format, path)
    expected = {"network_sha256": weights, "precision": precision, "batch": str(batch)}
    found = {key: opened.record.get(key) for key in expected}
    if found != expected:
        raise CheckpointError(f"{path} holds another network, {found}, not {expected}: remove it, and export again")
    return opened


def _open(format: str, path: Path) -> Opened:
    try:
        return FORMATS[format].open(path)
    except OSTrackError:
        raise
    except Exception as error:  # whatever the packages raise on a damaged file
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{path} cannot be read as {format} ({reason}): remove it, and export again") from error


def _compare(expected: list[np.ndarray], found: list[np.ndarray], precision: str, path: Path) -> tuple[float, float]:
    """Largest and mean difference. Raises OSTrackError: they are too large, or outputs are missing or not finite."""
    if [output.shape for output in found] != [output.shape for output in expected]:
        raise OSTrackError(f"{path.name} gives outputs of other shapes than torch; it was not kept")
    error = np.concatenate([np.abs(a - b).ravel() for a, b in zip(expected, found, strict=True)])
    largest, mean = float(error.max()), float(error.mean())
    good = largest <= _FLOAT32_ERROR if precision == "float32" else mean <= _MEAN_ERROR[precision]
    if not good:  # nor where it is NaN
        differ = f"outputs differ by up to {largest:.2g}, {mean:.2g} on average"
        raise OSTrackError(f"{path.name} does not give what torch gives: {differ}; it was not kept")
    return largest, mean


def _in_batches(samples: Sequence[Inputs], batch: int) -> list[Inputs]:
    """Inputs of one target each, joined; the last ones begin again where there are too few to fill a batch."""
    count = -(-len(samples) // batch)
    rows = [[samples[(i * batch + j) % len(samples)] for j in range(batch)] for i in range(count)]
    return [{key: np.concatenate([sample[key] for sample in row]) for key in row[0]} for row in rows]
