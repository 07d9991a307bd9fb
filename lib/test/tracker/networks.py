"""What runs a tracker's model in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from lib.models.state import State, TrackingModel

_WARM_UP = 3  # runs before the recording: libraries choose kernels and take memory in the first ones

Inputs = tuple[State, Tensor]
Result = tuple[dict[str, Tensor], State]
Function = Callable[[State, Tensor], Result]


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


@dataclass(frozen=True)
class _Recording:
    """Where a recorded run reads and writes."""

    state: State
    crops: Tensor
    replay: Callable[[], object]
    result: Result


class CudaGraphCache:
    """A function of a state and crops on a GPU, recorded once for every combination of their shapes and types.

    Replayed as a whole, its kernels need not be launched one by one: at batch 1 a network of this size is some two
    hundred short ones. What it gives is overwritten by the next call with inputs of the same shapes.

    Args:
        function: must do the same work whatever the values, wait for nothing, and keep nothing.
    """

    def __init__(self, function: Function):
        self._function = function
        self._recordings: dict[object, _Recording] = {}

    def __call__(self, state: State, crops: Tensor) -> Result:
        """What the function gives for these inputs."""
        key = tuple((name, value.shape, value.dtype) for name, value in (*state.items(), ("crops", crops)))
        if key not in self._recordings:
            static = {name: value.clone() for name, value in state.items()}, crops.clone()
            self._recordings[key] = _Recording(*static, *cuda_graph(self._function, static))
        recording = self._recordings[key]
        for name, value in state.items():
            recording.state[name].copy_(value)
        recording.crops.copy_(crops)
        recording.replay()
        return recording.result


def cuda_graph(function: Function, inputs: Inputs) -> tuple[Callable[[], object], Result]:
    """Record a call of ``function`` as a CUDA graph.

    Returns:
        What replays it on whatever lies in ``inputs`` by then, and the result, whose tensors it writes to.
    """
    device = inputs[1].device
    with torch.cuda.device(device):
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UP):
                function(*inputs)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # Only what this thread does must be fit to be recorded: others may be reading frames into pinned memory.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            result = function(*inputs)
    return graph.replay, result
