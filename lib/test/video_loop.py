"""The loop of the video demo: frames, the targets in them, and the keys that a user presses."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

from lib.test.evaluation.prefetch import read_ahead
from lib.test.evaluation.protocol import BatchTracker
from lib.test.evaluation.writer import FrameTime, ResultWriter
from lib.test.tracker.video import Follower, TrackedFrame
from lib.utils.errors import ConfigError
from lib.utils.video_io import LiveVideo, VideoFile, VideoWriter
from lib.vis.panels import write_fitted
from lib.vis.views import LeaveSequence

Box = Sequence[float]
KEYS = "r select anew, space pause, q quit"
_RESELECT, _PAUSE, _QUIT = ord("r"), ord(" "), ord("q")
_AHEAD, _AHEAD_LIVE = 8, 1  # frames read ahead; what waits in a queue of a live source is seen late


class Window(Protocol):
    """Where the frames are shown and keys are pressed; as :class:`lib.vis.window.CvWindow`."""

    def show(self, image: np.ndarray, wait: bool = False) -> int:
        """Show an RGB picture; the code of the key that was pressed, or -1. ``wait`` waits for one."""
        ...

    def select(self, image: np.ndarray, number: int, total: int) -> list[float] | None:
        """Let the user draw the box of target ``number`` (from 1) of ``total``; None when they would not."""
        ...


# What else looks on: called after each frame, with its number and the target. It raises LeaveSequence to leave.
Watcher = Callable[[int, Any], None]


@dataclass
class Demo:
    """What a run is made of, besides tracker and video.

    Attributes:
        boxes: ``xywh`` pixels of the targets in the first frame; none are drawn by the user.
        targets: how many the user draws.
        window: shows the frames and takes keys; None shows nothing.
        output: video file to write, with the boxes.
        results: result files to write, one for each target, with their provenance.
        watcher: what else looks on, at the first target alone; opened for the run.
        lost_below: targets of a lower score are shown as lost.
    """

    boxes: Sequence[Box] = ()
    targets: int = 1
    window: Window | None = None
    output: Path | None = None
    results: Sequence[ResultWriter] = ()
    watcher: AbstractContextManager[Watcher] | None = None
    lost_below: float = 0.0


@dataclass
class DemoSummary:
    """How a run went.

    Attributes:
        frames: seen, those in which boxes were given among them.
        tracked: frames in which the targets were looked for.
        seconds: that the tracker took for these.
        waited: for the user.
        wall: from the first frame to the end.
        lowest: the lowest score of each target.
        lost: frames in which each target was lost.
        left: the user left before the end.
    """

    frames: int = 0
    tracked: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    wall: float = 0.0
    lowest: list[float] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    left: bool = False

    def add(self, frame: TrackedFrame, lost_below: float) -> None:
        """Count a frame."""
        self.lowest, self.lost = self.lowest or [1.0] * len(frame.scores), self.lost or [0] * len(frame.scores)
        self.frames += 1
        if frame.step is not None:
            self.tracked, self.seconds = self.tracked + 1, self.seconds + frame.seconds
        self.lowest = [min(pair) for pair in zip(self.lowest, frame.scores, strict=True)]
        self.lost = [lost + (score < lost_below) for lost, score in zip(self.lost, frame.scores, strict=True)]

    def __str__(self) -> str:
        lines = [f"{_frames(self.frames)}{', then left by the user' if self.left else ''}"]
        if self.tracked:
            whole = self.frames / max(self.wall - self.waited, 1e-9)
            lines[0] += f"; tracker {self.tracked / self.seconds:.1f} FPS, end to end {whole:.1f} FPS"
        for number, (lowest, lost) in enumerate(zip(self.lowest, self.lost, strict=True), start=1):
            lines.append(f"target {number}: lowest score {lowest:.2f}, lost in {_frames(lost)}")
        return "\n".join(lines)


def _frames(count: int) -> str:
    return f"{count} frame{'s' * (count != 1)}"


def run_demo(tracker: BatchTracker, video: VideoFile, demo: Demo) -> DemoSummary:
    """Track through the video until it ends or the user leaves.

    Frames are read ahead by a thread. Keys: r lets the user draw all boxes anew on the frame that is shown, the space
    bar pauses, q leaves. Results hold one line for each frame seen, the boxes drawn by the user among them.

    Raises:
        ConfigError: there is neither a box nor a window to draw one in, the user drew none, or the output is the video
            that is read.
        DataError: the video cannot be read to its end, a box has no area inside its frame, or a file cannot be written.
            What was written until then stays: the video, and results under the name of unfinished ones.
    """
    if not demo.boxes and demo.window is None:
        raise ConfigError("no box to start from, and no display to draw one on: give --optional_box X Y W H")
    if demo.output and demo.output.exists() and isinstance(video.path, Path) and demo.output.samefile(video.path):
        raise ConfigError(f"--output {demo.output} is the video that is read: choose another name")
    live = isinstance(video, LiveVideo)
    with ExitStack() as stack:
        run = _Run(Follower(tracker), demo)
        frames = stack.enter_context(closing(read_ahead(video, _AHEAD_LIVE if live else _AHEAD)))
        output = stack.enter_context(VideoWriter(demo.output, video.fps)) if demo.output else None
        results = [stack.enter_context(result) for result in demo.results]
        watcher = stack.enter_context(demo.watcher) if demo.watcher else None
        for tracked, decode in run.track(tqdm(frames, total=video.coded_frames, unit="frame")):
            times = (tracked.seconds, tracked.step.crop, tracked.step.network) if tracked.step else (tracked.seconds,)
            share = [seconds / len(tracked.boxes) for seconds in times]
            for result, box, score in zip(results, tracked.boxes, tracked.scores, strict=bool(results)):
                result.add(box, FrameTime(decode, *share), score)
            if output:
                write_fitted(output, tracked.picture(demo.lost_below))
            if watcher:
                try:
                    watcher(run.summary.frames - 1, run.follower.targets[0])
                except LeaveSequence:
                    run.summary.left = True
                    break
    return run.summary


class _Run:
    """The loop over the frames, and what the user does to it."""

    def __init__(self, follower: Follower, demo: Demo) -> None:
        self.follower, self.demo, self.summary = follower, demo, DemoSummary()

    def track(self, frames: Iterable[tuple[np.ndarray, float]]) -> Iterator[tuple[TrackedFrame, float]]:
        """Each frame as it is settled, that is with the boxes that the user may have drawn on it."""
        start = time.perf_counter()
        for image, decode in frames:
            tracked = self.follower.step(image) if self.follower.targets else self._first(image)
            if self.demo.window:
                tracked = self._shown(tracked, self.demo.window)
            self.summary.add(tracked, self.demo.lost_below)
            yield tracked, decode
            self.summary.wall = time.perf_counter() - start
            if self.summary.left:
                return

    def _first(self, image: np.ndarray) -> TrackedFrame:
        boxes = self.demo.boxes or self._drawn(image)
        if not boxes:
            raise ConfigError("no box was drawn, so there is nothing to track")
        return self.follower.start(image, boxes)

    def _shown(self, tracked: TrackedFrame, window: Window) -> TrackedFrame:
        key = window.show(tracked.picture(self.demo.lost_below))
        paused = key == _PAUSE
        while paused or key in (_RESELECT, _QUIT):
            if key == _QUIT:
                self.summary.left = True
                break
            if key == _RESELECT and (boxes := self._drawn(tracked.image)):
                tracked = self.follower.start(tracked.image, boxes)
            start = time.perf_counter()
            key = window.show(tracked.picture(self.demo.lost_below), wait=paused)
            self.summary.waited += (time.perf_counter() - start) * paused
            paused = paused != (key == _PAUSE)
        return tracked

    def _drawn(self, image: np.ndarray) -> list[list[float]]:
        """The boxes that the user draws for all targets; none when they stop halfway."""
        start, total, window = time.perf_counter(), len(self.demo.boxes) or self.demo.targets, self.demo.window
        boxes: list[list[float]] = []
        while window and len(boxes) < total and (box := window.select(image, len(boxes) + 1, total)):
            boxes.append(box)
        self.summary.waited += time.perf_counter() - start
        return boxes if len(boxes) == total else []
