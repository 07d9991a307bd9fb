"""The loop of the video demo: frames, the targets in them, and the keys that a user presses."""

from __future__ import annotations

import logging
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from lib.data.video_io import LiveVideo, VideoFile, VideoWriter
from lib.test.analysis.metrics import true_runs
from lib.test.evaluation.prefetch import read_ahead
from lib.test.evaluation.protocol import BatchTracker
from lib.test.evaluation.results import LOST_BELOW
from lib.test.evaluation.writer import FrameTime, ResultWriter
from lib.test.track_formats import Track, VideoTracks, check_names, save_tracks
from lib.test.tracker.video import TrackedFrame, VideoTracker
from lib.utils.errors import ConfigError, DataError, OSTrackError, listed
from lib.vis.draw import write_fitted
from lib.vis.views import LeaveSequence, Screen
from lib.vis.window import CvWindow

if TYPE_CHECKING:
    import supervision

logger = logging.getLogger(__name__)

Box = Sequence[float]
KEYS = "r select anew, space pause, q quit"
_RESELECT, _PAUSE, _QUIT = ord("r"), ord(" "), ord("q")
_AHEAD, _AHEAD_LIVE = 8, 1  # frames read ahead; what waits in a queue of a live source is seen late


# Called after each frame with its number and the target; raises LeaveSequence to leave.
Viewer = Callable[[int, Any], None]


@dataclass(frozen=True)
class VideoOptions:
    """What is tracked in a video, and where it goes.

    Attributes:
        starts: the frame of the video, from 0, that each box is in; by default the first.
        start_frame: the first frame to read, from 0.
        targets: how many the user draws.
        output: mp4 file to write, with the boxes; as large and fast as the source.
        save_results: write ``RESULTS/FAMILY/CONFIG/video_NAME.txt``, see :func:`result_path`.
        display: show the frames, where there is a display.
        lost_below: targets with a lower score are shown as lost, and have no box in what is saved.
        save: files of tracks to write, their formats by their names, see :data:`lib.test.track_formats.FORMATS`.
        label: what the targets are called in them.
        run_id: puts the results under ``CONFIG_RUNID`` (three digits), apart from other runs.
        screen: shows what the tracker makes of the first target, by backend ``plain``.
    """

    starts: Sequence[int] = ()
    start_frame: int = 0
    targets: int = 1
    output: Path | None = None
    save_results: bool = False
    display: bool = True
    lost_below: float = LOST_BELOW
    save: Sequence[Path] = ()
    label: str = "target"
    run_id: int | None = None
    screen: Screen | None = None

    def __post_init__(self) -> None:
        if self.targets < 1 or not 0 <= self.lost_below <= 1:
            given = f"targets {self.targets}, lost_below {self.lost_below}"
            raise ConfigError(f"{given}: at least 1 target, and a score from 0 to 1")
        if self.run_id is not None and self.run_id < 0:
            raise ConfigError(f"--runid {self.run_id}: this is 0 or more")


@dataclass
class Demo:
    """What a run is made of, besides tracker and video."""

    boxes: Sequence[Box] = ()  # ``xywh`` pixels of the targets; none are drawn by the user, in the first frame
    options: VideoOptions = VideoOptions()
    window: CvWindow | None = None  # shows the frames and takes keys; None shows nothing
    results: Sequence[ResultWriter] = ()  # result files to write, one for each target, with their provenance
    viewer: AbstractContextManager[Viewer] | None = None  # shows the first target; opened for the run

    def __post_init__(self) -> None:
        check_names(self.options.save, self.targets)
        first = self.options.start_frame
        if first < 0 or min(self.starts, default=first) < first:
            given = f"--start_frame {first}, boxes in frames {', '.join(map(str, self.starts))}"
            raise ConfigError(f"{given}: frames count from 0, and no box may be in one before the first that is read")

    @property
    def starts(self) -> Sequence[int]:
        """The frame of the video, from 0, that each box is in."""
        return self.options.starts or [self.options.start_frame] * len(self.boxes)

    @property
    def targets(self) -> int:
        """How many targets there are."""
        return len(self.boxes) or self.options.targets


