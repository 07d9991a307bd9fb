"""Where the training half finds data sets and puts logs: defaults, or the user's ``local.py``."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from lib.utils.paths import PROJECT_DIR, local_file, local_settings

LOCAL_FILE = local_file("train", "lib/train/admin/local.py")


def _data(name: str) -> str:
    return str(PROJECT_DIR / "data" / name)


@dataclass
class EnvironmentSettings:
    """Folders for training, with the published names; all under ``./data`` and ``./output`` of the project folder.

    ``cache_dir`` keeps parsed annotation. ``folder_dir`` names a folder of sequences, or a list of such, for the data
    set ``FOLDER``; ``pictures_dir`` one of pictures with boxes, or a folder or list of such, for ``PICTURES``.
    ``images_dir`` and ``cutouts_dir`` feed the data set ``IMAGES``: one folder or a list of folders of pictures, and of
    PNG cut-outs with alpha; an empty value means procedural textures only.
    """

    workspace_dir: str = str(PROJECT_DIR)
    lasot_dir: str = _data("lasot")
    lasot_lmdb_dir: str = _data("lasot_lmdb")
    got10k_dir: str = _data("got10k/train")
    got10k_val_dir: str = _data("got10k/val")
    got10k_lmdb_dir: str = _data("got10k_lmdb")
    trackingnet_dir: str = _data("trackingnet")
    trackingnet_lmdb_dir: str = _data("trackingnet_lmdb")
    coco_dir: str = _data("coco")
    coco_lmdb_dir: str = _data("coco_lmdb")
    imagenet_dir: str = _data("vid")
    imagenet_lmdb_dir: str = _data("vid_lmdb")
    tnl2k_dir: str = _data("tnl2k/train")
    tnl2k_lmdb_dir: str = _data("tnl2k_lmdb")
    vasttrack_dir: str = _data("vasttrack/train")
    vasttrack_lmdb_dir: str = _data("vasttrack_lmdb")
    cache_dir: str = _data("cache")
    folder_dir: str | list[str] = ""
    pictures_dir: str | list[str] = ""
    images_dir: str | list[str] = ""
    cutouts_dir: str | list[str] = ""


def env_settings(path: str | Path | None = None) -> EnvironmentSettings:
    """The defaults, overridden by the ``EnvironmentSettings`` of ``lib/train/admin/local.py`` where that file exists.

    Attributes of the local file that are no field here are left alone: files written for the published project fit.

    Raises:
        ConfigError: the file exists but holds no class ``EnvironmentSettings`` that can be made without arguments.
    """
    settings = EnvironmentSettings()
    path = Path(path or LOCAL_FILE)
    if path.exists():
        local = local_settings(path, "EnvironmentSettings")
        for entry in fields(settings):
            if hasattr(local, entry.name):
                setattr(settings, entry.name, getattr(local, entry.name))
    return settings
