"""Trackers that run an exported file of their network by onnxruntime or OpenVINO, on the CPU.

The file is made at its first use and kept in ``exports`` of the output folder, under a name that changes with
everything that it depends on: weights, architecture, precision, code and versions.
"""

from __future__ import annotations

import hashlib
import logging
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import lib.models
from lib.config.ostrack import Config
from lib.models.ostrack import OSTrack
from lib.test import export
from lib.test.export.formats import FORMATS, Run, required
from lib.test.export.graph import network_hash, output_names, takes_mask
from lib.utils.errors import ConfigError

logger = logging.getLogger(__name__)

FORMAT_OF = {"onnxruntime": "onnx", "openvino": "openvino"}  # which format of file a backend runs


class ExportedNetwork:
    """A network in a file for one target, as :class:`lib.test.tracker.networks.Network` says.

    Several targets are run one after the other: on a CPU a batch is hardly faster, and would want a file for each size.

    Args:
        cfg: the experiment.
        run: runs the file.
    """

    def __init__(self, cfg: Config, run: Run):
        self.device = torch.device("cpu")
        self._outputs, self._takes_mask = output_names(cfg), takes_mask(cfg)
        self._run = run

    def embed_template(self, crops: Tensor, boxes: Tensor) -> Tensor:
        """The crops themselves: their embedding, half a percent of the work, is in the file."""
        return crops

    def run(self, template: Tensor, crops: Tensor, mask: Tensor | None, boxes: Tensor) -> dict[str, Tensor]:
        """See :class:`lib.test.tracker.networks.Network`. A mask that is the same for all targets is in the file."""
        inputs = {"template": template.numpy(), "search": crops.numpy()}
        if self._takes_mask and mask is not None:
            inputs["mask"] = mask.numpy()
        found = [self._run({key: value[i : i + 1] for key, value in inputs.items()}) for i in range(len(crops))]
        maps = (torch.from_numpy(np.concatenate(parts)) for parts in zip(*found, strict=True))
        return dict(zip(self._outputs, maps, strict=True))


def exported_network(
    cfg: Config, model: OSTrack, name: str, backend: str, precision: str, folder: Path
) -> ExportedNetwork:
    """The network of ``model`` for a tracker, from its file, which is made where there is none yet.

    Args:
        name: of the experiment, for the name of the file.
        backend: ``onnxruntime`` or ``openvino``.
        precision: one of the backend's.
        folder: where the files are kept.

    Raises:
        ConfigError: there is no int8 file, which ``tracking/export.py`` makes.
        CheckpointError: the file is damaged, or holds something else than its name says.
        OSTrackError: a package is missing, or the export failed.
    """
    required(backend)
    format, weights = FORMAT_OF[backend], network_hash(cfg, model)
    path = kept_file(weights, name, format, precision, folder)
    if not path.is_file():
        if precision == "int8":
            raise ConfigError(
                f"there is no {path}; int8 is calibrated first: python tracking/export.py --config {name} "
                f"--format {format} --precision int8, with the same checkpoint, settings and output folder"
            )
        logger.info("Exporting %s for %s, once, into %s", name, backend, path)
        export.export_network(cfg, model, name, format, path, precision=precision)
    return ExportedNetwork(cfg, export.open_network(format, path, weights, precision).run)


def kept_file(weights: str, name: str, format: str, precision: str, folder: Path) -> Path:
    """Where backends look for the file of a network, given its :func:`network_hash`.

    Raises:
        OSTrackError: a package that the format needs is missing.
    """
    packages = ["torch", *FORMATS[format].packages]
    for package in packages:
        required(package)
    parts = [weights.encode(), *(f"{package} {version(package)}".encode() for package in packages)]
    code = [*Path(lib.models.__file__).parent.rglob("*.py"), *Path(export.__file__).parent.glob("*.py")]
    digest = hashlib.sha256(b"\n".join([*parts, *(file.read_bytes() for file in sorted(code))]))
    return folder / f"{name}_{precision}_{digest.hexdigest()[:16]}{FORMATS[format].suffix}"
