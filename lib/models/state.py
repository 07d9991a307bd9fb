"""The state that a tracker carries from frame to frame, and the interface of the model that it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

# The state of targets: tensors by name, of static shapes, targets along the first dimension. A tracked target stores
# it, training passes it along a clip, an exported file has it as inputs and outputs.
State = dict[str, Tensor]


class TrackingModel(Protocol):
    """A model for inference: crops in, the head's outputs and the new state out.

    The model itself is stateless, so targets in a batch give the same results as each alone.
    """

    @property
    def device(self) -> torch.device:
        """Device of its weights, inputs and outputs."""
        ...

    def prepare(self, state: State) -> State:
        """Precompute what is the same in every frame, such as embedded templates.

        Args:
            state: from the family's ``initial_state``.
        """
        ...

    def run(self, state: State, crops: Tensor) -> tuple[dict[str, Tensor], State]:
        """Find the targets in their search regions.

        Args:
            state: from :meth:`prepare`, updated with the entries that later runs returned.
            crops: search regions, RGB uint8 (B, Hx, Hx, 3).

        Returns:
            The head's outputs, float32, and the changed entries of the state.
        """
        ...


def join_states(states: Sequence[Mapping[str, Tensor]]) -> State:
    """Concatenate the states of several groups of targets."""
    return {name: torch.cat([state[name] for state in states]) for name in states[0]} if states else {}


def split_state(state: Mapping[str, Tensor], count: int) -> list[State]:
    """Split a state into those of ``count`` single targets; their tensors are views."""
    return [{name: value[i : i + 1] for name, value in state.items()} for i in range(count)]
