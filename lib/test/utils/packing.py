"""Submissions: check results, pack them as a benchmark's server wants them, and read the package again.

Results are only read; nothing is removed.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lib.data.annotations import parse_table, read_table
from lib.models.family import DEFAULT_FAMILY
from lib.test.evaluation.benchmarks import get_benchmark, get_dataset
from lib.test.evaluation.environment import EnvSettings, env_settings
from lib.test.evaluation.results import (
    ANNOTATOR,
    box_problem,
    origin_text,
    read_provenance,
    read_result,
    result_files,
    time_path,
)
from lib.utils.errors import ConfigError, DataError, listed
from lib.utils.replacing import replacing

logger = logging.getLogger(__name__)

_SHOWN = 10


@dataclass(frozen=True)
class RawResult:
    """A result as it was tracked: boxes (N, 4) x, y, w, h, and seconds per frame (N,), if they are known."""

    name: str
    boxes: np.ndarray
    seconds: np.ndarray | None


@dataclass(frozen=True)
class Server:
    """What the server of a benchmark wants."""

    dataset: str  # name of the benchmark
    packed_field: str  # the setting that says where packages go
    pack: Callable[[list[RawResult], int | None], bytes]  # of checked results and the number of decimals
    unpack: Callable[[bytes], dict[str, np.ndarray]]  # the boxes by sequence that a package holds
    folder: str = ""  # sub-folder of TRACKER/CONFIG with its results
    suffix: str = ".zip"  # of the package
    decimals: int | None = 0  # of the boxes, unless the user says otherwise; None keeps all
    needs_times: bool = False  # every result needs its times
    names: tuple[str, ...] | None = None  # of the sequences, where the benchmark is not there; None: not public


def rounded(boxes: np.ndarray, decimals: int | None) -> np.ndarray:
    """Return the boxes to so many decimals (half to even); ``None`` changes nothing."""
    return boxes if decimals is None else np.round(boxes, decimals) + 0.0  # no -0


def _rows(boxes: np.ndarray, decimals: int | None) -> str:
    form = "{:.4f}" if decimals is None else f"{{:.{decimals}f}}"
    return "".join(",".join(map(form.format, row)) + "\n" for row in rounded(boxes, decimals).tolist())


def _zip(members: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def _unzip(data: bytes, ending: str) -> dict[str, np.ndarray]:
    """Return the boxes of the members whose name ends so, by the rest of their file name. Raises DataError: damaged."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            texts = {name: archive.read(name).decode() for name in archive.namelist()}  # checks their CRC-32
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"the package is damaged, pack it again: {error}") from error
    return {
        name.rpartition("/")[2].removesuffix(ending): parse_table(text, 4, name)
        for name, text in texts.items()
        if name.endswith(ending)
    }


def pack_got10k(results: list[RawResult], decimals: int | None) -> bytes:
    """Return a zip with ``SEQ/SEQ_001.txt`` (commas) and ``SEQ/SEQ_time.txt`` (seconds per frame)."""
    members = {}
    for one in results:
        assert one.seconds is not None  # Server.needs_times
        members[f"{one.name}/{one.name}_001.txt"] = _rows(one.boxes, decimals)
        members[f"{one.name}/{one.name}_time.txt"] = "".join(f"{value:.6f}\n" for value in one.seconds)
    return _zip(members)


def pack_trackingnet(results: list[RawResult], decimals: int | None) -> bytes:
    """Return a zip with ``SEQ.txt`` (commas)."""
    return _zip({f"{one.name}.txt": _rows(one.boxes, decimals) for one in results})


def pack_nt_vot211(results: list[RawResult], decimals: int | None) -> bytes:
    """JSON: ``{"SEQ": {"pred": [[x, y, w, h], ...]}, ..., "time": [[seconds, ...], ...]}``, boxes of whole numbers.

    Where times are unknown, ``time`` is ``[[-211000]]``, as NT-VOT211's own converter has it.
    """
    content: dict = {one.name: {"pred": rounded(one.boxes, 0).astype(int).tolist()} for one in results}
    times = [one.seconds.tolist() for one in results if one.seconds is not None]
    content["time"] = times if len(times) == len(results) else [[-211000]]
    return json.dumps(content).encode()


def _unpack_nt_vot211(data: bytes) -> dict[str, np.ndarray]:
    content = json.loads(data)
    return {name: np.array(entry["pred"], np.float64) for name, entry in content.items() if name != "time"}


SERVERS = {
    "got10k": Server(
        dataset="got10k_test",
        packed_field="got_packed_results_path",
        pack=pack_got10k,
        unpack=partial(_unzip, ending="_001.txt"),
        folder="got10k",
        decimals=None,
        needs_times=True,
        names=tuple(f"GOT-10k_Test_{number:06d}" for number in range(1, 181)),
    ),
    "trackingnet": Server(
        "trackingnet", "tn_packed_results_path", pack_trackingnet, partial(_unzip, ending=".txt"), "trackingnet"
    ),
    "nt_vot211": Server(
        "nt_vot211", "nt_vot211_packed_results_path", pack_nt_vot211, _unpack_nt_vot211, suffix=".json"
    ),
}


