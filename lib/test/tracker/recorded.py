"""Work that is recorded once and then replayed as a whole, so that no time goes into starting its kernels one by one.

A network of this size at batch 1 is some two hundred short kernels, and a GPU waits for each to be asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
Inputs = tuple[Tensor | None, ...]

_WARM_UP = 3  # runs before the recording: libraries choose kernels and take memory in the first ones


@dataclass(frozen=True)
class _Recording(Generic[T]):
    """Where a recorded run reads and writes."""

    inputs: Inputs
    replay: Callable[[], object]
    result: T


class Recorded(Generic[T]):
    """A function of tensors on a GPU, recorded anew for every combination of their shapes and types.

    What it gives is overwritten by the next call with inputs of the same shapes.

    Args:
        function: must do the same work whatever the values, wait for nothing, and keep nothing.
    """

    def __init__(self, function: Callable[..., T]):
        self._function = function
        self._recordings: dict[Any, _Recording[T]] = {}

    def __call__(self, *inputs: Tensor | None) -> T:
        """What the function gives for these inputs; None stays None."""
        key = tuple(None if value is None else (value.shape, value.dtype) for value in inputs)
        if key not in self._recordings:
            kept = tuple(None if value is None else value.clone() for value in inputs)
            self._recordings[key] = _Recording(kept, *cuda_graph(self._function, kept))
        recording = self._recordings[key]
        for place, value in zip(recording.inputs, inputs, strict=True):
            if place is not None and value is not None:
                place.copy_(value)
        recording.replay()
        return recording.result


def cuda_graph(function: Callable[..., T], inputs: Inputs) -> tuple[Callable[[], object], T]:
    """Record a call of ``function`` as a CUDA graph.

    Returns:
        What replays it on whatever lies in ``inputs`` by then, and the result, whose tensors it writes to.
    """
    device = next(value.device for value in inputs if value is not None)
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
