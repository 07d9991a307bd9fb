"""Tracking what a user points at in a video, a camera or a stream: what ``tracking/video_demo.py`` does."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lib.config import config_hash
from lib.data.picture_video import PictureVideo, open_frames
from lib.data.video_io import VideoFile
from lib.test.evaluation.environment import env_settings
from lib.test.evaluation.results import read_provenance, run_folder, run_provenance
from lib.test.evaluation.writer import ResultWriter
from lib.test.spec import TrackerSpec
from lib.test.tracker.build import build_from_spec, choose_precision
from lib.test.tracker.inspected import InspectedTracker
from lib.test.video_loop import KEYS, Box, Demo, DemoSummary, VideoOptions, run_demo
from lib.utils.devices import checked_device
from lib.utils.errors import ConfigError, DataError
from lib.vis.window import CvWindow, display_problem

logger = logging.getLogger(__name__)


def track_video(
    spec: TrackerSpec,
    source: str | Path,
    boxes: Sequence[Box] = (),
    options: VideoOptions = VideoOptions(),  # noqa: B008 (frozen)
) -> DemoSummary:
    """Track one or several targets through a video, in one run of the model per frame.

    Args:
        source: video file, folder or pattern of pictures (see :func:`open_frames`), number of a camera, or URL of a
            stream.
        boxes: ``xywh`` pixels of the targets; without any the user draws them in the first frame.

    Raises OSTrackError: configuration, weights, boxes, video, display or a file to write cannot be used.
    """
    demo = Demo(boxes, options)
    video = open_frames(source)
    if isinstance(video, PictureVideo) and max(demo.starts, default=options.start_frame) >= len(video):
        raise ConfigError(f"{source} has {len(video)} frames, 0 to {len(video) - 1}: no target can start after them")
    rate = video.fps  # first: a video that cannot be opened is an error before anything slow
    problem = _no_window(options.display, bool(boxes))
    if options.screen and (spec.compiled or spec.backend != "torch"):
        raise ConfigError("--debug looks into the plain network: leave out --backend and --compile")
    device, backend = checked_device(spec.device), "plain" if options.screen else spec.backend
    spec = replace(spec, backend=backend, precision=choose_precision(spec.precision, device, backend))
    tracker = build_from_spec(spec)
    logger.info("Tracking in %s (%.4g frames per second) with %s on %s", source, rate, tracker.checkpoint, device)
    if options.save_results:
        cfg, how = tracker.cfg, (spec.precision, tracker.device.type, spec.backend)
        root = Path(env_settings().saving_to(spec.save_dir).results_path) / cfg.family
        run = run_provenance(cfg.family, cfg.name, config_hash(cfg), tracker.checkpoint, *how)
        demo.results = _writers(root / run_folder(cfg.name, options.run_id), run, video, boxes, demo.targets)
    with ExitStack() as stack:
        demo.window = None if problem else stack.enter_context(CvWindow(f"{tracker.cfg.name}: {KEYS}"))
        inspected = InspectedTracker(tracker, options.screen) if options.screen else None
        if inspected:
            demo.viewer = inspected.open_screen(video_name(video), video.coded_frames or 0, np.empty((0, 4)))
        summary = run_demo(inspected or tracker, video, demo)
    started = [result.path for result in demo.results if "first_frame" in result.provenance]
    for path in ([options.output] if options.output else []) + started + list(options.save):
        logger.info("Wrote %s", path)
    return summary


def _no_window(wanted: bool, have_boxes: bool) -> str | None:
    """Say why there is no window, if so. Raises ConfigError: one is needed to draw boxes in."""
    problem = display_problem() if wanted else "none is wanted"
    if problem and not have_boxes:
        missing = f"no box to start from, and no display to draw one on ({problem})"
        raise ConfigError(f"{missing}: give --optional_box X Y W H")
    if problem and wanted:
        logger.info("No window: %s", problem)
    return problem


def _writers(
    folder: Path, run: dict[str, Any], video: VideoFile, boxes: Sequence[Box], targets: int
) -> list[ResultWriter]:
    """Return what writes the results of each target. Raises DataError: those of another video would be replaced."""
    name = os.path.abspath(video.path) if isinstance(video.path, Path) else str(video.path)
    writers = []
    for i in range(targets):
        path = result_path(folder, video, i + 1, targets)
        other = (read_provenance(path) or {}).get("video", name) if path.is_file() else name
        if os.path.abspath(other) != os.path.abspath(name):
            raise DataError(f"{path} is the result of another video, {other}: use another --runid or --save_dir")
        box = list(boxes[i]) if boxes else "drawn by the user"
        writers.append(ResultWriter(path, run | {"video": name, "init_box": box}))
    return writers


def video_name(video: VideoFile) -> str:
    """``video_NAME`` as in the published results; a camera is ``video_cameraN``, pictures go by their folder."""
    name = f"camera{video.path}" if isinstance(video.path, int) else Path(str(video.path)).stem
    name = video.name if isinstance(video, PictureVideo) else name
    return "video_" + re.sub(r"[^\w.-]+", "_", name)


def result_path(folder: Path, video: VideoFile, number: int = 1, targets: int = 1) -> Path:
    """Return the result file of target ``number`` (from 1): ``video_NAME.txt``, as published, if it is the only one.

    Several targets have ``video_NAME_targetN.txt``.
    """
    return folder / (video_name(video) + (".txt" if targets == 1 else f"_target{number}.txt"))
