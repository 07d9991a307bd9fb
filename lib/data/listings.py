"""Which sequences a data set has: those of a list, or what lies in its folder. One function for each rule.

A listing takes the storage and the layout of its sequences; what else it takes stands in the row of the data set
(:mod:`lib.data.datasets`). ``listed`` is a file in ``lib/data/data_specs`` or, where that is said, in the folder.
"""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

from lib.data.annotations import parse_table, read_spec
from lib.data.layouts import Layout, SequenceEntry, SequenceFiles
from lib.data.storage import IMAGE_SUFFIXES, Storage, file_text
from lib.utils.errors import DataError

logger = logging.getLogger(__name__)

_IMAGES = sum(IMAGE_SUFFIXES, ())
_TEST = re.compile(r"(.*[_-])?test([_-]?(dev|set|subset|ing|ingset|ing[_-]set))?", re.IGNORECASE)


def by_class_list(storage: Storage, layout: Layout, listed: str) -> list[SequenceEntry]:
    """LaSOT's way, sequences ``CLASS-NUMBER`` in a folder ``{group}`` = CLASS: those of a list of numbers by class."""
    return [_of_class(f"{group}-{n}") for group, numbers in numbers_by_class(listed).items() for n in numbers]


def lasot_training_split(storage: Storage, layout: Layout) -> list[SequenceEntry]:
    """LaSOT's training split, cut with a warning to what is there."""
    split = list(map(_of_class, lasot_train()))
    found = [entry for entry in split if SequenceFiles(layout, storage, entry).has_boxes()]
    if not found:
        raise DataError(f"{storage.path()} holds none of the training sequences, like airplane/airplane-2")
    if len(found) < len(split):
        logger.warning("%s has %d of the %d training sequences of LaSOT", storage.path(), len(found), len(split))
    return found


def by_class_folder(storage: Storage, layout: Layout, listed: str = "", depth: int = 0) -> list[SequenceEntry]:
    """List the same from the folder, or from the list there. ``{group}`` is the path of the class: classes may lie
    up to ``depth`` levels deeper, in folders of parts, or of a test split, which is then looked into alone."""
    start = _test_split(storage, layout) if depth else ""
    classes = {folder.rpartition("/")[2]: folder for folder in _class_folders(storage, start, depth)}
    names = _list_there(storage, listed) or [
        name for group, folder in classes.items() for name in storage.names(folder) if name.startswith(f"{group}-")
    ]
    return [_of_class(name, classes) for name in names]


def by_folder(storage: Storage, layout: Layout, listed: str = "") -> list[SequenceEntry]:
    """Return a folder per sequence: those of the list in the data set's folder or, without it, all."""
    names = _list_there(storage, listed) or [name for name in storage.names() if storage.names(name)]
    return [SequenceEntry(name) for name in names]


def by_annotated_folder(
    storage: Storage, layout: Layout, listed: str = "", depth: int = 2, test: bool = True
) -> list[SequenceEntry]:
    """Folders with a file of boxes, also up to ``depth`` levels deeper (parts, scenes, splits); ``{folder}`` is the
    path of each. With ``test`` a folder of a test split is looked into alone; of a list there, no others are taken."""
    names = _list_there(storage, listed)
    folders = _annotated_folders(storage, layout, _test_split(storage, layout) if test else "", depth)
    found = [SequenceEntry(folder.rpartition("/")[2], {"folder": folder}, folder) for folder in folders]
    return [entry for entry in found if not names or entry.name in names]


def by_annotation(storage: Storage, layout: Layout, group: str = "") -> list[SequenceEntry]:
    """All files of boxes that lie together in one folder, the first of several with any; ``{group}`` is as given."""
    for template in layout.boxes:
        before, after = template.replace("{group}", group).split("{name}")
        files = [file for file in storage.names(before.rstrip("/")) if file.endswith(after)]
        if files:
            names = [file.removesuffix(after) for file in files]
            return [SequenceEntry(name, {"group": group}, f"{group}/{name}" if group else name) for name in names]
    return []


def trackingnet_sets(storage: Storage, layout: Layout, sets: Sequence[int]) -> list[SequenceEntry]:
    """Return the sequences of some of TrackingNet's training sets, each of which must be there."""
    found: list[SequenceEntry] = []
    for group in (f"TRAIN_{number}" for number in sets):
        entries = by_annotation(storage, layout, group)
        if not entries:
            advice = "to train on some of the sets, name them: TRACKINGNET[0,1,4-7]"
            raise DataError(f"{storage.path(group)} has no anno/*.txt; {advice}")
        found += entries
    return found


def by_table(storage: Storage, layout: Layout, listed: str) -> list[SequenceEntry]:
    """Return a table: frame folder, frame numbers and file of boxes of each sequence.

    Fills in ``{frames}``, ``{boxes}``, and ``{boxes_folder}`` and ``{boxes_name}``, the parts of the latter.
    """
    return [_from_table(entry) for entry in csv.DictReader(read_spec(listed))]


