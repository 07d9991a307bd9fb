"""Families of trackers: all that training, tracking, evaluation and export need to know of a model.

A family lies in folders of its name: ``lib/models/NAME`` with ``family.py``, which holds its :class:`Family` as
``FAMILY``, and ``experiments/NAME``. A family outside of the project is named by its module, ``my_package.my_family``.
docs/add_a_tracker.md shows how one is written.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import torch
from torch import Tensor, nn

import lib.models
from lib.config import ExperimentConfig, load_config
from lib.models.layers.block import DIRECT, Execution
from lib.models.state import State, TrackingModel
from lib.models.weights import Explain
from lib.utils.errors import ConfigError, suggestion
from lib.utils.paths import shipped_file

DEFAULT_FAMILY = "ostrack"


class BuildModel(Protocol):
    """Build the model of an experiment for training, on the CPU in float32."""

    def __call__(self, cfg: Any, pretrained: bool = False, execution: Execution = DIRECT) -> nn.Module:
        """``pretrained``: load ``MODEL.PRETRAIN_FILE``. ``execution``: how transformer blocks are run."""
        ...


class InitialState(Protocol):
    """What is known of targets from their first frame on."""

    def __call__(self, cfg: Any, crops: Tensor, boxes: Tensor) -> State:
        """``crops``: templates, RGB uint8 (B, Hz, Hz, 3). ``boxes``: in them, (B, 4) ``xywh`` as fractions."""
        ...


class PlainForm(Protocol):
    """A trained model as a :class:`TrackingModel`, with the arithmetic of training."""

    def __call__(self, cfg: Any, model: Any) -> TrackingModel:
        """``model`` is on the device and in the precision to run in."""
        ...


class InferenceForm(Protocol):
    """A faster :class:`TrackingModel` with the same outputs up to rounding; ``model`` stays as it is."""

    def __call__(
        self, cfg: Any, model: Any, dtype: torch.dtype = ..., device: torch.device | str = ..., pack: bool = ...
    ) -> TrackingModel:
        """``pack``: weights may be kept in the order that a CPU's kernels read; not for export."""
        ...


def keep_weights(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Leave weights from another experiment as they are."""


@dataclass(frozen=True)
class Family:
    """A family of trackers.

    Attributes:
        config: what its experiments hold; ``config.family`` is the family's name.
        build: makes the model that is trained. Its parameters are what checkpoints hold.
        initial_state: what a target's first frame gives.
        plain: the model for tracking, see :class:`PlainForm`.
        inference: the same faster; None = ``plain``.
        actor: class that trains it, ``module:Class``, see :class:`lib.train.actors.base.Actor`.
        tracker: class that tracks with it, see :class:`lib.test.tracker.tracker.Tracker`.
        adapt_weights: changes the weights of another experiment in place so that they fit a model, such as position
            embeddings of another grid (``--config_prv``).
        explain_misfit: sentences on what weights are of that do not fit a model, given both state dicts; None = none.
    """

    config: type[ExperimentConfig]
    build: BuildModel
    initial_state: InitialState
    plain: PlainForm
    inference: InferenceForm | None = None
    actor: str = ""
    tracker: str = "lib.test.tracker.tracker:Tracker"
    adapt_weights: Callable[[Any, dict[str, Tensor]], None] = keep_weights
    explain_misfit: Explain | None = None

    @property
    def name(self) -> str:
        """Of its folders and of ``--script``."""
        return self.config.family

    def tracking_form(
        self, cfg: Any, model: nn.Module, dtype: torch.dtype, device: torch.device, pack: bool = True
    ) -> Any:
        """The fastest :class:`TrackingModel`; ``model`` stays as it is where the family has an inference form."""
        if self.inference is not None:
            return self.inference(cfg, model, dtype, device, pack)
        return self.plain(cfg, model.to(device, dtype))


_FOUND: dict[str, Family] = {}


def family_names() -> list[str]:
    """The families of the project, by their folders in ``lib/models``."""
    packages = (info.name for info in pkgutil.iter_modules(lib.models.__path__) if info.ispkg)
    return sorted(name for name in packages if importlib.util.find_spec(f"lib.models.{name}.family"))


def is_family(name: str) -> bool:
    """Whether :func:`find_family` would find ``name``, or a module of that name that tries to be one."""
    return name in _FOUND or name in family_names() or ("." in name and hasattr(_module(name), "FAMILY"))


def _module(name: str) -> ModuleType | None:
    """The module of a family, None where there is none."""
    module = name if "." in name else f"lib.models.{name}.family"
    try:
        exists = importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package
        exists = False
    return importlib.import_module(module) if exists else None


def find_family(name: str) -> Family:
    """The family called ``name``, or the one in the module of that name if there is a dot in it.

    Raises:
        ConfigError: there is none; the message lists those that there are.
    """
    if name in _FOUND:
        return _FOUND[name]
    module = _module(name)
    if module is None:
        known = f"there is {', '.join(family_names())}, or a module MY.MODULE"
        raise ConfigError(f"unknown family of trackers {name!r}; {suggestion(name, family_names(), known)}")
    family = getattr(module, "FAMILY", None)
    if not isinstance(family, Family):
        raise ConfigError(
            f"{module.__name__} has no FAMILY, a lib.models.family.Family: docs/add_a_tracker.md shows one"
        )
    if _FOUND.setdefault(family.name, family) is not family:
        raise ConfigError(
            f"{module.__name__}: another family is called {family.name!r} already; give its config another name"
        )
    _FOUND[name] = family
    return family


def family_of(cfg: ExperimentConfig) -> Family:
    """The family that an experiment is of."""
    return find_family(cfg.family)


def experiment_family(config: str | Path, family: str = "") -> Family:
    """The family of an experiment's name or path: ``family`` where it is given, else by the folder of the experiment.

    A file outside of ``experiments/NAME`` is taken for one of the default family.

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
    return load_config(experiment_family(config, family).config, config, overrides)


def resolve(location: str) -> Any:
    """The object at ``module:name``."""
    module, _, name = location.partition(":")
    return getattr(importlib.import_module(module), name)
