"""Rewriting of ONNX models: in older opsets, for runtimes that lack the newer operators, and with half weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lib.utils.errors import ConfigError, OSTrackError

OLDEST = 13
EXPORTER = 18  # PyTorch's exporter writes nothing older
_NORM = 17  # the first with LayerNormalization
# Attributes that say the usual thing, and since which opset they exist.
_NEWER_ATTRIBUTES = {"Split": ("num_outputs", 18), "ScatterElements": ("reduction", 16), "Reshape": ("allowzero", 14)}
_SMALLEST_HALVED = 1024  # elements of a weight that is worth it; biases and norms stay as they are
_AXES_ARE_INPUT = 18  # of all reductions but ReduceSum; before they are an attribute


class SpelledNorm(nn.Module):
    """A layer norm over the last axis, as means and products."""

    def __init__(self, norm: nn.LayerNorm):
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) to (..., C)."""
        x = x - x.mean(dim=-1, keepdim=True)
        return x * torch.rsqrt((x * x).mean(dim=-1, keepdim=True) + self.eps) * self.weight + self.bias


def spell_norms(graph: nn.Module, opset: int) -> None:
    """Replace layer norms by :class:`SpelledNorm`, in place, where the opset has no operator for them."""
    if opset >= _NORM:
        return
    for module in list(graph.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.LayerNorm):
                setattr(module, name, SpelledNorm(child))


def lower(model: Any, opset: int | None) -> None:
    """Write an ONNX model in the operators of an opset, in place, without what the exporter noted about its own run.

    Args:
        model: in opset 18 where an older one is wanted, as PyTorch's exporter writes it.
        opset: None = its own.

    Raises:
        ConfigError: it cannot be written so.
    """
    import onnx

    (version,) = (entry for entry in model.opset_import if entry.domain == "")
    for noted in (model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output,
                  *model.graph.initializer):  # fmt: skip
        del noted.metadata_props[:]  # names of this machine's folders among it
    if opset is not None and opset < version.version == EXPORTER:
        constants = {value.name: onnx.numpy_helper.to_array(value).tolist() for value in model.graph.initializer
                     if value.data_type == onnx.TensorProto.INT64}  # fmt: skip
        for node in model.graph.node:
            _lower_node(onnx, node, opset, constants)
        used = {name for node in model.graph.node for name in node.input}
        for value in [value for value in model.graph.initializer if value.name not in used]:
            model.graph.initializer.remove(value)
        version.version = opset
    if opset is not None and version.version != opset:
        given = version.version
        raise ConfigError(f"opset {opset}: this PyTorch cannot write it and gives {given}; choose an older one")
    model.ir_version = onnx.helper.find_min_ir_version_for(list(model.opset_import))
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = str(error).strip().splitlines()[0]
        raise OSTrackError(f"the network cannot be written in opset {version.version}: {reason}") from error


def _lower_node(onnx: Any, node: Any, opset: int, constants: dict[str, Any]) -> None:
    """Write a node of opset 18 in an older one."""
    name, since = _NEWER_ATTRIBUTES.get(node.op_type, ("", 0))
    dropped = {name} if opset < since else set()
    if node.op_type.startswith("Reduce") and node.op_type != "ReduceSum" and opset < _AXES_ARE_INPUT:
        dropped.add("noop_with_empty_axes")
        if len(node.input) > 1:
            node.attribute.append(onnx.helper.make_attribute("axes", constants[node.input.pop()]))
    for attribute in [attribute for attribute in node.attribute if attribute.name in dropped]:
        node.attribute.remove(attribute)


def halve_weights(model: Any) -> Any:
    """Store the float32 weights of an ONNX model in half precision; programs convert them back when they load it."""
    import onnx

    single = onnx.TensorProto.FLOAT
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type == single and np.prod(tensor.dims) >= _SMALLEST_HALVED:
            name, values = tensor.name, onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
            casts.append(onnx.helper.make_node("Cast", [tensor.name], [name], to=single))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model
