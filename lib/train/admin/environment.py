"""Folders of data sets for training: defaults, or the user's ``local.py``."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, make_dataclass
from pathlib import Path

from lib.data.datasets import TRAINING
from lib.utils.paths import PROJECT_DIR, local_file, local_settings

LOCAL_FILE = local_file("train", "lib/train/admin/local.py")


def _data(name: str) -> str:
    return str(PROJECT_DIR / "data" / name)


_DEFAULTS = {name: _data(folder) for row in TRAINING.values() for name, folder in row.default_folders().items()}
_DataFolders = make_dataclass("_DataFolders", [(name, str, field(default=path)) for name, path in _DEFAULTS.items()])


@dataclass
class EnvironmentSettings(_DataFolders):  # type: ignore[misc, valid-type]  # generated from the table
    """Folders for training, with the published names; those of data sets are in :data:`lib.data.datasets.TRAINING`.

    ``save_dir`` is for checkpoints, logs and curves, ``cache_dir`` for parsed annotations. The others are a folder or a
    list of folders: ``folder_dir`` of sequences for ``FOLDER``; ``pictures_dir`` of still images with boxes for
    ``PICTURES``; ``images_dir`` of unlabeled images and ``cutouts_dir`` of PNG cut-outs with alpha for ``IMAGES``
    (empty: textures only).
    """

    workspace_dir: str = str(PROJECT_DIR)
    save_dir: str = str(PROJECT_DIR / "output")
    cache_dir: str = _data("cache")
    folder_dir: str | list[str] = ""
    pictures_dir: str | list[str] = ""
    images_dir: str | list[str] = ""
    cutouts_dir: str | list[str] = ""


def env_settings(path: str | Path | None = None) -> EnvironmentSettings:
    """Return the defaults, overridden by the ``EnvironmentSettings`` of ``lib/train/admin/local.py`` if it exists.

    Other attributes of the file are ignored, and what it leaves empty keeps its default, so files of the published
    project can be used.

    Raises:
        ConfigError: the file exists but holds no class ``EnvironmentSettings`` that can be made without arguments.
    """
    settings = EnvironmentSettings()
    path = Path(path or LOCAL_FILE)
    if path.exists():
        local = local_settings(path, "EnvironmentSettings")
        for entry in fields(settings):
            if value := getattr(local, entry.name, ""):
                setattr(settings, entry.name, value)
    return settings
