"""Where the training half finds data sets and puts logs: defaults, or the user's ``local.py``."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, make_dataclass
from pathlib import Path

from lib.data.datasets import TRAINING
from lib.utils.paths import PROJECT_DIR, local_file, local_settings

LOCAL_FILE = local_file("train", "lib/train/admin/local.py")


def _data(name: str) -> str:
    return str(PROJECT_DIR / "data" / name)


_DATA_FOLDERS = {name: folder for row in TRAINING.values() for name, folder in row.default_folders().items()}
_DataFolders = make_dataclass(
    "_DataFolders", [(name, str, field(default=_data(folder))) for name, folder in _DATA_FOLDERS.items()]
)


@dataclass
class EnvironmentSettings(_DataFolders):  # type: ignore[misc, valid-type]  # made of the table
    """Folders for training, with the published names; all under ``./data`` and ``./output`` of the project folder.

    Those of data sets are the settings of the rows of the table. ``cache_dir`` keeps parsed annotation. ``folder_dir``
    names a folder of sequences, or a list of such, for the data set ``FOLDER``; ``pictures_dir`` one of pictures with
    boxes, or a folder or list of such, for ``PICTURES``. ``images_dir`` and ``cutouts_dir`` feed the data set
    ``IMAGES``: one folder or a list of folders of pictures, and of PNG cut-outs with alpha; an empty value means
    procedural textures only.
    """

    workspace_dir: str = str(PROJECT_DIR)
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
