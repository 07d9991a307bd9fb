"""Loading and checking of experiment files."""

from __future__ import annotations

import copy
import difflib
import hashlib
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from lib.config.drawing import impossible_draws
from lib.config.ostrack import defaults
from lib.config.ostrack.frozen import Config, to_plain
from lib.models.ostrack.variants import VARIANTS
from lib.utils.errors import ConfigError
from lib.utils.paths import SHIPPED_DIR, shipped_file

EXPERIMENTS_DIR = SHIPPED_DIR / "experiments" / "ostrack"

Refuse = Callable[[str, str], None]  # raises the error that a key must be something else


def load_config(name_or_path: str | Path, overrides: Sequence[str] | None = None) -> Config:
    """Load an experiment file, merged over the defaults, checked and frozen.

    Args:
        name_or_path: the name of a file in ``experiments/ostrack`` (without ``.yaml``), or the path of a YAML file.
        overrides: ``"KEY.SUB=value"`` strings, the value in YAML; they win over the file.

    Returns:
        A fresh :class:`Config`.

    Raises:
        ConfigError: the file is missing, empty or no YAML mapping; a key is unknown; a value has the wrong type or is
            impossible. The message names the full key and the file.
    """
    path = config_path(name_or_path)
    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"experiment file {path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"experiment file {path} is not valid YAML: {error}") from error
    if not _sets_a_value(values):
        raise ConfigError(f"experiment file {path} is empty, it sets no key: copy one of {EXPERIMENTS_DIR}")
    merged = copy.deepcopy(defaults.PUBLISHED)
    _merge(merged, values, "", str(path))
    for text in overrides or ():
        _merge(merged, _parse_override(text), "", f"override {text!r}")
    _check(merged, str(path) + (" with overrides " + " ".join(overrides) if overrides else ""))
    return Config(merged, defaults.EXTENSIONS)


def config_path(name_or_path: str | Path) -> Path:
    """The file that an experiment's name or path stands for.

    Raises:
        ConfigError: there is no such file; the message offers the nearest names.
    """
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise ConfigError(f"experiment file {path} does not exist")
        return path
    path = shipped_file(f"experiments/ostrack/{name_or_path}.yaml")
    if not path.is_file():
        names = sorted(file.stem for file in EXPERIMENTS_DIR.glob("*.yaml"))
        near = difflib.get_close_matches(str(name_or_path), names, n=3) or names
        raise ConfigError(f"no experiment {name_or_path!r} in {EXPERIMENTS_DIR}; did you mean {', '.join(near)}?")
    return path


def config_name(name_or_path: str | Path) -> str:
    """The name under which an experiment's checkpoints and results are kept."""
    return config_path(name_or_path).stem


def config_hash(cfg: Config) -> str:
    """Twelve hex digits that change when any set value of ``cfg`` changes."""
    return hashlib.sha256(json.dumps(to_plain(cfg), sort_keys=True).encode()).hexdigest()[:12]


def validated_epochs(train: Config) -> list[int]:
    """Return the epochs, counted from 1, at whose end the section ``TRAIN`` of an experiment asks for a validation.

    They are the multiples of ``VAL_EPOCH_INTERVAL`` and the last epoch; with an interval of 0 there are none.
    """
    interval, last = train.VAL_EPOCH_INTERVAL, train.EPOCH
    return [epoch for epoch in range(1, last + 1) if epoch % interval == 0 or epoch == last] if interval else []


def drawn_datasets(cfg: Config, split: str) -> dict[str, float]:
    """Return the data sets that the split ``TRAIN`` or ``VAL`` draws samples from, with their ratios.

    Those with a ratio of 0 are not among them. Of ``VAL`` there are none where no epoch is validated.
    """
    section = cfg.DATA[split]
    if split == "VAL" and not (section.DATASETS_NAME and section.SAMPLE_PER_EPOCH and cfg.TRAIN.VAL_EPOCH_INTERVAL):
        return {}
    ratios: dict[str, float] = {}
    for name, ratio in zip(section.DATASETS_NAME, section.DATASETS_RATIO, strict=True):
        if ratio:
            ratios[name] = ratios.get(name, 0) + ratio
    return ratios


