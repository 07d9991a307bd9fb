"""Experiment files of OSTrack."""

from lib.config.ostrack.config import (
    EXPERIMENTS_DIR,
    config_hash,
    config_name,
    config_path,
    drawn_datasets,
    load_config,
    validated_epochs,
)
from lib.config.ostrack.frozen import Config, to_plain

__all__ = [
    "EXPERIMENTS_DIR",
    "Config",
    "config_hash",
    "config_name",
    "config_path",
    "drawn_datasets",
    "load_config",
    "to_plain",
    "validated_epochs",
]
