"""The ways to find the sequences of a benchmark's folder: by a list, or by what lies there."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lib.utils.annotations import decode_text, parse_table
from lib.utils.errors import DataError
from lib.utils.splits import numbers_by_class, read_spec
from lib.utils.storage import Storage

if TYPE_CHECKING:
    from lib.test.evaluation.layouts import Benchmark


@dataclass(frozen=True)
class Found:
    """A sequence that a finder lists.

    Attributes:
        name: its name on disk.
        keys: what templates are filled with, besides ``{name}``.
        frames: the file names of its frames in order; ``None`` takes all pictures of the frame folder.
        omitted: frames and annotation rows to leave out at the start; ``frames`` is without them already.
    """

    name: str
    keys: dict[str, str] = field(default_factory=dict)
    frames: tuple[str, ...] | None = None
    omitted: int = 0
    object_class: str | None = None


def by_class_list(row: Benchmark, storage: Storage) -> list[Found]:
    """LaSOT's way, sequences ``CLASS-NUMBER`` in a folder ``{group}`` = CLASS: those of the list in ``data_specs``."""
    return [
        Found(f"{group}-{number}", {"group": group}, object_class=group)
        for group, numbers in numbers_by_class(row.sequence_list).items()
        for number in numbers
    ]


def by_class_folder(row: Benchmark, storage: Storage) -> list[Found]:
    """The same from what lies in the folder, or from the list there."""
    names = _own_list(row, storage) or [
        name for group in storage.names() for name in storage.names(group) if name.startswith(f"{group}-")
    ]
    groups = [name.rpartition("-")[0] for name in names]
    return [Found(name, {"group": group}, object_class=group) for name, group in zip(names, groups, strict=True)]


def by_folder(row: Benchmark, storage: Storage) -> list[Found]:
    """A folder per sequence: those of the list in the benchmark's folder or, without it, all."""
    names = _own_list(row, storage) or [name for name in storage.names() if storage.names(name)]
    return [Found(name) for name in names]


def by_annotated_folder(row: Benchmark, storage: Storage) -> list[Found]:
    """Folders with a file of boxes, also one level deeper (parts, scenes); ``{folder}`` is the path of each."""
    found = []
    for outer in storage.names():
        inner = [outer] if _has_boxes(row, storage, outer) else [f"{outer}/{name}" for name in storage.names(outer)]
        found += [folder for folder in inner if _has_boxes(row, storage, folder)]
    return [Found(folder.rpartition("/")[2], {"folder": folder}) for folder in found]


def by_annotation(row: Benchmark, storage: Storage) -> list[Found]:
    """All files of boxes that lie together in one folder."""
    before, after = row.boxes[0].split("{name}")
    names = storage.names(before.rstrip("/"))
    return [Found(name.removesuffix(after)) for name in names if name.endswith(after)]


def by_table(row: Benchmark, storage: Storage) -> list[Found]:
    """A table in ``data_specs``: frame folder, frame numbers and file of boxes of each sequence.

    Fills in ``{frames}``, ``{boxes}``, and ``{boxes_folder}`` and ``{boxes_name}``, the parts of the latter.
    """
    return [_from_table(entry) for entry in _table(row)]


def by_table_every_third(row: Benchmark, storage: Storage) -> list[Found]:
    """UAV123@10fps: every third frame of UAV123, numbered anew, in folders called ``UAV123_10fps``, see
    :func:`by_table`."""
    return [
        _from_table(
            {key: value.replace("UAV123/", "UAV123_10fps/") for key, value in entry.items()}
            | {key: str((int(entry[key]) - 1) // 3 + 1) for key in ("first", "last")}
        )
        for entry in _table(row)
    ]


def by_range_file(row: Benchmark, storage: Storage, only: str = "") -> list[Found]:
    """TC-128: a folder per sequence with ``*_gt.txt`` (``{boxes}``) and ``*_frames.txt``, the first and last frame.

    ``only`` takes the sequences whose name contains it.
    """
    found = []
    for name in storage.names():
        inside = storage.names(name)
        boxes = next((file for file in inside if file.endswith("_gt.txt")), None)
        limits = next((f"{name}/{file}" for file in inside if file.endswith("_frames.txt")), None)
        if boxes is None or only not in name:
            continue
        if limits is None:
            raise DataError(f"{storage.path(name)} has no file *_frames.txt that tells its first and last frame")
        text = decode_text(storage.read(limits), storage.path(limits))
        first, last = parse_table(text, 2, storage.path(limits))[0].astype(int)
        files = tuple(f"{number:04d}.jpg" for number in range(first, last + 1))
        found.append(Found(name, {"boxes": boxes}, files))
    return found


def got10k_held_out(row: Benchmark, storage: Storage) -> list[Found]:
    """The held-out tenth of GOT-10k's training sequences, by their numbers in ``list.txt``."""
    names = _own_list(row, storage)
    if not names:
        raise DataError(f"{storage.path(row.sequence_list)} is missing or empty: the sequences are chosen by it")
    chosen = [int(number) for line in read_spec("got10k_val_ids.txt") for number in line.split()]
    return [Found(names[index]) for index in chosen if index < len(names)]


def _own_list(row: Benchmark, storage: Storage) -> list[str]:
    if not row.sequence_list or not storage.exists(row.sequence_list):
        return []
    lines = decode_text(storage.read(row.sequence_list), storage.path(row.sequence_list)).splitlines()
    return [line.strip() for line in lines if line.strip()]


def _has_boxes(row: Benchmark, storage: Storage, folder: str) -> bool:
    return any(storage.exists(template.format(folder=folder)) for template in row.boxes)


def _table(row: Benchmark) -> list[dict[str, str]]:
    return list(csv.DictReader(read_spec(row.sequence_list)))


def _from_table(entry: dict[str, str]) -> Found:
    omitted = int(entry["init_omit"])
    numbers = range(int(entry["first"]) + omitted, int(entry["last"]) + 1)
    files = tuple(f"{number:0{entry['digits']}d}.{entry['ext']}" for number in numbers)
    folder, _, name = entry["anno"].rpartition("/")
    keys = {"frames": entry["frames_dir"], "boxes": entry["anno"], "boxes_folder": folder, "boxes_name": name}
    return Found(entry["name"], keys, files, omitted, entry["object_class"])
