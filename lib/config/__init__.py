"""Experiments: YAML files as typed, checked and frozen objects. Imports neither torch nor timm."""

from lib.config.experiment import ExperimentConfig, drawn_datasets, unused_keys, validated_epochs
from lib.config.loading import config_hash, config_path, experiments_dir, is_config_file, load_config
from lib.config.section import to_plain

__all__ = [
    "ExperimentConfig",
    "config_hash",
    "config_path",
    "drawn_datasets",
    "experiments_dir",
    "is_config_file",
    "load_config",
    "to_plain",
    "unused_keys",
    "validated_epochs",
]
