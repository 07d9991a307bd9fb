"""The public names, for ``from ostrack import Tracker``: see docs/api.md. Their source is ``lib``."""

from lib.data.picture_video import open_frames
from lib.test.spec import TrackerSpec
from lib.test.tracker import Target, Tracker, build_tracker
from lib.test.tracker.video import TrackedFrame, track_frames
from lib.test.video_demo import VideoOptions, track_video
from lib.utils.errors import OSTrackError

__all__ = [
    "OSTrackError",
    "Target",
    "TrackedFrame",
    "Tracker",
    "TrackerSpec",
    "VideoOptions",
    "build_tracker",
    "open_frames",
    "track_frames",
    "track_video",
]
