"""Result files: boxes, scores and times of one sequence, with their provenance.

The files of a sequence in ``RESULTS/TRACKER/CONFIG`` are:

- ``SEQ.txt``: a line ``x y w h`` per frame, tab separated; floats, or integers by truncation as in the published code.
- ``SEQ_scores.txt``: the confidence per frame: presence if the tracker predicts it, else its score; 1 where the box was
  given, ``nan`` where there is none. There is no such file for a tracker without scores.
- ``SEQ_time.txt``: seconds per frame; the first is the initialization.
- ``SEQ_times.csv``: how these seconds are spent.
- ``SEQ.json``: the provenance.

While a sequence is tracked its boxes are written to ``SEQ.txt.part``; the ``.txt`` appears when it is complete. GOT-10k
and TrackingNet results are in a sub-folder of that name, as published; those of a user folder are in one named after
its path.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lib.data.annotations import read_table
from lib.data.sequence import FrameSource, Sequence
from lib.test.spec import SAME_BOXES
from lib.utils.errors import DataError
from lib.utils.replacing import replacing
from lib.utils.versions import versions

logger = logging.getLogger(__name__)

SUBFOLDERS = ("got10k", "trackingnet")
# Entries of a provenance: what identifies the frames; the mode and its value, and the corrections or skipped frames.
FRAMES = "frames_sha256"
ANNOTATOR, REALTIME = "annotator", "realtime"
CORRECTIONS, SKIPPED = "corrections", "skipped_frames"
ORIGIN_UNKNOWN = "origin unknown"
CHANGEABLE = ("folder", "images_val")  # data sets whose frames are the user's own
LOST_BELOW = 0.3  # a target with a lower score is shown as lost, by default
_CACHE_FORMAT = b"boxes 1"  # part of every cache key: change it when files are read differently
_BESIDE = ("_time", "_scores")  # suffixes of text files without boxes
# A result belongs to a run if these entries of its provenance agree; the other entries are informative.
IDENTITY = (
    *("tracker", "config_hash", "code", "checkpoint_sha256", "precision", "backend", "compat_int"),
    *("dataset", "frames", "init_box", "annotator", "realtime"),
)


def result_path(results_dir: str | Path, tracker: str, config: str, sequence: Sequence) -> Path:
    """Return the path of the boxes of ``sequence``: ``RESULTS/TRACKER/CONFIG[/SUBFOLDER]/SEQ.txt``."""
    subfolder = sequence.dataset if sequence.dataset in SUBFOLDERS else sequence.group
    return Path(results_dir) / tracker / config / subfolder / f"{sequence.name}.txt"


def found_result(results_dir: str | Path, tracker: str, config: str, sequence: Sequence) -> Path:
    """Find the result file to read: that of :func:`result_path` or, for a user folder, else ``CONFIG/SEQ.txt``.

    The latter only without provenance, as for files copied by hand: results that were tracked here have one, and may
    belong to another folder.
    """
    path = result_path(results_dir, tracker, config, sequence)
    plain = Path(results_dir) / tracker / config / path.name
    by_hand = sequence.group and not path.is_file() and plain.is_file() and not provenance_path(plain).exists()
    return plain if by_hand else path


def time_path(path: Path) -> Path:
    """Return the file of times that belongs to the result file ``path``."""
    return path.with_name(f"{path.stem}_time.txt")


def scores_path(path: Path) -> Path:
    """Return the file of scores that belongs to the result file ``path``."""
    return path.with_name(f"{path.stem}_scores.txt")


def times_path(path: Path) -> Path:
    """Return the table of times by part that belongs to the result file ``path``."""
    return path.with_name(f"{path.stem}_times.csv")


def provenance_path(path: Path) -> Path:
    """Return the provenance that belongs to the result file ``path``."""
    return path.with_name(f"{path.stem}.json")


def partial_path(path: Path) -> Path:
    """Return the path of the boxes while the sequence of the result file ``path`` is being tracked."""
    return path.with_name(f"{path.name}.part")


def read_result(path: Path, cache: Path | None = None) -> np.ndarray:
    """Read the boxes of a result file with any common separator: (frames, 4) float64 x, y, w, h.

    Args:
        cache: folder that caches the parsed boxes, by a hash of the file's content. A damaged entry is replaced; a
            folder that cannot be written is not used.

    Raises:
        DataError: the result file cannot be read.
    """
    if cache is None or not path.is_file():
        return read_table(path, 4)
    entry = cache / f"{hashlib.sha256(_CACHE_FORMAT + path.read_bytes()).hexdigest()[:32]}.npz"
    try:
        with np.load(entry, allow_pickle=False) as file:  # zip verifies checksums
            return file["boxes"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        boxes = read_table(path, 4)
    try:
        with replacing(entry, f".{os.getpid()}.npz") as unfinished:
            np.savez(unfinished, boxes=boxes)
    except OSError as error:
        logger.debug("%s is not kept in %s: %s", path, cache, error)
    return boxes


def box_problem(boxes: np.ndarray) -> str | None:
    """Describe the first of boxes (frames, 4) x, y, w, h that is not finite or has a negative side, if any."""
    bad = ~np.isfinite(boxes).all(axis=1) | (boxes[:, 2:] < 0).any(axis=1)
    return f"frame {bad.argmax()} is {boxes[bad.argmax()].tolist()}, not a box" if bad.any() else None


def write_scores(path: Path, scores: Iterable[float]) -> None:
    """Write the scores that belong to the result file ``path``, one per frame with six digits.

    Non-finite scores are written as ``nan``. If only the first is finite, the tracker has none and no file is written.
    """
    values = [value if math.isfinite(value) else math.nan for value in scores]
    if any(map(math.isfinite, values[1:])) or len(values) == 1:
        scores_path(path).write_text("".join(f"{value:.6g}\n" for value in values))
    else:
        scores_path(path).unlink(missing_ok=True)


def read_scores(path: Path) -> np.ndarray | None:
    """Read the scores of a result file, (frames,) float64, NaN for none; None if it has none. Raises DataError."""
    source = scores_path(path)
    return read_table(source, 1)[:, 0] if source.is_file() else None


def result_files(folder: Path) -> list[Path]:
    """Return the finished result files in the ``folder`` of a tracker and config."""
    folders = (folder, *(folder / name for name in SUBFOLDERS), *folder.glob("folder_*/"))
    return [path for one in folders for path in one.glob("*.txt") if not path.stem.endswith(_BESIDE)]


def find_results(results_dir: str | Path) -> list[tuple[str, str]]:
    """Return the (tracker, config) pairs that have at least one result file under ``results_dir``, sorted by name."""
    folders = sorted(Path(results_dir).glob("*/*/"))
    return [(folder.parent.name, folder.name) for folder in folders if result_files(folder)]


def file_hash(path: str | Path) -> str:
    """Return the first 16 hex digits of the SHA-256 of a file."""
    return file_sha256(path)[:16]


def file_sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file, in hex digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def run_provenance(
    tracker: str,
    config: str,
    config_hash: str,
    checkpoint: str | Path | None,
    precision: str,
    device: str,
    backend: str = "torch",
) -> dict[str, Any]:
    """Return the provenance that all results of a run share. ``checkpoint`` is hashed here, once."""
    return {
        "tracker": tracker,
        "config": config,
        "config_hash": config_hash,
        "checkpoint": None if checkpoint is None else str(checkpoint),
        "checkpoint_sha256": None if checkpoint is None else file_hash(checkpoint),
        "precision": precision,
        "device": device,
        "backend": backend,
        "versions": versions(),
    }


def sequence_provenance(run: dict[str, Any], sequence: Sequence) -> dict[str, Any]:
    """Return the provenance of the result of one sequence: that of the run, and what was tracked. Raises DataError.

    The hash of its frames (:data:`FRAMES`) is added when they are read.
    """
    return run | {"dataset": sequence.dataset, "frames": sequence.num_frames, "init_box": sequence.init_box}


def run_folder(name: str, run_id: int | None) -> str:
    """Return the folder of a run's results: its name, with ``_RUNID`` (three digits) if there is one."""
    return name if run_id is None else f"{name}_{run_id:03d}"


