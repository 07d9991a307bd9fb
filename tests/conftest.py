"""What all tests share."""

import importlib.util
import json
import multiprocessing
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

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
def golden():
    """Reference values by file name: a dict for ``.json``, arrays by key for ``.npz``."""

    def load(name):
        if name.endswith(".json"):
            return json.loads((GOLDEN / name).read_text())
        with np.load(GOLDEN / name) as archive:
            return {key: archive[key] for key in archive.files}

    return load