def _parse_override(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigError(f"override {text!r} is not of the form KEY.SUB=value")
    try:
        nested: Any = yaml.safe_load(value) if value else ""
    except yaml.YAMLError as error:
        raise ConfigError(f"override {text!r}: the value is not valid YAML") from error
    for part in reversed(key.strip().split(".")):
        nested = {part: nested}
    return nested


def _lookup(table: dict[str, Any], key: str) -> Any:
    """The value at a dotted key, or None."""
    value: Any = table
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _known_keys(table: dict[str, Any], prefix: str = "") -> list[str]:
    """The dotted names of a table's sections and leaves."""
    keys = []
    for key, value in table.items():
        keys.append(prefix + key)
        keys += _known_keys(value, f"{prefix}{key}.") if isinstance(value, dict) else []
    return keys


def _sets_a_value(values: Any) -> bool:
    """Whether a YAML document holds anything but empty sections."""
    return any(map(_sets_a_value, values.values())) if isinstance(values, dict) else values is not None


def _merge(target: dict[str, Any], values: Any, prefix: str, where: str) -> None:
    """Write ``values`` over ``target`` in place, every key and type checked against the defaults."""
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: {prefix.rstrip('.') or 'the file'} must be a section of KEY: value lines")
    for key, value in values.items():
        full = f"{prefix}{key}"
        published = _lookup(defaults.PUBLISHED, full)
        default = published if published is not None else _lookup(defaults.EXTENSIONS, full)
        if default is None:
            known = sorted({*_known_keys(defaults.PUBLISHED), *_known_keys(defaults.EXTENSIONS)})
            near = _nearest(full, known)
            raise ConfigError(f"{where}: unknown key {full}; the nearest known key is {near}")
        if isinstance(default, dict):
            _merge(target.setdefault(key, {}), value, f"{full}.", where)
        else:
            target[key] = _typed(full, value, default, where)


def _nearest(key: str, known: list[str]) -> str:
    """The known key most like ``key``: same last part first, else the most similar spelling."""

    def likeness(candidate: str) -> float:
        last = difflib.SequenceMatcher(None, key.rpartition(".")[2].upper(), candidate.rpartition(".")[2]).ratio()
        return last + difflib.SequenceMatcher(None, key.upper(), candidate).ratio()

    return max(known, key=likeness)


def _typed(key: str, value: Any, default: Any, where: str) -> Any:
    """``value`` as the type of ``default``, or an error."""
    if key in defaults.CHOICES:
        if not any(value == choice and type(value) is type(choice) for choice in defaults.CHOICES[key]):
            choices = ", ".join(map(str, defaults.CHOICES[key]))
            raise ConfigError(f"{where}: {key} is {value!r}; it must be one of {choices}")
        return value
    if isinstance(default, list):
        if not isinstance(value, list):
            raise ConfigError(f"{where}: {key} is {value!r}; it must be a list like {default or '[1, 2]'}")
        item = defaults.ITEM_TYPES.get(key) or type(default[0])
        return [_scalar(f"{key}[{i}]", v, item, where) for i, v in enumerate(value)]
    return _scalar(key, value, type(default), where)


def _scalar(key: str, value: Any, kind: type, where: str) -> Any:
    if kind is float and isinstance(value, str):
        # YAML 1.1 reads 1e-4 (no dot) as text; every reader means the number.
        try:
            value = float(value)
        except ValueError:
            pass
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        wanted = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}[kind]
        raise ConfigError(f"{where}: {key} is {value!r}; it must be {wanted}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{where}: {key} is {value!r}; it must be finite")
    return value


