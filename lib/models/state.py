"""What a tracker carries from frame to frame, and what it asks of the model that it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

# All that a model knows of its targets: tensors by name, targets along the first dimension, of shapes that do not
# change. A target holds it, training carries it along a clip, an exported file has it as inputs and outputs.
State = dict[str, Tensor]


class TrackingModel(Protocol):
    """A model for inference: crops in, the head's outputs and the new state out.

    Nothing is kept in the model itself, so a batch of targets gives what its targets give alone.
    """

    @property
    def device(self) -> torch.device:
        """Where its weights, inputs and outputs lie."""
        ...

    def prepare(self, state: State) -> State:
        """Compute in advance what is the same in every frame, such as embedded templates.

        Args:
            state: as the family's ``start`` gives it for the first frame.
        """
        ...

    def run(self, state: State, crops: Tensor) -> tuple[dict[str, Tensor], State]:
        """Look for the targets in their search regions.

        Args:
            state: from :meth:`prepare`, with the entries that later runs gave.
            crops: search regions, RGB uint8 (B, Hx, Hx, 3).

        Returns:
            The head's outputs, float32, and those entries of the state that have changed.
        """
        ...


def join_states(states: Sequence[Mapping[str, Tensor]]) -> State:
    """One state for the targets of several."""
    return {name: torch.cat([state[name] for state in states]) for name in states[0]} if states else {}


def split_state(state: Mapping[str, Tensor], count: int) -> list[State]:
    """The states of ``count`` targets alone; their tensors are views."""
    return [{name: value[i : i + 1] for name, value in state.items()} for i in range(count)]
