"""Train the layers of presence on samples that were recorded while the tracker ran."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from tqdm import tqdm

from lib.utils.errors import DataError

RIGHT, WRONG = 0.5, 0.2  # overlaps from and up to which a box is right and wrong; those between train nothing


@dataclass(frozen=True)
class FitOptions:
    """How :func:`fit_presence` trains: ``dropout`` is of the hidden layer, ``lr`` the largest learning rate."""

    epochs: int = 8
    batch: int = 512
    lr: float = 3e-4
    weight_decay: float = 0.02
    dropout: float = 0.4
    seed: int = 0


def labeled(features: Tensor, overlaps: Tensor) -> tuple[Tensor, Tensor]:
    """Return the features, float32, of samples whose box is right or wrong, and whether it is right, 0.0 or 1.0."""
    clear = (overlaps >= RIGHT) | (overlaps <= WRONG)
    return features[clear].float(), (overlaps[clear] >= RIGHT).float()


def fit_presence(layers: nn.Sequential, features: Tensor, right: Tensor, options: FitOptions) -> None:
    """Train the two linear layers of a :class:`PresenceHead` in place, with AdamW and one cycle of the learning rate.

    Args:
        features: its inputs, (N, F) float32.
        right: whether the box of each is right, (N,), 0.0 or 1.0.

    Raises:
        DataError: there are fewer samples than a batch, or all boxes are right, or none is.
    """
    if len(right) < options.batch or right.min() == right.max():
        counts = f"{len(right)} samples, {int(right.sum())} of them right"
        raise DataError(f"{counts}: presence needs {options.batch} or more of both kinds; give more sequences")
    generator = torch.Generator().manual_seed(options.seed)
    steps = len(right) // options.batch
    optimizer = torch.optim.AdamW(layers.parameters(), lr=options.lr, weight_decay=options.weight_decay)
    schedule = OneCycleLR(optimizer, options.lr, options.epochs * steps, pct_start=0.1)
    for _ in tqdm(range(options.epochs), "training", unit="epoch"):
        order = torch.randperm(len(right), generator=generator)
        for batch in order[: steps * options.batch].split(options.batch):
            hidden = layers[:-1](features[batch])
            kept = torch.rand(hidden.shape, generator=generator) >= options.dropout
            logits = layers[-1](hidden * kept / (1 - options.dropout))[:, 0]
            loss = F.binary_cross_entropy_with_logits(logits, right[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


@torch.no_grad()
def cross_entropy(layers: nn.Sequential, features: Iterable[Tensor], right: Iterable[Tensor]) -> float:
    """Return the mean cross entropy of presence over samples in parts, inputs as in :func:`fit_presence`."""
    losses = [
        F.binary_cross_entropy_with_logits(layers(part)[:, 0], truth, reduction="none")
        for part, truth in zip(features, right, strict=True)
    ]
    return float(torch.cat(losses).mean())