def pack(server: str, tracker: str, config: str, decimals: int | None = None, env: EnvSettings | None = None) -> Path:
    """Check the results of a tracker, pack them for a key of ``SERVERS``, read the package again, and return its path.

    Args:
        decimals: of the boxes; by default as the server wants them.

    Raises:
        ConfigError: a negative number of decimals.
        DataError: results are missing, incomplete or no boxes (all are listed), or the package does not hold them.
    """
    form, env = SERVERS[server], env or env_settings()
    decimals = form.decimals if decimals is None else decimals
    if decimals is not None and decimals < 0:
        raise ConfigError(f"--decimals {decimals}: boxes have 0 decimals or more")
    results = check_results(form, tracker, config, env)
    path = Path(getattr(env, form.packed_field)) / f"{tracker}_{config}{form.suffix}"
    with replacing(path) as unfinished:
        unfinished.write_bytes(form.pack(results, decimals))
        check_package(form.unpack(unfinished.read_bytes()), results, decimals)
    return path


def check_results(form: Server, tracker: str, config: str, env: EnvSettings) -> list[RawResult]:
    """Read the results of all sequences; warn if they are not all of one model and its settings.

    Raises DataError, which lists everything that is wrong with them.
    """
    folder = Path(env.results_path, tracker, config, form.folder)
    frames = expected_frames(form, env, folder)
    problems: list[str] = []
    results = []
    for name, count in tqdm(frames.items(), "reading", unit="result", delay=2, leave=False):
        try:
            results.append(_read(folder / f"{name}.txt", name, count, form.needs_times))
        except DataError as error:
            problems.append(str(error))
    if problems:
        shown = listed(problems, _SHOWN, between="\n  ")
        command = f"python tracking/test.py {tracker} {config} --dataset {form.dataset}"
        advice = f"delete what is damaged, then track it with the options of the others: {command}"
        raise DataError(f"{len(problems)} of {len(frames)} sequences cannot be submitted:\n  {shown}\n{advice}")
    paths = (folder / f"{one.name}.txt" for one in results)
    origins = Counter(origin_text(path, read_provenance(path)) for path in paths)
    if len(origins) > 1:
        counts = "; ".join(f"{count} of {origin}" for origin, count in origins.most_common())
        logger.warning("the results in %s do not all come from the same model: %s", folder, counts)
    return results


def expected_frames(form: Server, env: EnvSettings, folder: Path) -> dict[str, int | None]:
    """Return the benchmark's sequences with their numbers of frames.

    Where the benchmark is not on this machine, the names come from its list or, if that is not known, from the results,
    which must be as many; numbers of frames are None then. Raises DataError: neither is possible.
    """
    row = get_benchmark(form.dataset)
    if env.folder(row).is_dir():
        sequences = get_dataset(form.dataset, env=env)
        if len(sequences) != row.expected:
            count = f"{len(sequences)} of the {row.expected} sequences"
            raise DataError(f"{env.folder(row)} has {count}: complete it first")
        return {one.name: one.num_frames for one in sequences}
    if form.names:
        return dict.fromkeys(form.names)
    there = {path.stem for path in result_files(folder)}
    if form.folder and len(there) == row.expected:
        return dict.fromkeys(sorted(there))
    missing = f"the benchmark itself, which would tell their names, is not in {env.folder(row)}"
    raise DataError(f"{form.dataset} has {row.expected} sequences; {folder} has results of {len(there)}, and {missing}")


def _read(path: Path, name: str, frames: int | None, needs_times: bool) -> RawResult:
    if (read_provenance(path) or {}).get(ANNOTATOR):
        raise DataError(f"{path} holds boxes that a simulated annotator drew, which are nothing to submit")
    boxes = read_result(path)
    if frames is not None and len(boxes) != frames:
        raise DataError(f"{path}: {len(boxes)} boxes for {frames} frames")
    if problem := box_problem(boxes):
        raise DataError(f"{path}: {problem}")
    if not needs_times and not time_path(path).is_file():
        return RawResult(name, boxes, None)
    seconds = read_table(time_path(path), 1)[:, 0]
    if len(seconds) != len(boxes) or not np.isfinite(seconds).all() or (seconds < 0).any():
        raise DataError(f"{time_path(path)}: expected {len(boxes)} times, found {len(seconds)} or bad ones")
    return RawResult(name, boxes, seconds)


def check_package(packed: dict[str, np.ndarray], results: list[RawResult], decimals: int | None) -> None:
    """Raise DataError unless a package, read again, holds the boxes of all results and nothing else."""
    if packed.keys() != {one.name for one in results}:
        raise DataError(f"the package holds {len(packed)} sequences instead of {len(results)}: pack it again")
    slack = 0.5 * 10.0 ** -(4 if decimals is None else decimals) + 1e-9
    for one in results:
        boxes = packed[one.name]
        if boxes.shape != one.boxes.shape or np.abs(boxes - one.boxes).max() > slack:
            raise DataError(f"the package does not hold the boxes of {one.name}: pack it again")


def pack_cli(server: str, description: str) -> None:
    """The command line of the scripts ``transform_*.py``."""
    form = SERVERS[server]
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tracker_name", default=DEFAULT_FAMILY, help="name of the tracker (default: %(default)s)")
    parser.add_argument("--cfg_name", required=True, help="name of the experiment, or what follows --config elsewhere")
    parser.add_argument("--save_dir", help="output folder with the results; default: that of the settings, ./output")
    if form.suffix == ".zip":
        default = "four" if form.decimals is None else form.decimals
        parser.add_argument("--decimals", type=int, help=f"decimals of the boxes (default: {default})")
    args = parser.parse_args()
    env = env_settings().saving_to(args.save_dir)
    path = pack(server, args.tracker_name, args.cfg_name, getattr(args, "decimals", None), env)
    if not env.folder(get_benchmark(form.dataset)).is_dir():
        print(f"numbers of frames were not checked: {form.dataset} is not in {env.folder(get_benchmark(form.dataset))}")
    print(f"checked and packed: {path} ({path.stat().st_size / 1e6:.1f} MB)")
