"""What the tests of whole training runs share: a tiny experiment, and real processes of ``tracking/train.py``."""

import os
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import pytest
import torch
import yaml

from lib.config.experiment import DataConfig
from lib.train import run_training as run_training_module
from lib.train.admin import environment
from lib.train.data.samples import open_source
from lib.vis import samples
from tests.conftest import REPOSITORY

SCRIPT = REPOSITORY / "tracking" / "train.py"
TINY = {
    "MODEL": {
        "PRETRAIN_FILE": "",
        "BACKBONE": {
            "TYPE": "vit_tiny_patch16_224_ce", "DEPTH": 2,
            "CE_LOC": [1], "CE_KEEP_RATIO": [0.7], "CE_TEMPLATE_RANGE": "CTR_POINT",
        },
        "HEAD": {"NUM_CHANNELS": 16},
    },
    "TRAIN": {
        "BATCH_SIZE": 2, "EPOCH": 4, "NUM_WORKER": 0, "PRINT_INTERVAL": 1, "VAL_EPOCH_INTERVAL": 3, "LR_DROP_EPOCH": 3,
        "CE_START_EPOCH": 1, "CE_WARM_EPOCH": 2, "CHECKPOINT_INTERVAL": 2, "DROP_PATH_RATE": 0.2,
    },
    "DATA": {
        "TRAIN": {"DATASETS_NAME": ["IMAGES"], "DATASETS_RATIO": [1], "SAMPLE_PER_EPOCH": 5},
        "VAL": {"DATASETS_NAME": ["IMAGES"], "DATASETS_RATIO": [1], "SAMPLE_PER_EPOCH": 3},
        "SEARCH": {"SIZE": 64, "FACTOR": 4.0, "CENTER_JITTER": 3, "SCALE_JITTER": 0.25},
        "TEMPLATE": {"SIZE": 32, "FACTOR": 2.0},
    },
    "TEST": {"SEARCH_SIZE": 64, "TEMPLATE_SIZE": 32, "EPOCH": 4},
}  # fmt: skip

# Python runs this file in every process at its start: it lets the IMAGES data set draw procedural pictures whatever
# the machine's local.py says (no_local.py in the folder of the run can say something else), and can kill a process
# "before" or "after" a checkpoint gets its name, give the name to a "torn" file first, or have the process "wait" there
# until SIGTERM comes.
_START = """
import os, signal
from pathlib import Path

from lib.train.admin import environment

environment.LOCAL_FILE = Path("no_local.py")
name, _, moment = os.environ.get("TEST_KILL", "").partition(" ")
replace = os.replace

def replace_or_die(source, target, **options):
    here = os.path.basename(target) == name
    if here and moment == "torn":
        os.truncate(source, 1000)
    if here and moment == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    if here and moment == "wait":
        signals, told = os.pipe()
        os.set_blocking(told, False)
        signal.set_wakeup_fd(told)
    replace(source, target, **options)
    if here and moment == "wait":
        while os.read(signals, 1) != bytes([signal.SIGTERM]):
            pass
    elif here:
        os.kill(os.getpid(), signal.SIGKILL)

if name:
    os.replace = replace_or_die
"""


class Runs:
    """Starts ``tracking/train.py`` in real processes, on one thread each.

    Args:
        folder: where everything is written.
        config: name of an experiment; by default the tiny one, which is written there.
    """

    def __init__(self, folder: Path, config: str = ""):
        self.folder = folder
        self.config = config or str(folder / "tiny.yaml")
        self.name = config or "tiny"
        (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY))
        (folder / "sitecustomize.py").write_text(_START)
        self.started: list[subprocess.Popen] = []

    def start(self, out: str, *arguments: str, kill: str = "") -> subprocess.Popen:
        environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
        environment |= {"PYTHONPATH": f"{self.folder}:{REPOSITORY}", "OMP_NUM_THREADS": "1", "TEST_KILL": kill}
        command = [sys.executable, str(SCRIPT), "--config", self.config, "--save_dir", out, "--device", "cpu"]
        process = subprocess.Popen(
            [*command, *arguments], cwd=self.folder, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.started.append(process)
        return process

    def finish(self, process: subprocess.Popen) -> str:
        """What the process printed until its end."""
        return process.communicate(timeout=240)[0]

    def run(self, out: str, *arguments: str, kill: str = "") -> tuple[int, str]:
        process = self.start(out, *arguments, kill=kill)
        text = self.finish(process)
        return process.returncode, text

    def wait_for(self, process: subprocess.Popen, path: Path) -> None:
        """Until the process has written the file."""
        deadline = time.monotonic() + 240
        while not path.exists():
            assert process.poll() is None, self.finish(process)
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def log(self, out: str) -> str:
        path = self.folder / out / "logs" / f"ostrack-{self.name}.log"
        return path.read_text() if path.exists() else ""

    def checkpoints(self, out: str) -> Path:
        return self.folder / out / "checkpoints/train/ostrack" / self.name

    def close(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.communicate()


def in_process(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """``run(out, *overrides, **options)``: the tiny experiment in this process, on procedural pictures.

    Pictures of samples are no larger than its search regions: to compress them takes longer than to train.
    """
    monkeypatch.setattr(samples, "TILE", TINY["DATA"]["SEARCH"]["SIZE"])
    monkeypatch.setattr(environment, "LOCAL_FILE", folder / "no_local.py")
    monkeypatch.setattr(run_training_module, "open_sources", lambda *_: procedural())
    config = folder / "tiny.yaml"
    config.write_text(yaml.safe_dump(TINY))

    def run(out, *overrides, **options):
        options = {"save_dir": str(folder / out), "device": "cpu", **options}
        return run_training_module.run_training(str(config), overrides, run_training_module.TrainOptions(**options))

    return run


@cache
def procedural():
    """Procedural pictures, made once."""
    return {"IMAGES": open_source("IMAGES", environment.EnvironmentSettings(), DataConfig())}


def assert_same(a, b):
    """Equal to the last bit, through dicts, lists and tensors; NaN equals NaN."""
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        assert a == b or (a != a and b != b)


def assert_same_run(a, b):
    """The checkpoints of two runs hold the same training: weights, optimizer, generators, losses of every epoch."""
    for key in ("net", "optimizer", "scaler", "ema", "step", "epoch", "epoch_step", "rng"):
        assert_same(a[key], b[key])
    assert_same(*({split: _losses(state["stats"][split]) for split in state["stats"]} for state in (a, b)))


def _losses(stats):
    return {name: values for name, values in stats.items() if "Time" not in name and name != "FPS"}
