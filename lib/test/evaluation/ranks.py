"""A run that is spread over several machines: which process this is, and what is its part.

Every process works out the same division from the same list of sequences, tracks its own part, and all write into one
folder of results. Nothing else is exchanged.
"""

from __future__ import annotations

import heapq
import logging
import os
import time
from datetime import timedelta

import torch.distributed

from lib.data.sequence import Sequence
from lib.utils.dist_info import DistInfo
from lib.utils.errors import OSTrackError

logger = logging.getLogger(__name__)


def part_of(sequences: list[Sequence], info: DistInfo) -> set[int]:
    """Return the indices in ``sequences`` of those that one process tracks.

    Each sequence goes, longest first, to the rank that has the fewest frames so far. All ranks get the same answer,
    whatever is tracked already. A sequence whose length cannot be read counts as empty.
    """
    if info.world == 1:
        return set(range(len(sequences)))
    lengths = [_length(sequence) for sequence in sequences]
    loads = [(0, other) for other in range(info.world)]
    part = set()
    for i in sorted(range(len(sequences)), key=lambda i: -lengths[i]):
        load, owner = loads[0]
        heapq.heapreplace(loads, (load + max(lengths[i], 1), owner))
        if owner == info.rank:
            part.add(i)
    return part


def _length(sequence: Sequence) -> int:
    try:
        return sequence.num_frames
    except OSTrackError as error:
        logger.warning("sequence %s: its length cannot be read, it counts as empty: %s", sequence.name, error)
        return 0


def devices_of(devices: list[str], info: DistInfo) -> list[str]:
    """Return the devices of this machine that are for one process: its fair share of them, or one that it shares."""
    return devices[info.local_rank :: info.local_world] or [devices[info.local_rank % len(devices)]]


def wait_for_all() -> None:
    """Under ``torchrun``, wait until every rank has come here: it stops them all when one ends with an error status."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    store, _, world = next(torch.distributed.rendezvous("env://", timeout=timedelta(days=30)))
    store.add("done", 1)
    while store.add("done", 0) < world:
        time.sleep(0.5)
