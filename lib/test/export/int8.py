"""Static quantization to int8 of the transformer's linear layers, which are most of the work.

Attention, softmax, layer norm, the patch embedding and the head stay as they are, and so do the sums that the linear
layers give. Their inputs have one scale each, from the smallest and largest value in the calibration; weights have one
for each output channel. As a few channels of the inputs are far larger than the others, they are smoothed first
(SmoothQuant, Xiao et al., ICML 2023).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lib.test.export.formats import quiet, required, tensors
from lib.test.export.graph import NetworkGraph
from lib.utils.errors import ConfigError

_SHIFT = 0.5  # how much of the spread between channels goes from activations to weights: all with 1
_FACTOR = "factor"


class SmoothedLinear(nn.Module):
    """A linear layer that first divides its input by ``scale``, by channel, which its weights compensate for."""

    factor: Tensor

    def __init__(self, linear: nn.Linear, scale: Tensor):
        super().__init__()
        self.linear = linear
        with torch.no_grad():
            linear.weight *= scale
        self.register_buffer(_FACTOR, 1 / scale)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, in) to (B, N, out)."""
        return self.linear(x * self.factor)


@torch.no_grad()
def smooth(graph: NetworkGraph, calibration: list[dict[str, np.ndarray]]) -> None:
    """Smooth activations: move the spread between input channels of linear layers into their weights, in place.

    What the graph computes stays the same. With inputs of largest values ``a`` by channel and weights of largest values
    ``w`` by input channel, inputs are divided by ``a ** _SHIFT / w ** (1 - _SHIFT)``.

    Args:
        graph: in float32.
        calibration: inputs like those that it will see.

    Raises:
        ConfigError: the network has no ``encoder.blocks``, whose linear layers these are.
    """
    blocks = getattr(getattr(graph.network, "encoder", None), "blocks", None)
    if blocks is None:
        raise ConfigError(
            f"int8 quantizes encoder.blocks, which {type(graph.network).__name__} lacks: use another precision"
        )
    largest: dict[nn.Module, Tensor] = {}

    def record_largest(linear: nn.Module, inputs: tuple[Tensor]) -> None:
        found = inputs[0].abs().amax((0, 1))
        largest[linear] = torch.maximum(largest.get(linear, found), found)

    layers = [
        (module, name, child)
        for module in blocks.modules()
        for name, child in module.named_children()
        if isinstance(child, nn.Linear)
    ]
    hooks = [linear.register_forward_pre_hook(record_largest) for _, _, linear in layers]
    for inputs in calibration:
        graph(**tensors(inputs))
    for hook in hooks:
        hook.remove()
    for module, name, linear in layers:
        scale = largest[linear] ** _SHIFT / linear.weight.abs().amax(0) ** (1 - _SHIFT)
        unusable = ~scale.isfinite() | (scale <= 0)  # of a channel that is always zero
        setattr(module, name, SmoothedLinear(linear, scale.masked_fill(unusable, 1.0)))


def quantize(model: Any, calibration: list[dict[str, np.ndarray]]) -> Any:
    """Put QuantizeLinear and DequantizeLinear into the ONNX model of a smoothed graph, around what int8 computes.

    Args:
        model: in float32; what it multiplies after a factor of :class:`SmoothedLinear` is quantized.
        calibration: as of :func:`smooth`.
    """
    required("onnxruntime")
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    maker = {name: node for node in model.graph.node for name in node.output}
    products = [
        node.name
        for node in model.graph.node
        if node.op_type == "MatMul"
        and node.input[0] in maker
        and any(name.endswith(f".{_FACTOR}") for name in maker[node.input[0]].input)
    ]
    onnx, inputs = required("onnx"), iter(calibration)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "float32.onnx"), Path(folder, "int8.onnx")
        onnx.save(model, source)
        with quiet():  # it recommends a preparation that changes nothing here
            quantize_static(
                source,
                target,
                SimpleNamespace(get_next=lambda: next(inputs, None)),
                quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
                op_types_to_quantize=["MatMul"],
                nodes_to_quantize=products,
                extra_options={"OpTypesToExcludeOutputQuantization": ["MatMul"]},
            )
        return onnx.load(target)
