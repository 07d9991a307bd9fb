"""OSTrack with a memory as a family of trackers."""

from lib.config.ostrack_memory import OSTrackMemoryConfig
from lib.models.family import Family
from lib.models.ostrack.adapt import adapt_weights
from lib.models.ostrack_memory.inference import PlainMemoryModel, initial_state, prepare_inference
from lib.models.ostrack_memory.model import build_ostrack_memory

FAMILY = Family(
    config=OSTrackMemoryConfig,
    build=build_ostrack_memory,
    initial_state=initial_state,
    plain=PlainMemoryModel,
    inference=prepare_inference,
    actor="lib.train.actors.ostrack_memory:OSTrackMemoryActor",
    tracker="lib.test.tracker.ostrack_memory:MemoryTracker",
    adapt_weights=adapt_weights,
)
