"""Where the project lies, and the files in which users say where their data lie."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from lib.utils.errors import ConfigError

REPOSITORY = Path(__file__).resolve().parents[2]
PRETRAINED_DIR = REPOSITORY / "pretrained_models"


def local_settings(path: Path, factory: str, kind: type = object) -> Any:
    """Run a user's file of paths and return what its ``factory()`` makes, an instance of ``kind``.

    Raises:
        ConfigError: the file does not run, or holds no such factory; the message names the file.
    """
    spec = importlib.util.spec_from_file_location(f"ostrack_local_{factory}", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        settings = getattr(module, factory)()
        if not isinstance(settings, kind):
            raise TypeError(f"{factory}() returned {type(settings).__name__}, not {kind.__name__}")
    except Exception as error:  # the user's own code: anything can go wrong in it
        raise ConfigError(
            f"{path} cannot be used ({type(error).__name__}: {error}); mend it, or write it anew: "
            "python tracking/create_default_local_file.py --force"
        ) from error
    return settings
