"""Custom trackers: ``tracking/test.py NAME CONFIG`` runs the one of the module ``lib/test/tracker/NAME.py``.

The module has two functions, named as in PyTracking::

    def parameters(config):          # returns the tracker's parameters; config is CONFIG as given
        return ...

    def get_tracker_class():         # called with the parameters and device="cpu", "cuda:N", "mps" ...
        return MyTracker             # initialize() and track(), see lib/test/evaluation/protocol.py

A name with a dot is any importable module: ``my_package.my_tracker``. Results are tied to the module's source, to the
parameters (plain values, or an object with plain attributes), and to the file that they name as ``checkpoint``, if any.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

from lib.models.family import family_names
from lib.test.evaluation.protocol import BatchTracker, Tracker
from lib.utils.errors import ConfigError, suggestion


def build_custom(device: str, name: str, config: str) -> Tracker | BatchTracker:
    """Return the tracker of the module ``name`` with the parameters of ``config``, on a device.

    Raises:
        ConfigError: there is no such module, or it lacks one of the two functions.
    """
    module = _module(name)
    return module.get_tracker_class()(_parameters(module, config), device=device)


def custom_identity(name: str, config: str) -> tuple[str, Path | None]:
    """Identify a tracker in its results: twelve hex digits of code and parameters, and its weight file, if any.

    Raises:
        ConfigError: as :func:`build_custom`, or ``config`` cannot be the name of a folder.
    """
    module = _module(name)
    if not re.fullmatch(r"\w[\w.-]*", config):
        raise ConfigError(f"config {config!r} names the folder of the results: use letters, digits, - _ and .")
    parameters = _parameters(module, config)
    known = vars(parameters) if hasattr(parameters, "__dict__") else parameters
    text = Path(str(module.__file__)).read_bytes() + repr(known).encode()
    checkpoint = getattr(parameters, "checkpoint", None)
    return hashlib.sha256(text).hexdigest()[:12], Path(checkpoint) if checkpoint else None


def _parameters(module: Any, config: str) -> Any:
    try:
        return module.parameters(config)
    except KeyError as error:
        raise ConfigError(f"{module.__file__} has no parameters for config {config!r}: no {error}") from error


def _module(name: str) -> ModuleType:
    full = name if "." in name else f"lib.test.tracker.{name}"
    try:
        found = importlib.util.find_spec(full) is not None
    except (ImportError, ValueError):  # its package does not exist, or it is no module name, such as ./my.py
        found = False
    if not found:
        families = family_names()
        known = f"{', '.join(families)} are built in; there is no module {full} here or on PYTHONPATH"
        raise ConfigError(f"unknown tracker {name!r}: {suggestion(name, families, known)}")
    module: Any = importlib.import_module(full)
    for function in ("parameters", "get_tracker_class"):
        if not callable(getattr(module, function, None)):
            raise ConfigError(f"{module.__file__} has no function {function}(): docs/api.md shows what it needs")
    return module
