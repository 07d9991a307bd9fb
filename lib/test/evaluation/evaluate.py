"""Run a tracker over benchmarks: what ``tracking/test.py`` does."""

from __future__ import annotations

import logging
from collections.abc import Callable
from collections.abc import Sequence as Row
from functools import partial
from pathlib import Path
from typing import Any

from lib.config.ostrack import config_hash, config_name, load_config
from lib.test.evaluation.benchmarks import get_dataset, present_sequences
from lib.test.evaluation.environment import env_settings
from lib.test.evaluation.ranks import devices_of, rank_from_environment
from lib.test.evaluation.results import run_provenance
from lib.test.evaluation.runner import choose_devices, run_sequences
from lib.test.evaluation.sequence import Sequence
from lib.test.evaluation.summary import Summary
from lib.test.running import EXPORTED
from lib.test.tracker import Tracker, build_tracker, find_checkpoint
from lib.test.tracker.build import choose_precision
from lib.test.tracker.own import build_own, own_identity
from lib.test.tracker.watch import WatchedTracker
from lib.utils.errors import CheckpointError, ConfigError
from lib.vis.views import Screen

logger = logging.getLogger(__name__)


def track_benchmarks(
    config: str | Path,
    datasets: Row[str],
    *,
    tracker: str = "ostrack",
    sequence: str | None = None,
    checkpoint: str | Path | None = None,
    overrides: Row[str] = (),
    precision: str = "float32",
    backend: str = "torch",
    compiled: bool = False,
    device: str = "auto",
    num_gpus: int | None = None,
    workers: int = 0,
    batch: int = 1,
    compat_int: bool = False,
    save_dir: str | Path | None = None,
    run_id: int | None = None,
    fresh: bool = False,
    results_dir: str | Path | None = None,
    screen: Screen | None = None,
    attention_layers: Row[int] = (),
) -> Summary:
    """Track the sequences of benchmarks and write the results.

    Under ``torchrun`` or SLURM this process tracks its part of them, on its part of the machine's GPUs.

    Args:
        config: name or path of an experiment; of a tracker of one's own, what that understands.
        datasets: names as in :func:`get_dataset`.
        tracker: ``ostrack``, or one of one's own, see :mod:`lib.test.tracker.own`.
        sequence: name or number (from 0) of the only sequence to track.
        checkpoint: weight file; by default the experiment's own.
        overrides: ``KEY.SUB=value`` strings on top of the experiment.
        precision, backend, compiled: how the network is run, see :func:`build_tracker`; when somebody looks on it is
            backend ``plain``.
        device: see :func:`choose_devices`.
        num_gpus: how many GPUs to use at most; ``None`` means all.
        workers: processes, on all devices together; 0 tracks in this one, on the first device.
        batch: sequences that each process tracks in one forward pass.
        compat_int: write boxes as integers by truncation, as the published code does, not as floats.
        save_dir: output folder for results and exported files, also searched for checkpoints; by default the
            configured one.
        run_id: puts the results under ``CONFIG_RUNID`` (three digits), apart from other runs.
        fresh: track and replace also what is there already.
        results_dir: folder of all results; by default the one in the output folder.
        screen: opens a place to show the tracker at work on a sequence, in the process that tracks it.
        attention_layers: layers (from 0) whose attention maps are computed for the screen.

    Raises:
        OSTrackError: configuration, weights, data set or present results do not allow the run. A sequence that fails
            raises nothing, see :class:`Summary`.
    """
    build: Callable[[str], Any]
    rank = rank_from_environment()
    devices = devices_of(choose_devices(device, num_gpus), rank)
    if tracker == "ostrack":
        if screen is not None and (compiled or backend != "torch"):
            raise ConfigError("--debug and --save_vis look into the plain network: leave out --backend and --compile")
        backend = "plain" if screen is not None else backend  # which can be looked into
        precision = choose_precision(precision, devices[0], backend)
        cfg, name = load_config(config, list(overrides)), config_name(config)
        identity = config_hash(cfg)
        checkpoint = Path(checkpoint) if checkpoint else find_checkpoint(cfg, name, save_dir)
        build = partial(
            _build,
            config=config,
            checkpoint=checkpoint,
            precision=precision,
            backend=backend,
            compiled=compiled,
            overrides=list(overrides),
            save_dir=save_dir,
            screen=screen,
            attention_layers=tuple(attention_layers),
        )
    else:
        if overrides or checkpoint or precision != "float32" or backend != "torch" or compiled or screen:
            raise ConfigError(
                f"{tracker} is no OSTrack: KEY=value, --checkpoint, --precision, --backend, --compile, --debug and "
                "--save_vis are not for it; its parameters() say what it runs with"
            )
        name, (identity, checkpoint) = str(config), own_identity(tracker, str(config))
        build = partial(build_own, name=tracker, config=name)
    if checkpoint is not None and not checkpoint.is_file():
        raise CheckpointError(f"there is no checkpoint {checkpoint}")
    if sequence is None:
        sequences = [one for name in datasets for one in present_sequences(name)]
    else:
        sequences = [select_sequence(get_dataset(*datasets), sequence)]
    kind, label = devices[0].split(":")[0], tracker.rpartition(".")[2]
    provenance = run_provenance(label, name, identity, checkpoint, precision, kind, backend)
    if backend in EXPORTED and workers > 1:
        build("cpu")  # here, once: what it exports the workers find
    summary = run_sequences(
        sequences,
        build,
        results_dir or env_settings().saving_to(save_dir).results_path,
        name if run_id is None else f"{name}_{run_id:03d}",
        provenance | {"batch": batch} | ({"compat_int": True} if compat_int else {}),
        devices,
        workers=workers,
        batch=batch,
        fresh=fresh,
        rank=rank,
    )
    if screen is not None and summary.skipped:
        logger.warning(
            "%d sequences were tracked before and are not shown: use --fresh to track them again", summary.skipped
        )
    return summary


def _build(
    device: str,
    config: str | Path,
    checkpoint: Path,
    precision: str,
    backend: str,
    compiled: bool,
    overrides: list[str],
    save_dir: str | Path | None,
    screen: Screen | None,
    attention_layers: tuple[int, ...],
) -> Tracker | WatchedTracker:
    tracker = build_tracker(
        config,
        checkpoint,
        device,
        precision,
        backend=backend,
        compiled=compiled,
        overrides=overrides,
        save_dir=save_dir,
    )
    return tracker if screen is None else WatchedTracker(tracker, screen, attention_layers)


def select_sequence(sequences: list[Sequence], name: str) -> Sequence:
    """The sequence called ``name``, else the one of that number.

    Raises:
        ConfigError: there is none, or several have that name.
    """
    named = [sequence for sequence in sequences if sequence.name == name]
    if not named and name.isdecimal() and int(name) < len(sequences):
        named = [sequences[int(name)]]
    if not named:
        raise ConfigError(
            f"no sequence {name!r}; the {len(sequences)} here run from {sequences[0].name} to {sequences[-1].name}"
        )
    if len(named) > 1:
        places = ", ".join(one.annotation for one in named)
        raise ConfigError(f"{len(named)} sequences are called {name!r} ({places}): name one data set, or its number")
    return named[0]