def finish_result(path: Path, provenance: dict[str, Any]) -> None:
    """Give the boxes in :func:`partial_path` their name ``path``, with their provenance and hash beside them."""
    record = provenance | {"result_sha256": file_hash(partial_path(path))}
    provenance_path(path).write_text(json.dumps(record, indent=1) + "\n")
    os.replace(partial_path(path), path)  # last: a result file is a complete result


def read_provenance(path: Path) -> dict[str, Any] | None:
    """Read the provenance of the result file ``path``; None if there is none. Raises DataError: it is damaged."""
    source, advice = provenance_path(path), f"delete {path.name} and track this sequence again"
    try:
        record = json.loads(source.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{source} cannot be read ({error}): {advice}") from error
    if not isinstance(record, dict):
        raise DataError(f"{source} is no record of a result's origin: {advice}")
    return record


def differences(path: Path, provenance: dict[str, Any], frames: FrameSource | None = None) -> list[str]:
    """List why the result file ``path`` does not belong to the run that ``provenance`` and ``frames`` describe."""
    try:
        stored = read_provenance(path)
    except DataError as error:
        return [str(error)]
    if stored is None:
        return ["nothing says what it came from"]
    changed = [key for key in IDENTITY if _comparable(stored, key) != _comparable(provenance, key)]
    found = [f"{key} {stored.get(key)!r}, now {provenance.get(key)!r}" for key in changed]
    if not found and frames is not None and other_frames(stored, frames):
        found.append(f"{FRAMES} {stored[FRAMES]!r}, now {frames.digest!r}: its frames were others")
    if stored.get("result_sha256") != file_hash(path):
        found.append("the file was changed after it was written")
    return found


def other_frames(record: dict[str, Any], frames: FrameSource) -> bool:
    """Return whether a result was made from other frames; False if its provenance or the frames are missing."""
    if not record.get(FRAMES):
        return False
    try:
        return record[FRAMES] != frames.digest
    except DataError:
        return False


def _comparable(record: dict[str, Any], key: str) -> Any:
    value = record.get(key)
    return backend_name(value) if key == "backend" else value


def backend_name(recorded: str | None) -> str:
    """Return the backend of a result: ``torch`` for all that differ only by rounding, and if none is recorded."""
    return "torch" if recorded is None or recorded in SAME_BOXES else recorded


def result_origin(path: Path, sequence: Sequence, frames: bool = False) -> str:
    """Describe the weights and settings of a result file from its provenance.

    Whether it was made from the current frames is checked where these may change, and with ``frames`` everywhere.

    Raises DataError: the provenance cannot be read, or the tracker was started on another box or ran on other frames.
    """
    record = read_provenance(path)
    if record is None:
        return ORIGIN_UNKNOWN
    first, source = sequence.ground_truth[0].tolist(), provenance_path(path)
    if record.get("init_box", first) != first:
        boxes = f"tracked from {record['init_box']}, but {sequence.name} starts at {first}"
        raise DataError(f"{source}: {boxes}: delete {path.name} and track this sequence again")
    if (frames or sequence.dataset in CHANGEABLE) and other_frames(record, sequence.frames):
        raise DataError(f"{source}: {sequence.name} was tracked on other frames than are there now: use --fresh")
    return origin_text(path, record)


def origin_text(path: Path, record: Mapping[str, Any] | None) -> str:
    """Describe the weights and settings that a result's ``record`` names: one text for each model and its settings."""
    if record is None:
        return ORIGIN_UNKNOWN
    if record.get("result_sha256") != file_hash(path):
        return f"{ORIGIN_UNKNOWN}: changed after it was written"
    if record.get("imported_from"):
        return f"imported from {record['imported_from']}"
    checkpoint = "no weight file"
    if record.get("checkpoint"):
        checkpoint = f"{Path(record['checkpoint']).name} (sha256 {record.get('checkpoint_sha256')})"
    backend = backend_name(record.get("backend"))
    how = f"{record.get('precision')}" + ("" if backend == "torch" else f" by {backend}")
    texts = {
        "compat_int": "boxes of whole pixels",
        "code": "code {}",
        ANNOTATOR: "boxes drawn anew below IoU {:g} count as found",
        REALTIME: "frames arriving at {:g} per second",
    }
    options = [text.format(record[key]) for key, text in texts.items() if record.get(key)]
    return ", ".join([checkpoint, f"config {record.get('config_hash')}", how, *options])


def run_of(tracker: tuple[str, str], path: Path) -> tuple[str, str] | None:
    """Split a numbered run into its ``NAME/CONFIG`` and the number; return None if ``tracker`` is not a numbered run.

    Runs are in ``CONFIG_000``, ``CONFIG_001`` ... (``--runid``, as in PyTracking). A name may end in a number for other
    reasons (``vitb_256``), so the provenance of ``path``, one of its results, decides; without one, a leading 0 does.
    """
    found = re.fullmatch(r"(.+)_(\d{3,})", tracker[1])
    if found is None:
        return None
    config, number = found.groups()
    record = read_provenance(path) or {}
    known = None if record.get("imported_from") else record.get("config")
    is_run = known == config if known else number.startswith("0")
    return (f"{tracker[0]}/{config}", number) if is_run else None
