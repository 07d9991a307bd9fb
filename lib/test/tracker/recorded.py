"""Work that is recorded once and then replayed as a whole, so that no time goes into starting its kernels one by one.

A network of this size at batch 1 is some two hundred short kernels, and a GPU waits for each to be asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lib.models.state import State

_WARM_UP = 3  # runs before the recording: libraries choose kernels and take memory in the first ones

Inputs = tuple[State, Tensor]
Result = tuple[dict[str, Tensor], State]
Function = Callable[[State, Tensor], Result]


@dataclass(frozen=True)
class _Recording:
    """Where a recorded run reads and writes."""

    state: State
    crops: Tensor
    replay: Callable[[], object]
    result: Result


class CudaGraphCache:
    """A function of a state and crops on a GPU, recorded once for every combination of their shapes and types.

    What it gives is overwritten by the next call with inputs of the same shapes.

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
