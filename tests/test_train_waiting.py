"""Where one process of a training waits for another: it never waits for ever, and always heeds SIGTERM."""

import errno
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lib.config import load_config
from lib.config.ostrack import OSTrackConfig
from lib.data.crops import Crop, CropPair
from lib.train import distributed
from lib.train import launch as launch_module
from lib.train.data import samples as samples_module
from lib.train.data.loader import batches, build_loader
from lib.train.distributed import process_group
from lib.train.launch import PREEMPTED, launch
from lib.train.trainers import stop as stop_module
from lib.train.trainers import trainer as trainer_module
from lib.train.trainers.stop import Preempted
from lib.utils.checkpoint import load_checkpoint
from lib.utils.dist_info import DistInfo
from lib.utils.errors import ConfigError, OSTrackError, WorkerError
from tests.conftest import REPOSITORY
from tests.train_processes import assert_same_run, in_process

MB = 2**20


class Blank:
    """A source of empty pairs; ``wait`` seconds pass before each one is drawn."""

    name, single, wait = "BLANK", False, 0.0

    def draw_pair(self, rng, spec, *_):
        time.sleep(self.wait)
        crops = [[self.crop(s) for _ in range(s.number)] for s in (spec.template, spec.search)]
        return CropPair(*crops, self.name, "nothing")

    @staticmethod
    def crop(spec):
        shape = (spec.size, spec.size)
        return Crop(np.zeros((*shape, 3), np.uint8), np.full(4, 0.25, np.float32), np.zeros(shape, bool))


def loader_for(*overrides, source=None):
    cfg = load_config(OSTrackConfig, 
        "vitb_256_mae_ce_32x4_ep300",
        [
            "DATA.TRAIN.DATASETS_NAME=[BLANK]", "DATA.TRAIN.DATASETS_RATIO=[1]", "DATA.TRAIN.SAMPLE_PER_EPOCH=1000",
            "TRAIN.BATCH_SIZE=32", "TRAIN.NUM_WORKER=2", *overrides,
        ],
    )  # fmt: skip
    return build_loader(cfg, "TRAIN", {"BLANK": source or Blank()})


@pytest.fixture(autouse=True)
def many_cpus(monkeypatch):
    monkeypatch.setattr("lib.train.data.loader.cpu_count", lambda: 8)


def drain(loader):
    """All batches of an epoch; at the end the workers are ended, as training does: torch would wait for seconds."""
    try:
        return list(batches(loader))
    finally:
        loader.end_workers()


