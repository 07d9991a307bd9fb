"""What all tests share."""

import importlib.util
import json
import multiprocessing
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from lib.utils.checkpoint import load_checkpoint

REPOSITORY = Path(__file__).resolve().parents[1]
GOLDEN = REPOSITORY / "tests" / "golden"


def load_script(name: str, folder: str = "tracking") -> ModuleType:
    """``tracking/NAME.py``, or a script of another folder, as a module."""
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def quick_workers(monkeypatch):
    """Workers of an evaluation are forked from a server that has imported what they need: milliseconds, not seconds.

    Not from this process: OpenCV would wait for ever for threads that its fork does not have. That workers can be
    spawned, as they are elsewhere, is tested by the runs of real programs.
    """
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["tests.evaluation_fakes"])
    monkeypatch.setattr(multiprocessing, "get_context", lambda method: server)


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory):
    """``whole_run(*overrides)``: the last checkpoint of the tiny experiment, trained without a stop, once each."""
    from tests.train_processes import in_process

    @cache
    def train(*overrides):
        with pytest.MonkeyPatch.context() as patch:
            return load_checkpoint(in_process(tmp_path_factory.mktemp("whole"), patch)("out", *overrides))

    return train


@pytest.fixture(scope="session")
def golden():
    """Reference values by file name: a dict for ``.json``, arrays by key for ``.npz``."""

    def load(name):
        if name.endswith(".json"):
            return json.loads((GOLDEN / name).read_text())
        with np.load(GOLDEN / name) as archive:
            return {key: archive[key] for key in archive.files}

    return load