@dataclass
class DemoSummary:
    """How a run went."""

    lost_below: float = LOST_BELOW  # targets with a lower score are lost
    frames: int = 0  # seen, those in which boxes were given among them
    tracked: int = 0  # frames in which the targets were looked for
    seconds: float = 0.0  # that the tracker took for these
    waited: float = 0.0  # for the user, in seconds
    wall: float = 0.0  # seconds from the first frame to the end
    left: bool = False  # the user left before the end
    video: str = ""  # what was tracked in
    fps: float = 25.0  # frames per second of the video
    size: tuple[int, int] = (0, 0)  # width and height of the first frame, in pixels
    label: str = "target"  # what the targets are called
    # Of every box, one after the other: number of the frame in the video (from 0), number of the target (from 1), box
    # (``xywh``) and score. As flat numbers, since a stream may run for days.
    boxes: array[float] = field(default_factory=lambda: array("d"))
    last: int = -1  # number of the last frame that was seen

    def add(self, frame: TrackedFrame, number: int) -> None:
        """Count a frame, the one of this number in the video."""
        self.last = number
        if not self.frames:
            self.size = frame.image.shape[1], frame.image.shape[0]
        self.frames += 1
        if frame.step is not None:
            self.tracked, self.seconds = self.tracked + 1, self.seconds + frame.seconds
        for target, box, score in zip(frame.numbers, frame.boxes, frame.scores, strict=True):
            self.boxes.extend((number, target, *box, score))

    @property
    def _targets(self) -> list[np.ndarray]:
        """Number of the frame, ``xywh`` and score of each target's boxes, (N, 6)."""
        rows = np.frombuffer(self.boxes, float).reshape(-1, 7)
        count = int(rows[:, 1].max(initial=0))
        return [rows[rows[:, 1] == number][:, [0, 2, 3, 4, 5, 6]] for number in range(1, count + 1)]

    @property
    def lowest(self) -> list[float]:
        """The lowest score of each target; a tracker may tell no score, which is NaN and does not count."""
        return [float(np.fmin.reduce(rows[:, 5], initial=1.0)) for rows in self._targets]

    @property
    def lost(self) -> list[int]:
        """In how many frames each target was lost."""
        return [int((rows[:, 5] < self.lost_below).sum()) for rows in self._targets]

    def tracks(self) -> VideoTracks:
        """Return the targets' boxes by frame of the video; nan where they were lost or not yet there."""
        tracks = []
        for rows in self._targets:
            found = rows[~(rows[:, 5] < self.lost_below)]
            values = np.full((self.last + 1, 5), np.nan)
            values[found[:, 0].astype(int)] = found[:, 1:]
            tracks.append(Track(values[:, :4], values[:, 4], self.label))
        return VideoTracks(self.video, *self.size, self.fps, tuple(tracks))

    def to_supervision(self, frame: int) -> supervision.Detections:
        """Return the boxes of a frame of the video (from 0), see :meth:`VideoTracks.to_supervision`."""
        return self.tracks().to_supervision(frame)

    def __str__(self) -> str:
        lines = [f"{_frames(self.frames)}{', then left by the user' if self.left else ''}"]
        if self.tracked:
            whole = self.frames / max(self.wall - self.waited, 1e-9)
            lines[0] += f"; tracker {self.tracked / self.seconds:.1f} FPS, end to end {whole:.1f} FPS"
        for number, (rows, lowest) in enumerate(zip(self._targets, self.lowest, strict=True), start=1):
            lost = np.zeros(self.last + 1, bool)
            lost[rows[rows[:, 5] < self.lost_below, 0].astype(int)] = True
            gaps = [f"{first} to {end - 1}" if end - first > 1 else f"{first}" for first, end in true_runs(lost)]
            when = f": {listed(gaps, most=5)}" if gaps else ""
            lines.append(f"target {number}: lowest score {lowest:.2f}, lost in {_frames(int(lost.sum()))}{when}")
        return "\n".join(lines)


def _frames(count: int) -> str:
    return f"{count} frame{'s' * (count != 1)}"


def run_demo(tracker: BatchTracker, video: VideoFile, demo: Demo) -> DemoSummary:
    """Track through the video until it ends or the user leaves.

    Frames are read ahead by a thread. Keys: r lets the user draw all boxes anew on the frame that is shown, the space
    bar pauses, q leaves. Results hold one line for each frame from the target's first on, which their provenance names,
    the boxes drawn by the user among them. Where frames change their size, the output keeps that of the first.

    Raises ConfigError: there is neither a box nor a window to draw one in, the user drew none, or the output is the
    video that is read. Raises DataError: the video cannot be read to its end, a box has no area inside its frame, or a
    file cannot be written. What was written until then stays: the video, and results under the name of unfinished ones.
    Or the video ends before the first frame that is to be read, or before that of a target; then the others are whole.
    """
    options = demo.options
    if not demo.boxes and demo.window is None:
        raise ConfigError("no box to start from, and no display to draw one on: give --optional_box X Y W H")
    output_path = options.output
    if output_path and output_path.exists() and isinstance(video.path, Path) and output_path.samefile(video.path):
        raise ConfigError(f"--output {output_path} is the video that is read: choose another name")
    live = isinstance(video, LiveVideo)
    with ExitStack() as stack:
        run = _Run(VideoTracker(tracker), demo)
        run.summary.video, run.summary.label = str(video.path), options.label
        stack.callback(_save, run.summary, video, options.save)
        frames = stack.enter_context(closing(read_ahead(video, _AHEAD_LIVE if live else _AHEAD)))
        output = stack.enter_context(VideoWriter(output_path, video.fps)) if output_path else None
        results: dict[int, ResultWriter] = {}
        viewer = stack.enter_context(demo.viewer) if demo.viewer else None
        wanted = islice(frames, options.start_frame, None)
        total = max(0, video.coded_frames - options.start_frame) if video.coded_frames else None
        sizes: list[tuple[int, ...]] = []
        for tracked, decode in run.track(tqdm(wanted, total=total, unit="frame")):
            times = (tracked.seconds, tracked.step.crop, tracked.step.network) if tracked.step else (tracked.seconds,)
            share = [seconds / max(1, len(tracked.boxes)) for seconds in times]
            found = zip(tracked.numbers, tracked.boxes, tracked.scores, strict=True)
            for number, box, score in found if demo.results else ():
                if number not in results:
                    demo.results[number - 1].provenance["first_frame"] = run.frame
                    results[number] = stack.enter_context(demo.results[number - 1])
                results[number].add(box, FrameTime(decode, *share), score)
            if (size := tracked.image.shape[:2]) not in sizes:
                sizes.append(size)
                if len(sizes) == 2:
                    logger.warning("frame %d has another size than those before: boxes are in pixels of each frame, "
                                   "a video keeps the size of the first", run.frame)  # fmt: skip
            if output:
                write_fitted(output, tracked.picture(options.lost_below))
            if viewer and run.tracker.targets:
                try:
                    viewer(run.summary.frames - 1, run.tracker.targets[0])
                except LeaveSequence:
                    run.summary.left = True
                    break
    run.check_end(video)
    return run.summary


