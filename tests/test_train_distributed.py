"""Several processes: how they are started and ended, and that together they compute what one would."""

import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
import torch
import yaml

from lib.config import load_config
from lib.config.ostrack import OSTrackConfig
from lib.models.ostrack import build_ostrack
from lib.train import launch as launch_module
from lib.train.actors import build_actor
from lib.train.admin.loggers import EpochStats
from lib.train.data.loader import build_loader
from lib.train.distributed import train_dist_info
from lib.train.launch import PREEMPTED, launch
from lib.train.run_training import pick_device
from lib.train.trainers.step import eval_step
from lib.utils.checkpoint import load_checkpoint
from lib.utils.dist_info import DistInfo
from lib.utils.errors import ConfigError
from tests.conftest import REPOSITORY
from tests.ddp_worker import batch_of_four, build, gradients, part
from tests.train_processes import TINY, Runs, assert_same_run, procedural


@pytest.fixture
def runs(tmp_path):
    runs = Runs(tmp_path)
    yield runs
    runs.close()


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(launch_module, "_GRACE_SECONDS", 1.0)


def python(code):
    return [sys.executable, "-c", "import os, signal, sys, time\nrank = int(os.environ['RANK'])\n" + code]


class TestLaunch:
    def test_each_process_knows_its_place(self, tmp_path):
        names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
        code = f"open('{tmp_path}/' + str(rank), 'w').write(' '.join(os.environ[name] for name in {names}))"
        assert launch(python(code), 3) == 0
        found = [(tmp_path / str(rank)).read_text().split() for rank in range(3)]
        port = found[0][-1]
        assert found == [[str(rank), str(rank), "3", "3", "127.0.0.1", port] for rank in range(3)]
        assert 1024 < int(port) < 65536

    def test_one_failure_ends_all_with_its_status(self, capfd):
        start = time.monotonic()
        assert launch(python("sys.exit(3) if rank == 1 else time.sleep(60)"), 3) == 3
        assert time.monotonic() - start < 20
        assert capfd.readouterr().err == "rank 1: ended with exit status 3\n"

    def test_killed_process_ends_all_even_those_that_do_not_listen(self, capfd):
        code = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.kill(os.getpid(), signal.SIGKILL) if rank == 0 else time.sleep(60)"""
        start = time.monotonic()
        assert launch(python(code), 2) == 128 + signal.SIGKILL
        assert time.monotonic() - start < 20
        assert "rank 0: was ended by signal SIGKILL (most often because memory ran out)" in capfd.readouterr().err

    def test_an_error_of_all_is_printed_once_and_the_first_one(self, capfd):
        code = """
from lib.train.launch import rank_process
from lib.utils.errors import ConfigError
with rank_process():
    time.sleep(0.0 if rank == 1 else 1.0)
    raise ConfigError(f"key {rank} is unknown")"""
        assert launch(python(code), 2) == 1
        assert capfd.readouterr().err == "rank 1: error: key 1 is unknown\n"

    def test_fault_of_ours_keeps_its_traceback(self, capfd):
        code = "from lib.train.launch import rank_process\nwith rank_process():\n    {}[rank]"
        assert launch(python(code), 1) == 1
        error = capfd.readouterr().err
        assert error.startswith("rank 0: Traceback")
        assert error.endswith("KeyError: 0\n")

    @pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, PREEMPTED), (signal.SIGINT, 130)])
    def test_signals_are_passed_on(self, tmp_path, number, status):
        code = f"""
signal.signal(signal.SIGTERM, lambda *_: sys.exit({PREEMPTED}))
open('{tmp_path}/' + str(rank), 'w')
time.sleep(60)"""

        def send():
            while len(list(tmp_path.iterdir())) < 2:
                time.sleep(0.05)
            os.kill(os.getpid(), number)

        before = signal.getsignal(signal.SIGINT)
        threading.Thread(target=send, daemon=True).start()
        start = time.monotonic()
        assert launch(python(code), 2) == status
        assert time.monotonic() - start < 30
        assert signal.getsignal(signal.SIGINT) is before

    def test_sigterm_before_the_ranks_listen_is_a_preemption_too(self, tmp_path, capfd):
        def send():
            wait_for_text(tmp_path / "ready")
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=send, daemon=True).start()
        code = f"open('{tmp_path}/ready', 'w').write('x') if rank else None\ntime.sleep(60)"
        assert launch(python(code), 2) == PREEMPTED
        assert capfd.readouterr().err == "stopped by SIGTERM outside of training: there is nothing to save\n"
        # But not where nobody asked for it.
        assert launch(python("os.kill(os.getpid(), signal.SIGTERM)"), 1) == 128 + signal.SIGTERM

    def test_errors_that_cannot_be_handed_over_are_printed(self, capfd):
        """A full disk makes a file, but takes no text."""
        code = """
from pathlib import Path
from lib.train.launch import rank_process
from lib.utils.errors import ConfigError
def full(path, text):
    path.touch()
    raise OSError(28, "No space left on device")
