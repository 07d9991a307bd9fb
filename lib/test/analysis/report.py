"""From result files to scores: find them, check that they are complete, score them under a protocol."""

from __future__ import annotations

import difflib
import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from lib.test.analysis.metrics import (
    SCORES,
    Curves,
    FrameErrors,
    Protocol,
    curve_scores,
    frame_errors,
    get_protocol,
    mean_curves,
    sequence_curves,
    stack_curves,
)
from lib.test.evaluation.benchmarks import BENCHMARKS, get_dataset
from lib.test.evaluation.environment import EnvSettings, env_settings
from lib.test.evaluation.results import file_hash, find_results, provenance_path, read_result, result_path
from lib.test.evaluation.sequence import Sequence
from lib.utils.errors import DataError

logger = logging.getLogger(__name__)

Tracker = tuple[str, str]  # name and config, as in the path of its results


def tracker_label(tracker: Tracker) -> str:
    """``NAME/CONFIG``."""
    return "/".join(tracker)


@dataclass(frozen=True)
class TrackerReport:
    """How one tracker did.

    Attributes:
        label: ``NAME/CONFIG``.
        errors: per-frame errors, one entry per sequence.
        curves: curves of every sequence, arrays of shape ``(sequences, thresholds)``.
        origins: what the results come from, with the number of sequences; more than one entry means mixed results.
    """

    label: str
    errors: list[FrameErrors]
    curves: Curves
    origins: Mapping[str, int] = field(default_factory=dict)

    def scores(self) -> dict[str, float]:
        """The scores over all sequences, in percent, by the names of :data:`~lib.test.analysis.metrics.SCORES`."""
        return dict(zip(SCORES, curve_scores(mean_curves(self.curves)).tolist(), strict=True))

    def sequence_scores(self) -> np.ndarray:
        """The scores of every sequence, in percent, shape ``(sequences, 5)``."""
        return curve_scores(self.curves)


@dataclass(frozen=True)
class Report:
    """Trackers scored on the same sequences of one data set.

    Attributes:
        dataset: name of the data set.
        protocol: name of the protocol.
        sequences: names of the sequences that were scored.
        frames: their numbers of frames.
        trackers: one entry per tracker, the highest AUC first.
        missing: sequences of the data set without results, by label of the tracker; they are left out for every one.
    """

    dataset: str
    protocol: str
    sequences: list[str]
    frames: list[int]
    trackers: list[TrackerReport]
    missing: Mapping[str, list[str]] = field(default_factory=dict)

    def summary(self) -> dict[str, dict[str, float]]:
        """``{label: {score: percent}}``: the table."""
        return {tracker.label: tracker.scores() for tracker in self.trackers}


def score_tracker(
    label: str, predictions: Iterable[np.ndarray], sequences: Seq[Sequence], protocol: Protocol, sources: Seq[str]
) -> TrackerReport:
    """Score boxes that are already in memory.

    Args:
        label: what to call the tracker.
        predictions: boxes ``(any, 4)``, x, y, w, h, for every sequence.
        sequences: the sequences, in the same order.
        protocol: whose rules to follow.
        sources: what to call each prediction in an error.

    Raises:
        DataError: boxes or annotations that cannot be scored.
    """
    errors = []
    for boxes, sequence, source in zip(predictions, sequences, sources, strict=True):
        truth = sequence.ground_truth
        if len(truth) == 1 < len(boxes):
            raise DataError(
                f"sequence {sequence.name}: its benchmark publishes the first box only and scores on its own server"
            )
        if len(boxes) < len(truth):
            logger.warning("%s: %d boxes for the %d frames of %s", source, len(boxes), len(truth), sequence.name)
        rules = protocol.rules(sequence.dataset)
        errors.append(frame_errors(boxes, truth, sequence.visible, rules, f"{source}, sequence {sequence.name}"))
    return TrackerReport(label, errors, stack_curves([sequence_curves(one) for one in errors]))


