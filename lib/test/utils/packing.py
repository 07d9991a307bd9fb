"""Submissions: check results, pack them as a benchmark's server wants them, and read the package again.

Results are only read; nothing is removed.
"""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from lib.data.annotations import read_table
from lib.models.family import DEFAULT_FAMILY, is_family
from lib.test.evaluation.benchmarks import get_benchmark, get_dataset
from lib.test.evaluation.environment import EnvSettings, env_settings
from lib.test.evaluation.modes import ANNOTATOR
from lib.test.evaluation.results import backend_name, box_problem, read_provenance, read_result, result_files, time_path
from lib.test.utils.servers import SERVERS, RawResult, Server
from lib.utils.errors import ConfigError, DataError, listed
from lib.utils.replacing import replacing

_SHOWN = 10


def pack(server: str, tracker: str, config: str, decimals: int | None = None, env: EnvSettings | None = None) -> Path:
    """Check the results of a tracker, pack them, read the package again, and return its path.

    Args:
        server: key of ``SERVERS``.
        tracker, config: whose results.
        decimals: of the boxes; by default as the server wants them.
        env: paths; by default those of ``lib/test/evaluation/local.py``.

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
    """Read the results of all sequences. Raises DataError, which lists everything that is wrong with them."""
    folder = Path(env.results_path, tracker, config, form.folder)
    frames = expected_frames(form, env, folder)
    problems: dict[Path, str] = {}
    results = []
    for name, count in tqdm(frames.items(), "reading", unit="result", delay=2, leave=False):
        path = folder / f"{name}.txt"
        try:
            results.append(_read(path, name, count, form.needs_times))
        except DataError as error:
            problems[path] = str(error)
    if problems:
        raise DataError(
            f"{len(problems)} of {len(frames)} sequences cannot be submitted:\n  "
            + listed([*problems.values()], _SHOWN, between="\n  ")
            + f"\n{_advice(form, tracker, config, list(problems), folder, env)}"
        )
    return results


def _advice(form: Server, tracker: str, config: str, wrong: list[Path], folder: Path, env: EnvSettings) -> str:
    """What to do about results that are missing or damaged: the commands that make those anew, as they were made.

    A damaged result has to go first: the runner takes no file for its own that was changed, and replacing all of them
    (``--fresh``) would mix results where the settings are not the same.
    """
    damaged = [path for path in wrong if path.is_file()]
    records = (_record(path) for path in [*damaged, *result_files(folder)])
    record = next((one for one in records if one), {})
    place = f"--dataset {form.dataset}{_save_dir(env)}"
    if source := record.get("imported_from"):
        command = f"python tracking/import_results.py SOURCE --tracker {tracker} --config {config} {place} --force"
        return f"import them again from {source}: {command}"
    name, _, number = config.rpartition("_")
    run = f"{name} --runid {int(number)}" if name and record.get("config") == name else config
    options = "".join(
        f" --{option} {shlex.quote(str(value))}"
        for option, value, usual in (
            ("checkpoint", record.get("checkpoint"), None),
            ("precision", record.get("precision"), "float32"),
            ("backend", backend_name(record.get("backend")), "torch"),
        )
        if is_family(tracker) and value not in (None, usual)
    )
    options += " --compat_int" if record.get("compat_int") else ""
    command = f"python tracking/test.py {tracker} {run} {place}{options}"
    if not damaged:
        return f"track them: {command}"
    if not record:
        return f"nothing says what made the results: copy them again from there, or track them all: {command} --fresh"
    return f"delete what is damaged: rm {shlex.join(map(str, damaged))}\nthen track it: {command}"


def _record(path: Path) -> dict[str, Any] | None:
    try:
        return read_provenance(path)
    except DataError:
        return None


def _save_dir(env: EnvSettings) -> str:
    """The option that names the output folder, where it is not the configured one."""
    return "" if env.save_dir == env_settings().save_dir else f" --save_dir {shlex.quote(env.save_dir)}"


def expected_frames(form: Server, env: EnvSettings, folder: Path) -> dict[str, int | None]:
    """The benchmark's sequences with their numbers of frames.

    Where the benchmark is not on this machine, the names come from its list or, if nobody knows that, from the results,
    which must be as many; numbers of frames are None then.

    Raises:
        DataError: neither is possible.
    """
    row = get_benchmark(form.dataset)
    if env.folder(row).is_dir():
        sequences = get_dataset(form.dataset, env=env)
        if len(sequences) != row.expected:
            raise DataError(
                f"{env.folder(row)} has {len(sequences)} of the {row.expected} sequences: complete it first"
            )
        return {one.name: one.num_frames for one in sequences}
    if form.names:
        return dict.fromkeys(form.names)
    there = {path.stem for path in result_files(folder)}
    if form.folder and len(there) == row.expected:
        return dict.fromkeys(sorted(there))
    raise DataError(
        f"{form.dataset} has {row.expected} sequences; {folder} has results of {len(there)}, and the benchmark itself, "
        f"which would tell their names, is not in {env.folder(row)}"
    )


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
        raise DataError(
            f"{time_path(path)}: expected {len(boxes)} times, one per frame, found {len(seconds)} or bad ones"
        )
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
