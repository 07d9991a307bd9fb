"""ONNX files of half the size: weights in float16, computation in float32 as before."""

from __future__ import annotations

from typing import Any

import numpy as np

from lib.test.export.formats import required

_SMALLEST = 1024  # elements of a weight that is worth it; biases and norms stay as they are


def halve_weights(model: Any) -> Any:
    """The ONNX model with its float32 weights in half precision; programs make float32 of them when they load it."""
    onnx = required("onnx")
    single = onnx.TensorProto.FLOAT
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type == single and np.prod(tensor.dims) >= _SMALLEST:
            name, values = tensor.name, onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
            casts.append(onnx.helper.make_node("Cast", [tensor.name], [name], to=single))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model
