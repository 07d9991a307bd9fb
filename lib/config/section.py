"""Sections of an experiment: frozen dataclasses whose field types define the values that a key accepts."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from lib.utils.errors import ConfigError, suggestion


@dataclass(frozen=True)
class Interval:
    """Interval of numbers; a round bracket in ``ends`` excludes that end."""

    low: float
    high: float = math.inf
    ends: str = "[]"

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.ends[0] == "(" else value >= self.low
        return above and (value < self.high if self.ends[1] == ")" else value <= self.high)

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"greater than {self.low}" if self.ends[0] == "(" else f"{self.low} or more"
        if self.ends == "[]":
            return f"from {self.low} to {self.high}"
        return f"in {self.ends[0]}{self.low}, {self.high}{self.ends[1]}"


@dataclass(frozen=True, eq=False)  # typing caches Literal[0] and Literal[False] as the same type
class OneOf:
    """The values that a key accepts, like a ``Literal`` type; ``1`` and ``True`` differ."""

    values: tuple[Any, ...]

    def __contains__(self, value: Any) -> bool:
        return any(value == choice and type(value) is type(choice) for choice in self.values)

    def __str__(self) -> str:
        shown = ", ".join(str(_plain(value)) for value in self.values)
        return f"one of {shown}" if len(self.values) > 1 else f"{shown}, the only supported value"


T = TypeVar("T")
# A key that the published system does not have. It is part of a resolved configuration, and of its hash, only if an
# experiment sets it, so that published experiments resolve as before.
_EXTENSION = object()
Extension = Annotated[T, _EXTENSION]
Positive = Annotated[float, Interval(0, ends="()")]
PositiveInt = Annotated[int, Interval(0, ends="()")]
NonNegative = Annotated[float, Interval(0)]
NonNegativeInt = Annotated[int, Interval(0)]
Share = Annotated[float, Interval(0, 1)]
Conflicts = Iterator[tuple[str, str]]  # key, and what its value must do, such as "be at least 1"


@dataclass(frozen=True)
class Section:
    """Base class of all sections. Fields in capitals are keys of the YAML file; ``given`` are those that were set."""

    given: frozenset[str] = field(default=frozenset(), kw_only=True, repr=False, compare=False)

    def conflicts(self) -> Conflicts:
        """Yield each key, relative to this section, whose value contradicts others."""
        yield from ()


S = TypeVar("S", bound=Section)


def _keys(section: Section) -> list[str]:
    return [entry.name for entry in fields(section) if entry.name.isupper()]


def _types(section: Section) -> dict[str, Any]:
    return get_type_hints(type(section), include_extras=True)


def _dotted_keys(section: Section, prefix: str = "") -> Iterator[str]:
    """Yield the full names of all sections and keys."""
    for name in _keys(section):
        yield prefix + name
        if isinstance(value := getattr(section, name), Section):
            yield from _dotted_keys(value, f"{prefix}{name}.")


def updated(section: S, values: Any, where: str, prefix: str = "", root: Section | None = None) -> S:
    """Return a copy of a section with nested values from YAML set in it; lists become tuples.

    ``where`` names the source of the values. An inner section has a ``prefix``, its name with a dot, and the outermost
    ``root``.

    Raises:
        ConfigError: a key is unknown, or its value has the wrong type or is outside its limits.
    """
    root = root or section
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: {prefix.rstrip('.') or 'the file'} must be a section of KEY: value lines")
    keys, types, changes = _keys(section), _types(section), {}
    for name, value in values.items():
        full = f"{prefix}{name}"
        if name not in keys:
            near = _nearest(full, _dotted_keys(root))
            raise ConfigError(f"{where}: unknown key {full}; the nearest known key is {near}")
        if isinstance(inner := getattr(section, name), Section):
            changes[name] = updated(inner, value, where, f"{full}.", root)
        else:
            changes[name] = _read_value(types[name], value, full, where)
    return replace(section, given=section.given.union(values), **changes)


def all_conflicts(section: Section, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """Yield full key, plain value and requirement of every conflict in a section and its inner sections."""
    for name in _keys(section):
        if isinstance(value := getattr(section, name), Section):
            yield from all_conflicts(value, f"{prefix}{name}.")
    for key, must in section.conflicts():
        yield prefix + key, _plain(attrgetter(key)(section)), must


def to_plain(section: Section, complete: bool = False, extension: bool = False) -> dict[str, Any]:
    """Convert a section to dicts and lists, for YAML, JSON or a checkpoint.

    Extension keys that are not set are included if it is ``complete``; in an ``extension`` all keys are such.
    """
    plain, types = {}, _types(section)
    for name in _keys(section):
        value, added = getattr(section, name), extension or _EXTENSION in get_args(types[name])
        # Changed but not given: by dataclasses.replace.
        if complete or not added or name in section.given or value != getattr(type(section), name):
            plain[name] = to_plain(value, complete, added) if isinstance(value, Section) else _plain(value)
    return plain


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _nearest(key: str, known: Iterator[str]) -> str:
    """Return the known key most similar to ``key``, by its last part and as a whole."""

    def likeness(candidate: str) -> float:
        last = difflib.SequenceMatcher(None, key.rpartition(".")[2].upper(), candidate.rpartition(".")[2]).ratio()
        return last + difflib.SequenceMatcher(None, key.upper(), candidate).ratio()

    return max(sorted(known), key=likeness)


def _read_value(kind: Any, value: Any, key: str, where: str) -> Any:
    """Convert ``value`` to the type ``kind``, or raise an error that names ``key``."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        read = _read_value(parts[0], value, key, where)
        for limit in parts[1:]:
            if isinstance(limit, Interval | OneOf) and read not in limit:
                choices = [choice for choice in getattr(limit, "values", ()) if isinstance(choice, str)]
                hint = suggestion(value, choices) if isinstance(value, str) else ""
                raise _refusal(key, value, f"{limit} ({hint})" if hint else str(limit), where)
        return read
    if origin is Literal:
        return _read_value(Annotated[Any, OneOf(parts)], value, key, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise _refusal(key, value, "a list like [1, 2]", where)
        kinds = (parts[0],) * len(value) if parts[-1] is Ellipsis else parts
        if len(value) != len(kinds):
            raise _refusal(key, value, f"a list of {len(kinds)} values", where)
        return tuple(_read_value(kinds[i], item, f"{key}[{i}]", where) for i, item in enumerate(value))
    return value if kind is Any else _read_scalar(kind, value, key, where)


def _read_scalar(kind: type, value: Any, key: str, where: str) -> Any:
    if kind is float and isinstance(value, str):
        with suppress(ValueError):
            value = float(value)  # YAML 1.1 reads 1e-4 (no dot) as text
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        wanted = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}[kind]
        raise _refusal(key, value, wanted, where)
    if isinstance(value, float) and not math.isfinite(value):
        raise _refusal(key, value, "finite", where)
    return value


def _refusal(key: str, value: Any, must: str, where: str) -> ConfigError:
    return ConfigError(f"{where}: {key} is {value!r}; it must be {must}")
