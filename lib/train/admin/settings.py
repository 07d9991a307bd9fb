"""One training run: which experiment, where its files go, on what it runs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass
class Settings:
    """Settings of a run that are no part of the experiment.

    Attributes:
        script_name: family of trackers, ``ostrack``.
        config_name: name of the experiment file.
        save_dir: root of everything that the run writes.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        use_wandb: log to Weights & Biases.
        resume: ``latest``, ``none`` or the path of a checkpoint.
    """

    script_name: str = "ostrack"
    config_name: str = ""
    save_dir: str = "./output"
    device: str = "cpu"
    use_wandb: bool = False
    resume: str = "latest"

    @property
    def project_path(self) -> str:
        """``train/SCRIPT/CONFIG``, the published sub-folder."""
        return f"train/{self.script_name}/{self.config_name}"

    @property
    def checkpoint_dir(self) -> Path:
        return Path(self.save_dir) / "checkpoints" / self.project_path

    @property
    def tensorboard_dir(self) -> Path:
        return Path(self.save_dir) / "tensorboard" / self.project_path

    @property
    def log_file(self) -> Path:
        return Path(self.save_dir) / "logs" / f"{self.script_name}-{self.config_name}.log"

    def to_plain(self) -> dict[str, Any]:
        """Primitive values only, for a checkpoint."""
        return asdict(self)
