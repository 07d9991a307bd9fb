"""The benchmarks: one row of a table each, over a few folder layouts.

To add a benchmark, add a row to ``BENCHMARKS`` and, where its sequences are not simply what lies in its folder, a list
file in ``data_specs/``.
"""

from __future__ import annotations

import csv
import difflib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lib.test.evaluation.environment import EnvSettings, env_settings
from lib.test.evaluation.sequence import (
    FrameSource,
    ImageFrames,
    Sequence,
    list_images,
    natural_key,
    read_annotation_files,
)
from lib.utils.annotations import read_text
from lib.utils.errors import ConfigError, DataError
from lib.utils.video_io import VIDEO_SUFFIXES, VideoFile

logger = logging.getLogger(__name__)

DATA_SPECS = Path(__file__).with_name("data_specs")
FOLDER_PREFIX = "folder:"


@dataclass(frozen=True)
class Benchmark:
    """One row of the table.

    Attributes:
        path_field: the setting of ``lib/test/evaluation/local.py`` that names the folder.
        layout: lists the sequences of a folder of this layout.
        dataset: the tag of its metric rules.
        subfolder: part of the folder to look in.
        sequence_list: list file in ``data_specs/``, for layouts that have one.
        absence: names of the files of flags that mark frames without a visible target.
    """

    path_field: str
    layout: Callable[[Benchmark, Path], list[Sequence]]
    dataset: str
    subfolder: str = ""
    sequence_list: str = ""
    absence: tuple[str, ...] = ()

    def root(self, env: EnvSettings) -> Path:
        """The folder that this benchmark is looked for in."""
        return Path(getattr(env, self.path_field)) / self.subfolder


def get_dataset(*names: str, env: EnvSettings | None = None) -> list[Sequence]:
    """The sequences of the named benchmarks, one after the other. Frames and annotations are read when used.

    Args:
        names: keys of ``BENCHMARKS``, or ``folder:PATH`` for a folder of sequences (or one sequence) of your own.
        env: paths; by default those of ``lib/test/evaluation/local.py``.

    Raises:
        ConfigError: unknown name.
        DataError: the benchmark's folder or list is missing.
    """
    env = env or env_settings()
    return [sequence for name in names for sequence in _load(name, env)]


