"""Actors: the forward pass and the losses of one training batch."""

from __future__ import annotations

import torch
from torch import nn

from lib.config.ostrack import OSTrackConfig
from lib.train.actors.distill import DistillActor
from lib.train.actors.ostrack import OSTrackActor
from lib.train.distill import Teacher

__all__ = ["DistillActor", "OSTrackActor", "build_actor"]


def build_actor(
    net: nn.Module, cfg: OSTrackConfig, amp_dtype: torch.dtype | None = None, teacher: Teacher | None = None
) -> OSTrackActor:
    """The actor that trains ``net``: with a ``teacher`` it learns from that too. Arguments as in the actors.

    Raises:
        ConfigError: the experiment asks for what the actor cannot do.
    """
    if teacher is None:
        return OSTrackActor(net, cfg, amp_dtype)
    return DistillActor(net, cfg, amp_dtype, teacher)
