"""Tracking in several processes: each builds the tracker once, then gets one sequence after the other.

Every worker has a pipe of its own to the main process, so that the end of a worker, however sudden, is seen at once.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import cv2
import torch

from lib.test.evaluation.job import Job, Outcome, Tracker, track_job
from lib.utils.errors import OSTrackError

_PROGRESS_SECONDS = 0.2


def run_in_processes(
    jobs: list[Job], build: Callable[[str], Tracker], devices: list[str], workers: int, on_frames: Callable[[int], Any]
) -> Iterator[Outcome]:
    """Do the jobs, the longest first, in up to ``workers`` processes; yield outcomes as they come.

    A worker that dies costs the sequence it was at (an outcome says so), and a new one takes its place.

    Args:
        jobs: what to do.
        build: makes the tracker on a device; a top-level function, or a partial of one.
        devices: worker i uses ``devices[i % len(devices)]``.
        workers: number of processes.
        on_frames: called with 0 when a worker is ready, then with numbers of finished frames.

    Raises:
        OSTrackError: a worker cannot build the tracker. The other workers are stopped.
    """
    pending = deque(sorted(jobs, key=lambda job: -job.provenance["frames"]))
    count = min(workers, len(jobs))
    threads = max(1, (os.cpu_count() or 1) // max(count, 1))
    crew = [_Worker(build, devices[i % len(devices)], threads) for i in range(count)]
    try:
        while crew:
            for connection in wait([worker.connection for worker in crew]):
                worker = next(worker for worker in crew if worker.connection is connection)
                try:
                    message, content = connection.recv()
                except (EOFError, OSError):  # the process has ended
                    crew.remove(worker)
                    yield from worker.lost()
                    if pending:
                        crew.append(_Worker(build, worker.device, threads))
                    continue
                if message == "error":
                    raise OSTrackError(f"the tracker cannot be built: {content}")
                if message == "frames":
                    on_frames(content)
                    continue
                if message == "outcome":
                    yield content
                worker.give(pending.popleft() if pending else None)
                if worker.job is None:
                    crew.remove(worker)
                    worker.process.join()
    finally:
        for worker in crew:
            worker.process.terminate()
            worker.process.join()


@dataclass(eq=False)
class _Worker:
    """The main process's end of a worker."""

    build: Callable[[str], Tracker]
    device: str
    threads: int
    job: Job | None = None

    def __post_init__(self) -> None:
        context = multiprocessing.get_context("spawn")  # a forked process cannot use CUDA
        self.connection, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(
            target=_work, args=(theirs, self.build, self.device, self.threads), daemon=True
        )
        self.process.start()
        theirs.close()  # so that the end of the worker closes the pipe

    def give(self, job: Job | None) -> None:
        """Hand over the next job; ``None`` sends the worker home."""
        self.job = job
        with contextlib.suppress(BrokenPipeError):  # it has just died: seen when its pipe is read next
            self.connection.send(job)

    def lost(self) -> Iterator[Outcome]:
        """The outcome of the job whose worker died."""
        self.process.join()
        code = self.process.exitcode
        reason = f"its worker process died (exit status {code}"
        reason += "; killed, most often because memory ran out)" if code == -signal.SIGKILL else ")"
        if self.job is None:
            raise OSTrackError(f"a worker process died while it built the tracker (exit status {code})")
        yield Outcome(self.job.sequence.name, error=reason)


def _work(connection: Connection, build: Callable[[str], Tracker], device: str, threads: int) -> None:
    """A worker's life. It ends when it is sent ``None``, or when the main process is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C the main process stops its workers
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    try:
        tracker = build(device)
    except OSTrackError as error:
        connection.send(("error", str(error)))
        return
    except Exception:  # a fault of ours: its traceback goes to the main process
        connection.send(("error", traceback.format_exc()))
        return
    progress = _Progress(connection)
    try:
        progress.send()
        connection.send(("ready", None))
        while (job := connection.recv()) is not None:
            outcome = track_job(tracker, job, progress)
            progress.send()
            connection.send(("outcome", outcome))
    except (EOFError, BrokenPipeError):  # the main process has died: nobody waits for more
        return


class _Progress:
    """Tells the main process how many frames are finished, not too often."""

    def __init__(self, connection: Connection) -> None:
        self.connection, self.frames, self.last = connection, 0, 0.0

    def __call__(self, frames: int) -> None:
        self.frames += frames
        if time.perf_counter() - self.last > _PROGRESS_SECONDS:
            self.send()

    def send(self) -> None:
        self.connection.send(("frames", self.frames))
        self.frames, self.last = 0, time.perf_counter()
