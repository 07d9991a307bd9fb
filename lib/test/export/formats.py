"""The file formats: how each is written, read and run. The packages that they need are imported here alone."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib.test.export.graph import NetworkGraph
from lib.test.export.opset import EXPORTER, halve_weights, lower, spell_norms
from lib.utils.cpu import fast_bf16
from lib.utils.errors import OSTrackError

Inputs = dict[str, np.ndarray]
Run = Callable[[Inputs], list[np.ndarray]]  # gives the outputs in the graph's order
_RECORD = "ostrack"  # what the record is called in files that have room for several


@dataclass(frozen=True)
class Opened:
    """A file, ready to run: the record in it, see :func:`lib.test.export.graph.describe`, and what runs it."""

    record: dict[str, str]
    run: Run


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes:
        suffix: of its name.
        precisions: that it holds.
        write: takes graph, inputs, path, record, and pictures to calibrate int8 with.
        open: takes a path.
        packages: that both need.
    """

    suffix: str
    precisions: tuple[str, ...]
    write: Callable[[NetworkGraph, Inputs, Path, dict[str, str], list[Inputs]], None]
    open: Callable[[Path], Opened]
    packages: tuple[str, ...] = ()


def tensors(inputs: Inputs) -> dict[str, torch.Tensor]:
    """Return the inputs as tensors that share their memory."""
    return {name: torch.from_numpy(value) for name, value in inputs.items()}


def required(package: str) -> Any:
    """Import an optional package. Raises OSTrackError: it is not installed."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        install = "pip install onnx onnxscript onnxruntime openvino"
        raise OSTrackError(f"{package} is not installed ({error}); run: {install}") from error


def write_torch(
    graph: NetworkGraph, inputs: Inputs, path: Path, record: dict[str, str], calibration: list[Inputs]
) -> None:
    """A program of ``torch.export``, with the record as an extra file."""
    program = io.BytesIO()  # torch itself ends the process where a disk is full
    with quiet():
        torch.export.save(_program(graph, inputs), program, extra_files={_RECORD: json.dumps(record)})
    path.write_bytes(program.getbuffer())


def open_torch(path: Path) -> Opened:
    """Read and run what :func:`write_torch` wrote."""
    extra = {_RECORD: ""}
    with quiet():
        module = torch.export.load(path, extra_files=extra).module()

    @torch.inference_mode()
    def run(inputs: Inputs) -> list[np.ndarray]:
        return [output.numpy() for output in module(**tensors(inputs))]

    return Opened(json.loads(extra[_RECORD] or "{}"), run)


def write_onnx(
    graph: NetworkGraph, inputs: Inputs, path: Path, record: dict[str, str], calibration: list[Inputs]
) -> None:
    """An ONNX model, with the record as its metadata."""
    path.write_bytes(_onnx_model(graph, inputs, record, calibration).SerializeToString())


def open_onnx(path: Path) -> Opened:
    """Read what :func:`write_onnx` wrote, and run it by onnxruntime with as many threads as torch has."""
    onnxruntime = required("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Products and sums that it has joined early, it would not compute in int8; in float32 they take as long apart.
    session = onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=["MatMulAddFusion"]
    )
    return Opened(session.get_modelmeta().custom_metadata_map, lambda inputs: session.run(None, inputs))


def write_openvino(
    graph: NetworkGraph, inputs: Inputs, path: Path, record: dict[str, str], calibration: list[Inputs]
) -> None:
    """OpenVINO's ``.xml`` and ``.bin``, with the record in ``rt_info``; weights are float32 or int8."""
    openvino = required("openvino")
    onnx_model = _onnx_model(graph, inputs, record, calibration)
    model = openvino.Core().read_model(onnx_model.SerializeToString(), b"")
    for key, value in record.items():
        model.set_rt_info(value, [_RECORD, key])
    try:
        openvino.save_model(model, str(path), compress_to_fp16=False)
    except RuntimeError as error:
        raise OSTrackError(f"OpenVINO cannot write {path.name} ({error}): is the disk full?") from error


def open_openvino(path: Path) -> Opened:
    """Read what :func:`write_openvino` wrote, and run it in its precision with as many threads as torch has.

    In an int8 file, what is not int8 is computed in bf16 where the CPU is fast in it.
    """
    openvino = required("openvino")
    core = openvino.Core()
    model = core.read_model(str(path))
    record = {}
    if model.has_rt_info([_RECORD]):
        record = {key: value.astype(str) for key, value in model.get_rt_info([_RECORD]).astype(dict).items()}
    bf16 = fast_bf16() if record.get("precision") == "int8" else record.get("precision") == "bf16"
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "ENABLE_CPU_PINNING": False,  # else the worker processes of an evaluation all sit on the first core
    }
    request = core.compile_model(model, "CPU", settings).create_infer_request()

    def run(inputs: Inputs) -> list[np.ndarray]:
        return list(request.infer(inputs, share_inputs=True).values())

    return Opened(record, run)


FORMATS = {
    "torch": Format(".pt2", ("float32", "bf16", "fp16"), write_torch, open_torch),
    "onnx": Format(".onnx", ("float32", "fp16", "int8"), write_onnx, open_onnx, ("onnx", "onnxscript", "onnxruntime")),
    "openvino": Format(
        ".xml", ("float32", "bf16", "int8"), write_openvino, open_openvino, ("onnx", "onnxscript", "openvino")
    ),
}


def _program(graph: NetworkGraph, inputs: Inputs) -> torch.export.ExportedProgram:
    with torch.no_grad():
        return torch.export.export(graph, (), kwargs=tensors(inputs))


def _onnx_model(graph: NetworkGraph, inputs: Inputs, record: dict[str, str], calibration: list[Inputs]) -> Any:
    """Return the graph as an ONNX model, in the precision and in the opset that the record names, if it does."""
    onnx = required("onnx")
    required("onnxscript")
    opset = int(record["opset"]) if "opset" in record else None
    if opset is not None:
        spell_norms(graph, opset)
    int8 = record["precision"] == "int8"
    if int8:
        from lib.test.export.int8 import quantize, smooth

        smooth(graph, calibration)
    with quiet():
        program = torch.onnx.export(
            _program(graph, inputs),
            dynamo=True,
            input_names=list(inputs),
            output_names=list(graph.outputs),
            verbose=False,
            opset_version=None if opset is None else max(opset, EXPORTER),
        )
    assert program is not None  # it is None only where a file was written
    model = program.model_proto
    lower(model, opset)
    if int8:
        model = quantize(model, calibration)
    elif record["precision"] == "fp16":
        model = halve_weights(model)
    versions = {entry.domain: str(entry.version) for entry in model.opset_import}
    onnx.helper.set_model_props(model, record | {"opset": versions[""]})
    return model


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the exporters' warnings and progress messages."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
