"""One training run: which experiment, where its files go, on what it runs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
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
        resume_changed: go on with another configuration too, at the end of an epoch.
        use_lmdb: read data sets from their lmdb.
        config_prv: experiment that the first weights come from; empty = none.
        config_teacher: experiment of the tracker that is learnt from too; empty = none.
        changes: what was changed on the way by ``resume_changed``, a line for each time.
    """

    script_name: str = "ostrack"
    config_name: str = ""
    save_dir: str = "./output"
    device: str = "cpu"
    use_wandb: bool = False
    resume: str = "latest"
    use_lmdb: bool = False
    config_prv: str = ""
    config_teacher: str = ""
    resume_changed: bool = False
    changes: list[str] = field(default_factory=list)

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
    def failure_dir(self) -> Path:
        """Where batches go whose loss or gradient was NaN or infinite."""
        return Path(self.save_dir) / "failures" / self.config_name

    def log_file(self, rank: int = 0) -> Path:
        """The log of one process; that of rank 0 is the run's."""
        suffix = f"-rank{rank}" if rank else ""
        return Path(self.save_dir) / "logs" / f"{self.script_name}-{self.config_name}{suffix}.log"

    def to_plain(self) -> dict[str, Any]:
        """Primitive values only, for a checkpoint."""
        return asdict(self)
