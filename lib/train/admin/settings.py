"""Options of one training run: its experiment, its files and its device."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class TrainOptions:
    """Options of a run beside its experiment."""

    script: str = ""  # family of trackers; empty = by the folder of the experiment
    save_dir: str = ""  # where checkpoints, logs and curves go; empty = the configured folder
    device: str = "auto"  # auto (CUDA when there is one), cpu, cuda or cuda:N
    resume: str = "latest"  # latest, none or the path of a checkpoint
    resume_changed: bool = False  # allow another configuration than the checkpoint's, at the end of an epoch
    use_wandb: bool = False
    use_lmdb: bool = False
    config_prv: str = ""  # experiment, and its family, whose weights training starts from
    script_prv: str = ""
    blocks_prv: tuple[int, ...] = ()  # which of its blocks, from 0, become those of this model; empty = the first ones
    config_teacher: str = ""  # experiment, and its family, of the teacher for distillation
    script_teacher: str = ""


@dataclass(frozen=True)
class Settings(TrainOptions):
    """Options of a run, with its family and device resolved. ``changes``: a line for each use of ``resume_changed``."""

    config_name: str = field(kw_only=True)
    changes: list[str] = field(default_factory=list, kw_only=True)

    @property
    def project_path(self) -> str:
        """``train/SCRIPT/CONFIG``, the published sub-folder."""
        return f"train/{self.script}/{self.config_name}"

    @property
    def checkpoint_dir(self) -> Path:
        return Path(self.save_dir) / "checkpoints" / self.project_path

    @property
    def tensorboard_dir(self) -> Path:
        return Path(self.save_dir) / "tensorboard" / self.project_path

    @property
    def failure_dir(self) -> Path:
        """Folder for batches whose loss or gradient was NaN or infinite."""
        return Path(self.save_dir) / "failures" / self.config_name

    def log_file(self, rank: int = 0) -> Path:
        """Return the log file of a rank; rank 0's is the log of the run."""
        suffix = f"-rank{rank}" if rank else ""
        return Path(self.save_dir) / "logs" / f"{self.script}-{self.config_name}{suffix}.log"
