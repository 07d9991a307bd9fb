"""OSTrack: model, inference form and construction from a configuration."""

from lib.models.ostrack.ostrack import OSTrack, build_ostrack

__all__ = ["OSTrack", "build_ostrack"]