def by_table_every_third(storage: Storage, layout: Layout, listed: str) -> list[SequenceEntry]:
    """UAV123@10fps: every third frame of UAV123, numbered anew, in folders ``UAV123_10fps``, see :func:`by_table`."""
    found = []
    for entry in csv.DictReader(read_spec(listed)):
        moved = {key: value.replace("UAV123/", "UAV123_10fps/") for key, value in entry.items()}
        found.append(_from_table(moved | {key: str((int(entry[key]) - 1) // 3 + 1) for key in ("first", "last")}))
    return found


def by_range_file(storage: Storage, layout: Layout, only: str = "") -> list[SequenceEntry]:
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
        first, last = parse_table(file_text(storage, limits), 2, storage.path(limits))[0].astype(int)
        files = tuple(f"{number:04d}.jpg" for number in range(first, last + 1))
        found.append(SequenceEntry(name, {"boxes": boxes}, frames=files))
    return found


def got10k_split(storage: Storage, layout: Layout, split: str = "") -> list[SequenceEntry]:
    """GOT-10k's sequences of ``list.txt``: those of ``vottrain`` or ``votval``, or all; a shorter list cuts a split."""
    names = file_text(storage, "list.txt").split()
    if split and len(names) != GOT10K_TRAIN_SEQUENCES:
        logger.warning("%s has %d of the %d official sequences; the %s split is cut to them",
                       storage.path("list.txt"), len(names), GOT10K_TRAIN_SEQUENCES, split)  # fmt: skip
    return [SequenceEntry(names[i]) for i in (got10k_indices(split, len(names)) if split else range(len(names)))]


def got10k_held_out(storage: Storage, layout: Layout) -> list[SequenceEntry]:
    """Return the held-out part of GOT-10k's training sequences, by their numbers in ``list.txt``."""
    names = _list_there(storage, "list.txt")
    if not names:
        raise DataError(f"{storage.path('list.txt')} is missing or empty: the sequences are chosen by it")
    return [SequenceEntry(names[index]) for index in sorted(_indices("got10k_val_ids.txt")) if index < len(names)]


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


def _of_class(name: str, folders: Mapping[str, str] | None = None) -> SequenceEntry:
    """Return the entry of ``CLASS-NUMBER``, in the folder of its class, by default of that name."""
    group = name.rpartition("-")[0]
    folder = (folders or {}).get(group, group)
    return SequenceEntry(name, {"group": folder}, f"{folder}/{name}", object_class=group)


def _list_there(storage: Storage, listed: str) -> list[str]:
    lines = file_text(storage, listed).splitlines() if listed and storage.exists(listed) else []
    return [line.strip() for line in lines if line.strip()]


def _test_split(storage: Storage, layout: Layout) -> str:
    """Find the folder of a test split beside that of a training split: ``test``, ``TNL2K_test_subset``."""
    names = (name for name in storage.names() if _TEST.fullmatch(name) and storage.names(name))
    return next((name for name in names if not _is_annotated(storage, layout, name)), "")


def _class_folders(storage: Storage, start: str, deeper: int) -> Iterator[str]:
    """Yield the paths below ``start`` of folders CLASS with something in them that is called ``CLASS-...``."""
    for name in storage.names(start):
        folder = f"{start}/{name}" if start else name
        if any(inner.startswith(f"{name}-") for inner in storage.names(folder)):
            yield folder
        elif deeper:
            yield from _class_folders(storage, folder, deeper - 1)


def _annotated_folders(storage: Storage, layout: Layout, start: str, deeper: int) -> Iterator[str]:
    """Yield the paths below ``start`` of folders with a file of boxes; nothing is looked for in these."""
    for name in storage.names(start):
        folder = f"{start}/{name}" if start else name
        if _is_annotated(storage, layout, folder):
            yield folder
        elif deeper and not name.endswith(_IMAGES):
            yield from _annotated_folders(storage, layout, folder, deeper - 1)


def _is_annotated(storage: Storage, layout: Layout, folder: str) -> bool:
    entry = SequenceEntry(folder, {"folder": folder, "group": folder})
    return SequenceFiles(layout, storage, entry).has_boxes()


def _from_table(entry: dict[str, str]) -> SequenceEntry:
    omitted = int(entry["init_omit"])
    numbers = range(int(entry["first"]) + omitted, int(entry["last"]) + 1)
    files = tuple(f"{number:0{entry['digits']}d}.{entry['ext']}" for number in numbers)
    folder, _, name = entry["anno"].rpartition("/")
    keys = {"frames": entry["frames_dir"], "boxes": entry["anno"], "boxes_folder": folder, "boxes_name": name}
    return SequenceEntry(entry["name"], keys, "", files, omitted, entry["object_class"])
