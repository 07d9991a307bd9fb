"""The project folder, shipped files, and the user's path settings.

The project folder has ``data``, ``output`` and ``pretrained_models``: it is the clone, or for an installed wheel the
current folder; ``OSTRACK_HOME`` overrides it. A wheel includes experiments and weights in the package; a file of the
same name in the project folder takes precedence.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

from lib.utils.errors import ConfigError

_LIB = Path(__file__).resolve().parents[1]
_WHEEL = _LIB / "shipped"  # setup.py puts experiments and weights there
SHIPPED_DIR = _WHEEL if _WHEEL.is_dir() else _LIB.parent
_HOME = Path.cwd() if _WHEEL.is_dir() else _LIB.parent
PROJECT_DIR = Path(os.environ.get("OSTRACK_HOME") or _HOME).resolve()
PRETRAINED_DIR = PROJECT_DIR / "pretrained_models"


def shipped_file(relative: str) -> Path:
    """Return the user's file at a path in the project folder if it exists, else the path of the shipped one."""
    own = PROJECT_DIR / relative
    return own if own.is_file() else SHIPPED_DIR / relative


def local_file(half: str, in_clone: str) -> Path:
    """Return the path settings file of ``train`` or ``test``: ``in_clone`` in a clone, else ``local_HALF.py``."""
    return PROJECT_DIR / (in_clone if PROJECT_DIR == SHIPPED_DIR else f"local_{half}.py")


def local_settings(path: Path, factory: str, kind: type = object) -> Any:
    """Run a user's path settings file and return its ``factory()``, an instance of ``kind``.

    Raises:
        ConfigError: the file does not run, or has no such factory.
    """
    spec = importlib.util.spec_from_file_location(f"ostrack_local_{factory}", path)
    assert spec and spec.loader  # there is always one for a name that ends in .py
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        settings = getattr(module, factory)()
        if not isinstance(settings, kind):
            raise TypeError(f"{factory}() returned {type(settings).__name__}, not {kind.__name__}")
    except Exception as error:  # the user's code can raise anything
        raise ConfigError(
            f"{path} cannot be used ({type(error).__name__}: {error}); fix it, or write a new one: "
            "python tracking/create_default_local_file.py --force"
        ) from error
    return settings