def _check(cfg: dict[str, Any], where: str) -> None:
    """Refuse values that no tracker could be built, trained or run with."""

    def refuse(key: str, must: str) -> None:
        raise ConfigError(f"{where}: {key} is {_lookup(cfg, key)!r}; it must {must}")

    for keys, bound, must in (
        (defaults.POSITIVE, lambda v: v > 0, "be greater than 0"),
        (defaults.NON_NEGATIVE, lambda v: v >= 0, "be 0 or more"),
    ):
        for key in keys:
            if (value := _lookup(cfg, key)) is not None and not bound(value):
                refuse(key, must)
    for key, (low, high) in defaults.BETWEEN.items():
        if (value := _lookup(cfg, key)) is not None and not low <= value <= high:
            refuse(key, f"lie from {low} to {high}" if high < math.inf else f"be {low} or more")
    for key in defaults.UNSUPPORTED:
        if _lookup(cfg, key) != _lookup(defaults.PUBLISHED, key):
            refuse(key, f"be {_lookup(defaults.PUBLISHED, key)!r}: nothing else ever worked in the published system")
    for split in ("DATA.TRAIN", "DATA.VAL"):
        names, ratios = _lookup(cfg, f"{split}.DATASETS_NAME"), _lookup(cfg, f"{split}.DATASETS_RATIO")
        if split == "DATA.VAL" and not names:
            continue  # training without validation
        if len(ratios) != len(names):
            refuse(f"{split}.DATASETS_RATIO", f"have one entry for each of {split}.DATASETS_NAME")
        if not ratios or min(ratios) < 0 or sum(ratios) == 0:
            refuse(f"{split}.DATASETS_RATIO", "hold ratios of 0 or more, not all 0")
    for key in ("DATA.MEAN", "DATA.STD"):
        if len(_lookup(cfg, key)) != 3:
            refuse(key, "have three entries (R, G, B)")
    if min(cfg["DATA"]["STD"]) <= 0:
        refuse("DATA.STD", "be greater than 0")
    for key in ("TRAIN.DROP_PATH_RATE", "TRAIN.EMA_DECAY"):
        if not (_lookup(cfg, key) or 0) < 1:
            refuse(key, "be less than 1")
    if cfg["TRAIN"].get("LAYER_DECAY", 1) > 1:
        refuse("TRAIN.LAYER_DECAY", "be at most 1")
    for key, must in impossible_draws(cfg["DATA"].get("DRAW", {})):
        refuse(f"DATA.DRAW.{key}", must)
    _check_backbone(cfg, refuse)
    _check_sizes(cfg, refuse)


def _check_backbone(cfg: dict[str, Any], refuse: Refuse) -> None:
    backbone = cfg["MODEL"]["BACKBONE"]
    if backbone["TYPE"] not in VARIANTS:
        near = difflib.get_close_matches(backbone["TYPE"], VARIANTS, n=1, cutoff=0)[0]
        refuse("MODEL.BACKBONE.TYPE", f"be one of {', '.join(VARIANTS)} (nearest: {near})")
    variant = VARIANTS[backbone["TYPE"]]
    depth = backbone.get("DEPTH", 0) or variant.depth
    if depth > variant.depth:
        refuse("MODEL.BACKBONE.DEPTH", f"be at most {variant.depth}, the blocks of {backbone['TYPE']}")
    if any(not 0 <= block <= depth for block in cfg["TRAIN"]["FREEZE_LAYERS"]):
        refuse("TRAIN.FREEZE_LAYERS", f"name blocks from 1 to {depth}, or 0 for none")
    layers, ratios = backbone["CE_LOC"], backbone["CE_KEEP_RATIO"]
    if layers and not variant.ce:
        refuse("MODEL.BACKBONE.CE_LOC", f"be empty, or MODEL.BACKBONE.TYPE be {backbone['TYPE']}_ce")
    if len(layers) != len(ratios):
        refuse("MODEL.BACKBONE.CE_KEEP_RATIO", "have one ratio for each layer of MODEL.BACKBONE.CE_LOC")
    if sorted(set(layers)) != layers or any(not 0 <= layer < depth for layer in layers):
        refuse("MODEL.BACKBONE.CE_LOC", f"name layers from 0 to {depth - 1} in rising order")
    if any(not 0 < ratio <= 1 for ratio in ratios):
        refuse("MODEL.BACKBONE.CE_KEEP_RATIO", "lie in (0, 1]")


def _check_sizes(cfg: dict[str, Any], refuse: Refuse) -> None:
    stride = cfg["MODEL"]["BACKBONE"]["STRIDE"]
    for part in ("SEARCH", "TEMPLATE"):
        size = cfg["DATA"][part]["SIZE"]
        if size % stride:
            refuse(f"DATA.{part}.SIZE", f"be a multiple of MODEL.BACKBONE.STRIDE = {stride}")
    size, tested = cfg["DATA"]["TEMPLATE"]["SIZE"], cfg["TEST"]["TEMPLATE_SIZE"]
    if tested != size:
        refuse("TEST.TEMPLATE_SIZE", f"equal DATA.TEMPLATE.SIZE = {size}: the model has position embeddings for that")
    size, tested = cfg["DATA"]["SEARCH"]["SIZE"], cfg["TEST"]["SEARCH_SIZE"]
    if not 0 < tested <= size or (size - tested) % (2 * stride):
        refuse("TEST.SEARCH_SIZE", f"be DATA.SEARCH.SIZE = {size}, or less by a multiple of {2 * stride}")