def let_shared_memory_be(monkeypatch, total, free):
    space = SimpleNamespace(f_frsize=4096, f_blocks=total // 4096, f_bavail=free // 4096)
    monkeypatch.setattr(os, "statvfs", lambda path: space)


class TestSharedMemory:
    @pytest.mark.parametrize("overrides", [(), ("DATA.NORMALIZE_ON_DEVICE=true", "DATA.TEMPLATE.NUMBER=3")])
    def test_what_a_loader_needs_is_the_size_of_its_batches(self, monkeypatch, overrides):
        asked = []
        monkeypatch.setattr("lib.train.data.loader.require_shared_memory", asked.append)
        loader_for(*overrides, "TRAIN.ACCUM_STEPS=2", "TRAIN.BATCH_SIZE=4")
        batch = next(iter(loader_for(*overrides, "TRAIN.NUM_WORKER=0", "TRAIN.BATCH_SIZE=4")))
        size = sum(value.nbytes for value in batch.values() if isinstance(value, torch.Tensor))
        # Two for each worker; while a step's two are awaited, those of the step before are still there.
        assert asked == [pytest.approx(size * (2 * 2 + 2 * 2), rel=0.001)]

    def test_too_little_is_one_line_before_anything_starts(self, monkeypatch):
        let_shared_memory_be(monkeypatch, 64 * MB, 64 * MB)
        with pytest.raises(ConfigError) as caught:
            loader_for()
        # 32 samples of 3 x 4 + 1 bytes for each of 256^2 + 128^2 pixels are 32.5 MB, of which there may be six.
        told = str(caught.value)
        for words in ("/dev/shm has 64 MB", "195 MB", "--shm-size=1g", "TRAIN.NUM_WORKER=0", "TRAIN.BATCH_SIZE"):
            assert words in told
        assert "\n" not in told
        for enough in ("TRAIN.NUM_WORKER=0", "TRAIN.BATCH_SIZE=8", "DATA.NORMALIZE_ON_DEVICE=true",
                       "DATA.TRAIN.SAMPLE_PER_EPOCH=32"):  # fmt: skip
            loader_for(enough)
        let_shared_memory_be(monkeypatch, 8000 * MB, 100 * MB)
        with pytest.raises(ConfigError, match=r"/dev/shm has 8000 MB \(100 MB of them free\), the loader needs"):
            loader_for()
        let_shared_memory_be(monkeypatch, 0, 0)  # a tmpfs without limit
        loader_for()

    def test_all_processes_of_a_machine_share_it(self, monkeypatch):
        let_shared_memory_be(monkeypatch, 1024 * MB, 400 * MB)
        loader_for()
        for name, value in {"RANK": 0, "WORLD_SIZE": 4, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 4}.items():
            monkeypatch.setenv(name, str(value))
        with pytest.raises(ConfigError, match=r"needs about 780 MB: .* --shm-size=1g"):
            loader_for()

    @pytest.mark.parametrize(
        ("number", "message"),
        [
            (
                errno.ENOSPC,
                r"^/dev/shm has 64 MB \(0 MB of them free\), the loader needs about 196 MB: start",
            ),  # boxes too
            (errno.EMFILE, r"^a batch cannot be put into shared memory: .*\(24\)\. Raise the limit of open files"),
        ],
    )
    def test_a_batch_that_does_not_fit_later_ends_the_run(self, monkeypatch, number, message):
        def full(tensor):
            raise RuntimeError(f"unable to allocate shared memory(shm) for file </x>: {os.strerror(number)} ({number})")

        loader = loader_for()
        let_shared_memory_be(monkeypatch, 64 * MB, 0)
        monkeypatch.setattr(torch.Tensor, "share_memory_", full)
        with pytest.raises(WorkerError, match=message) as caught:
            drain(loader)
        assert "\n" not in str(caught.value)

    @pytest.mark.end_to_end
    def test_a_real_small_one(self, tmp_path):
        """In a mount namespace of its own, where that is allowed."""
        script = tmp_path / "script.py"
        script.write_text(
            textwrap.dedent("""
            import lib.train.data.loader as loader
            from lib.train.data.loader import batches
            from tests.test_train_waiting import loader_for
            loader.require_shared_memory = lambda needed: None  # as if others had filled it later
            loader.cpu_count = lambda: 8
            try:
                list(batches(loader_for()))
            except Exception as error:
                print(type(error).__name__, error)
        """)
        )
        inside = 'mount -t tmpfs -o size=64M tmpfs /dev/shm && exec "$@"'
        command = ["unshare", "-rm", "sh", "-c", inside, "sh", sys.executable, str(script)]
        if subprocess.run([*command[:6], "true"], capture_output=True).returncode:
            pytest.skip("namespaces are not allowed here")
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        found = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
        assert found.stdout.startswith("WorkerError /dev/shm has 64 MB"), found
        assert "Traceback" not in found.stderr


class TestWorkers:
    def test_a_batch_that_cannot_be_handed_over_ends_the_run(self, monkeypatch, capfd):
        monkeypatch.setattr(samples_module, "finish_pair", lambda *_: {"source": lambda: None})  # cannot be pickled
        with pytest.raises(WorkerError, match=r"^DataLoader worker \(pid.*\) exited unexpectedly.*\. See above"):
            drain(loader_for())
        assert "a batch cannot be sent: " in capfd.readouterr().err

    def test_a_worker_that_hangs_has_a_limit(self):
        source = Blank()
        source.wait = 60
        loader = loader_for("TRAIN.DATA_TIMEOUT=0.5", "TRAIN.NUM_WORKER=6", "TRAIN.BATCH_SIZE=1", source=source)
        start = time.monotonic()
        with pytest.raises(WorkerError, match=r"^DataLoader timed out after 0.*TRAIN.DATA_TIMEOUT is the limit"):
            list(batches(loader))
        loader.end_workers()
        assert time.monotonic() - start < 25  # torch would wait five seconds for each worker

    @pytest.mark.end_to_end
    def test_workers_that_hang_end_with_the_process_that_trains(self, tmp_path):
        script = tmp_path / "script.py"
        script.write_text(
            textwrap.dedent("""
            import lib.train.data.loader as loader
            from tests.test_train_waiting import Blank, loader_for
            loader._PARENT_SECONDS = 0.2
            Blank.wait = 100
            iterator = iter(loader_for())
            print(*(worker.pid for worker in iterator._workers), flush=True)
            next(iterator)
        """)
        )
        process = subprocess.Popen(
            [sys.executable, script],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        )
        workers = [int(word) for word in process.stdout.readline().split()]
        assert workers
        time.sleep(1)
        process.kill()
        process.wait()
        deadline = time.monotonic() + 20
        while any(os.path.exists(f"/proc/{pid}") for pid in workers):
            assert time.monotonic() < deadline
            time.sleep(0.1)


# SIGTERM


@pytest.fixture
def run(tmp_path, monkeypatch):
    return in_process(tmp_path, monkeypatch)


def stall(monkeypatch, number, of_length):
    """SIGTERM comes while the ``number``-th batch (from 1) of a loader is awaited, which never comes."""
    original = trainer_module.batches
    monkeypatch.setattr(stop_module, "PATIENCE", 0.2)

    def stalled(loader):
        last = len(loader) == of_length
        for index, batch in enumerate(original(loader), start=1):
            if last and index == number:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(60)
            yield batch

    monkeypatch.setattr(trainer_module, "batches", stalled)


EIGHT_STEPS = ("DATA.TRAIN.SAMPLE_PER_EPOCH=16", "TRAIN.EPOCH=2")


@pytest.mark.parametrize(
    ("number", "of_length", "message"),
    [
        (1, 8, "after step 0 of 8 of epoch 1: there is nothing to save"),
        (4, 8, "after step 3 of 8 of epoch 1, saved .*partial_ep0001_step000003.pth.tar; the same command resumes it"),
        (2, 2, "after step 8 of 8 of epoch 2, saved .*partial_ep0002_step000008.pth.tar; the same command resumes it"),
    ],
)
def test_sigterm_ends_the_wait_for_data_and_saves(run, whole_run, monkeypatch, number, of_length, message):
    start = time.monotonic()
    with monkeypatch.context() as patch, pytest.raises(Preempted, match=f"^stopped by SIGTERM {message}"):
        stall(patch, number, of_length)
        run("parts", *EIGHT_STEPS)
    assert time.monotonic() - start < 30
    parts = load_checkpoint(run("parts", *EIGHT_STEPS))
    if number != 1:
        assert_same_run(whole_run(*EIGHT_STEPS), parts)


def test_data_that_come_in_time_are_still_used(run, monkeypatch):
    original = trainer_module.batches

    def late(loader):
        for index, batch in enumerate(original(loader), start=1):
            if index == 4:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.2)
            yield batch

    monkeypatch.setattr(trainer_module, "batches", late)
    with pytest.raises(Preempted, match="after step 4 of 8 of epoch 1, saved"):
        run("out", *EIGHT_STEPS)


