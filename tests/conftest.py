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
def forked_workers(monkeypatch):
    """Workers of an evaluation are forked, which takes milliseconds instead of seconds.

    That they can be spawned, as they are elsewhere, is tested by the runs of real programs.
    """
    fork = multiprocessing.get_context("fork")
    monkeypatch.setattr(multiprocessing, "get_context", lambda method: fork)


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
