"""Exponential moving average (EMA) of the weights, which often tracks better than the last weights."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Ema:
    """Exponential moving average of a network's weights.

    All floating-point state is averaged, batch norm's running statistics included: those of the newest weights would
    not fit averaged ones. The average starts as ``model``, and its decay rises with the updates n as
    ``(1 + n) / (10 + n)`` up to ``decay``, so that the random initial weights of a new head decay fast.

    Args:
        model: the network, not wrapped for data parallelism; it is copied.
        decay: weight of the old average in an update, in [0, 1).

    Attributes:
        module: the averaged network, in evaluation mode, without gradients.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self.updates = 0
        self.module = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Add the weights of ``model`` after a step to the average."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        average, current = self.module.state_dict(), model.state_dict()
        averaged = [name for name, value in average.items() if value.is_floating_point()]
        get_ema_multi_avg_fn(decay)([average[name] for name in averaged], [current[name] for name in averaged], None)
        for name in average.keys() - averaged:
            average[name].copy_(current[name])

    def state_dict(self) -> dict[str, Any]:
        """Return ``net``, the averaged weights under the network's own names, and ``updates``."""
        return {"net": self.module.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.module.load_state_dict(state["net"])
        self.updates = state["updates"]
