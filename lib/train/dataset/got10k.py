"""GOT-10k (Huang et al., TPAMI 2021) in its official folder layout."""

from __future__ import annotations

import logging
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np

from lib.train.dataset.base import CONFIGURE, SequenceInfo, valid_boxes
from lib.utils.annotations import read_table, read_text
from lib.utils.errors import DataError
from lib.utils.image_io import read_image

log = logging.getLogger(__name__)

_TRAIN_SEQUENCES = 9335


class Got10k:
    """Sequences of GOT-10k: ``ROOT/list.txt``, ``ROOT/SEQ/%08d.jpg`` from 1, ``groundtruth.txt``, and, where they are
    there, ``absence.label`` (1 = absent) and ``cover.label`` (0 = hidden ... 8 = whole).

    Args:
        name: what the data set is called in an experiment.
        root: the folder ``train`` or ``val`` of GOT-10k.
        setting: the entry of ``local.py`` that names ``root``, for errors.
        split: ``vottrain``, ``votval``, or ``None`` for the whole list.

    Raises:
        DataError: folder, list or an annotation is missing or damaged.
    """

    is_video = True

    def __init__(self, name: str, root: str | Path, setting: str, split: str | None = None):
        self.name = name
        self.root = Path(root)
        list_file = self.root / "list.txt"
        if not list_file.is_file():
            raise DataError(f"{name}: {list_file} does not exist; " + CONFIGURE.format(setting=setting))
        names = read_text(list_file).split()
        if split:
            if len(names) != _TRAIN_SEQUENCES:
                log.warning(
                    "%s: %s has %d of the %d official sequences; the %s split is cut to them",
                    name, list_file, len(names), _TRAIN_SEQUENCES, split,
                )  # fmt: skip
            names = [names[i] for i in split_indices(split, len(names))]
        self._names = names
        self._sequences = [read_sequence(self.root / name) for name in names]

    def __len__(self) -> int:
        return len(self._names)

    def sequence(self, index: int) -> SequenceInfo:
        return self._sequences[index]

    def sequence_name(self, index: int) -> str:
        return self._names[index]

    def frame(self, index: int, frame: int) -> np.ndarray:
        return read_image(self.root / self._names[index] / f"{frame + 1:08d}.jpg")


def read_sequence(folder: Path) -> SequenceInfo:
    """Annotation of one GOT-10k sequence. A missing label file means that the target is always visible.

    Raises:
        DataError: a file is missing or damaged, or the files differ in length.
    """
    bbox = read_table(folder / "groundtruth.txt", 4)
    valid = valid_boxes(bbox)
    visible = valid.copy()
    for name, shown in (("absence.label", lambda label: label == 0), ("cover.label", lambda label: label > 0)):
        if (folder / name).is_file():
            labels = read_table(folder / name, 1)[:, 0]
            if len(labels) != len(bbox):
                raise DataError(f"{folder / name} has {len(labels)} rows, groundtruth.txt {len(bbox)}")
            visible &= shown(labels)
    return SequenceInfo(bbox, visible, valid)


def split_indices(split: str, count: int) -> list[int]:
    """Indices into the official training list of ``count`` sequences, rising.

    ``votval`` is the held-out tenth and ``vottrain`` the rest, both without the thousand that VOT forbids.
    """
    chosen = _index_file("got10k_val_ids.txt")
    if split == "vottrain":
        chosen = frozenset(range(count)) - chosen
    return [i for i in sorted(chosen - _index_file("got10k_vot_forbidden_ids.txt")) if i < count]


@cache
def _index_file(name: str) -> frozenset[int]:
    text = (resources.files(__package__) / "data_specs" / name).read_text()
    return frozenset(int(word) for line in text.splitlines() if not line.startswith("#") for word in line.split())
