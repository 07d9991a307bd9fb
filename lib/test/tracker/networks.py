"""Run a tracker's model in PyTorch."""

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
    """Runs a model on unnormalized crops, RGB uint8 (B, H, W, 3) on its device.

    Attributes:
        device: device of its inputs and outputs.
    """

    device: torch.device

    def prepare(self, state: State) -> State:
        """See :class:`lib.models.state.TrackingModel`."""
        ...

    def run(self, state: State, crops: Tensor) -> tuple[dict[str, Tensor], State]:
        """See :class:`lib.models.state.TrackingModel`.

        Read or copy the outputs and changed entries before the next run, which may overwrite them.
        """
        ...


class ModelNetwork:
    """A PyTorch model, optionally compiled or recorded as CUDA graphs.

    Args:
        model: in evaluation mode, on the device to run on.
        compiled: run it through ``torch.compile``; on CUDA its kernels are recorded and replayed as one graph. Every
            batch size is compiled at its first use, which takes a minute or so.
        recorded: record its kernels without compiling, on CUDA only, see :class:`CudaGraphCache`.
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
    """Make the convolutions of a model convert their inputs to contiguous (channels-first) memory.

    On Apple's GPU they gave wrong values in some channels for inputs in channels-last memory.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(lambda _, inputs: tuple(value.contiguous() for value in inputs))


@dataclass(frozen=True)
class _Recording:
    """Input and output tensors of a recorded run."""

    state: State
    crops: Tensor
    replay: Callable[[], object]
    result: Result


class CudaGraphCache:
    """A function of a state and crops on a GPU, recorded as a CUDA graph for every combination of shapes and types.

    Replaying a graph avoids launching kernels one by one; at batch 1 a network of this size has about two hundred short
    ones. The result is overwritten by the next call with inputs of the same shapes.

    Args:
        function: must run the same kernels for all input values, without synchronization or side effects.
    """

    def __init__(self, function: Function):
        self._function = function
        self._recordings: dict[object, _Recording] = {}

    def __call__(self, state: State, crops: Tensor) -> Result:
        """Return the function's result for these inputs."""
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
        A function that replays it on the current values of ``inputs``, and the result, whose tensors it overwrites.
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
        # Check only this thread for calls that cannot be recorded: others may be reading frames into pinned memory.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            result = function(*inputs)
    return graph.replay, result
