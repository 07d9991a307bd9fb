"""Run a tracker over benchmarks: what ``tracking/test.py`` does."""

from __future__ import annotations

import logging
from collections.abc import Callable
from collections.abc import Sequence as Row
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from lib.config import config_hash
from lib.data.sequence import Sequence
from lib.models.family import family_of, is_family, load_experiment
from lib.test.evaluation.benchmarks import get_dataset, present_sequences
from lib.test.evaluation.environment import env_settings
from lib.test.evaluation.job import Summary
from lib.test.evaluation.modes import build_warm, mode_name, mode_of
from lib.test.evaluation.results import REALTIME, run_provenance
from lib.test.evaluation.runner import RunOptions, choose_devices, devices_of, run_sequences
from lib.test.spec import EXPORTED, TrackerSpec
from lib.test.tracker import Tracker
from lib.test.tracker.build import build_from_spec, choose_precision, find_checkpoint
from lib.test.tracker.custom import build_custom, custom_identity
from lib.test.tracker.inspected import InspectedTracker
from lib.utils.dist_info import dist_info
from lib.utils.errors import CheckpointError, ConfigError
from lib.vis.views import Screen

logger = logging.getLogger(__name__)


def track_benchmarks(spec: TrackerSpec, datasets: Row[str], options: RunOptions = RunOptions()) -> Summary:  # noqa: B008 (frozen)
    """Track the sequences of benchmarks and write the results.

    Under ``torchrun`` or SLURM this process tracks its part of the sequences, on its part of the machine's GPUs.

    Args:
        spec: the tracker; its ``device`` as in :func:`choose_devices`. If ``family`` is not the name of a family,
            it is a custom tracker, see :mod:`lib.test.tracker.custom`, which interprets ``config``. With a screen it
            runs with backend ``plain``.
        datasets: names as in :func:`get_dataset`.

    Raises:
        OSTrackError: configuration, weights, data set or present results do not allow the run. A sequence that fails
            raises nothing, see :class:`Summary`.
    """
    mode, rank = mode_of(options.annotator, options.realtime), dist_info()
    devices = devices_of(choose_devices(spec.device, options.num_gpus), rank)
    tracker = _own_tracker if spec.family and not is_family(spec.family) else _family_tracker
    if REALTIME in mode and (options.batch > 1 or options.workers > len(devices) or options.screen):
        most = f"use at most --threads {len(devices)}, one for each device"
        raise ConfigError(f"--realtime times single frames: leave out --batch, --debug and --save_vis, and {most}")
    run = tracker(spec, options, devices[0])
    if run.checkpoint is not None and not run.checkpoint.is_file():
        raise CheckpointError(f"there is no checkpoint {run.checkpoint}")
    if options.sequence is None:
        sequences = [one for name in datasets for one in present_sequences(name)]
    else:
        sequences = [select_sequence(get_dataset(*datasets), options.sequence)]
    kind = devices[0].split(":")[0]
    name = mode_name(run.name, mode)
    provenance = run_provenance(run.label, name, run.identity, run.checkpoint, run.precision, kind, run.backend)
    if run.backend in EXPORTED and options.workers > 1:
        run.build("cpu")  # export once here, so that the workers find the file
    summary = run_sequences(
        sequences,
        partial(build_warm, build=run.build) if REALTIME in mode else run.build,
        options.results_dir or env_settings().saving_to(spec.save_dir).results_path,
        provenance | mode | {"batch": options.batch} | ({"compat_int": True} if options.compat_int else {}) | run.code,
        devices,
        options,
        rank,
    )
    if options.screen is not None and summary.skipped:
        logger.warning(
            "%d sequences were tracked before and are not shown: use --fresh to track them again", summary.skipped
        )
    return summary


@dataclass(frozen=True)
class _Run:
    """The tracker of a run: how to build it on a device, and the provenance of its results."""

    build: Callable[[str], Any]
    label: str
    name: str
    identity: str
    checkpoint: Path | None
    precision: str = "float32"
    backend: str = "torch"
    code: dict[str, str] = field(default_factory=dict)  # for a family outside the project: its hash, as ``code``


def _family_tracker(spec: TrackerSpec, options: RunOptions, device: str) -> _Run:
    if options.screen is not None:
        if spec.compiled or spec.backend != "torch":
            raise ConfigError("--debug and --save_vis look into the plain network: leave out --backend and --compile")
        spec = replace(spec, backend="plain")  # only the plain form can be inspected
    precision = choose_precision(spec.precision, device, spec.backend)
    cfg = load_experiment(spec.config, spec.overrides, spec.family)
    checkpoint = Path(spec.checkpoint) if spec.checkpoint else find_checkpoint(cfg, spec.save_dir)
    spec = replace(spec, checkpoint=checkpoint, precision=precision)
    build = partial(_build, spec=spec, screen=options.screen, attention_layers=options.attention_layers)
    files = family_of(cfg).own_code()
    code = {"code": sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]} if files else {}
    return _Run(build, cfg.family, cfg.name, config_hash(cfg), checkpoint, precision, spec.backend, code)


def _own_tracker(spec: TrackerSpec, options: RunOptions, device: str) -> _Run:
    name, (identity, checkpoint) = str(spec.config), custom_identity(spec.family, str(spec.config))
    if spec != TrackerSpec(spec.config, spec.family, device=spec.device, save_dir=spec.save_dir) or options.screen:
        given = "KEY=value, --checkpoint, --precision, --backend, --compile, --debug and --save_vis"
        raise ConfigError(f"{spec.family} is of no family in lib/models, and takes no {given}")
    build = partial(build_custom, name=spec.family, config=name)
    return _Run(build, spec.family.rpartition(".")[2], name, identity, checkpoint)


def _build(
    device: str, spec: TrackerSpec, screen: Screen | None, attention_layers: tuple[int, ...]
) -> Tracker | InspectedTracker:
    tracker = build_from_spec(replace(spec, device=device))
    return tracker if screen is None else InspectedTracker(tracker, screen, attention_layers)


def select_sequence(sequences: list[Sequence], name: str) -> Sequence:
    """Return the sequence called ``name``, or else with that number. Raises ConfigError: none, or several."""
    named = [sequence for sequence in sequences if sequence.name == name]
    if not named and name.isdecimal() and int(name) < len(sequences):
        named = [sequences[int(name)]]
    if not named:
        ends = f"{sequences[0].name} to {sequences[-1].name}"
        raise ConfigError(f"no sequence {name!r}; the {len(sequences)} here run from {ends}")
    if len(named) > 1:
        files = ", ".join(one.annotation for one in named)
        raise ConfigError(f"{len(named)} sequences are called {name!r} ({files}): name one data set, or its number")
    return named[0]
