"""Track the sequences of benchmarks and write their results, in this process or in several, on one machine or several.

Over several machines every rank computes the same division of the same list of sequences and tracks its own part; all
write to one folder of results. There is no other communication.
"""

from __future__ import annotations

import heapq
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch.distributed
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from lib.data.sequence import Sequence
from lib.test.evaluation.job import Job, Outcome, Summary, track_jobs
from lib.test.evaluation.protocol import BatchTracker, Tracker, batch_tracker
from lib.test.evaluation.results import differences, result_path, run_folder, sequence_provenance
from lib.test.evaluation.workers import run_in_processes
from lib.utils.devices import checked_device, gpu_count
from lib.utils.dist_info import ALONE, DistInfo
from lib.utils.errors import ConfigError, DataError, OSTrackError, listed
from lib.vis.views import Screen

logger = logging.getLogger(__name__)

_MOST_LOGGED, _MOST_LISTED = 20, 5
Build = Callable[[str], Tracker | BatchTracker]


@dataclass(frozen=True)
class RunOptions:
    """How sequences are tracked."""

    sequence: str | None = None  # name or number (from 0) of the only sequence to track
    num_gpus: int | None = None  # most GPUs to use; None = all
    workers: int = 0  # processes, on all devices together; 0 tracks in this one, on the first device
    batch: int = 1  # sequences that each process tracks in one forward pass
    compat_int: bool = False  # write boxes as integers by truncation, as the published code does, not as floats
    run_id: int | None = None  # number of the run; its results are in CONFIG_RUNID (three digits)
    fresh: bool = False  # also track sequences that have results, and replace these
    annotator: float | None = None  # simulate an annotator who corrects the box where its IoU with the truth is below
    realtime: float | None = None  # frame rate of the video; frames that arrive while the tracker computes are skipped
    results_dir: str | Path | None = None  # folder of all results; by default the one in the output folder
    screen: Screen | None = None  # opens a window or file that shows a sequence, in the process that tracks it
    attention_layers: tuple[int, ...] = ()  # layers (from 0) whose attention maps are computed for the screen

    def __post_init__(self) -> None:
        if self.batch < 1 or self.workers < 0:
            given = f"--batch {self.batch} --threads {self.workers}"
            raise ConfigError(f"{given}: a batch is 1 at least, worker processes are 0 or more")
        for option, value in (("--num_gpus", self.num_gpus), ("--runid", self.run_id)):
            if value is not None and value < 0:
                raise ConfigError(f"{option} {value}: this is 0 or more")


def run_sequences(
    sequences: list[Sequence],
    build: Build,
    results_dir: str | Path,
    provenance: dict[str, Any],
    devices: list[str],
    options: RunOptions = RunOptions(),  # noqa: B008 (frozen)
    rank: DistInfo = ALONE,
) -> Summary:
    """Track the sequences of ``rank`` that have no results yet, the longest first.

    A failed sequence is retried once after all others, alone in its step, because network file systems fail at times,
    and when a worker dies all of its sequences fail. If it fails again, its traceback is logged. A failure due to the
    sequence's data is final: it is logged immediately, in one line, and not retried.

    Args:
        build: builds the tracker on a device, once per process; with workers a top-level function or a partial of one.
        results_dir: the folder of all results.
        provenance: of this run, see :func:`lib.test.evaluation.results.run_provenance`; with ``compat_int`` true,
            boxes are written as integers.
        devices: worker i uses ``devices[i % len(devices)]``.
        rank: which process this is of a run over several machines.

    Raises:
        OSTrackError: the tracker cannot be built or follow a batch, the batch does not fit into memory, two sequences
            would share a result file, or there are results of another run (see ``fresh``).
        OSError: the folder of results cannot be created.
    """
    paths = _result_paths(sequences, results_dir, provenance, options.run_id)
    part = part_of(sequences, rank)
    if rank.world > 1:
        logger.info("%s: %d of %d sequences, on %s", rank, len(part), len(sequences), ", ".join(devices))
    todo = {path: sequences[i] for i, path in enumerate(paths) if i in part}
    names = Counter(sequence.name for sequence in sequences)
    summary = Summary(rank, max(1, min(options.workers, len(todo))), options.batch)
    if options.workers:
        track = partial(run_in_processes, build=build, devices=devices, workers=options.workers)
    else:
        track = partial(_run_here, build=cache(build), device=devices[0])
    remarks: set[str] = set()
    seldom = 0.5 if sys.stderr.isatty() else 30.0  # seconds between updates: log files need few
    started = 0.0  # when the first tracker was ready

    def progress(frames: int) -> None:
        nonlocal started
        started = started or time.perf_counter()
        bar.update(frames)

    with tqdm(unit="frame", dynamic_ncols=True, mininterval=seldom) as bar, logging_redirect_tqdm():
        for last, together in ((False, options.batch), (True, 1)):
            jobs, broken, skipped = _plan(todo, names, provenance, options.fresh)
            summary.skipped += skipped
            bar.total = bar.n + sum(job.provenance["frames"] for job in jobs)
            outcomes = track(jobs, batch=together, on_frames=progress)
            again = [one.path for one in chain(broken, outcomes) if not _record(one, summary, last, remarks)]
            todo = {path: todo[path] for path in again}
        summary.seconds = time.perf_counter() - started if started else 0.0
    return summary


