"""Tracking through a stream of frames, with a picture of each result."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lib.test.tracker.ostrack import Tracker
from lib.utils.errors import DataError
from lib.utils.video_io import VideoWriter
from lib.vis.draw import contact_sheet, draw_box


@dataclass
class VideoTrack:
    """A target's way through a video.

    Attributes:
        boxes: ``xywh`` in pixels, one for each frame; the first is the given one.
        scores: in (0, 1), one for each frame; the first is 1.
        seconds: spent in ``Tracker.track`` for all frames but the first.
        pictures: the frames with the box drawn, where they were asked for.
    """

    boxes: list[list[float]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    seconds: float = 0.0
    pictures: list[np.ndarray] = field(default_factory=list)

    @property
    def fps(self) -> float:
        """Frames per second of the tracker loop, without reading and drawing."""
        return (len(self.boxes) - 1) / self.seconds if self.seconds else 0.0


def track_video(
    tracker: Tracker, frames: Iterable[np.ndarray], box: Sequence[float], out: Path | None = None, fps: float = 25.0
) -> VideoTrack:
    """Track the target at ``box`` in the first frame through all of them.

    Args:
        frames: RGB uint8 images.
        box: ``xywh`` in pixels.
        out: an ``.mp4`` to write, with box and score drawn.
        fps: its rate.

    Raises:
        DataError: there is no frame, or the box is not in the first one.
    """
    track = VideoTrack()
    for image in frames:
        if not track.boxes:
            tracker.initialize(image, {"init_bbox": box})
            track.boxes.append([float(v) for v in box])
            track.scores.append(1.0)
        else:
            start = time.perf_counter()
            output = tracker.track(image)
            track.seconds += time.perf_counter() - start
            track.boxes.append(output["target_bbox"])
            track.scores.append(output["best_score"])
        track.pictures.append(draw_box(image, track.boxes[-1], label=f"{track.scores[-1]:.2f}"))
    if not track.boxes:
        raise DataError("the video has no frame")
    if out is not None:
        with VideoWriter(out, fps) as writer:
            for picture in track.pictures:
                writer.write(picture)
    return track


def overview(track: VideoTrack, tiles: int = 12, columns: int = 4, tile_width: int = 320) -> np.ndarray:
    """Evenly spaced pictures of a track on one sheet, first and last among them."""
    chosen = np.linspace(0, len(track.pictures) - 1, min(tiles, len(track.pictures))).round().astype(int)
    return contact_sheet([track.pictures[i] for i in chosen], columns, tile_width)
