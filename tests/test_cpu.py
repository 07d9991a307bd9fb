"""How many CPUs may be used, who asks, and whether bfloat16 is fast on them."""

import os
import subprocess
import sys

import pytest
import torch

from lib.train import launch
from lib.utils import cpu
from tests.conftest import REPOSITORY, load_script


@pytest.fixture
def unlimited(monkeypatch, tmp_path):
    """No limit of a container's; the file to write one in."""
    monkeypatch.setattr(cpu, "CPU_MAX", tmp_path / "cpu.max")
    return cpu.CPU_MAX


def bound_to(monkeypatch, count):
    """This process may run on so many CPUs, by the means of Python before 3.13."""
    monkeypatch.delattr(os, "process_cpu_count", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(count)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)


def test_the_cpus_that_the_process_is_bound_to_count(monkeypatch, unlimited):
    bound_to(monkeypatch, 3)
    assert cpu.cpu_count() == 3
    monkeypatch.setattr(os, "process_cpu_count", lambda: 5, raising=False)
    assert cpu.cpu_count() == 5


def test_without_such_bounds_all_count_and_at_least_one(monkeypatch, unlimited):
    bound_to(monkeypatch, 3)
    monkeypatch.delattr(os, "sched_getaffinity")
    assert cpu.cpu_count() == 64
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cpu.cpu_count() == 1


@pytest.mark.parametrize(
    ("limit", "count"),
    [
        ("max 100000", 8),
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("20000 100000", 1),
        ("1600000 100000", 8),
        ("", 8),
    ],
)
def test_a_container_may_use_less(monkeypatch, unlimited, limit, count):
    bound_to(monkeypatch, 8)
    unlimited.write_text(limit + "\n")
    assert cpu.cpu_count() == count


@pytest.mark.parametrize(("processes", "threads"), [(2, "3"), (4, "1"), (8, "1")])
def test_started_processes_share_the_cpus(monkeypatch, tmp_path, processes, threads):
    monkeypatch.setattr(launch, "cpu_count", lambda: 6)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    code = "import os, sys; open(sys.argv[1] + os.environ['RANK'], 'w').write(os.environ['OMP_NUM_THREADS'])"
    assert launch.launch([sys.executable, "-c", code, f"{tmp_path}/"], processes) == 0
    assert [(tmp_path / str(rank)).read_text() for rank in range(processes)] == [threads] * processes


def test_data_are_checked_on_the_cpus_that_may_be_used(monkeypatch, capsys):
    monkeypatch.setattr(cpu, "cpu_count", lambda: 7)
    monkeypatch.setattr(sys, "argv", ["check_data.py", "--help"])
    with pytest.raises(SystemExit):
        load_script("check_data").main()
    assert "threads that decode (default: 7)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("capabilities", "fast"),
    [
        ({"architecture": "x86_64", "avx512_f": True, "avx512_bf16": True, "amx_bf16": False}, True),
        ({"architecture": "x86_64", "avx512_f": True, "avx512_bf16": False, "amx_bf16": True}, True),
        ({"architecture": "x86_64", "avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, False),
        ({"architecture": "aarch64", "neon": True, "bf16": True}, True),
        ({"architecture": "aarch64", "neon": True, "bf16": False}, False),
    ],
)
def test_torch_says_whether_bf16_is_fast(monkeypatch, capabilities, fast):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert cpu.fast_bf16() is fast


@pytest.mark.parametrize(
    ("text", "fast"),
    [
        ("model name\t: A CPU\nflags\t\t: fpu avx512f avx512_bf16 avx512_vbmi\n", True),
        ("flags\t\t: fpu avx512f amx_bf16 amx_tile\n", True),
        ("Features\t: fp asimd i8mm bf16 dgh\n", True),
        ("flags\t\t: fpu avx avx2 avx512f avx512_vnni\n", False),
    ],
)
def test_an_older_torch_leaves_it_to_linux(monkeypatch, tmp_path, text, fast):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(cpu, "CPUINFO", tmp_path / "cpuinfo")
    assert cpu.fast_bf16() is False  # nobody knows
    cpu.CPUINFO.write_text(text)
    assert cpu.fast_bf16() is fast


@pytest.mark.parametrize(
    ("given", "count"),
    [({}, "20000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_threads_spin_briefly_unless_the_user_says_otherwise(given, count):
    environment = {
        name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    }
    code = "import lib, os, sys; print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"
    said = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env=environment | given,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.split() == [count, "False"]
