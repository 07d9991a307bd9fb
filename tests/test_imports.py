"""Every module can be imported by itself, and imports run downhill."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

FILES = sorted(path for path in (REPOSITORY / "lib").rglob("*.py") if path.name != "local.py")
# What each room may import, besides itself.
BELOW = {
    "utils": set(),
    "config": {"utils"},
    "data": {"config", "utils"},
    "drawing": {"config", "data", "utils"},
    "vis": {"config", "data", "utils"},
    "models": {"config", "utils"},
    "train": {"config", "data", "drawing", "models", "utils", "vis"},
    "test": {"config", "data", "drawing", "models", "utils", "vis"},
}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")


def imported(path: Path) -> set[str]:
    """The rooms of ``lib`` that a file imports, for its types alone and late too."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
    return {name.split(".")[1] for name in names if name.startswith("lib.")}


def test_every_module_can_be_imported():
    for name in map(module_name, FILES):
        module = importlib.import_module(name)
        assert module.__doc__ or Path(module.__file__).stat().st_size == 0, f"{name} does not say what it is"


def test_imports_run_downhill():
    for path in FILES:
        part = module_name(path).split(".")[1] if path.parent != REPOSITORY / "lib" else ""
        uphill = imported(path) - {part} - BELOW.get(part, set())
        assert not uphill, f"{path.name} of lib.{part} imports lib.{', lib.'.join(uphill)}"


@pytest.mark.end_to_end
def test_optional_packages_are_imported_only_where_they_are_used():
    """All but wandb, which timm imports where it is installed."""
    code = (
        "import importlib, sys\n"
        f"for name in {[module_name(path) for path in FILES]!r}: importlib.import_module(name)\n"
        "print(*sorted({'lmdb', 'visdom', 'thop', 'tensorboard', 'onnx', 'skvideo'} & sys.modules.keys()))"
    )
    found = subprocess.check_output([sys.executable, "-c", code], cwd=REPOSITORY, text=True)
    assert found.split() == []


@pytest.mark.end_to_end
def test_tracking_and_its_workers_wait_for_no_tables_or_plots():
    code = "import sys, tracking.test; print(*sorted({'pandas', 'matplotlib', 'scipy'} & sys.modules.keys()))"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=REPOSITORY, text=True).split() == []