def evaluate(
    trackers: Seq[Tracker],
    dataset: str,
    results_dir: str | Path | None = None,
    protocol: str = "pytracking",
    skip_missing: bool = False,
    env: EnvSettings | None = None,
) -> Report:
    """Score result files on a benchmark.

    Args:
        trackers: (name, config) pairs.
        dataset: name of a benchmark, or ``folder:PATH``.
        results_dir: where ``NAME/CONFIG/SEQUENCE.txt`` lie; by default that of the settings.
        protocol: name of a protocol, see :data:`lib.test.analysis.metrics.PROTOCOLS`.
        skip_missing: leave out the sequences that some tracker has no results for; otherwise they are an error.
        env: paths; by default those of ``lib/test/evaluation/local.py``.

    Raises:
        OSTrackError: unknown data set or protocol, missing results, or data that cannot be scored.
    """
    rules = get_protocol(protocol)
    env = env or env_settings()
    results_dir = Path(results_dir or env.results_path)
    sequences = get_dataset(dataset, env=env)
    missing = {tracker: missing_results(results_dir, tracker, sequences) for tracker in trackers}
    missing = {tracker_label(tracker): names for tracker, names in missing.items() if names}
    if missing and not skip_missing:
        raise DataError(_missing_message(missing, dataset, len(sequences), results_dir))
    absent = {name for names in missing.values() for name in names}
    sequences = [sequence for sequence in sequences if sequence.name not in absent]
    if not sequences:
        raise DataError(f"{dataset}: no sequence has results of every tracker asked for, in {results_dir}")

    reports = []
    for tracker in trackers:
        paths = [result_path(results_dir, *tracker, sequence) for sequence in sequences]
        boxes, sources = map(read_result, paths), [str(path) for path in paths]
        report = score_tracker(tracker_label(tracker), boxes, sequences, rules, sources)
        origins = Counter(map(_origin, paths, sequences))
        reports.append(replace(report, origins=dict(origins.most_common())))
    reports.sort(key=lambda report: -report.scores()["AUC"])
    frames = [len(sequence.ground_truth) for sequence in sequences]
    return Report(dataset, protocol, [sequence.name for sequence in sequences], frames, reports, missing)


def missing_results(results_dir: Path, tracker: Tracker, sequences: Seq[Sequence]) -> list[str]:
    """Names of the sequences that ``tracker`` has no finished result file for."""
    return [one.name for one in sequences if not result_path(results_dir, *tracker, one).is_file()]


def _missing_message(missing: Mapping[str, list[str]], dataset: str, total: int, results_dir: Path) -> str:
    lines = [f"results are missing in {results_dir}:"]
    for label, names in missing.items():
        shown = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
        lines.append(f"  {label}: {len(names)} of {total} sequences of {dataset}: {shown}")
    lines.append("Track them (tracking/test.py goes on where it stopped), or score without them: --skip_missing")
    return "\n".join(lines)


def _origin(path: Path, sequence: Sequence) -> str:
    """What the provenance beside the result file ``path`` says it was made with.

    Raises:
        DataError: it cannot be read, or says that the tracker was started on another box, so on other data.
    """
    source = provenance_path(path)
    if not source.is_file():
        return "origin unknown"
    try:
        record = json.loads(source.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{source} cannot be read ({error}): track this sequence again") from error
    first = sequence.ground_truth[0].tolist()
    if record.get("init_box", first) != first:
        raise DataError(f"{source}: tracked from {record['init_box']}, but {sequence.name} starts at {first}: redo it")
    if record.get("result_sha256") != file_hash(path):
        return "origin unknown: changed after it was written"
    checkpoint = "random weights"
    if record.get("checkpoint"):
        checkpoint = f"{Path(record['checkpoint']).name} (sha256 {record.get('checkpoint_sha256')})"
    return f"{checkpoint}, config {record.get('config_hash')}, {record.get('precision')}"


def choose_trackers(results_dir: Path, tracker: str | None, configs: Seq[str]) -> list[Tracker]:
    """The results under ``results_dir`` that are meant by a tracker's name and configs; None and () mean all.

    Raises:
        DataError: there are no results, or none of a name that was asked for (the nearest one is named).
    """
    found = find_results(results_dir)
    if not found:
        raise DataError(f"there are no results in {results_dir}: run tracking/test.py first")
    for kind, wanted, known in (
        ("tracker", [tracker] if tracker else [], {name for name, _ in found}),
        ("config", configs, {config for name, config in found if tracker in (None, name)}),
    ):
        for name in wanted:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(sorted(known))}"
                raise DataError(f"no results of {kind} {name} in {results_dir}: {hint}")
    return [pair for pair in found if tracker in (None, pair[0]) and (not configs or pair[1] in configs)]


def complete_benchmarks(results_dir: Path, trackers: Seq[Tracker], env: EnvSettings) -> dict[str, list[Tracker]]:
    """For every benchmark that is installed and can be scored here, the trackers with results of all its sequences."""
    complete = {}
    for name, row in BENCHMARKS.items():
        if not row.root(env).is_dir():
            continue
        sequences = get_dataset(name, env=env)
        full = [tracker for tracker in trackers if not missing_results(results_dir, tracker, sequences)]
        if sequences and full and any(len(sequence.ground_truth) > 1 for sequence in sequences):
            complete[name] = full
    return complete
