"""Which sequences of a storage a data set has: one function per rule, for :class:`SequenceFiles`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from lib.data.annotations import decode_text
from lib.data.layouts import Found
from lib.data.splits import GOT10K_TRAIN_SEQUENCES, got10k_indices, lasot_train
from lib.data.storage import Storage, find_key
from lib.utils.errors import DataError

log = logging.getLogger(__name__)


def lasot_sequences(storage: Storage) -> Found:
    """LaSOT's training split, cut with a warning to what is there."""
    split = [(name.rpartition("-")[0], name) for name in lasot_train()]
    found = [(group, name) for group, name in split if _annotated(storage, f"{group}/{name}")]
    if not found:
        raise DataError(f"{storage.path()} holds none of the training sequences, like airplane/airplane-2")
    if len(found) < len(split):
        log.warning("%s has %d of the %d training sequences of LaSOT", storage.path(), len(found), len(split))
    return found


def got10k_sequences(split: str | None = None) -> Callable[[Storage], Found]:
    """The sequences of ``list.txt``: those of ``vottrain`` or ``votval``, or all; a shorter list cuts the split."""

    def sequences(storage: Storage) -> Found:
        names = decode_text(storage.read("list.txt"), storage.path("list.txt")).split()
        if split and len(names) != GOT10K_TRAIN_SEQUENCES:
            log.warning("%s has %d of the %d official sequences; the %s split is cut to them",
                        storage.path("list.txt"), len(names), GOT10K_TRAIN_SEQUENCES, split)  # fmt: skip
        chosen = got10k_indices(split, len(names)) if split else range(len(names))
        return [("", names[i]) for i in chosen]

    return sequences


def trackingnet_sequences(sets: Sequence[int]) -> Callable[[Storage], Found]:
    """The sequences of some of TrackingNet's training sets, each of which must be there."""

    def sequences(storage: Storage) -> Found:
        found: Found = []
        for group in (f"TRAIN_{number}" for number in sets):
            names = [name for name in storage.names(f"{group}/anno") if name.endswith(".txt")]
            if not names:
                raise DataError(f"{storage.path(group)} has no anno/*.txt; to train on some of the sets, name them: "
                                "TRACKINGNET[0,1,4-7]")  # fmt: skip
            found += [(group, name.removesuffix(".txt")) for name in names]
        return found

    return sequences


def tnl2k_sequences(storage: Storage) -> Found:
    """Folders with ``groundtruth.txt``, directly or in the folders of parts in which the data set is delivered."""
    found: Found = []
    for top in storage.names():
        if _annotated(storage, top):
            found.append(("", top))
            continue
        found += [(top, name) for name in storage.names(top) if _annotated(storage, f"{top}/{name}")]
    return _some(found, storage, "SEQUENCE/groundtruth.txt")


def class_folders(storage: Storage) -> Found:
    """Every folder ``CLASS/CLASS-N``."""
    pairs = ((top, name) for top in storage.names() for name in storage.names(top))
    return _some([(top, name) for top, name in pairs if name.startswith(f"{top}-")], storage, "CLASS/CLASS-N")


def _annotated(storage: Storage, folder: str) -> bool:
    return find_key(storage, f"{folder}/groundtruth.txt") is not None


def _some(found: Found, storage: Storage, expected: str) -> Found:
    if not found:
        raise DataError(f"{storage.path()} holds no sequences; expected {expected}")
    return found
