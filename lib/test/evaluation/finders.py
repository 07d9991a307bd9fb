"""The ways to find the sequences of a benchmark's folder: by a list, or by what lies there."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lib.data.annotations import decode_text, parse_table
from lib.data.splits import numbers_by_class, read_spec
from lib.data.storage import IMAGE_SUFFIXES, Storage
from lib.utils.errors import DataError

if TYPE_CHECKING:
    from lib.test.evaluation.layouts import Benchmark


_IMAGES = sum(IMAGE_SUFFIXES, ())
_TEST = re.compile(r"(.*[_-])?test([_-]?(dev|set|subset|ing|ingset|ing[_-]set))?", re.IGNORECASE)


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
    """The same from what lies in the folder, or from the list there. Classes may lie in folders of parts or of a test
    split; ``{group}`` is the path of the class."""
    classes = {folder.rpartition("/")[2]: folder for folder in _class_folders(storage, _test_split(row, storage))}
    names = _own_list(row, storage) or [
        name for group, folder in classes.items() for name in storage.names(folder) if name.startswith(f"{group}-")
    ]
    groups = [name.rpartition("-")[0] for name in names]
    return [
        Found(name, {"group": classes.get(group, group)}, object_class=group)
        for name, group in zip(names, groups, strict=True)
    ]


def by_folder(row: Benchmark, storage: Storage) -> list[Found]:
    """A folder per sequence: those of the list in the benchmark's folder or, without it, all."""
    names = _own_list(row, storage) or [name for name in storage.names() if storage.names(name)]
    return [Found(name) for name in names]


def by_annotated_folder(row: Benchmark, storage: Storage) -> list[Found]:
    """Folders with a file of boxes, also up to two levels deeper (parts, scenes, splits); ``{folder}`` is the path of
    each. A folder of a test split is looked into alone; of a list that lies there, no others are taken."""
    listed = _own_list(row, storage)
    folders = _annotated_folders(row, storage, _test_split(row, storage))
    found = [Found(folder.rpartition("/")[2], {"folder": folder}) for folder in folders]
    return [one for one in found if not listed or one.name in listed]


def by_annotation(row: Benchmark, storage: Storage) -> list[Found]:
    """All files of boxes that lie together in one folder, the first of several in which there are any."""
    for template in row.boxes:
        before, after = template.split("{name}")
        names = [name for name in storage.names(before.rstrip("/")) if name.endswith(after)]
        if names:
            return [Found(name.removesuffix(after)) for name in names]
    return []


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


def _test_split(row: Benchmark, storage: Storage) -> str:
    """The folder of a test split, as it lies beside that of a training split: ``test``, ``TNL2K_test_subset``."""
    names = (name for name in storage.names() if _TEST.fullmatch(name) and storage.names(name))
    return next((name for name in names if not _has_boxes(row, storage, name)), "")


def _class_folders(storage: Storage, start: str, deeper: int = 1) -> Iterator[str]:
    """The paths below ``start`` of folders CLASS with something in them that is called ``CLASS-...``."""
    for name in storage.names(start):
        folder = f"{start}/{name}" if start else name
        if any(inner.startswith(f"{name}-") for inner in storage.names(folder)):
            yield folder
        elif deeper:
            yield from _class_folders(storage, folder, deeper - 1)


def _annotated_folders(row: Benchmark, storage: Storage, start: str, deeper: int = 2) -> Iterator[str]:
    """The paths below ``start`` of folders with a file of boxes; nothing is looked for in these."""
    for name in storage.names(start):
        folder = f"{start}/{name}" if start else name
        if _has_boxes(row, storage, folder):
            yield folder
        elif deeper and not name.endswith(_IMAGES):
            yield from _annotated_folders(row, storage, folder, deeper - 1)


def _has_boxes(row: Benchmark, storage: Storage, folder: str) -> bool:
    keys = {"folder": folder, "group": folder, "name": folder}
    return any(storage.exists(template.format(**keys)) for template in row.boxes)


def _table(row: Benchmark) -> list[dict[str, str]]:
    return list(csv.DictReader(read_spec(row.sequence_list)))


def _from_table(entry: dict[str, str]) -> Found:
    omitted = int(entry["init_omit"])
    numbers = range(int(entry["first"]) + omitted, int(entry["last"]) + 1)
    files = tuple(f"{number:0{entry['digits']}d}.{entry['ext']}" for number in numbers)
    folder, _, name = entry["anno"].rpartition("/")
    keys = {"frames": entry["frames_dir"], "boxes": entry["anno"], "boxes_folder": folder, "boxes_name": name}
    return Found(entry["name"], keys, files, omitted, entry["object_class"])
