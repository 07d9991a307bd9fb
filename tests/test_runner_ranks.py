"""A run over several machines: ranks, parts, devices, and two real processes that share a folder of results."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from lib.data.sequence import Annotations, Sequence
from lib.test.evaluation.runner import devices_of, part_of
from lib.utils.dist_info import ALONE, DistInfo, dist_info
from lib.utils.errors import ConfigError, DataError
from tests.conftest import REPOSITORY
from tests.evaluation_fakes import boxes, run, write_sequences


@pytest.mark.parametrize(
    ("environment", "rank"),
    [
        ({}, ALONE),
        ({"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}, DistInfo(3, 8, 1, 2)),
        ({"RANK": "3", "WORLD_SIZE": "8"}, DistInfo(3, 8)),
        ({"RANK": "3"}, ALONE),
        ({"SLURM_PROCID": "5", "SLURM_NTASKS": "7"}, DistInfo(5, 7)),
        (
            {"SLURM_PROCID": "5", "SLURM_NTASKS": "7", "SLURM_LOCALID": "1", "SLURM_TASKS_PER_NODE": "4,3"},
            DistInfo(5, 7, 1, 4),
        ),
        (
            {"SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1", "SLURM_TASKS_PER_NODE": "4(x2)"},
            DistInfo(5, 8, 1, 4),
        ),
        ({"RANK": "0", "WORLD_SIZE": "2", "SLURM_PROCID": "5", "SLURM_NTASKS": "7"}, DistInfo(0, 2)),
    ],
)
def test_rank_from_the_environment(environment: dict[str, str], rank: DistInfo) -> None:
    assert dist_info(environment=environment) == rank


def test_a_part_of_a_slurm_job_without_srun_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    environment = {"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}
    assert dist_info(environment=environment | {"SLURM_STEP_ID": "1"}) == DistInfo(0, 8) and not caplog.messages
    assert dist_info(environment=environment) == DistInfo(0, 8)
    assert "not started by srun: only one part of 8 is tracked here" in caplog.text


@pytest.mark.parametrize("rank", ["2", "-1", "one"])
def test_a_rank_that_cannot_be(rank: str) -> None:
    with pytest.raises(ConfigError, match=f"RANK={rank}, WORLD_SIZE=2"):
        dist_info(environment={"RANK": rank, "WORLD_SIZE": "2"})


def sequences(*lengths: int) -> list[Sequence]:
    def annotations(length: int):
        def read() -> Annotations:
            if length == 0:
                raise DataError("groundtruth.txt cannot be read")
            return Annotations(np.ones((length, 4)))

        return read

    return [Sequence(str(i), "folder", [], annotations(length)) for i, length in enumerate(lengths)]


def test_parts_are_balanced_and_together_everything() -> None:
    parts = [part_of(sequences(100, 7, 60, 5, 40, 9), DistInfo(rank, 3)) for rank in range(3)]
    assert parts == [{0}, {2}, {1, 3, 4, 5}]  # 100, 60 and 61 frames
    lengths = np.random.default_rng(0).integers(2, 3000, 280).tolist()
    parts = [part_of(sequences(*lengths), DistInfo(rank, 7)) for rank in range(7)]
    assert sorted(i for part in parts for i in part) == list(range(280))
    loads = [sum(lengths[i] for i in part) for part in parts]
    assert max(loads) - min(loads) < 100
    assert part_of(sequences(3, 4), ALONE) == {0, 1}
    assert [part_of(sequences(3), DistInfo(rank, 2)) for rank in range(2)] == [{0}, set()]


def test_a_sequence_that_cannot_be_read_belongs_to_somebody(caplog: pytest.LogCaptureFixture) -> None:
    parts = [part_of(sequences(10, 0, 0, 10), DistInfo(rank, 2)) for rank in range(2)]
    assert parts == [{0, 1}, {2, 3}]
    assert "sequence 1: its length cannot be read" in caplog.text


def test_ranks_of_one_machine_share_its_devices() -> None:
    gpus = [f"cuda:{i}" for i in range(4)]
    assert devices_of(gpus, ALONE) == gpus
    assert [devices_of(gpus, DistInfo(r, 8, r % 4, 4)) for r in (0, 5)] == [["cuda:0"], ["cuda:1"]]
    assert devices_of(gpus, DistInfo(1, 2, 1, 2)) == ["cuda:1", "cuda:3"]
    assert devices_of(gpus[:2], DistInfo(3, 4, 3, 4)) == ["cuda:1"]
    assert devices_of(["cpu"], DistInfo(1, 2, 1, 2)) == ["cpu"]


@pytest.mark.end_to_end
def test_two_processes_merge_in_one_folder(tmp_path: Path) -> None:
    """Rank 0 has b alone and fails at it; rank 1 has a and c, and is content."""
    data, out = write_sequences(tmp_path / "data", {"a": 5, "b": 30, "c": 6}), tmp_path / "out"
    script = textwrap.dedent(f"""
        import logging, sys
        from pathlib import Path
        from lib.utils.dist_info import dist_info
        from tests.evaluation_fakes import run
        logging.basicConfig(level=logging.INFO)
        rank = dist_info()
        summary = run(Path({str(data)!r}), Path({str(out)!r}), trouble={{11: "raise"}}, rank=rank)
        print(summary)
        sys.exit(1 if summary.failed else 0)
    """)
    processes = []
    for rank in range(2):
        environment = os.environ | {"RANK": str(rank), "WORLD_SIZE": "2"}
        command = [sys.executable, "-c", script]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        processes.append(subprocess.Popen(command, cwd=REPOSITORY, env=environment, **pipes))
    said = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [1, 0], said
    assert said[0][0].startswith("rank 0 of 2: sequences: 0 tracked, 0 already there, 1 failed")
    assert said[1][0].startswith("rank 1 of 2: sequences: 2 tracked, 0 already there, 0 failed; 9 frames")
    assert "rank 1 of 2: 2 of 3 sequences, on cpu" in said[1][1]
    assert boxes(out).keys() == {"a.txt", "c.txt"}

    summary = run(data, out)  # one process does what is left, and then finds everything done
    assert (summary.skipped, [outcome.name for outcome in summary.done]) == (2, ["b"])
    assert run(data, out).skipped == 3
    run(data, tmp_path / "whole")
    assert boxes(out) == boxes(tmp_path / "whole")


@pytest.mark.end_to_end
def test_torchrun_does_not_stop_the_others_when_one_rank_fails(tmp_path: Path) -> None:
    data, out = write_sequences(tmp_path / "data", {"a": 40, "b": 50}), tmp_path / "out"
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
            import sys
            from pathlib import Path
            from lib.test.evaluation.runner import wait_for_all
            from lib.utils.dist_info import dist_info
            from tests.evaluation_fakes import run
            rank = dist_info()
            summary = run(
                Path({str(data)!r}), Path({str(out)!r}), trouble={{11: "raise"}}, pause=0.1 * rank.rank, rank=rank
            )
            wait_for_all()
            sys.exit(1 if summary.failed else 0)
        """)
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    ended = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 1, ended.stderr
    assert boxes(out).keys() == {"a.txt"}  # it took four seconds more than b, which failed at once
