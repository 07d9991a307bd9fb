"""Where data sets and weights lie on this machine."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass, field, fields

from lib.utils.errors import ConfigError

_LOCAL = "lib.train.admin.local"


@dataclass
class EnvironmentSettings:
    """Folders for training. Every field can be set in ``lib/train/admin/local.py``; relative ones start from the
    current folder.

    ``images_dir`` and ``cutouts_dir`` feed the data set ``IMAGES``: one folder or a list of folders of pictures, and of
    PNG cut-outs with alpha; an empty value means procedural textures only.
    """

    workspace_dir: str = "./output"
    tensorboard_dir: str = "./output/tensorboard"
    pretrained_networks: str = "./pretrained_models"
    lasot_dir: str = "./data/lasot"
    lasot_lmdb_dir: str = "./data/lasot_lmdb"
    got10k_dir: str = "./data/got10k/train"
    got10k_val_dir: str = "./data/got10k/val"
    got10k_lmdb_dir: str = "./data/got10k_lmdb"
    trackingnet_dir: str = "./data/trackingnet"
    trackingnet_lmdb_dir: str = "./data/trackingnet_lmdb"
    coco_dir: str = "./data/coco"
    coco_lmdb_dir: str = "./data/coco_lmdb"
    imagenet_dir: str = "./data/vid"
    imagenet_lmdb_dir: str = "./data/vid_lmdb"
    images_dir: str | list[str] = field(default_factory=str)
    cutouts_dir: str | list[str] = field(default_factory=str)


def env_settings() -> EnvironmentSettings:
    """The defaults, overridden by the ``EnvironmentSettings`` of ``lib/train/admin/local.py`` where that file exists.

    Attributes of the local file that are no field here are left alone: files written for the published project fit.

    Raises:
        ConfigError: the file exists but holds no class ``EnvironmentSettings`` that can be made without arguments.
    """
    settings = EnvironmentSettings()
    if importlib.util.find_spec(_LOCAL) is None:
        return settings
    try:
        local = importlib.import_module(_LOCAL).EnvironmentSettings()
    except (SyntaxError, NameError, AttributeError, TypeError, ImportError) as error:
        raise ConfigError(
            f"lib/train/admin/local.py cannot be used ({type(error).__name__}: {error}); mend it, or write a new one "
            "with tracking/create_default_local_file.py --force"
        ) from error
    for entry in fields(settings):
        if hasattr(local, entry.name):
            setattr(settings, entry.name, getattr(local, entry.name))
    return settings
