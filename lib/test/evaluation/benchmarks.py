"""The sequences of benchmarks and of user folders, and which of them are on this machine."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from lib.data.datasets import BENCHMARKS, BenchmarkSpec
from lib.data.layouts import SequenceFiles, SequenceSet
from lib.data.own_folder import folder_label, own_files, own_sequences
from lib.data.sequence import Sequence
from lib.data.storage import open_storage
from lib.test.evaluation.environment import EnvSettings, env_settings
from lib.utils.errors import ConfigError, DataError, listed, suggestion

logger = logging.getLogger(__name__)

FOLDER_PREFIX = "folder:"


def get_dataset(*names: str, env: EnvSettings | None = None) -> list[Sequence]:
    """Return the sequences of the named benchmarks, concatenated. Frames and annotations are read on access.

    Args:
        names: keys of ``BENCHMARKS``, or ``folder:PATH`` for a folder of sequences (or one sequence) of your own.

    Raises:
        ConfigError: unknown name.
        DataError: the benchmark's folder or list is missing.
    """
    env = env or env_settings()
    return [sequence for name in names for sequence in _load(name, env)]


def _load(name: str, env: EnvSettings) -> list[Sequence]:
    if name.startswith(FOLDER_PREFIX):
        found = own_sequences(Path(name.removeprefix(FOLDER_PREFIX)).expanduser())  # the boxes may be VOT regions
        return [_sequence(own_files(one), "folder", group=folder_label(one.root)) for one in found]
    row = get_benchmark(name)
    root = env.folder(row)
    if not root.is_dir():
        advice = f"put the benchmark there, or set {row.setting} in lib/test/evaluation/local.py"
        raise DataError(
            f"{name}: there is no folder {root}: {advice} (tracking/create_default_local_file.py writes it)"
        )
    sequences = [_sequence(files, row.dataset, row.prefix) for files in _files(row, root)]
    if not sequences:
        raise DataError(f"{name}: there is no sequence in {root}; docs/benchmarks.md shows the expected layout")
    if row.expected and len(sequences) != row.expected:
        logger.warning("%s has %d sequences, those in %s are %d", name, row.expected, root, len(sequences))
    return sequences


def get_benchmark(name: str) -> BenchmarkSpec:
    """Return the benchmark called ``name``. Raises ConfigError: there is none; the message suggests a name."""
    if name not in BENCHMARKS:
        known = f"known are {', '.join(BENCHMARKS)} and folder:PATH"
        raise ConfigError(f"unknown data set {name!r}: {suggestion(name, BENCHMARKS, known)}")
    return BENCHMARKS[name]


def present_sequences(name: str, env: EnvSettings | None = None) -> list[Sequence]:
    """Return those sequences of a data set, see :func:`get_dataset`, whose frames are on this machine.

    The others are counted in a warning. Raises DataError also if none has frames.
    """
    sequences = get_dataset(name, env=env)
    there = [sequence for sequence in sequences if sequence.has_frames()]
    if not there:
        advice = "docs/benchmarks.md shows the expected files, tracking/test.py --list the folder of each benchmark"
        raise DataError(f"{name}: none of its {len(sequences)} sequences has frames here; {advice}")
    absent = [sequence.name for sequence in sequences if not sequence.has_frames()]
    if absent:
        count = f"{len(absent)} of {len(sequences)} sequences"
        logger.warning("%s: %s have no frames here and are left out: %s", name, count, listed(absent))
    return there


def _files(row: BenchmarkSpec, root: Path) -> list[SequenceFiles]:
    return SequenceSet(row.find, row.layout).files(open_storage(root, row.lmdb))


def _sequence(files: SequenceFiles, dataset: str, prefix: str = "", group: str = "") -> Sequence:
    layout, flags = files.layout, files.layout.official_hidden
    return Sequence(
        prefix + files.entry.name,
        dataset,
        files.frames(),
        files.annotations,
        files.entry.object_class,
        read_official=partial(_official_visible, files, dataset, flags[0]) if flags else None,
        read_language=files.language if layout.language else None,
        read_attributes=files.attributes if layout.attributes or layout.meta else tuple,
        omitted=files.entry.omitted,
        group=group,
        annotation=files.storage.path(files.key(*layout.boxes)),
        has_frames=files.has_frames,
        has_boxes=files.has_boxes,
    )


def _official_visible(files: SequenceFiles, dataset: str, template: str) -> np.ndarray | None:
    """Return the flags of the benchmark's own evaluator; None, with a warning, if the user's copy lacks them."""
    visible = files.official_visible()
    if visible is None:
        logger.warning("%s: official scores without the flags of its evaluator: there is no %s", dataset, template)
    return visible


@dataclass(frozen=True)
class BenchmarkStatus:
    """How much of a benchmark is on this machine."""

    name: str
    root: Path  # the folder that was searched
    expected: int  # sequences; 0 if it is up to the user
    found: int  # sequences with a file of boxes and a folder of frames
    note: str  # what is missing, and other remarks


def benchmark_status(env: EnvSettings) -> list[BenchmarkStatus]:
    """Return the status of each benchmark. Only folders and lists are read, no frame and no annotation."""
    return [_status(name, row, env.folder(row)) for name, row in BENCHMARKS.items()]


def _status(name: str, row: BenchmarkSpec, root: Path) -> BenchmarkStatus:
    if not root.is_dir():
        return BenchmarkStatus(name, root, row.expected, 0, f"no such folder: set {row.setting}")
    try:
        files = _files(row, root)
    except (DataError, ConfigError) as error:
        return BenchmarkStatus(name, root, row.expected, 0, str(error))
    missing = [one.entry.name for one in files if not (one.has_boxes() and one.has_frames())]
    lacking = f"incomplete: {', '.join(missing[:3])}{' ...' if len(missing) > 3 else ''}" if missing else ""
    note = "; ".join(text for text in (lacking, row.note) if text)
    return BenchmarkStatus(name, root, row.expected, len(files) - len(missing), note)


def describe_benchmarks(env: EnvSettings) -> str:
    """Return a table of all benchmarks: sequences found and expected, the searched folder, and remarks."""
    rows = [("benchmark", "found", "expected", "folder", "note")]
    for one in benchmark_status(env):
        rows.append((one.name, str(one.found), str(one.expected or "any"), str(one.root), one.note))
    rows.append((f"{FOLDER_PREFIX}PATH", "", "any", "PATH", "a folder of sequences of your own"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:4]
    return "\n".join("  ".join([*map(str.ljust, row, widths), row[4]]).rstrip() for row in rows)
