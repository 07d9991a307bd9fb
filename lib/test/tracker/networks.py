"""What runs a tracker's model in PyTorch."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from lib.models.state import State, TrackingModel
from lib.test.tracker.recorded import CudaGraphCache


class Network(Protocol):
    """Runs a model on crops as they are cut out of frames, RGB uint8 (B, H, W, 3) on its device.

    Attributes:
        device: where its inputs and outputs lie.
    """

    device: torch.device

    def prepare(self, state: State) -> State:
        """See :class:`lib.models.state.TrackingModel`."""
        ...

    def run(self, state: State, crops: Tensor) -> tuple[dict[str, Tensor], State]:
        """See :class:`lib.models.state.TrackingModel`.

        The outputs and the changed entries are to be read or copied before the next run, which may write over them.
        """
        ...


class ModelNetwork:
    """A model of PyTorch.

    Args:
        model: in evaluation mode, on the device to run on.
        compiled: run it through ``torch.compile``; on CUDA its kernels are recorded and replayed as one graph. Every
            batch size is compiled at its first use, which takes a minute or so.
        recorded: record its kernels as they are, on CUDA only, see :class:`CudaGraphCache`.
    """

    def __init__(self, model: TrackingModel, compiled: bool = False, recorded: bool = False):
        self.model = model
        self.device = model.device
        self._run = CudaGraphCache(model.run) if recorded else model.run
        if compiled:
            mode = "reduce-overhead" if self.device.type == "cuda" else "default"
            self._run = torch.compile(model.run, mode=mode, dynamic=False)

    def prepare(self, state: State) -> State:
        """See :class:`Network`."""
        return self.model.prepare(state)

    def run(self, state: State, crops: Tensor) -> tuple[dict[str, Tensor], State]:
        """See :class:`Network`."""
        return self._run(state, crops)


def feed_contiguous(model: nn.Module) -> None:
    """Let the convolutions of a model have inputs that lie in memory channel by channel, whatever they are given.

    On Apple's GPU they gave wrong values for some of the channels of a tensor that lies pixel by pixel.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(lambda _, inputs: tuple(value.contiguous() for value in inputs))
