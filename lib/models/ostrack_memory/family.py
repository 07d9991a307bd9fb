"""OSTrack with a memory as a family of trackers."""

from functools import partial

from lib.config.ostrack_memory import OSTrackMemoryConfig
from lib.models.family import Family
from lib.models.ostrack.inference import prepare_inference
from lib.models.ostrack.weights import adapt_weights, explain_misfit
from lib.models.ostrack_memory.inference import MemoryInferenceModel, PlainMemoryModel, initial_state
from lib.models.ostrack_memory.model import build_ostrack_memory

FAMILY = Family(
    config=OSTrackMemoryConfig,
    build=build_ostrack_memory,
    initial_state=initial_state,
    plain=PlainMemoryModel,
    inference=partial(prepare_inference, form_type=MemoryInferenceModel),
    actor="lib.train.actors.ostrack_memory:OSTrackMemoryActor",
    tracker="lib.test.tracker.ostrack_memory:MemoryTracker",
    adapt_weights=adapt_weights,
    explain_misfit=explain_misfit,
)