def _load(name: str, env: EnvSettings) -> list[Sequence]:
    if name.startswith(FOLDER_PREFIX):
        return own_folder(Path(name.removeprefix(FOLDER_PREFIX)).expanduser())
    if name not in BENCHMARKS:
        near = difflib.get_close_matches(name, BENCHMARKS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ConfigError(f"unknown data set {name!r}: {hint}known are {', '.join(BENCHMARKS)} and folder:PATH")
    row = BENCHMARKS[name]
    root = row.root(env)
    if not root.is_dir():
        raise DataError(
            f"{name}: there is no folder {root}. Put the benchmark there, or set {row.path_field} in "
            "lib/test/evaluation/local.py (tracking/create_default_local_file.py writes that file)"
        )
    return row.layout(row, root)


def class_folders(row: Benchmark, root: Path) -> list[Sequence]:
    """LaSOT's layout, ``CLASS/CLASS-NUMBER/{img/,groundtruth.txt}``, listed as lines ``CLASS: NUMBER NUMBER ...``."""
    sequences = []
    for line in read_text(DATA_SPECS / row.sequence_list).splitlines():
        if line.startswith("#") or not line.strip():
            continue
        object_class, numbers = line.split(":")
        for number in numbers.split():
            folder = root / object_class / f"{object_class}-{number}"
            absence = tuple(folder / name for name in row.absence)
            annotations = partial(read_annotation_files, folder / "groundtruth.txt", absence)
            frames = ImageFrames(folder / "img")
            sequences.append(Sequence(folder.name, row.dataset, frames, annotations, object_class))
    return sequences


def sequence_folders(row: Benchmark, root: Path) -> list[Sequence]:
    """GOT-10k's layout, ``SEQ/{*.jpg,groundtruth.txt}``, listed in ``list.txt`` or, without it, all folders.

    Files of flags are optional in this layout.
    """
    if (root / "list.txt").is_file():
        names = read_text(root / "list.txt").split()
    else:
        names = [path.name for path in _subfolders(root)]
    sequences = []
    for folder in (root / name for name in names):
        absence = tuple(path for path in (folder / name for name in row.absence) if path.is_file())
        annotations = partial(read_annotation_files, folder / "groundtruth.txt", absence)
        sequences.append(Sequence(folder.name, row.dataset, ImageFrames(folder), annotations))
    return sequences


def listed_files(row: Benchmark, root: Path) -> list[Sequence]:
    """Any layout at all: a CSV table names the frame folder, frame numbers and annotation file of each sequence."""
    sequences = []
    for entry in csv.DictReader(read_text(DATA_SPECS / row.sequence_list).splitlines()):
        omit = int(entry["init_omit"])  # frames and annotation rows before the target appears
        numbers = range(int(entry["first"]) + omit, int(entry["last"]) + 1)
        names = tuple(f"{number:0{entry['digits']}d}.{entry['ext']}" for number in numbers)
        annotations = partial(read_annotation_files, root / entry["anno"], skip=omit)
        frames = ImageFrames(root / entry["frames_dir"], names)
        sequences.append(Sequence(entry["name"], row.dataset, frames, annotations, entry["object_class"]))
    return sequences


_OWN_ANNOTATIONS = ("groundtruth.txt", "groundtruth_rect.txt")
_OWN_FRAME_FOLDERS = ("img", "imgs", ".")
_OWN_FLAGS = ("absence.label", "full_occlusion.txt", "out_of_view.txt")


def own_folder(root: Path) -> list[Sequence]:
    """A folder of sequences, or a folder that is one sequence itself.

    A sequence is a folder with ``groundtruth.txt`` (or ``groundtruth_rect.txt``) and pictures in ``img/``, ``imgs/`` or
    itself, or one video file. Flags (``absence.label``, ``full_occlusion.txt``, ``out_of_view.txt``) are optional.
    """
    if not root.is_dir():
        raise DataError(f"folder:{root}: there is no such folder")
    folders = [root] if _own_annotation(root) else _subfolders(root)
    sequences = []
    for folder in folders:
        annotation = _own_annotation(folder)
        if annotation is None:
            logger.warning("%s is left out: it has no %s", folder, " or ".join(_OWN_ANNOTATIONS))
            continue
        absence = tuple(path for path in (folder / name for name in _OWN_FLAGS) if path.is_file())
        annotations = partial(read_annotation_files, annotation, absence)
        sequences.append(Sequence(Path(os.path.abspath(folder)).name, "folder", _own_frames(folder), annotations))
    if not sequences:
        raise DataError(f"folder:{root}: no sequences; expected folders with frames and {_OWN_ANNOTATIONS[0]}")
    return sequences


def _own_annotation(folder: Path) -> Path | None:
    return next((path for path in (folder / name for name in _OWN_ANNOTATIONS) if path.is_file()), None)


def _own_frames(folder: Path) -> FrameSource:
    for place in (folder / name for name in _OWN_FRAME_FOLDERS):
        if place.is_dir() and list_images(place):
            return ImageFrames(place)
    videos = [path for path in folder.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES]
    if len(videos) != 1:
        raise DataError(f"{folder}: expected pictures (also in img/, imgs/) or one video, found {len(videos)} videos")
    return VideoFile(videos[0])


def _subfolders(root: Path) -> list[Path]:
    return sorted((path for path in root.iterdir() if path.is_dir() and path.name[0] != "."), key=natural_key)


_LASOT_FLAGS = ("full_occlusion.txt", "out_of_view.txt")

BENCHMARKS = {
    "lasot": Benchmark("lasot_path", class_folders, "lasot", sequence_list="lasot_test.txt", absence=_LASOT_FLAGS),
    "lasot_extension_subset": Benchmark(
        "lasot_extension_subset_path",
        class_folders,
        "lasot_extension_subset",
        sequence_list="lasot_extension_subset.txt",
        absence=_LASOT_FLAGS,
    ),
    # The published protocol scores GOT-10k without its absence labels.
    "got10k_val": Benchmark("got10k_path", sequence_folders, "got10k", subfolder="val"),
    "got10k_test": Benchmark("got10k_path", sequence_folders, "got10k", subfolder="test"),
    "otb": Benchmark("otb_path", listed_files, "otb", sequence_list="otb.csv"),
    "uav": Benchmark("uav_path", listed_files, "uav", sequence_list="uav.csv"),
    "nfs": Benchmark("nfs_path", listed_files, "nfs", sequence_list="nfs.csv"),
    "images_val": Benchmark("images_path", sequence_folders, "images_val", subfolder="val", absence=("absence.label",)),
}
