"""Experiments: YAML files as typed, checked and frozen objects. Imports neither torch nor timm."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from yaml.composer import ComposerError

from lib.config.experiment import ExperimentConfig, drawn_datasets, unused_keys, validated_epochs
from lib.config.section import all_conflicts, to_plain, updated
from lib.utils.errors import ConfigError, suggestion
from lib.utils.paths import SHIPPED_DIR, shipped_file

__all__ = [
    "ExperimentConfig", "add_overrides", "config_hash", "config_path", "drawn_datasets", "experiments_dir",
    "is_config_file", "load_config", "to_plain", "unused_keys", "validated_epochs",
]  # fmt: skip


C = TypeVar("C", bound=ExperimentConfig)


def load_config(schema: type[C], name_or_path: str | Path, overrides: Sequence[str] | None = None) -> C:
    """Load an experiment file over the defaults of its family, whose type is ``schema``, and check it.

    It is named by a file in ``experiments/FAMILY`` (without ``.yaml``), or by the path of a YAML file. ``overrides``
    are ``"KEY.SUB=value"`` strings, with values in YAML, which override the file.

    Raises:
        ConfigError: the file is missing, empty or not a YAML mapping; a key is unknown; a value has the wrong type or
            is invalid. The message names the full key and the file.
    """
    path = config_path(schema, name_or_path)
    cfg = updated(schema(name=path.stem), _read_yaml(path, schema), str(path))
    for text in overrides or ():
        cfg = updated(cfg, _parse_override(text), f"override {text!r}")
    where = str(path) + (" with overrides " + " ".join(overrides) if overrides else "")
    for key, value, must in all_conflicts(cfg):
        raise ConfigError(f"{where}: {key} is {value!r}; it must {must}")
    return cfg


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Let a command line end in overrides of its experiment, for :func:`load_config`, as ``args.overrides``."""
    text = "settings on top of the experiment"
    # The default keeps them out of "the following arguments are required".
    parser.add_argument("overrides", nargs="*", default=[], metavar="KEY.SUB=value", help=text)


def experiments_dir(schema: type[ExperimentConfig]) -> Path:
    """Return the folder of a family's shipped experiments."""
    return SHIPPED_DIR / "experiments" / schema.family


def is_config_file(name_or_path: str | Path) -> bool:
    """Return whether an experiment is given by the path of its YAML file, not by its name."""
    return Path(name_or_path).suffix in (".yaml", ".yml")


def config_path(schema: type[ExperimentConfig], name_or_path: str | Path) -> Path:
    """Return the file of an experiment's name or path. Raises ConfigError: there is none; a near name is suggested."""
    path = Path(name_or_path)
    if is_config_file(path):
        if not path.is_file():
            raise ConfigError(f"experiment file {path} does not exist")
        return path
    path = shipped_file(f"experiments/{schema.family}/{name_or_path}.yaml")
    if not path.is_file():
        folder = experiments_dir(schema)
        names = sorted(file.stem for file in folder.glob("*.yaml"))
        known = f"there are: {', '.join(names)}" if names else "give the path of a YAML file"
        raise ConfigError(f"no experiment {name_or_path!r} in {folder}; {suggestion(str(name_or_path), names, known)}")
    return path


def config_hash(cfg: ExperimentConfig) -> str:
    """Return twelve hex digits that identify the values of ``cfg``."""
    return hashlib.sha256(json.dumps(to_plain(cfg), sort_keys=True).encode()).hexdigest()[:12]


def _read_yaml(path: Path, schema: type[ExperimentConfig]) -> Any:
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"experiment file {path} cannot be read: {error}") from error
    values = _parse_yaml(text, f"experiment file {path}")
    if not _sets_a_value(values):
        raise ConfigError(f"experiment file {path} is empty, it sets no key: copy one of {experiments_dir(schema)}")
    return values


def _parse_yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, _UniqueKeys)
    except (yaml.YAMLError, ValueError, KeyError, AttributeError, RecursionError) as error:
        # PyYAML's constructors also raise Python's errors: ValueError for 2021-13-45, KeyError for !!bool x.
        raise ConfigError(f"{where} is not valid YAML: {error}") from error


class _UniqueKeys(yaml.SafeLoader):
    """Loader that rejects duplicate keys in a section; YAML's own loader silently takes the last."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        values = [key.value for key in keys]
        for number, key in enumerate(keys):
            if key.value in values[:number]:
                raise ComposerError(None, None, f"the key {key.value} is there twice: keep one", key.start_mark)
        return node


def _sets_a_value(values: Any) -> bool:
    """Return whether a YAML document has anything but empty sections."""
    return any(map(_sets_a_value, values.values())) if isinstance(values, dict) else values is not None


def _parse_override(text: str) -> dict[str, Any]:
    """Turn ``"A.B=value"`` into ``{"A": {"B": value}}``."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigError(f"{text!r} is no option, and no override of the form KEY.SUB=value")
    nested: Any = _parse_yaml(value, f"override {text!r}: the value") if value else ""
    for part in reversed(key.strip().split(".")):
        nested = {part: nested}
    return nested
