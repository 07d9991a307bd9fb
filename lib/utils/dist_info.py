"""Rank of this process among several, from the environment variables of torchrun or SLURM."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lib.utils.errors import ConfigError

logger = logging.getLogger(__name__)

# The variables of each launcher: rank, number of ranks, rank on this machine, number of ranks on it.
TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
SLURM = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_TASKS_PER_NODE")


@dataclass(frozen=True)
class DistInfo:
    """``rank`` of ``world`` processes, and ``local_rank`` of the ``local_world`` on this machine."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1

    def __str__(self) -> str:
        return f"rank {self.rank} of {self.world}"

    @property
    def is_main(self) -> bool:
        """Whether this process logs and saves."""
        return self.rank == 0


ALONE = DistInfo()


def dist_info(
    launchers: Sequence[tuple[str, ...]] = (TORCHRUN, SLURM), environment: Mapping[str, str] = os.environ
) -> DistInfo:
    """Read the variables of the first of ``launchers`` that has set them; rank 0 of 1 where none has.

    Raises:
        ConfigError: the variables are invalid.
    """
    for names in launchers:
        if not all(environment.get(name) for name in names[:2]):
            continue
        values = [environment.get(name) or default for name, default in zip(names, "0101", strict=True)]
        said = ", ".join(f"{name}={value}" for name, value in zip(names, values, strict=True))
        try:  # SLURM writes 4(x2),3 for two machines of four tasks and one of three
            rank, world, local = map(int, values[:3])
            info = DistInfo(rank, world, local, int(values[3].split(",")[0].split("(")[0]))
        except ValueError as error:
            raise ConfigError(f"invalid rank in environment: {said}; unset these, or set them to numbers") from error
        if not (0 <= info.rank < info.world and 0 <= info.local_rank and 1 <= info.local_world):
            raise ConfigError(f"invalid rank in environment: {said}; ranks count from 0 to below their number")
        if info.world > 1 and names is SLURM and "SLURM_STEP_ID" not in environment:
            # A batch script has the variables of its job, but runs once.
            logger.warning("%s, but not started by srun: only one part of %d is tracked here", said, info.world)
        return info
    return ALONE
