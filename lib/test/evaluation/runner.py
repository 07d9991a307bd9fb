"""Tracks the sequences of benchmarks and writes their results, in this process or in several."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from lib.test.evaluation.job import Job, Outcome, Tracker, track_job
from lib.test.evaluation.results import differences, result_path, sequence_provenance
from lib.test.evaluation.sequence import Sequence
from lib.test.evaluation.workers import run_in_processes
from lib.utils.errors import ConfigError, DataError, OSTrackError

logger = logging.getLogger(__name__)


@dataclass
class Summary:
    """What a run did. ``seconds`` runs from the moment the first tracker is ready."""

    skipped: int = 0
    done: list[Outcome] = field(default_factory=list)
    failed: list[Outcome] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        frames, tracking = sum(o.frames for o in self.done), sum(o.seconds for o in self.done)
        text = f"sequences: {len(self.done)} tracked, {self.skipped} already there, {len(self.failed)} failed"
        if frames:
            text += f"; {frames} frames, tracker {frames / tracking:.1f} FPS"
            text += f", end to end {frames / self.seconds:.1f} FPS"
        if self.failed:
            text += "\nfailed: " + ", ".join(outcome.name for outcome in self.failed)
        return text


def run_sequences(
    sequences: list[Sequence],
    build: Callable[[str], Tracker],
    results_dir: str | Path,
    run_name: str,
    provenance: dict[str, Any],
    devices: list[str],
    workers: int = 0,
    fresh: bool = False,
) -> Summary:
    """Track what is not tracked yet. A sequence that fails is logged with its traceback, and the others go on.

    Args:
        sequences: what to track.
        build: makes the tracker on a device, once per process; with workers a top-level function or a partial of one.
        results_dir: the folder of all results.
        run_name: the folder of this run: the config's name, with ``_RUNID`` if there is one.
        provenance: of this run, see :func:`lib.test.evaluation.results.run_provenance`.
        devices: worker i uses ``devices[i % len(devices)]``.
        workers: processes; 0 tracks in this one.
        fresh: track and replace also what is there already.

    Raises:
        DataError: two sequences would share a result file, or there are results of another origin (see ``fresh``).
        OSTrackError: the tracker cannot be built.
    """
    summary = Summary()
    jobs = _plan(sequences, Path(results_dir), run_name, provenance, fresh, summary)
    frames = sum(job.provenance["frames"] for job in jobs)
    seldom = 0.5 if sys.stderr.isatty() else 30.0  # seconds between updates: log files need few
    with tqdm(total=frames, unit="frame", dynamic_ncols=True, mininterval=seldom) as bar:
        started = 0.0

        def on_frames(count: int) -> None:
            nonlocal started
            started = started or time.perf_counter()
            bar.update(count)

        if workers > 0:
            outcomes = run_in_processes(jobs, build, devices, workers, on_frames)
        else:
            outcomes = _run_here(jobs, build, devices[0], on_frames)
        for outcome in outcomes:
            _record(outcome, summary)
        summary.seconds = time.perf_counter() - started
    return summary


def _plan(
    sequences: list[Sequence], results_dir: Path, run_name: str, provenance: dict, fresh: bool, summary: Summary
) -> list[Job]:
    """The jobs that are left to do. Sequences that are done, or cannot even be looked at, go into ``summary``."""
    jobs, paths, conflicts = [], set(), []
    for sequence in sequences:
        path = result_path(results_dir, provenance["tracker"], run_name, sequence)
        if path in paths:
            raise DataError(f"two sequences are called {sequence.name}: run their data sets with different --save_dir")
        paths.add(path)
        try:
            job = Job(sequence, path, sequence_provenance(provenance, sequence))
        except OSTrackError as error:
            _record(Outcome(sequence.name, error=str(error)), summary)
            continue
        if fresh or not path.exists():
            jobs.append(job)
        elif different := differences(path, job.provenance):
            conflicts.append(f"{path}: {', '.join(different)}")
        else:
            summary.skipped += 1
    if conflicts:
        raise DataError(
            f"{len(conflicts)} results are not of this run:\n  "
            + "\n  ".join(conflicts[:5] + (["..."] if len(conflicts) > 5 else []))
            + "\nuse --fresh to track and replace them, or keep them and use another --runid or --save_dir"
        )
    return jobs


def _run_here(
    jobs: list[Job], build: Callable[[str], Tracker], device: str, on_frames: Callable[[int], None]
) -> Iterator[Outcome]:
    if not jobs:
        return
    tracker = build(device)
    on_frames(0)
    for job in jobs:
        yield track_job(tracker, job, on_frames)


def _record(outcome: Outcome, summary: Summary) -> None:
    if outcome.error is None:
        summary.done.append(outcome)
    else:
        summary.failed.append(outcome)
        logger.error("sequence %s failed: %s", outcome.name, outcome.error)


def choose_devices(device: str, num_gpus: int | None) -> list[str]:
    """The devices to spread workers over.

    Args:
        device: ``cpu``, ``cuda`` or ``auto`` (CUDA where there is one).
        num_gpus: how many GPUs to use at most; ``None`` means all.

    Raises:
        ConfigError: ``cuda`` is asked for and there is none.
    """
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    count = available if num_gpus is None else min(num_gpus, available)
    if device == "cuda" and count == 0:
        raise ConfigError("--device cuda: no CUDA device can be used here; use --device cpu")
    if device == "cpu" or count == 0:
        return ["cpu"]
    if num_gpus is not None and num_gpus > available:
        logger.warning("--num_gpus %d: only %d there", num_gpus, available)
    return [f"cuda:{i}" for i in range(count)]
