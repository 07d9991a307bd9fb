"""Linear layers with weights in the memory layout of a CPU's kernels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_MKLDNN = torch.ops.mkldnn


class PackedLinear(nn.Module):
    """A linear layer for inference on the CPU with the oneDNN operators that ``torch.compile`` also uses.

    Its weight is reordered once instead of in every call. It cannot be trained, saved, moved or exported.

    Args:
        activation: applied to the output: ``none``, or ``gelu`` (exact, not the tanh approximation).
    """

    def __init__(self, linear: nn.Linear, activation: str = "none"):
        super().__init__()
        self.weight = _MKLDNN._reorder_linear_weight(linear.weight.detach(), None)
        self.bias = None if linear.bias is None else linear.bias.detach()
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, N, in) to (B, N, out)."""
        return _MKLDNN._linear_pointwise(x, self.weight, self.bias, self.activation, [], "none")


def can_pack(dtype: torch.dtype) -> bool:
    """Return whether this PyTorch and CPU have the operators for weights of ``dtype``."""
    if not torch.backends.mkldnn.is_available() or not hasattr(_MKLDNN, "_linear_pointwise"):
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and _MKLDNN._is_mkldnn_bf16_supported())


def pack_linears(blocks: nn.Module) -> None:
    """Pack all linear layers of transformer blocks, in place, where that is possible."""
    if not can_pack(next(blocks.parameters()).dtype):
        return
    module: Any  # torch's stubs do not type a Module's attributes
    for module in list(blocks.modules()):
        if hasattr(module, "fc1") and isinstance(module.act, nn.GELU) and module.act.approximate == "none":
            module.fc1, module.act = PackedLinear(module.fc1, "gelu"), nn.Identity()
        for name, child in module.named_children():
            if isinstance(child, nn.Linear):
                setattr(module, name, PackedLinear(child))
