"""A run that is spread over several machines: which process this is, and what is its part.

Every process works out the same division from the same list of sequences, tracks its own part, and all write into one
folder of results. Nothing else is exchanged.
"""

from __future__ import annotations

import heapq
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import torch.distributed

from lib.test.evaluation.sequence import Sequence
from lib.utils.errors import ConfigError, OSTrackError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rank:
    """The place of this process among all (``rank`` of ``world``) and among those on its machine."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1

    def __str__(self) -> str:
        return f"rank {self.rank} of {self.world}"


ALONE = Rank()

# The variables of each launcher: rank, number of ranks, rank on this machine, number of ranks on it.
_LAUNCHERS = (
    ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),  # torchrun
    ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_TASKS_PER_NODE"),  # srun
)


def rank_from_environment(environment: Mapping[str, str] = os.environ) -> Rank:
    """The rank that ``torchrun`` or, without it, SLURM gave this process; rank 0 of 1 without either.

    Raises:
        ConfigError: the variables make no sense.
    """
    for names in _LAUNCHERS:
        if not all(environment.get(name) for name in names[:2]):
            continue
        values = [environment.get(name) or default for name, default in zip(names, "0101", strict=True)]
        said = ", ".join(f"{name}={value}" for name, value in zip(names, values, strict=True))
        try:  # SLURM writes 4(x2),3 for two machines of four tasks and one of three
            number, world, local = map(int, values[:3])
            rank = Rank(number, world, local, int(values[3].split(",")[0].split("(")[0]))
        except ValueError as error:
            raise ConfigError(f"the environment is no rank: {said}; unset these, or set them to numbers") from error
        if not (0 <= rank.rank < rank.world and 0 <= rank.local_rank and 1 <= rank.local_world):
            raise ConfigError(f"the environment is no rank: {said}; ranks count from 0 to below their number")
        if rank.world > 1 and names[0] == "SLURM_PROCID" and "SLURM_STEP_ID" not in environment:
            # A batch script has the variables of its job too, and runs once: the other ranks may not be there.
            logger.warning("%s, but not started by srun: only one part of %d is tracked here", said, rank.world)
        return rank
    return ALONE


def part_of(sequences: list[Sequence], rank: Rank) -> set[int]:
    """The places in ``sequences`` of those that ``rank`` tracks.

    Each sequence goes, longest first, to the rank that has the fewest frames so far. All ranks get the same answer,
    whatever is tracked already. A sequence whose length cannot be read counts as empty.
    """
    if rank.world == 1:
        return set(range(len(sequences)))
    lengths = [_length(sequence) for sequence in sequences]
    loads = [(0, other) for other in range(rank.world)]
    part = set()
    for i in sorted(range(len(sequences)), key=lambda i: -lengths[i]):
        load, owner = loads[0]
        heapq.heapreplace(loads, (load + max(lengths[i], 1), owner))
        if owner == rank.rank:
            part.add(i)
    return part


def _length(sequence: Sequence) -> int:
    try:
        return sequence.num_frames
    except OSTrackError as error:
        logger.warning("sequence %s: its length cannot be read, it counts as empty: %s", sequence.name, error)
        return 0


def devices_of(devices: list[str], rank: Rank) -> list[str]:
    """The devices of this machine that are for ``rank``: its fair share of them, or one that it shares."""
    return devices[rank.local_rank :: rank.local_world] or [devices[rank.local_rank % len(devices)]]


def wait_for_all() -> None:
    """Under ``torchrun``, wait until every rank has come here: it stops them all when one ends with an error status."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    store, _, world = next(torch.distributed.rendezvous("env://", timeout=timedelta(days=30)))
    store.add("done", 1)
    while store.add("done", 0) < world:
        time.sleep(0.5)
