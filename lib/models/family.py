"""Families of trackers: all that training, tracking, evaluation and export need to know of a model.

A family has folders of its name: ``lib/models/NAME``, whose ``family.py`` holds its :class:`Family` as ``FAMILY``, and
``experiments/NAME``. A family outside the project is named by its module, ``my_package.my_family``. See
docs/add_a_tracker.md.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

import lib.models
from lib.config import ExperimentConfig, load_config
from lib.models.state import State, TrackingModel
from lib.models.weights import Explain, load_weights
from lib.utils.errors import ConfigError, suggestion
from lib.utils.paths import shipped_file

DEFAULT_FAMILY = "ostrack"


def keep_weights(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Leave weights from another experiment as they are."""


@dataclass(frozen=True)
class Family:
    """A family of trackers. ``cfg`` is an experiment, of type ``config``, in all its functions.

    Attributes:
        config: type of its experiments; ``config.family`` is the family's name.
        build: ``(cfg, pretrained=False, execution=DIRECT)`` to the model that is trained, on the CPU in float32.
            ``pretrained`` loads ``MODEL.PRETRAIN_FILE``, ``execution`` is how transformer blocks are run.
        initial_state: ``(cfg, crops, boxes)`` of targets in their first frame to their :data:`State`. Crops are
            templates, RGB uint8 (B, Hz, Hz, 3); boxes are in them, (B, 4) ``xywh`` as fractions.
        plain: ``(cfg, model)`` to a :class:`TrackingModel` with the arithmetic of training; ``model`` is on the device
            and in the precision to run in.
        inference: ``(cfg, model, dtype, device, pack)`` to a faster one with the same outputs up to rounding; ``model``
            is unchanged. With ``pack`` weights may be in the memory order of a CPU's kernels. None = ``plain``.
        actor: class that trains it, ``module:Class``, see :class:`lib.train.actors.base.Actor`.
        tracker: class that tracks with it, see :class:`lib.test.tracker.tracker.Tracker`.
        adapt_weights: ``(model, weights)`` changes the weights of another experiment in place so that they fit the
            model, such as position embeddings of another grid (``--config_prv``).
        explain_misfit: sentences on weights that do not fit a model, given the state dicts of both; None = none.
    """

    config: type[ExperimentConfig]
    build: Callable[..., nn.Module]
    initial_state: Callable[[Any, Tensor, Tensor], State]
    plain: Callable[[Any, Any], TrackingModel]
    inference: Callable[..., TrackingModel] | None = None
    actor: str = ""
    tracker: str = "lib.test.tracker.tracker:Tracker"
    adapt_weights: Callable[[Any, dict[str, Tensor]], None] = keep_weights
    explain_misfit: Explain | None = None

    @property
    def name(self) -> str:
        """Name of its folders and for ``--script``."""
        return self.config.family

    def tracking_form(
        self, cfg: Any, model: nn.Module, dtype: torch.dtype, device: torch.device, pack: bool = True
    ) -> Any:
        """Return the fastest :class:`TrackingModel`; ``model`` is unchanged."""
        if self.inference is not None:
            return self.inference(cfg, model, dtype, device, pack)
        return self.plain(cfg, copy.deepcopy(model).to(device, dtype))

    def own_code(self) -> list[Path]:
        """List the Python files beside its parts where they lie outside of the project, whose code is under version."""
        parts = (self.build, self.initial_state, self.plain, self.inference)
        names = {getattr(part, "__module__", "") for part in parts} | {self.tracker.partition(":")[0]}
        files = (getattr(sys.modules.get(name), "__file__", None) for name in names)
        folders = {Path(file).resolve().parent for file in files if file}
        project = Path(lib.models.__file__).resolve().parents[1]
        return sorted(file for folder in folders if not folder.is_relative_to(project) for file in folder.glob("*.py"))


_FOUND: dict[str, Family] = {}


def family_names() -> list[str]:
    """List the families of the project, by their folders in ``lib/models``."""
    packages = (info.name for info in pkgutil.iter_modules(lib.models.__path__) if info.ispkg)
    return sorted(name for name in packages if importlib.util.find_spec(f"lib.models.{name}.family"))


