"""OSTrack as a family of trackers."""

from lib.config.ostrack import OSTrackConfig
from lib.models.family import Family
from lib.models.ostrack.inference import initial_state, prepare_inference
from lib.models.ostrack.ostrack import build_ostrack
from lib.models.ostrack.plain import PlainModel
from lib.models.ostrack.weights import adapt_weights, explain_misfit

FAMILY = Family(
    config=OSTrackConfig,
    build=build_ostrack,
    initial_state=initial_state,
    plain=PlainModel,
    inference=prepare_inference,
    actor="lib.train.actors.ostrack:OSTrackActor",
    adapt_weights=adapt_weights,
    explain_misfit=explain_misfit,
)