def test_one_of_several_processes_leaves_alone_and_saves_nothing(run, monkeypatch, tmp_path, caplog):
    """The others are in the middle of a step, and cannot save with it."""
    monkeypatch.setattr(distributed, "train_dist_info", lambda: DistInfo(0, 2, 0))
    left = []
    monkeypatch.setattr(distributed, "leave_group", lambda: left.append(True))
    monkeypatch.setattr(distributed, "process_group", lambda device: nullcontext())
    stall(monkeypatch, 4, 4)
    with pytest.raises(Preempted, match="after step 3 of 4 of epoch 1, no data came for .* s; the last checkpoint"):
        run("out", *EIGHT_STEPS)
    assert left == [True]
    assert not list(tmp_path.glob("out/checkpoints/**/*.tar"))
    assert [record.levelname for record in caplog.records if "no data came" in record.message] == ["WARNING"]


def python(code):
    return [sys.executable, "-c", "import os, signal, sys, time\nrank = int(os.environ['RANK'])\n" + code]


@pytest.mark.parametrize("other", ["time.sleep(60)", "time.sleep(0.5)\nraise RuntimeError('left alone')"])
def test_who_waits_for_a_process_that_left_is_ended_without_blame(monkeypatch, capfd, tmp_path, other):
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setattr(launch_module, "_FAREWELL_SECONDS", 1.0)
    monkeypatch.setattr(launch_module, "_GRACE_SECONDS", 0.5)
    code = f"""
signal.signal(signal.SIGTERM, signal.SIG_IGN if rank else lambda *_: sys.exit({PREEMPTED}))
open({str(tmp_path)!r} + f'/{{rank}}', 'w')
if rank == 0:
    time.sleep(60)
while not os.path.exists({str(tmp_path)!r} + '/told'):
    time.sleep(0.05)
{other}"""

    def send():
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.5)
        (tmp_path / "told").touch()

    threading.Thread(target=send, daemon=True).start()
    start = time.monotonic()
    assert launch(python(code), 2) == PREEMPTED
    assert time.monotonic() - start < 20
    assert "rank 1:" not in capfd.readouterr().err


@pytest.mark.parametrize(
    "message", ["[/x/gloo/transport/tcp/y.cc:78] Timed out waiting", "Application timeout caused pair closure"]
)
def test_a_process_that_does_not_answer_is_one_line(monkeypatch, message):
    monkeypatch.setattr(distributed, "train_dist_info", lambda: DistInfo(0, 2, 0))
    monkeypatch.setattr(distributed.dist, "init_process_group", lambda *_, **__: None)
    with pytest.raises(OSTrackError, match="has ended, or has not answered for 30 minutes: .*" + message[-14:]):
        with process_group(torch.device("cpu")):
            raise RuntimeError(message)
    with pytest.raises(RuntimeError, match="a fault of ours"), process_group(torch.device("cpu")):
        raise RuntimeError("a fault of ours")


def test_a_visdom_server_that_never_answers(monkeypatch):
    pytest.importorskip("visdom", reason="visdom is not installed: pip install '.[debug]'")
    from lib.vis import visdom_client

    monkeypatch.setattr(visdom_client, "_ANSWER_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(visdom_client.NoVisdomError, match="no visdom server at"):
            visdom_client.visdom_screen("http://127.0.0.1", silent.getsockname()[1])