Path.write_text = full
with rank_process():
    time.sleep(0.0 if rank == 1 else 1.0)
    raise ConfigError(f"the disk of {rank} is full")"""
        assert launch(python(code), 2) == 1
        assert capfd.readouterr().err == "rank 1: error: the disk of 1 is full\nrank 1: failed, see above\n"

    def test_who_is_preempted_first_does_not_end_the_others(self, tmp_path):
        code = f"time.sleep(rank)\nopen('{tmp_path}/' + str(rank), 'w')\nsys.exit({PREEMPTED})"
        assert launch(python(code), 2) == PREEMPTED
        assert len(list(tmp_path.iterdir())) == 2

    def test_ranks_do_not_outlive_their_launcher(self, tmp_path):
        rank = """
from lib.train.launch import rank_process
with rank_process():
    open(sys.argv[1] + '/pid', 'w').write(str(os.getpid()))
    time.sleep(60)"""
        code = f"import sys; from lib.train.launch import launch; launch({[*python(rank), str(tmp_path)]}, 1)"
        launcher = subprocess.Popen([sys.executable, "-c", code])
        pid = int(wait_for_text(tmp_path / "pid"))
        launcher.kill()
        launcher.wait()
        deadline = time.monotonic() + 20
        while alive(pid):
            assert time.monotonic() < deadline
            time.sleep(0.1)

    @pytest.mark.end_to_end
    def test_two_machines_end_together(self, tmp_path):
        """Two launchers on one machine; on one of them a process dies."""
        port = launch_module._free_port()
        rank = "sys.exit(3) if rank == 1 else time.sleep(120)"
        code = "import sys; from lib.train.launch import launch; sys.exit(launch({}, 1, 2, {}, '127.0.0.1', {}))"
        nodes = [
            subprocess.Popen([sys.executable, "-c", code.format(python(rank), node, port)], stderr=subprocess.PIPE)
            for node in range(2)
        ]
        errors = [node.communicate(timeout=100)[1].decode() for node in nodes]
        assert [node.returncode for node in nodes] == [1, 3]
        assert "a process on another machine failed" in errors[0]
        assert "rank 1: ended with exit status 3" in errors[1]


def wait_for_text(path):
    deadline = time.monotonic() + 60
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return path.read_text()


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_which_process_this_is_by_the_environment(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert train_dist_info() == DistInfo(0, 1, 0)
    monkeypatch.setenv("RANK", "5")
    with pytest.raises(ConfigError, match="WORLD_SIZE, LOCAL_RANK is not"):
        train_dist_info()
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert train_dist_info() == DistInfo(5, 8, 1)
    assert not train_dist_info().is_main
    monkeypatch.setenv("RANK", "8")
    with pytest.raises(ConfigError, match="RANK=8, WORLD_SIZE=8"):
        train_dist_info()


def test_each_process_of_a_machine_has_its_gpu(monkeypatch):
    monkeypatch.setattr(torch, "cuda", SimpleNamespace(is_available=lambda: True, device_count=lambda: 2))
    assert pick_device("auto", DistInfo(3, 4, 1)) == torch.device("cuda", 1)
    assert pick_device("cpu", DistInfo(3, 4, 3)) == torch.device("cpu")
    with pytest.raises(ConfigError, match="process 2 of this machine has no GPU, there are 2"):
        pick_device("cuda", DistInfo(2, 4, 2))
    with pytest.raises(ConfigError, match="cuda:1: with several processes"):
        pick_device("cuda:1", DistInfo(0, 2, 0))


def assert_close(found, expected):
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-5, msg=lambda text, n=name: f"{n}: {text}")


@pytest.mark.end_to_end
def test_gradient_of_two_processes_is_that_of_the_joined_batch(tmp_path):
    config = tmp_path / "tiny.yaml"
    config.write_text(yaml.safe_dump(TINY))
    assert launch([sys.executable, "-m", "tests.ddp_worker", str(tmp_path)], 2) == 0
    found = torch.load(tmp_path / "found.pt")

    batch = batch_of_four()
    halves = [part(batch, 0, 2), part(batch, 2, 4)]
    joined = gradients(*build(config), [batch], training=False)
    assert "backbone.cls_token" not in joined["gradients"]  # not used: a trap for data parallelism
    for kind in ("eval", "accumulated"):
        assert_close(found[kind]["gradients"], joined["gradients"])
        assert found[kind]["stats"] == pytest.approx(joined["stats"], rel=1e-4)
    # Asked of one, known to all.
    assert (found["eval"]["stop"], found["train"]["stop"]) == (True, False)

    # Batch norm is each process's own: the mean over the halves, each with its own statistics, not the joined batch.
    alone = [gradients(*build(config), [half], training=True) for half in halves]
    mean = {name: (alone[0]["gradients"][name] + alone[1]["gradients"][name]) / 2 for name in alone[0]["gradients"]}
    assert_close(found["train"]["gradients"], mean)
    together = gradients(*build(config), [batch], training=True)["gradients"]
    name = "box_head.conv1_ctr.0.weight"
    assert (found["train"]["gradients"][name] - together[name]).norm() > 0.05 * together[name].norm()
    for own, expected in zip(found["own_means"], alone, strict=True):
        torch.testing.assert_close(own, expected["running_mean"], rtol=1e-3, atol=1e-5)
    assert not torch.equal(*found["own_means"])
    assert torch.equal(found["shared_means"][1], found["own_means"][0])


@pytest.mark.end_to_end
def test_two_processes_train_like_one_that_accumulates_and_resume_bit_for_bit(runs):
    changes = (
        "DATA.TRAIN.SAMPLE_PER_EPOCH=16",
        "TRAIN.EPOCH=2",
        "TRAIN.SAVE_EVERY_STEPS=2",
        "TRAIN.DROP_PATH_RATE=0.0",
    )
    two = ("--nproc_per_node", "2")
    status, text = runs.run("whole", *two, *changes)
    assert status == 0, text
    assert text.count("finished: ") == 1
    whole = load_checkpoint(runs.checkpoints("whole") / "OSTrack_ep0002.pth.tar")
    assert (whole["world"], len(whole["rng"]), whole["step"]) == (2, 2, 8)

    # One process with the same samples in a step. Batch norm is per process, or per batch: the same thing.
    status, text = runs.run("one", *changes, "TRAIN.ACCUM_STEPS=2")
    assert status == 0, text
    one = load_checkpoint(runs.checkpoints("one") / "OSTrack_ep0002.pth.tar")
    for name in ("Loss/total", "Loss/giou", "Loss/l1", "Loss/location", "IoU"):
        assert whole["stats"]["train"][name] == pytest.approx(one["stats"]["train"][name], rel=1e-3), name
    # Validated on all samples, by the network that was saved.
    expected = validated(whole["net"], load_config(OSTrackConfig, runs.config), epoch=2)
    found = {name: values[-1] for name, values in whole["stats"]["val"].items()}
    assert found == pytest.approx(expected, rel=1e-3)
    line = "  ,  ".join(f"{name}: {value:.4f}" for name, value in found.items())
    assert runs.log("whole").count(f"[val: 2, all 2 processes] {line}") == 1
    assert "processes] " not in runs.log("one")

    # One rank is killed in the middle of an epoch: all end, and say which.
    partial = "partial_ep0001_step000002.pth.tar"
    process = runs.start("parts", *two, *changes, kill=f"{partial} wait")
    runs.wait_for(process, runs.checkpoints("parts") / partial)
    victim = next(pid for pid in children(process.pid) if b"RANK=1" in environment(pid))
    os.kill(victim, signal.SIGKILL)
    start = time.monotonic()
    text = runs.finish(process)
    assert time.monotonic() - start < 30
    assert process.returncode == 128 + signal.SIGKILL, text
    assert "rank 1: was ended by signal SIGKILL" in text
    assert "finished" not in text
    # SIGTERM to the launcher: both save together.
    partial = "partial_ep0002_step000002.pth.tar"
    process = runs.start("parts", *two, *changes, kill=f"{partial} wait")
    runs.wait_for(process, runs.checkpoints("parts") / partial)
    process.send_signal(signal.SIGTERM)
    text = runs.finish(process)
    assert process.returncode == PREEMPTED, text
    assert "stopped by SIGTERM after step" in text
    status, text = runs.run("parts", *two, *changes)
    assert status == 0, text
    assert_same_run(whole, load_checkpoint(runs.checkpoints("parts") / "OSTrack_ep0002.pth.tar"))

    # On with one process that accumulates: the steps are the same, the last bits are not promised.
    status, text = runs.run("parts", *changes, "TRAIN.EPOCH=3", "TRAIN.ACCUM_STEPS=2")
    assert status == 0, text
    assert "was written by 2 processes, now there are 1" in text
    # Other steps are refused, once, by all keys concerned.
    status, text = runs.run("parts", *two, *changes, "TRAIN.EPOCH=4", "TRAIN.ACCUM_STEPS=2")
    assert status == 1
    assert text.count("was trained with another configuration: number of processes was 1, is 2.") == 1


def validated(weights, cfg, epoch):
    """What validation in one process comes to."""
    net, stats = build_ostrack(cfg), EpochStats()
    net.load_state_dict(weights)
    actor = build_actor(net.eval(), cfg)
    for batch in build_loader(cfg, "VAL", procedural()):
        stats.update(eval_step(actor, batch, epoch), len(batch["source"]))
    assert all(count == 3 for _, count in stats.sums.values())
    return stats.averages()


def children(pid):
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout
    return [int(word) for word in listed.split()]


def environment(pid):
    with open(f"/proc/{pid}/environ", "rb") as file:
        return file.read().split(b"\0")
