"""Tracking what a user points at in a video, a camera or a stream: what ``tracking/video_demo.py`` does."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from lib.config.ostrack import config_hash, config_name
from lib.test.evaluation.environment import env_settings
from lib.test.evaluation.results import LOST_BELOW, read_provenance, run_provenance
from lib.test.evaluation.writer import ResultWriter
from lib.test.tracker import build_tracker
from lib.test.tracker.build import choose_precision
from lib.test.tracker.watch import WatchedTracker
from lib.test.video_loop import KEYS, Box, Demo, DemoSummary, run_demo
from lib.utils.devices import checked_device
from lib.utils.errors import ConfigError, DataError
from lib.utils.picture_video import PictureVideo, open_frames
from lib.utils.video_io import VideoFile
from lib.vis.views import Screen
from lib.vis.window import CvWindow, display_problem

logger = logging.getLogger(__name__)


def track_video(
    config: str | Path,
    source: str | Path,
    boxes: Sequence[Box] = (),
    *,
    starts: Sequence[int] = (),
    start_frame: int = 0,
    targets: int = 1,
    output: str | Path | None = None,
    save_results: bool = False,
    display: bool = True,
    lost_below: float = LOST_BELOW,
    checkpoint: str | Path | None = None,
    overrides: Sequence[str] = (),
    precision: str = "float32",
    backend: str = "torch",
    compiled: bool = False,
    device: str = "auto",
    save_dir: str | Path | None = None,
    run_id: int | None = None,
    screen: Screen | None = None,
) -> DemoSummary:
    """Track one or several targets through a video with OSTrack, in one run of the model per frame.

    Args:
        config: name or path of an experiment.
        source: video file, folder or pattern of pictures (see :func:`open_frames`), number of a camera, or URL of a
            stream.
        boxes: ``xywh`` pixels of the targets; without any the user draws them in the first frame.
        starts: the frame of the video, from 0, that each box is in; by default the first.
        start_frame: the first frame to read, from 0.
        targets: how many the user draws.
        output: mp4 file to write, with the boxes; as large and fast as the source.
        save_results: write ``RESULTS/ostrack/CONFIG/video_NAME.txt``, see :func:`result_path`.
        display: show the frames, where there is a display.
        lost_below: targets with a lower score are shown as lost.
        checkpoint: weight file; by default the experiment's own.
        overrides: ``KEY.SUB=value`` strings on top of the experiment.
        precision, backend, compiled: how the network is run, see :func:`build_tracker`.
        device: as of :func:`build_tracker`.
        save_dir: output folder for results and exported files, also searched for checkpoints; by default the
            configured one.
        run_id: puts the results under ``CONFIG_RUNID`` (three digits), apart from other runs.
        screen: shows what the tracker makes of the first target, by backend ``plain``.

    Raises:
        OSTrackError: configuration, weights, boxes, video, display or a file to write cannot be used.
    """
    if targets < 1 or not 0 <= lost_below <= 1:
        raise ConfigError(f"targets {targets}, lost_below {lost_below}: at least 1 target, and a score from 0 to 1")
    demo = Demo(boxes, starts, start_frame, targets, output=Path(output) if output else None, lost_below=lost_below)
    video = open_frames(source)
    if isinstance(video, PictureVideo) and max(demo.starts, default=start_frame) >= len(video):
        raise ConfigError(f"{source} has {len(video)} frames, 0 to {len(video) - 1}: no target can start after them")
    rate = video.fps  # now: a video that cannot be opened is told before anything slow
    problem = display_problem() if display else "none is wanted"
    if problem and not boxes:
        raise ConfigError(
            f"no box to start from, and no display to draw one on ({problem}): give --optional_box X Y W H"
        )
    if problem and display:
        logger.info("No window: %s", problem)
    if screen and (compiled or backend != "torch"):
        raise ConfigError("--debug looks into the plain network: leave out --backend and --compile")
    where, backend = checked_device(device), "plain" if screen else backend
    precision = choose_precision(precision, where, backend)
    tracker = build_tracker(
        config,
        checkpoint,
        where,
        precision,
        backend=backend,
        compiled=compiled,
        overrides=overrides,
        save_dir=save_dir,
    )
    logger.info("Tracking in %s (%.4g frames per second) with %s on %s", source, rate, tracker.checkpoint, where)
    if save_results:
        folder = Path(env_settings().saving_to(save_dir).results_path) / "ostrack"
        folder /= config_name(config) if run_id is None else f"{config_name(config)}_{run_id:03d}"
        name, weights = config_name(config), tracker.checkpoint
        run = run_provenance(
            "ostrack", name, config_hash(tracker.cfg), weights, precision, tracker.device.type, backend
        )
        demo.results = _writers(folder, run, video, boxes, len(boxes) or targets)
    with ExitStack() as stack:
        demo.window = None if problem else stack.enter_context(CvWindow(f"OSTrack: {KEYS}"))
        if screen:
            watched = WatchedTracker(tracker, screen)
            demo.watcher = watched.watching(video_name(video), video.coded_frames or 0, np.empty((0, 4)))
        summary = run_demo(watched if screen else tracker, video, demo)
    started = [result.path for result in demo.results if "first_frame" in result.provenance]
    for path in ([demo.output] if demo.output else []) + started:
        logger.info("Wrote %s", path)
    return summary


def _writers(
    folder: Path, run: dict[str, Any], video: VideoFile, boxes: Sequence[Box], targets: int
) -> list[ResultWriter]:
    name = os.path.abspath(video.path) if isinstance(video.path, Path) else str(video.path)
    paths = [result_path(folder, video, number, targets) for number in range(1, targets + 1)]
    for path in paths:
        _refuse_other(path, name)
    return [
        ResultWriter(path, run | {"video": name, "init_box": list(boxes[i]) if boxes else "drawn by the user"})
        for i, path in enumerate(paths)
    ]


def _refuse_other(path: Path, video: str) -> None:
    """Raise DataError if there is a result of another video of the same name, which would be lost."""
    other = (read_provenance(path) or {}).get("video", video) if path.is_file() else video
    if os.path.abspath(other) != os.path.abspath(video):
        raise DataError(f"{path} is the result of another video, {other}: use another --runid or --save_dir")


def video_name(video: VideoFile) -> str:
    """``video_NAME`` as in the published results; a camera is ``video_cameraN``, pictures go by their folder."""
    name = f"camera{video.path}" if isinstance(video.path, int) else Path(str(video.path)).stem
    name = video.name if isinstance(video, PictureVideo) else name
    return "video_" + re.sub(r"[^\w.-]+", "_", name)


def result_path(folder: Path, video: VideoFile, number: int = 1, targets: int = 1) -> Path:
    """Where the boxes of target ``number`` (from 1) go: ``video_NAME.txt``, as published, where there is only one.

    Several targets have ``video_NAME_targetN.txt``.
    """
    return folder / (video_name(video) + (".txt" if targets == 1 else f"_target{number}.txt"))