def is_family(name: str) -> bool:
    """Whether :func:`find_family` would find ``name``, or a module of that name with a ``FAMILY``."""
    return name in _FOUND or name in family_names() or ("." in name and hasattr(_module(name), "FAMILY"))


def _module(name: str) -> ModuleType | None:
    """Import the module of a family; None where there is none."""
    module = name if "." in name else f"lib.models.{name}.family"
    try:
        exists = importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # not even the package, or no name of one, such as ./my.py
        exists = False
    return importlib.import_module(module) if exists else None


def find_family(name: str) -> Family:
    """Return the family called ``name``, or the one in the module of that name if it has a dot.

    Raises:
        ConfigError: there is none; the message lists the known ones.
    """
    if name in _FOUND:
        return _FOUND[name]
    module = _module(name)
    if module is None:
        known = f"there is {', '.join(family_names())}, or a module MY.MODULE"
        raise ConfigError(f"unknown family of trackers {name!r}; {suggestion(name, family_names(), known)}")
    family = getattr(module, "FAMILY", None)
    if not isinstance(family, Family):
        raise ConfigError(f"{module.__name__} has no FAMILY, a lib.models.family.Family: see docs/add_a_tracker.md")
    if _FOUND.setdefault(family.name, family) is not family:
        raise ConfigError(f"{module.__name__}: another family is called {family.name!r}; give its config another name")
    _FOUND[name] = family
    return family


def family_of(cfg: ExperimentConfig) -> Family:
    """Return the family of an experiment."""
    return find_family(cfg.family)


def experiment_family(config: str | Path, family: str = "") -> Family:
    """Return the family of an experiment's name or path: ``family`` if given, else by the experiment's folder.

    A file outside ``experiments/NAME`` is of the default family.

    Raises:
        ConfigError: the family is unknown, or several have an experiment of that name.
    """
    if family:
        return find_family(family)
    path, names = Path(config), family_names()
    if path.suffix in (".yaml", ".yml"):
        own = path.resolve().parent.name
        return find_family(own if own in names else DEFAULT_FAMILY)
    holders = [name for name in names if shipped_file(f"experiments/{name}/{config}.yaml").is_file()]
    if len(holders) > 1:
        raise ConfigError(f"experiment {config} is in several families, {', '.join(holders)}: say which with --script")
    return find_family(holders[0] if holders else DEFAULT_FAMILY)


def load_experiment(config: str | Path, overrides: Sequence[str] | None = None, family: str = "") -> ExperimentConfig:
    """Load an experiment of any family, see :func:`lib.config.load_config` and :func:`experiment_family`."""
    found, path = experiment_family(config, family), Path(config)
    try:
        return load_config(found.config, config, overrides)
    except ConfigError as error:
        if family or path.suffix not in (".yaml", ".yml") or path.resolve().parent.name == found.name:
            raise
        raise ConfigError(f"{error} (read as of the family {found.name}; --script names another)") from error


def build_trained(cfg: ExperimentConfig, weights: Path | None, search_size: int) -> nn.Module:
    """Build the model of an experiment with its weights, for search regions of ``search_size`` pixels.

    Args:
        weights: None = random ones.
        search_size: ``DATA.SEARCH.SIZE``, or less for the middle of such regions.

    Raises:
        ConfigError: the model cannot take such regions.
        CheckpointError: the weights do not fit.
    """
    family = family_of(cfg)
    model = family.build(cfg)
    if weights is not None:
        load_weights(model, weights, family.explain_misfit)
    if search_size != cfg.DATA.SEARCH.SIZE:
        if not hasattr(model, "set_search_size"):
            only = f"leave TEST.SEARCH_SIZE at DATA.SEARCH.SIZE, which is {cfg.DATA.SEARCH.SIZE}"
            raise ConfigError(f"the model of {cfg.name} has no set_search_size(): {only}")
        try:
            model.set_search_size(search_size)  # type: ignore[operator]
        except ValueError as error:
            raise ConfigError(f"{cfg.name} cannot take search regions of {search_size} pixels: {error}") from error
    return model


def resolve(location: str) -> Any:
    """Import the object at ``module:name``."""
    module, _, name = location.partition(":")
    return getattr(importlib.import_module(module), name)
