"""Training data sets by the names that experiments use."""

from __future__ import annotations

from collections.abc import Callable

from lib.train.admin.environment import EnvironmentSettings
from lib.train.data.sampler import AnnotatedPairs, DrawnPairs, PairSampling, PairSource
from lib.train.dataset.base import AnnotatedDataset
from lib.train.dataset.got10k import Got10k
from lib.utils.errors import ConfigError

ANNOTATED: dict[str, Callable[[EnvironmentSettings], AnnotatedDataset]] = {
    "GOT10K_vottrain": lambda env: Got10k("GOT10K_vottrain", env.got10k_dir, "got10k_dir", "vottrain"),
    "GOT10K_votval": lambda env: Got10k("GOT10K_votval", env.got10k_dir, "got10k_dir", "votval"),
    "GOT10K_train_full": lambda env: Got10k("GOT10K_train_full", env.got10k_dir, "got10k_dir"),
    "GOT10K_official_val": lambda env: Got10k("GOT10K_official_val", env.got10k_val_dir, "got10k_val_dir"),
}


def open_source(name: str, env: EnvironmentSettings, sampling: PairSampling) -> PairSource:
    """Open a data set as something that pairs are drawn from.

    Args:
        name: name of a data set.
        sampling: how frames of annotated data are chosen.

    Raises:
        ConfigError: unknown name or mode.
        DataError: the data are missing or damaged.
    """
    if name == "IMAGES":
        from lib.train.dataset.images import build_images_dataset

        return DrawnPairs(build_images_dataset(_folders(env.images_dir), _folders(env.cutouts_dir), None))
    if name not in ANNOTATED:
        raise ConfigError(f"unknown training data set {name!r}; known are {', '.join([*ANNOTATED, 'IMAGES'])}")
    return AnnotatedPairs(ANNOTATED[name](env), sampling)


def _folders(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) and value else list(value)
