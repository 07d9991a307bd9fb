"""Scores of trackers on a benchmark: read results, check that they are complete, score them under a protocol."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from lib.data.sequence import Sequence
from lib.test.analysis.metrics import (
    Curves,
    FrameErrors,
    bootstrap_intervals,
    curve_scores,
    frame_errors,
    mean_curves,
    sequence_curves,
    stack_curves,
    weighted_mean,
)
from lib.test.analysis.protocols import Rules, get_protocol, protocol_differences
from lib.test.evaluation.benchmarks import get_benchmark, get_dataset
from lib.test.evaluation.environment import EnvSettings, env_settings
from lib.test.evaluation.results import found_result, read_result, result_origin, run_of
from lib.utils.errors import DataError, listed

logger = logging.getLogger(__name__)

Tracker = tuple[str, str]  # name and config, as in the path of its results


@dataclass(frozen=True)
class TrackerReport:
    """Scores of one tracker, ``NAME/CONFIG``."""

    label: str
    errors: list[FrameErrors]  # one entry per sequence
    curves: Curves  # of every sequence, arrays of shape (sequences, thresholds)
    rules: Rules
    origins: Mapping[str, int] = field(default_factory=dict)  # of results, with the number of sequences of each
    files: Seq[Path] = ()  # the result files, one entry per sequence; empty if there are none
    run: tuple[str, str] | None = None  # name and number of the run, if it is one of several, see run_of()

    @property
    def weights(self) -> np.ndarray:
        """The weight of each sequence in the mean scores: 1, or its scored frames where the rules pool frames."""
        frames = np.array([one.scored.sum() for one in self.errors], np.float64)
        return frames if self.rules.pooled else (frames > 0).astype(np.float64)

    def mean_curves(self) -> Curves:
        """Return the curves over all sequences."""
        return mean_curves(self.curves, self.weights)

    def scores(self) -> dict[str, float]:
        """Return the scores over all sequences, in percent, by name."""
        values = curve_scores(self.mean_curves(), self.rules.scores).tolist()
        return dict(zip(self.rules.score_names, values, strict=True))

    def sequence_scores(self) -> np.ndarray:
        """Return the scores of each sequence, in percent, ``(sequences, scores)``; NaN where no frame is left."""
        return curve_scores(self.curves, self.rules.scores)

    def part_scores(self, indices: list[int]) -> list[float]:
        """Return the scores over some of the sequences, in percent; NaN where the rules leave no frame of them."""
        weights = self.weights[indices]
        if not weights.any():
            return [math.nan] * len(self.rules.scores)
        return weighted_mean(self.sequence_scores()[indices], weights).tolist()

    def intervals(self, values: np.ndarray | None = None) -> dict[str, tuple[float, float]]:
        """Return the 95 % bootstrap interval over sequences of each score, in percent; NaN for a single sequence.

        ``values`` (sequences, scores) are taken instead of this tracker's own.
        """
        pairs = bootstrap_intervals(self.sequence_scores() if values is None else values, self.weights).tolist()
        return dict(zip(self.rules.score_names, map(tuple, pairs), strict=True))


class Spread(NamedTuple):
    """Mean and sample standard deviation (n - 1) of a score over several runs."""

    mean: float
    deviation: float


def run_spreads(values: Seq[Seq[float]]) -> list[Spread]:
    """Return mean and standard deviation over runs of each score, given ``(runs, scores)``."""
    scores = np.array(values)
    return list(map(Spread, scores.mean(axis=0).tolist(), scores.std(axis=0, ddof=1).tolist()))


@dataclass(frozen=True)
class RepeatedRuns:
    """Several runs of one tracker and configuration on the same sequences, in the order of their numbers."""

    label: str  # NAME/CONFIG (mean of N runs)
    trackers: list[TrackerReport]

    def scores(self) -> list[Spread]:
        """Return the scores over all sequences, in percent."""
        return run_spreads([list(one.scores().values()) for one in self.trackers])

    def intervals(self) -> dict[str, tuple[float, float]]:
        """Return the 95 % bootstrap interval over sequences of each mean score, in percent; NaN for one sequence."""
        return self.trackers[0].intervals(np.mean([one.sequence_scores() for one in self.trackers], axis=0))


@dataclass(frozen=True)
class Report:
    """Trackers scored on the same sequences of one data set."""

    dataset: str
    protocol: str
    data: list[Sequence]  # those that were scored
    trackers: list[TrackerReport]  # the highest first score first
    missing: Mapping[str, list[str]] = field(default_factory=dict)  # no results, by tracker; left out for all of them
    differences: tuple[str, ...] = ()  # lines about the scores under the other protocols, and the rules that differ
    absent: tuple[str, ...] = ()  # names of sequences whose annotation is not on this machine
    first_only: tuple[str, ...] = ()  # names of sequences of which only the first box is known
    frameless: tuple[str, ...] = ()  # names of sequences without frames on this machine and without results
    published: int = 0  # sequences that the benchmark has, more than there are in an incomplete copy; 0 = unknown

    @property
    def total(self) -> int:
        """The number of sequences in the data set, including those that were not scored."""
        left_out = {*self.absent, *self.first_only, *self.frameless, *chain(*self.missing.values())}
        return max(self.published, len(self.data) + len(left_out))

    def tracker(self, label: str) -> TrackerReport:
        """Return the tracker called ``label``."""
        return next(one for one in self.trackers if one.label == label)

    @property
    def sequences(self) -> list[str]:
        """The names of the sequences that were scored."""
        return [sequence.name for sequence in self.data]

    @property
    def frames(self) -> list[int]:
        """The numbers of frames of the scored sequences."""
        return [len(sequence.ground_truth) for sequence in self.data]

    @property
    def rules(self) -> Rules:
        """The scoring rules."""
        return self.trackers[0].rules

    @property
    def score_names(self) -> tuple[str, ...]:
        """The names of the scores, the one that ranks first."""
        return self.rules.score_names

    @property
    def repeated(self) -> list[RepeatedRuns]:
        """The trackers with several runs."""
        found: dict[str, dict[str, TrackerReport]] = {}
        for tracker in self.trackers:
            if tracker.run:
                found.setdefault(tracker.run[0], {})[tracker.run[1]] = tracker
        return [
            RepeatedRuns(f"{label} (mean of {len(runs)} runs)", [runs[number] for number in sorted(runs, key=int)])
            for label, runs in found.items()
            if len(runs) > 1
        ]

    @property
    def attributes(self) -> dict[str, list[int]]:
        """The indices of the sequences with each attribute, in alphabetical order; empty if there are no attributes."""
        parts: dict[str, list[int]] = {}
        for index, sequence in enumerate(self.data):
            for attribute in sequence.attributes:
                parts.setdefault(attribute, []).append(index)
        return dict(sorted(parts.items()))

    @property
    def frame(self) -> pd.DataFrame:
        """Return a row per tracker and sequence: frames, frames with a valid target, and all scores in percent."""
        parts = []
        for tracker in self.trackers:
            valid = [int(one.valid.sum()) for one in tracker.errors]
            about = {"Tracker": tracker.label, "Sequence": self.sequences, "Frames": self.frames, "Valid frames": valid}
            scores = dict(zip(self.score_names, tracker.sequence_scores().T, strict=True))
            parts.append(pd.DataFrame({**about, **scores, "Protocol": self.protocol}))
        return pd.concat(parts, ignore_index=True)

    @property
    def attribute_frame(self) -> pd.DataFrame:
        """Return a row per tracker and attribute: the number of its sequences, and all scores over them in percent."""
        rows = [
            [tracker.label, name, len(indices), *tracker.part_scores(indices), self.protocol]
            for tracker in self.trackers
            for name, indices in self.attributes.items()
        ]
        return pd.DataFrame(rows, columns=["Tracker", "Attribute", "Sequences", *self.score_names, "Protocol"])


def sequence_errors(boxes: np.ndarray, sequence: Sequence, rules: Rules, source: str) -> FrameErrors:
    """Score boxes on a sequence frame by frame, see :func:`lib.test.analysis.metrics.frame_errors`."""
    visible = sequence.official_visible if rules.official_flags else sequence.visible
    size = sequence.image_size if rules.clipped else None
    return frame_errors(boxes, sequence.ground_truth, visible, rules, source, size)


def score_tracker(
    label: str, predictions: Iterable[np.ndarray], sequences: Seq[Sequence], rules: Rules, sources: Seq[str]
) -> TrackerReport:
    """Score boxes that are already in memory: ``(any, 4)``, x, y, w, h, for every sequence.

    Raises DataError: boxes or annotations that cannot be scored; it names the prediction as ``sources`` do.
    """
    errors = [
        sequence_errors(boxes, sequence, rules, f"{source}, sequence {sequence.name}")
        for boxes, sequence, source in zip(predictions, sequences, sources, strict=True)
    ]
    if not any(one.scored.any() for one in errors):
        raise DataError(f"{label}: no frame of {len(errors)} sequences has a target that could be scored")
    return TrackerReport(label, errors, stack_curves([sequence_curves(one, rules) for one in errors]), rules)


def evaluate(
    trackers: Seq[Tracker],
    dataset: str,
    results_dir: Path | None = None,
    protocol: str = "pytracking",
    skip_missing: bool = False,
    env: EnvSettings | None = None,
    cache: Path | None = None,
    differences: bool = False,
) -> Report:
    """Score result files on a benchmark.

    Args:
        trackers: (name, config) pairs.
        dataset: name of a benchmark, or ``folder:PATH``.
        results_dir: folder of ``NAME/CONFIG/SEQUENCE.txt``; by default the one of ``env``.
        protocol: a key of :data:`lib.test.analysis.protocols.PROTOCOLS`.
        skip_missing: leave out sequences for which any tracker has no results, which is an error otherwise.
        cache: folder that caches parsed result files.
        differences: add the scores under the other protocols, and the rules that differ.

    Raises:
        OSTrackError: unknown data set or protocol, missing results, or data that cannot be scored.
    """
    chosen = get_protocol(protocol)
    env = env or env_settings()
    folder = Path(results_dir or env.results_path)
    report = replace(_scorable(trackers, dataset, folder, skip_missing, env, cache), protocol=protocol)
    data, rules = report.data, chosen.rules(report.data[0].dataset)
    files = {tracker_label(tracker): [found_result(folder, *tracker, one) for one in data] for tracker in trackers}

    def score(label: str, rules: Rules) -> TrackerReport:
        boxes = (read_result(path, cache) for path in files[label])
        return score_tracker(label, boxes, data, rules, list(map(str, files[label])))

    for tracker in tqdm(dict.fromkeys(trackers), "scoring", leave=False, disable=None):
        label = tracker_label(tracker)
        scored, paths = score(label, rules), files[label]
        for path, sequence, errors in zip(paths, data, scored.errors, strict=True):
            if errors.given != (frames := len(errors.valid)):
                logger.warning("%s: %d boxes for the %d frames of %s", path, errors.given, frames, sequence.name)
        origins = Counter(map(result_origin, paths, data))
        run = run_of(tracker, paths[0])
        report.trackers.append(replace(scored, origins=dict(origins.most_common()), files=paths, run=run))
    report.trackers.sort(key=lambda one: -one.scores()[rules.score_names[0]])
    if not differences:
        return report
    scores = {one.label: one.scores() for one in report.trackers}
    lines = protocol_differences(protocol, data[0].dataset, scores, lambda label, rules: score(label, rules).scores())
    return replace(report, differences=tuple(lines))


def tracker_label(tracker: Tracker) -> str:
    """Return ``NAME/CONFIG``."""
    return "/".join(tracker)


def _scorable(
    trackers: Seq[Tracker], dataset: str, folder: Path, skip_missing: bool, env: EnvSettings, cache: Path | None
) -> Report:
    """Return a report without trackers: the sequences that can be scored, and the others."""
    sequences = get_dataset(dataset, env=env)
    absent = tuple(sequence.name for sequence in sequences if not sequence.has_boxes())
    data = [sequence for sequence in sequences if sequence.name not in absent]
    if not data:
        first = sequences[0].annotation
        raise DataError(f"{dataset}: the annotation of no sequence is here; the first would be {first}")
    kept, lacking = missing_results(folder, trackers, data)
    kept_names = {one.name for one in kept}
    frameless, data = tuple(one.name for one in data if one.name not in kept_names), kept
    missing = {tracker_label(tracker): names for tracker, names in lacking.items() if names}
    if missing and not skip_missing:
        raise DataError(_missing_message(missing, dataset, data, folder))
    without = set(chain(*missing.values()))
    data = [sequence for sequence in data if sequence.name not in without]
    if not data:
        raise DataError(f"{dataset}: no sequence has results of every tracker asked for, in {folder}")
    first_only = tuple(
        one.name
        for one in data
        if len(one.ground_truth) == 1
        and any(len(read_result(found_result(folder, *tracker, one), cache)) > 1 for tracker in trackers)
    )
    if len(first_only) == len(data):
        known = f"only the first box of each sequence is known ({data[0].annotation}), and that is given"
        server = "" if data[0].group else ": its benchmark publishes no other and scores on its own server"
        raise DataError(f"{dataset}: {known}{server}")
    scored = [one for one in data if one.name not in first_only]
    return Report(
        dataset,
        "",
        scored,
        [],
        missing,
        absent=absent,
        first_only=first_only,
        frameless=frameless,
        published=0 if data[0].group else get_benchmark(dataset).expected,
    )


def missing_results(
    results_dir: Path, trackers: Seq[Tracker], sequences: Seq[Sequence]
) -> tuple[list[Sequence], dict[Tracker, list[str]]]:
    """Return the sequences to score, and the names of those that each tracker has no finished result file of.

    Sequences that cannot be tracked here, without frames and without results of any tracker, are left out unless that
    would be all.
    """
    lacking = {
        tracker: [one.name for one in sequences if not found_result(results_dir, *tracker, one).is_file()]
        for tracker in trackers
    }
    nowhere = set.intersection(*map(set, lacking.values()))
    left_out = {one.name for one in sequences if one.name in nowhere and not one.has_frames()}
    kept = [one for one in sequences if one.name not in left_out]
    if not kept:
        return list(sequences), lacking
    return kept, {tracker: [name for name in names if name not in left_out] for tracker, names in lacking.items()}


def _missing_message(missing: Mapping[str, list[str]], dataset: str, sequences: Seq[Sequence], root: Path) -> str:
    """Return the error message for missing results by label of the tracker, with advice."""
    lines = [f"results are missing in {root}:"]
    for label, names in missing.items():
        lines.append(f"  {label}: {len(names)} of {len(sequences)} sequences of {dataset}: {listed(names)}")
    lines.append("Track them (tracking/test.py goes on where it stopped), or score without them: --skip_missing")
    for label, names in missing.items():
        group, folder = sequences[0].group, root / label
        others = (folder, *folder.glob("folder_*/")) if group and len(names) == len(sequences) else ()
        if found := next((other for other in others if (other / f"{names[0]}.txt").is_file()), None):
            lines.append(
                f"{found} has results of these names: of another folder, of this one before it was moved, or of an "
                f"earlier version. If you know them to be of this one, move them to {folder / group}"
            )
    return "\n".join(lines)
