"""Track sequences, one or several at a time: the frame loop of each, batches of these loops, and how they ended."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib.data.sequence import ImageFrames, Sequence
from lib.test.evaluation.modes import Annotator, Arrivals
from lib.test.evaluation.prefetch import read_ahead
from lib.test.evaluation.protocol import BatchTracker, TrackResult
from lib.test.evaluation.results import ANNOTATOR, CORRECTIONS, FRAMES, REALTIME, SKIPPED
from lib.test.evaluation.writer import FrameTime, ResultWriter
from lib.utils.dist_info import ALONE, DistInfo
from lib.utils.errors import ConfigError, OSTrackError, listed, may_pass
from lib.vis.views import LeaveSequence

_AHEAD = 8  # frames decoded ahead, divided among the sequences of a batch; at least two each


@dataclass
class Job:
    """A sequence to track, the file to write and the provenance to write beside it, which names the mode, if any."""

    sequence: Sequence
    path: Path
    provenance: dict[str, Any]
    shown: str = ""  # title of the sequence on a screen: its name, or its label if two have the same name
    replace: bool = True  # the result that is there is replaced; else there was none when the job was planned


@dataclass
class Outcome:
    """How the job of a sequence ended."""

    name: str
    path: Path
    frames: int = 0  # tracked, without the first
    times: FrameTime = FrameTime(0.0, 0.0, 0.0, 0.0)  # sums over these frames
    error: str | None = None  # traceback or reason when it failed
    final: bool = False  # it failed for a permanent reason, such as its data, and is not retried
    remarks: list[str] = field(default_factory=list)  # conversions of its images, see ImageFrames.remarks()
    left: bool = False  # the user skipped to the next sequence before its end
    corrections: int | None = None  # by the simulated annotator; None in other modes
    skipped: int | None = None  # frames that arrived while the tracker computed; None in other modes

    @classmethod
    def failed(cls, sequence: Sequence, path: Path, error: OSTrackError) -> Outcome:
        """Return the outcome of a job that failed for a reason that the user can fix."""
        return cls(sequence.name, path, error=str(error), final=not may_pass(error))

    @property
    def reason(self) -> str:
        """The last line of ``error``."""
        return self.error.strip().splitlines()[-1] if self.error else ""


@dataclass
class Summary:
    """Summary of a run, or of the part that one process of several machines has in it."""

    rank: DistInfo = ALONE
    workers: int = 1  # tracking processes
    batch: int = 1  # sequences that each of them tracked in one step
    skipped: int = 0  # sequences that had results already
    left: int = 0  # sequences that the user skipped before their end; they have no result
    done: list[Outcome] = field(default_factory=list)
    failed: list[Outcome] = field(default_factory=list)
    seconds: float = 0.0  # from when the first tracker was ready to the end

    @property
    def frames(self) -> int:
        """Tracked frames, without the first of each sequence."""
        return sum(outcome.frames for outcome in self.done)

    @property
    def times(self) -> FrameTime:
        """The sums over all tracked frames and processes."""
        return FrameTime(*map(sum, zip(FrameTime(0.0, 0.0, 0.0, 0.0), *(o.times for o in self.done), strict=True)))

    def __str__(self) -> str:
        text = f"{self.rank}: " if self.rank.world > 1 else ""
        text += f"sequences: {len(self.done)} tracked, {self.skipped} already there, {len(self.failed)} failed"
        text += f", {self.left} left before their end" if self.left else ""
        if self.frames:
            text += f"; {self.frames} frames, {self._speeds()}\n{self._shares()}"
        corrected = [outcome.corrections for outcome in self.done if outcome.corrections is not None]
        if corrected and self.frames:
            share = 100 * sum(corrected) / self.frames
            text += f"\ncorrected {sum(corrected)} times: {share:.2f} in a hundred frames"
        skipped = [outcome.skipped for outcome in self.done if outcome.skipped is not None]
        if skipped:
            text += f"\nin real time {sum(skipped)} of {sum(skipped) + self.frames} frames were skipped"
        final = [outcome.name for outcome in self.failed if outcome.final]
        text += f"\nfailed, see above: {listed(final)}" if final else ""
        for outcome in self.failed:
            text += "" if outcome.final else f"\nfailed: {outcome.name} ({outcome.reason})"
        return text

    def _speeds(self) -> str:
        """Return frames per second of the network alone, of the tracker, and end to end."""
        times = self.times
        network = f"network {self.frames / times.network:.1f} FPS, " if times.network > 0 else ""
        tracker = f"tracker {self.frames / times.tracker:.1f} FPS, " if times.tracker > 0 else ""
        each = f" ({self.workers} processes; network and tracker: of each)" if self.workers > 1 else ""
        return f"{network}{tracker}end to end {self.frames / self.seconds:.1f} FPS{each}"

    def _shares(self) -> str:
        """Describe how the time of a frame is spent."""
        decode, tracker, crop, network = (1000 * seconds / self.frames for seconds in self.times)
        text = f"a frame: {tracker:.2f} ms in the tracker"
        if network > 0:
            parts = {"crop": crop, "network": network, "rest": tracker - crop - network}
            shares = ", ".join(f"{name} {value:.2f} ms ({value / tracker:.0%})" for name, value in parts.items())
            text += f" = {shares}"
        text += f"; {decode:.2f} ms to read and decode it, in threads beside"
        if self.batch > 1:
            text += f" (up to {self.batch} sequences in one step, of whose time each has its share)"
        return text


def track_jobs(
    tracker: BatchTracker, jobs: Iterable[Job], batch: int, on_frames: Callable[[int], Any]
) -> Iterator[Outcome]:
    """Track ``batch`` sequences at a time; when one ends, the next job takes its slot. Yield outcomes as they finish.

    An exception in one sequence is stored in its outcome and does not affect the others.

    Args:
        tracker: gets the first box of each sequence, and no other annotation except corrections of a simulated
            annotator, see :mod:`lib.test.evaluation.modes`.
        jobs: a job is taken only when a slot is free.
        on_frames: called with the number of frames finished since its last call.

    Raises:
        ConfigError: the batch does not fit into the memory of the GPU.
    """
    slots: list[_Slot] = []
    jobs, ahead = iter(jobs), max(2, _AHEAD // batch)
    while True:
        slots += [_Slot(_follow(tracker, job, ahead, on_frames)) for job in islice(jobs, batch - len(slots))]
        if not slots:
            return
        _step(tracker, [slot for slot in slots if slot.outcome is None])
        yield from (slot.outcome for slot in slots if slot.outcome is not None)
        slots = [slot for slot in slots if slot.outcome is None]


# What a frame loop yields (an image and its target), and what it is sent (box, score and the tracker's times).
_Request = tuple[np.ndarray, Any]
_Answer = tuple[list[float], float, tuple[float, float, float]]


def _follow(
    tracker: BatchTracker, job: Job, ahead: int, on_frames: Callable[[int], Any]
) -> Generator[_Request, _Answer, Outcome]:
    """Run the frame loop of one sequence; at each ``yield`` it waits until its batch has been tracked."""
    sequence, remarks = job.sequence, []
    try:
        sequence.check_length()
        box, score = sequence.init_box, 1.0
        annotator = Annotator(sequence, job.provenance.get(ANNOTATOR))
        arrivals = Arrivals(job.provenance.get(REALTIME))
        with (
            closing(read_ahead(sequence.frames, ahead)) as images,
            ResultWriter(job.path, job.provenance | {FRAMES: sequence.frames.digest}, job.replace) as writer,
            _open_screen(tracker, job) as show,
        ):
            image, decode = next(images)
            sequence.check_first_box(image)
            remarks = sequence.frames.remarks() if isinstance(sequence.frames, ImageFrames) else []
            start = time.perf_counter()
            target = tracker.start(image, box)
            writer.add(box, FrameTime(decode, time.perf_counter() - start), score)
            show(0, target)
            on_frames(1)
            for number, (image, decode) in enumerate(images, start=1):
                seconds = (0.0, 0.0, 0.0)
                if not arrivals.skips(number):
                    box, score, seconds = yield image, target
                    arrivals.took(number, seconds[0])
                if drawn := annotator.correct(number, box, image):
                    box, score, target = drawn, 1.0, tracker.start(image, drawn)
                writer.add(box, FrameTime(decode, *seconds), score)
                show(number, target)
                on_frames(1)
            if annotator.least is not None:
                writer.provenance[CORRECTIONS] = annotator.corrections
            if arrivals.rate is not None:
                writer.provenance[SKIPPED] = len(arrivals.skipped)
    except LeaveSequence:
        return Outcome(sequence.name, job.path, left=True)
    except OSTrackError as error:
        return Outcome.failed(sequence, job.path, error)
    except Exception:  # it must not stop the other sequences; the runner reports it
        return Outcome(sequence.name, job.path, error=traceback.format_exc())
    tracked = np.delete(np.array(writer.times), [0, *arrivals.skipped], axis=0)
    times = FrameTime(*tracked.sum(axis=0).tolist())
    corrections = None if annotator.least is None else len(annotator.corrections)
    skipped = None if arrivals.rate is None else len(arrivals.skipped)
    return Outcome(
        sequence.name, job.path, len(tracked), times, remarks=remarks, corrections=corrections, skipped=skipped
    )


def _open_screen(tracker: BatchTracker, job: Job) -> AbstractContextManager[Callable[[int, Any], Any]]:
    """Open the screen of an inspected tracker, a function of frame number and target; a no-op for other trackers."""
    if hasattr(tracker, "open_screen"):  # see lib/test/tracker/inspected.py
        return tracker.open_screen(job.shown, job.sequence.num_frames, job.sequence.ground_truth)
    return nullcontext(lambda number, target: None)


class _Slot:
    """A slot of the batch: its frame loop, the loop's current request, and its outcome."""

    def __init__(self, loop: Generator[_Request, _Answer, Outcome]) -> None:
        self.loop = loop
        self.outcome: Outcome | None = None
        self.run(next, loop)

    def run(self, resume: Callable[[Any], _Request], value: Any) -> None:
        """Let the loop go on, as by ``resume(value)``, to its next request or its end."""
        try:
            self.image, self.target = resume(value)
        except StopIteration as end:
            self.outcome = end.value


def _step(tracker: BatchTracker, slots: list[_Slot]) -> None:
    """Track one frame of each slot. If the batch fails, track each alone, so that only the faulty sequence fails."""
    if not slots:
        return
    start = time.perf_counter()
    try:
        step: TrackResult = tracker.step([slot.image for slot in slots], [slot.target for slot in slots])
    except Exception as error:
        if len(slots) == 1:
            slots[0].run(slots[0].loop.throw, error)
            return
        if isinstance(error, torch.OutOfMemoryError):
            raise ConfigError(f"--batch {len(slots)} does not fit on the GPU, use a smaller one: {error}") from error
        for slot in slots:
            _step(tracker, [slot])
        return
    each = 1 / len(slots)
    share = (each * (time.perf_counter() - start), each * step.crop, each * step.network)
    for slot, box, score in zip(slots, step.boxes, step.confidence, strict=True):
        slot.run(slot.loop.send, (box, score, share))