def _save(summary: DemoSummary, video: VideoFile, paths: Sequence[Path]) -> None:
    """Write the tracks of what was seen, if anything was: all files that can be. Raises the first error."""
    if summary.frames:
        summary.fps = video.fps
    if summary.frames and paths:
        tracks, errors = summary.tracks(), list[Exception]()
        for path in paths:
            try:
                save_tracks(tracks, path)
            except (OSError, OSTrackError) as error:
                errors.append(error)
        if errors:
            raise errors[0]


class _Run:
    """The loop over the frames, and what the user does to it."""

    def __init__(self, tracker: VideoTracker, demo: Demo) -> None:
        self.tracker, self.demo, self.options = tracker, demo, demo.options
        self.summary = DemoSummary(self.options.lost_below)
        self.frame = self.options.start_frame - 1  # the number of the last one that was read, from 0
        self.waiting = dict(enumerate(zip(demo.starts, demo.boxes, strict=True), start=1))  # targets that come later

    def track(self, frames: Iterable[tuple[np.ndarray, float]]) -> Iterator[tuple[TrackedFrame, float]]:
        """Yield each frame in its final state, with the boxes that the user may have drawn on it."""
        start = time.perf_counter()
        for image, decode in frames:
            self.frame += 1
            tracked = self.tracker.step(image, self._joining(image))
            if self.demo.window:
                tracked = self._shown(tracked, self.demo.window)
            self.summary.add(tracked, self.frame)
            yield tracked, decode
            self.summary.wall = time.perf_counter() - start
            if self.summary.left:
                return

    def check_end(self, video: VideoFile) -> None:
        """Raise DataError where the video has ended before something that was to come."""
        if not self.summary.frames:
            raise DataError(f"video {video.path} has no frame {self.options.start_frame}: choose a lower --start_frame")
        if self.waiting and not self.summary.left:
            number, (start, _) = next(iter(self.waiting.items()))
            ended = f"video {video.path} ended after frame {self.frame} (from 0)"
            missed = f"target {number} was to start in frame {start}"
            raise DataError(f"{ended}, {missed}; the files of the others are whole")

    def _joining(self, image: np.ndarray) -> dict[int, Box]:
        """Return numbers and boxes of targets that start in this frame; the user draws them where none are given."""
        if not self.demo.boxes and not self.tracker.targets:
            if not (drawn := self._drawn(image)):
                raise ConfigError("no box was drawn, so there is nothing to track")
            return dict(enumerate(drawn, start=1))
        new = {number: box for number, (start, box) in self.waiting.items() if start == self.frame}
        self.waiting = {number: later for number, later in self.waiting.items() if number not in new}
        return new

    def _shown(self, tracked: TrackedFrame, window: CvWindow) -> TrackedFrame:
        key = window.show(tracked.picture(self.options.lost_below))
        paused = key == _PAUSE
        while paused or key in (_RESELECT, _QUIT):
            if key == _QUIT:
                self.summary.left = True
                break
            if key == _RESELECT and (boxes := self._drawn(tracked.image)):
                tracked, self.waiting = self.tracker.start(tracked.image, boxes), {}
            start = time.perf_counter()
            key = window.show(tracked.picture(self.options.lost_below), wait=paused)
            self.summary.waited += (time.perf_counter() - start) * paused
            paused = paused != (key == _PAUSE)
        return tracked

    def _drawn(self, image: np.ndarray) -> list[list[float]]:
        """Return the boxes that the user draws for all targets; none when they stop halfway."""
        start, total, window = time.perf_counter(), self.demo.targets, self.demo.window
        boxes: list[list[float]] = []
        while window and len(boxes) < total and (box := window.select(image, len(boxes) + 1, total)):
            boxes.append(box)
        self.summary.waited += time.perf_counter() - start
        return boxes if len(boxes) == total else []
