"""The table of the sets of training data that are made from public repositories."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import yaml

from lib.utils.errors import DataError, suggestion

T = TypeVar("T")
_TEXTS = ("name", "form", "license", "kinds")


@dataclass(frozen=True)
class Row:
    """A set: its name, the repositories (``OWNER/NAME``) that it is made from, its form, and the form's options."""

    name: str
    repositories: tuple[str, ...]
    form: str
    options: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """What a set is made from, to compare with later."""
        return {"repositories": list(self.repositories), "form": self.form, "options": dict(self.options)}


def parse_options(record: type[T], name: str, options: Mapping[str, Any]) -> T:
    """Return the options of the set ``name`` as the dataclass ``record``, see :data:`_KINDS`.

    A single text is a list of one. Raises DataError: a key is unknown or missing, or a value of another kind.
    """
    known = {field.name: field for field in fields(record)}  # type: ignore[arg-type]
    if unknown := [key for key in options if key not in known]:
        advice = suggestion(unknown[0], known, "known are " + ", ".join(known))
        raise DataError(f"{name}: unknown key {unknown[0]}; {advice}")
    if missing := [key for key, field in known.items() if field.default is MISSING and key not in options]:
        raise DataError(f"{name}: the key {missing[0]} is missing")
    values: dict[str, Any] = {}
    for key, value in options.items():
        kind = str(known[key].type)
        wanted, fits = _KINDS[kind]
        values[key] = [value] if isinstance(value, str) and kind == "Sequence[str]" else value
        if not fits(values[key]):
            raise DataError(f"{name}: {key} is {value!r}; expected {wanted}")
    return record(**values)


def _list_of(*kinds: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(type(item) in kinds for item in value)


# What the fields of options hold, by their types: in words, and whether a value is that.
_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "Sequence[str]": ("a list of texts", _list_of(str)),
    "Sequence[int]": ("a list of whole numbers", _list_of(int)),
    "Sequence[float]": ("a list of numbers", _list_of(int, float)),
    "int": ("a whole number, 1 or more", lambda value: type(value) is int and value >= 1),
    "float": ("a number", lambda value: type(value) in (int, float)),
}


def read_table(path: Path, forms: Sequence[str], only: Sequence[str] = ()) -> list[Row]:
    """The rows of a table, or those with the names ``only``, in the table's order.

    Raises DataError: the table cannot be read, a row is not as it should be, or no row has such a name.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise DataError(f"{path} cannot be read as a table of sets: {error}") from error
    if not isinstance(content, list):
        raise DataError(f"{path}: expected a list of sets")
    rows: dict[str, Row] = {}
    for number, item in enumerate(content, 1):
        row = _row(item, f"{path}, set {number}", forms)
        if row.name in rows:
            raise DataError(f"{path}, set {number}: there are two sets {row.name}; rename one")
        rows[row.name] = row
    for name in only:
        if name not in rows:
            raise DataError(f"{path} has no set {name}; {suggestion(name, rows, 'known are ' + ', '.join(rows))}")
    return [row for row in rows.values() if not only or row.name in only]


def _row(item: Any, place: str, forms: Sequence[str]) -> Row:
    if not isinstance(item, dict):
        raise DataError(f"{place}: expected keys and values")
    place = f"{place} ({item.get('name', 'without a name')})"
    for key in (*_TEXTS, "repository"):
        if key not in item:
            raise DataError(f"{place}: the key {key} is missing")
    repositories = item["repository"] if isinstance(item["repository"], list) else [item["repository"]]
    for repository in repositories:
        if str(repository).count("/") != 1:
            raise DataError(f"{place}: repository {repository} is not OWNER/NAME")
    if item["form"] not in forms:
        known = "known are " + ", ".join(forms)
        raise DataError(f"{place}: unknown form {item['form']}; {suggestion(str(item['form']), forms, known)}")
    options = {key: value for key, value in item.items() if key not in (*_TEXTS, "repository")}
    return Row(str(item["name"]), tuple(map(str, repositories)), item["form"], options)
