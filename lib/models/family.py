"""Tracker families: what training, tracking, evaluation and export need to know about a model.

The family NAME has the folders ``lib/models/NAME``, whose ``family.py`` defines its :class:`Family` as ``FAMILY``, and
``experiments/NAME``. A family outside the project is named by its module, ``my_package.my_family``. See
docs/add_a_tracker.md.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

import lib.models
from lib.config import ExperimentConfig, is_config_file, load_config
from lib.models.layers.head import HEADS, BoxHead
from lib.models.state import State, TrackingModel
from lib.models.weights import Explain, load_weights
from lib.utils.errors import ConfigError, suggestion
from lib.utils.paths import shipped_file

DEFAULT_FAMILY = "ostrack"


def keep_weights(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Leave the weights of another experiment unchanged (the default of ``adapt_weights``)."""


@dataclass(frozen=True)
class Family:
    """A tracker family. In all of its functions ``cfg`` is an experiment of type ``config``.

    Attributes:
        config: type of its experiments; ``config.family`` is the family's name.
        build: function ``(cfg, pretrained=False, execution=DIRECT)`` that returns the model to train, on the CPU in
            float32. ``pretrained`` loads ``MODEL.PRETRAIN_FILE``, ``execution`` is how transformer blocks are run.
        initial_state: function ``(cfg, crops, boxes)`` that returns the :data:`State` of targets in their first frame.
            Crops are templates, RGB uint8 (B, Hz, Hz, 3); boxes are (B, 4) ``xywh`` as fractions of the template.
        plain: function ``(cfg, model)`` that returns a :class:`TrackingModel` with the arithmetic of training;
            ``model`` is on the device and in the precision to run in.
        inference: function ``(cfg, model, dtype, device, pack)`` that returns a faster one with the same outputs up to
            rounding; ``model`` is unchanged. ``pack`` allows weights in the memory layout of a CPU's kernels. None =
            use ``plain``.
        actor: class that trains it, as ``module:Class``, see :class:`lib.train.actors.Actor`.
        tracker: class that tracks with it, likewise, see :class:`lib.test.tracker.tracker.Tracker`.
        adapt_weights: function ``(model, weights)`` that changes the weights of another experiment in place so that
            they fit the model, such as position embeddings of another grid (``--config_prv``).
        heads: class of the head for each value of ``MODEL.HEAD.TYPE``.
        explain_misfit: function that, given the state dicts of a model and of weights that do not fit it, returns
            sentences on why; None = no explanation.
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
    heads: Mapping[str, type[BoxHead]] = field(default_factory=lambda: HEADS)

    @property
    def name(self) -> str:
        """The name of the family: of its folders, and for ``--script``."""
        return self.config.family

    def tracking_form(
        self, cfg: Any, model: nn.Module, dtype: torch.dtype, device: torch.device, pack: bool = True
    ) -> Any:
        """Return the fastest :class:`TrackingModel`; ``model`` is unchanged."""
        if self.inference is not None:
            return self.inference(cfg, model, dtype, device, pack)
        return self.plain(cfg, copy.deepcopy(model).to(device, dtype))

    def own_code(self) -> list[Path]:
        """List Python files of a family outside the project: all in the folders of its functions, heads, tracker."""
        parts: list[Any] = [*self.heads.values()]
        for part in (self.build, self.initial_state, self.plain, self.inference):
            # The module of a partial function is functools.
            parts += [part.func, *part.args, *part.keywords.values()] if isinstance(part, partial) else [part]
        names = {getattr(part, "__module__", "") for part in parts} | {self.tracker.partition(":")[0]}
        files = (getattr(sys.modules.get(name), "__file__", None) for name in names)
        folders = {Path(file).resolve().parent for file in files if file}
        project = Path(lib.models.__file__).resolve().parents[1]
        return sorted(file for folder in folders if not folder.is_relative_to(project) for file in folder.glob("*.py"))


_FOUND: dict[str, Family] = {}


def family_names() -> list[str]:
    """List the names of the project's families, the folders of ``lib/models``."""
    packages = (info.name for info in pkgutil.iter_modules(lib.models.__path__) if info.ispkg)
    return sorted(name for name in packages if importlib.util.find_spec(f"lib.models.{name}.family"))


def is_family(name: str) -> bool:
    """Return whether ``name`` is a known family, or a module with a ``FAMILY``."""
    return name in _FOUND or name in family_names() or ("." in name and hasattr(_module(name), "FAMILY"))


def _module(name: str) -> ModuleType | None:
    """Import the module of a family; return None if it does not exist."""
    module = name if "." in name else f"lib.models.{name}.family"
    try:
        exists = importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # its package does not exist, or it is no module name, such as ./my.py
        exists = False
    return importlib.import_module(module) if exists else None


def find_family(name: str) -> Family:
    """Return the family called ``name``, or the one in the module of that name if it has a dot.

    Raises:
        ConfigError: there is no such family; the message lists the known ones.
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


def head_of(cfg: ExperimentConfig) -> type[BoxHead]:
    """Return the class of the head of an experiment.

    Raises:
        ConfigError: the family has no head of that name.
    """
    heads, name = family_of(cfg).heads, cfg.MODEL.HEAD.TYPE
    if name not in heads:
        known = f"FAMILY has heads={{...}} for {', '.join(heads)}"
        raise ConfigError(f"MODEL.HEAD.TYPE is {name}, a head that the family {cfg.family} lacks: its {known}")
    return heads[name]


def experiment_family(config: str | Path, family: str = "") -> Family:
    """Return the family of an experiment's name or path: ``family`` if given, else by the experiment's folder.

    A file outside ``experiments/NAME`` is of the default family.

    Raises:
        ConfigError: the family is unknown, or several have an experiment of that name.
    """
    if family:
        return find_family(family)
    names = family_names()
    if is_config_file(config):
        own = Path(config).resolve().parent.name
        return find_family(own if own in names else DEFAULT_FAMILY)
    holders = [name for name in names if shipped_file(f"experiments/{name}/{config}.yaml").is_file()]
    if len(holders) > 1:
        raise ConfigError(f"experiment {config} is in several families, {', '.join(holders)}: say which with --script")
    return find_family(holders[0] if holders else DEFAULT_FAMILY)


def load_experiment(config: str | Path, overrides: Sequence[str] | None = None, family: str = "") -> ExperimentConfig:
    """Load an experiment of any family, see :func:`lib.config.load_config` and :func:`experiment_family`."""
    found = experiment_family(config, family)
    try:
        return load_config(found.config, config, overrides)
    except ConfigError as error:
        if family or not is_config_file(config) or Path(config).resolve().parent.name == found.name:
            raise
        raise ConfigError(f"{error} (read as of the family {found.name}; --script names another)") from error


def build_trained(cfg: ExperimentConfig, weights: Path | None, search_size: int) -> nn.Module:
    """Build the model of an experiment with its weights, for search regions of ``search_size`` pixels.

    Args:
        weights: the weight file; None = random weights.
        search_size: ``DATA.SEARCH.SIZE``, or of a smaller or larger region around the same center at the same scale.

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
