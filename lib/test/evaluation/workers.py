"""Track in several processes: each builds the tracker once, then requests one sequence after the other.

Every worker has its own pipe to the main process, so that the end of a worker, even a crash, is detected immediately.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import cv2
import torch

from lib.test.evaluation.job import Job, Outcome, track_jobs
from lib.test.evaluation.protocol import BatchTracker, Tracker, batch_tracker
from lib.utils.errors import OSTrackError
from lib.utils.processes import end_with

_PROGRESS_SECONDS = 0.2
_SILENT_SECONDS = 1800.0  # a worker that sends nothing for this long counts as hanging
_CHECK_SECONDS = 5.0
_GRACE_SECONDS = 5.0


def run_in_processes(
    jobs: list[Job],
    build: Callable[[str], Tracker | BatchTracker],
    devices: list[str],
    workers: int,
    batch: int,
    on_frames: Callable[[int], Any],
) -> Iterator[Outcome]:
    """Run the jobs, in order, in up to ``workers`` processes; yield outcomes as they finish.

    A worker that dies, or sends nothing for half an hour, is replaced; the sequences that it worked on fail.

    Args:
        build: builds the tracker on a device; a top-level function, or a partial of one.
        devices: worker i uses ``devices[i % len(devices)]``.
        batch: number of sequences that a worker tracks in one step; fewer if there are not enough jobs for all workers.
        on_frames: called with 0 when a worker is ready, then with numbers of finished frames.

    Raises:
        OSTrackError: a worker cannot build the tracker, or cannot go on. The other workers are stopped.
    """
    if not jobs:
        return
    pending, count = deque(jobs), min(workers, len(jobs))
    threads = max(1, torch.get_num_threads() // count)
    batch = min(batch, math.ceil(len(jobs) / count))
    running = [_Worker(build, devices[i % len(devices)], threads, batch) for i in range(count)]
    try:
        while running:
            for worker in _ready(running):
                try:
                    message, content = worker.connection.recv()
                except (EOFError, OSError):  # the process has ended
                    running.remove(worker)
                    yield from worker.lost_jobs()
                    if pending:
                        running.append(_Worker(build, worker.device, threads, batch))
                    continue
                if message == "error":
                    raise OSTrackError(content)
                if message == "frames":
                    on_frames(content)
                elif message == "next":
                    worker.give(pending.popleft() if pending else None)
                elif message == "outcome":
                    del worker.jobs[content.path]
                    yield content
    finally:
        for worker in running:
            worker.process.terminate()
        for worker in running:
            worker.process.join(_GRACE_SECONDS)
            if worker.process.is_alive():
                worker.process.kill()


def _ready(running: list[_Worker]) -> list[_Worker]:
    """Wait for workers that have sent a message or have ended; kill those that have sent nothing for too long."""
    connections = wait([worker.connection for worker in running], _CHECK_SECONDS)
    ready = [worker for worker in running if worker.connection in connections]
    for worker in running:
        if worker in ready:
            worker.last_message = time.monotonic()
        elif time.monotonic() - worker.last_message > _SILENT_SECONDS:
            worker.hangs = True
            worker.process.kill()  # this closes its pipe
    return ready


@dataclass(eq=False)
class _Worker:
    """The main process's handle of a worker."""

    build: Callable[[str], Tracker | BatchTracker]
    device: str
    threads: int
    batch: int
    jobs: dict[Path, Job] = field(default_factory=dict)  # its current ones, by the path of the result
    finished: bool = False  # the end of the jobs was sent to it
    last_message: float = field(default_factory=time.monotonic)  # or when it was started
    hangs: bool = False  # it was killed because it sent nothing for too long

    def __post_init__(self) -> None:
        context = multiprocessing.get_context("spawn")  # a forked process cannot use CUDA
        self.connection, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(
            target=_work, args=(theirs, self.build, self.device, self.threads, self.batch), daemon=True
        )
        self.process.start()
        theirs.close()  # so that the end of the worker closes the pipe

    def give(self, job: Job | None) -> None:
        """Send the next job; None lets the worker finish and exit."""
        self.finished = job is None
        if job is not None:
            self.jobs[job.path] = job
        with contextlib.suppress(BrokenPipeError):  # it has just ended; the next read detects that
            self.connection.send(job)

    def lost_jobs(self) -> list[Outcome]:
        """Return the outcomes of the jobs that an ended worker had not finished."""
        self.process.join()
        code = self.process.exitcode
        killed = "; killed, most often because memory ran out" if code == -signal.SIGKILL else ""
        happened = f"died (exit status {code}{killed})"
        if self.hangs:
            happened = f"sent nothing for {_SILENT_SECONDS / 60:g} minutes and was killed"
        if not self.jobs and not self.finished:
            raise OSTrackError(f"a worker process {happened} while it built the tracker")
        error = f"its worker process {happened}"
        return [Outcome(job.sequence.name, job.path, error=error) for job in self.jobs.values()]


def _work(
    connection: Connection, build: Callable[[str], Tracker | BatchTracker], device: str, threads: int, batch: int
) -> None:
    """Run a worker until there are no more jobs, or the main process is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C the main process stops its workers
    end_with(os.getppid())
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)

    try:
        tracker = batch_tracker(build(device), batch)
    except Exception as error:  # a bug, unless it is an OSTrackError: send its traceback
        reason = str(error) if isinstance(error, OSTrackError) else traceback.format_exc()
        connection.send(("error", f"the tracker cannot be built: {reason}"))
        return

    def ask() -> Job | None:
        connection.send(("next", None))
        return connection.recv()

    finished, sent = 0, 0.0  # frames since the last message, and when that was

    def progress(frames: int, at_once: bool = False) -> None:
        nonlocal finished, sent
        finished += frames
        if at_once or time.perf_counter() - sent > _PROGRESS_SECONDS:
            connection.send(("frames", finished))
            finished, sent = 0, time.perf_counter()

    try:
        progress(0, at_once=True)
        for outcome in track_jobs(tracker, iter(ask, None), batch, progress):
            progress(0, at_once=True)
            connection.send(("outcome", outcome))
    except OSTrackError as error:
        connection.send(("error", str(error)))
    except (EOFError, BrokenPipeError):  # the main process has ended
        return
