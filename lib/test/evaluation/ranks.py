"""Split an evaluation over several processes and machines.

Every process computes the same division of the same list of sequences and tracks its own part; all write to one folder
of results. There is no other communication.
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

    Each sequence goes, longest first, to the rank that has the fewest frames so far. All ranks get the same result,
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
    """Return the devices of one process: an equal part of this machine's, or one that it shares with others."""
    return devices[info.local_rank :: info.local_world] or [devices[info.local_rank % len(devices)]]


def wait_for_all() -> None:
    """Under ``torchrun``, wait until all ranks have reached this call: it stops them all if one exits with an error."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    store, _, world = next(torch.distributed.rendezvous("env://", timeout=timedelta(days=30)))
    store.add("done", 1)
    while store.add("done", 0) < world:
        time.sleep(0.5)
