"""Run a tracker over benchmarks: what ``tracking/test.py`` does."""

from __future__ import annotations

from collections.abc import Sequence as Row
from functools import partial
from pathlib import Path

from lib.config.ostrack import config_hash, config_name, load_config
from lib.test.evaluation.benchmarks import get_dataset
from lib.test.evaluation.environment import env_settings
from lib.test.evaluation.results import run_provenance
from lib.test.evaluation.runner import Summary, choose_devices, run_sequences
from lib.test.evaluation.sequence import Sequence
from lib.test.tracker import Tracker, build_tracker, find_checkpoint
from lib.utils.errors import CheckpointError, ConfigError


def track_benchmarks(
    config: str | Path,
    datasets: Row[str],
    *,
    sequence: str | None = None,
    checkpoint: str | Path | None = None,
    overrides: Row[str] = (),
    precision: str = "float32",
    device: str = "auto",
    num_gpus: int | None = None,
    workers: int = 0,
    save_dir: str | Path | None = None,
    run_id: int | None = None,
    fresh: bool = False,
) -> Summary:
    """Track the sequences of benchmarks with OSTrack and write the results.

    Args:
        config: name or path of an experiment.
        datasets: names as in :func:`get_dataset`.
        sequence: name or number (from 0) of the only sequence to track.
        checkpoint: weight file; by default the experiment's own.
        overrides: ``KEY.SUB=value`` strings on top of the experiment.
        precision: ``float32``, ``bf16`` or ``fp16``.
        device: ``auto``, ``cpu`` or ``cuda``.
        num_gpus: how many GPUs to use at most; ``None`` means all.
        workers: processes; 0 tracks in this one.
        save_dir: output folder for results, also searched for checkpoints; by default the configured one.
        run_id: puts the results under ``CONFIG_RUNID`` (three digits), apart from other runs.
        fresh: track and replace also what is there already.

    Raises:
        OSTrackError: configuration, weights, data set or present results do not allow the run. A sequence that fails
            raises nothing, see :class:`Summary`.
    """
    cfg, name = load_config(config, list(overrides)), config_name(config)
    checkpoint = Path(checkpoint) if checkpoint else find_checkpoint(cfg, name, save_dir)
    if not checkpoint.is_file():
        raise CheckpointError(f"there is no checkpoint {checkpoint}")
    devices = choose_devices(device, num_gpus)
    sequences = get_dataset(*datasets)
    return run_sequences(
        sequences if sequence is None else [select_sequence(sequences, sequence)],
        partial(_build, config=config, checkpoint=checkpoint, precision=precision, overrides=list(overrides)),
        env_settings().saving_to(save_dir).results_path,
        name if run_id is None else f"{name}_{run_id:03d}",
        run_provenance("ostrack", name, config_hash(cfg), checkpoint, precision, devices[0].split(":")[0]),
        devices,
        workers,
        fresh,
    )


def _build(device: str, config: str, checkpoint: Path, precision: str, overrides: list[str]) -> Tracker:
    return build_tracker(config, checkpoint, device, precision, overrides=overrides)


def select_sequence(sequences: list[Sequence], name: str) -> Sequence:
    """The sequence called ``name``, else the one of that number. Raises ConfigError when there is none."""
    named = [sequence for sequence in sequences if sequence.name == name]
    if not named and name.isdecimal() and int(name) < len(sequences):
        named = [sequences[int(name)]]
    if not named:
        raise ConfigError(
            f"no sequence {name!r}; the {len(sequences)} here run from {sequences[0].name} to {sequences[-1].name}"
        )
    return named[0]