def _result_paths(
    sequences: list[Sequence], results_dir: str | Path, provenance: dict[str, Any], run_id: int | None
) -> list[Path]:
    """Return the path of each sequence's result file; create the folders, before the model is loaded."""
    run = run_folder(provenance["config"], run_id)
    paths = [result_path(results_dir, provenance["tracker"], run, sequence) for sequence in sequences]
    for path, count in Counter(paths).items():
        if count > 1:
            files = {os.path.realpath(one.annotation) for one, its in zip(sequences, paths, strict=True) if its == path}
            if len(files) == 1:
                raise DataError(f"sequence {path.stem} is asked for twice: name its data set once")
            raise DataError(f"two sequences are called {path.stem}: run their data sets with different --save_dir")
    for folder in {path.parent for path in paths}:
        folder.mkdir(parents=True, exist_ok=True)
    return paths


def _record(outcome: Outcome, summary: Summary, last: bool, remarks: set[str]) -> bool:
    """Add an outcome to the summary and log it; return False if the sequence is to be retried.

    ``remarks`` has the kinds of remarks that were logged: each is logged for its first sequence only.
    """
    for remark in outcome.remarks:
        kind = remark.partition(":")[0]
        if kind not in remarks:
            remarks.add(kind)
            logger.info("sequence %s: %s", outcome.name, remark)
    if outcome.left:
        summary.left += 1
    elif outcome.error is None:
        summary.done.append(outcome)
    elif outcome.final:
        summary.failed.append(outcome)
        number = len([other for other in summary.failed if other.final])  # there may be hundreds
        if number <= _MOST_LOGGED:
            reason = (outcome.error or "").removeprefix(f"sequence {outcome.name}: ")
            logger.error("sequence %s failed: %s", outcome.name, reason)
        elif number == _MOST_LOGGED + 1:
            text = "more than %d sequences fail for their data: of the others only names are listed"
            logger.error(text, _MOST_LOGGED)
    elif last:
        summary.failed.append(outcome)
        logger.error("sequence %s failed again: %s", outcome.name, outcome.error)
    else:
        logger.warning("sequence %s failed and will be tried once more: %s", outcome.name, outcome.reason)
        return False
    return True


def _plan(
    todo: dict[Path, Sequence], names: Counter[str], provenance: dict[str, Any], fresh: bool
) -> tuple[list[Job], list[Outcome], int]:
    """Return the remaining jobs, longest first; sequences that cannot be read; and how many are done already."""
    jobs, broken, done, conflicts = [], [], 0, []
    for path, sequence in todo.items():
        is_there = path.exists()
        try:
            shown = sequence.name if names[sequence.name] == 1 else sequence.label
            job = Job(sequence, path, sequence_provenance(provenance, sequence), shown, replace=is_there)
        except OSTrackError as error:
            broken.append(Outcome.failed(sequence, path, error))
            continue
        if fresh or not is_there:
            jobs.append(job)
        elif different := differences(path, job.provenance, sequence.frames):
            conflicts.append(f"{path}: {', '.join(different)}")
        else:
            done += 1
    if conflicts:
        shown = listed(conflicts, _MOST_LISTED, between="\n  ")
        advice = "use --fresh to track and replace them, or keep them and use another --runid or --save_dir"
        raise DataError(f"{len(conflicts)} results are not of this run:\n  {shown}\n{advice}")
    return sorted(jobs, key=lambda job: -job.provenance["frames"]), broken, done


def _run_here(
    jobs: list[Job], build: Build, device: str, batch: int, on_frames: Callable[[int], None]
) -> Iterator[Outcome]:
    if jobs:
        tracker = batch_tracker(build(device), batch)
        on_frames(0)
        yield from track_jobs(tracker, jobs, batch, on_frames)


def choose_devices(device: str, num_gpus: int | None) -> list[str]:
    """Return the devices to spread workers over. Raises ConfigError: the device is unknown, or not available.

    Args:
        device: ``cuda`` or ``auto`` for all CUDA devices (``auto`` is the CPU if there is none); or a single device.
        num_gpus: most GPUs to use; None = all.
    """
    if device not in ("auto", "cuda"):
        return [str(checked_device(device))]
    available = gpu_count("cuda")
    count = available if num_gpus is None else min(num_gpus, available)
    if device == "cuda" and count == 0:
        raise ConfigError("--device cuda: no CUDA device can be used here; use --device cpu")
    if num_gpus is not None and num_gpus > available:
        logger.warning("--num_gpus %d: only %d there%s", num_gpus, available, "" if count else ", the CPU is used")
    return [f"cuda:{i}" for i in range(count)] or ["cpu"]


def part_of(sequences: list[Sequence], info: DistInfo) -> set[int]:
    """Return the indices in ``sequences`` of those that one process tracks.

    Each sequence goes, longest first, to the rank that has the fewest frames so far. All ranks get the same result,
    whatever is tracked already. A sequence whose length cannot be read counts as empty.
    """
    if info.world == 1:
        return set(range(len(sequences)))
    lengths = [_length(sequence) for sequence in sequences]
    loads = [(0, other) for other in range(info.world)]
    part = set()
    for i in sorted(range(len(sequences)), key=lambda i: -lengths[i]):
        load, owner = loads[0]
        heapq.heapreplace(loads, (load + max(lengths[i], 1), owner))
        if owner == info.rank:
            part.add(i)
    return part


def _length(sequence: Sequence) -> int:
    try:
        return sequence.num_frames
    except OSTrackError as error:
        logger.warning("sequence %s: its length cannot be read, it counts as empty: %s", sequence.name, error)
        return 0


def devices_of(devices: list[str], info: DistInfo) -> list[str]:
    """Return the devices of one process: an equal part of this machine's, or one that it shares with others."""
    return devices[info.local_rank :: info.local_world] or [devices[info.local_rank % len(devices)]]


def wait_for_all() -> None:
    """Under ``torchrun``, wait until all ranks have reached this call: it stops them all if one exits with an error."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    store, _, world = next(torch.distributed.rendezvous("env://", timeout=timedelta(days=30)))
    store.add("done", 1)
    while store.add("done", 0) < world:
        time.sleep(0.5)
