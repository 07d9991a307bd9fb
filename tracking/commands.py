"""Console commands of an installed package: ``commands.test()`` runs ``tracking/test.py`` as a script."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from functools import partial

from lib.utils.errors import run_cli


def __getattr__(script: str) -> Callable[[], None]:
    """The script of this name, ready to run. Imported when asked for: most scripts import much."""
    if importlib.util.find_spec(f"tracking.{script}") is None:
        raise AttributeError(f"there is no tracking/{script}.py")
    return partial(run_cli, importlib.import_module(f"tracking.{script}").main)
