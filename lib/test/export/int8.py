"""Static quantisation to int8: the transformer's linear layers, which are most of the work.

Attention, softmax, layer norm, the patch embedding and the head stay as they are. Activations have one scale each, from
their smallest and largest value in the calibration; weights have one for each output channel.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from lib.test.export.formats import required
from lib.utils.errors import ConfigError


def quantise(model: Any, calibration: list[dict[str, np.ndarray]]) -> Any:
    """An ONNX model with pairs of QuantizeLinear and DequantizeLinear around what is to be computed in int8.

    Args:
        model: in float32.
        calibration: inputs like those that it will see.

    Raises:
        ConfigError: there is nothing to calibrate with.
    """
    if not calibration:
        raise ConfigError("int8 needs pictures to calibrate with: use tracking/export.py --precision int8")
    required("onnxruntime")
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    weights = {item.name for item in model.graph.initializer}
    products = [node for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in weights]
    onnx = required("onnx")
    silenced = logging.root.manager.disable
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "float32.onnx"), Path(folder, "int8.onnx")
        onnx.save(model, source)
        logging.disable(logging.WARNING)  # it recommends a preparation that changes nothing here
        try:
            quantize_static(
                source,
                target,
                _Reader(calibration),
                quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
                op_types_to_quantize=["MatMul"],
                nodes_to_quantize=[node.name for node in products],
            )
        finally:
            logging.disable(silenced)
        return onnx.load(target)


class _Reader:
    """Hands out inputs one by one, as onnxruntime's calibration asks for them."""

    def __init__(self, inputs: list[dict[str, np.ndarray]]):
        self._inputs = iter(inputs)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._inputs, None)
