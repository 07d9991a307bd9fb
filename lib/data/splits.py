"""Which sequences belong to a data set or its splits: lists in ``data_specs/``, and parts chosen by name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from lib.data.annotations import read_text
from lib.utils.errors import DataError

DATA_SPECS = Path(__file__).with_name("data_specs")


def read_spec(name: str) -> list[str]:
    """Return the lines of a list file, without comments (``#``) and empty lines."""
    return [line for line in read_text(DATA_SPECS / name).splitlines() if line.strip() and not line.startswith("#")]


def numbers_by_class(name: str) -> dict[str, list[int]]:
    """Return a list of lines ``CLASS: NUMBER NUMBER ...``, of sequences called ``CLASS-NUMBER``."""
    pairs = (line.split(":") for line in read_spec(name))
    return {object_class: [int(number) for number in numbers.split()] for object_class, numbers in pairs}


def lasot_train() -> list[str]:
    """LaSOT's training split: numbers 1 to 20 of each class, but for the test split; 1120 names."""
    test = numbers_by_class("lasot_test.txt")
    return [f"{name}-{number}" for name, held_out in test.items() for number in range(1, 21) if number not in held_out]


GOT10K_TRAIN_SEQUENCES = 9335


def got10k_indices(split: str, count: int = GOT10K_TRAIN_SEQUENCES) -> list[int]:
    """Indices into GOT-10k's training list of ``count`` sequences, rising.

    ``votval`` is the held-out part and ``vottrain`` the rest, both without the thousand that VOT forbids.
    """
    chosen = _indices("got10k_val_ids.txt")
    if split == "vottrain":
        chosen = frozenset(range(count)) - chosen
    return [i for i in sorted(chosen - _indices("got10k_vot_forbidden_ids.txt")) if i < count]


@cache
def _indices(name: str) -> frozenset[int]:
    return frozenset(int(word) for line in read_spec(name) for word in line.split())


def split_selection(name: str) -> tuple[str, tuple[str, ...]]:
    """``FOLDER[a_*, b]`` as ``FOLDER`` and its patterns; a name without brackets has none."""
    match = re.fullmatch(r"(\w+)\[(.*)]", name)
    if match is None:
        return name, ()
    return match[1], tuple(part.strip() for part in match[2].split(","))


def selected(names: Sequence[str], patterns: Sequence[str], what: str) -> list[str]:
    """Return the names that match a shell pattern (``*``, ``?``, ``[abc]``), in their order; all, where there is none.

    Args:
        what: the data set, for errors.

    Raises:
        DataError: a pattern matches no name.
    """
    if not patterns:
        return list(names)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            listed = ", ".join(sorted(names)[:5])
            raise DataError(f"{what}[{pattern}] matches none of the {len(names)} names, such as {listed}")
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
