"""Which sequences belong to a data set or its splits: lists that lie in ``data_specs/``."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from lib.data.annotations import read_text

DATA_SPECS = Path(__file__).with_name("data_specs")


def read_spec(name: str) -> list[str]:
    """The lines of a list file, without comments (``#``) and empty lines."""
    return [line for line in read_text(DATA_SPECS / name).splitlines() if line.strip() and not line.startswith("#")]


def numbers_by_class(name: str) -> dict[str, list[int]]:
    """A list of lines ``CLASS: NUMBER NUMBER ...``, of sequences called ``CLASS-NUMBER``."""
    pairs = (line.split(":") for line in read_spec(name))
    return {object_class: [int(number) for number in numbers.split()] for object_class, numbers in pairs}


def lasot_train() -> list[str]:
    """LaSOT's training split: numbers 1 to 20 of each class, but for the test split; 1120 names."""
    test = numbers_by_class("lasot_test.txt")
    return [f"{name}-{number}" for name, held_out in test.items() for number in range(1, 21) if number not in held_out]


GOT10K_TRAIN_SEQUENCES = 9335


def got10k_indices(split: str, count: int = GOT10K_TRAIN_SEQUENCES) -> list[int]:
    """Indices into GOT-10k's training list of ``count`` sequences, rising.

    ``votval`` is the held-out tenth and ``vottrain`` the rest, both without the thousand that VOT forbids.
    """
    chosen = _indices("got10k_val_ids.txt")
    if split == "vottrain":
        chosen = frozenset(range(count)) - chosen
    return [i for i in sorted(chosen - _indices("got10k_vot_forbidden_ids.txt")) if i < count]


@cache
def _indices(name: str) -> frozenset[int]:
    return frozenset(int(word) for line in read_spec(name) for word in line.split())
