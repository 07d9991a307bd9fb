"""Actors: the forward pass and the losses of one training batch."""

from __future__ import annotations

import torch
from torch import nn

from lib.config import ExperimentConfig
from lib.models.family import family_of, resolve
from lib.train.actors.base import Actor

__all__ = ["Actor", "build_actor"]


def build_actor(
    net: nn.Module, cfg: ExperimentConfig, amp_dtype: torch.dtype | None = None, teacher: Actor | None = None
) -> Actor:
    """Build the actor of the experiment's family for ``net``; arguments as for :class:`Actor`.

    Raises:
        ConfigError: the actor does not support a setting of the experiment.
    """
    return resolve(family_of(cfg).actor)(net, cfg, amp_dtype, teacher)
