"""How much the settings of a tracker matter: AUC, and where a target leaves presence, with each of them changed alone.

    python benchmarks/sensitivity.py ostrack_memory vits_192_memory --dataset folder:DIR \\
        --keys TEST.MEMORY.UPDATE_INTERVAL TEST.MEMORY.LOST_THRESHOLD --scales 0.5 1.5 --plot sensitivity.png

Each number is multiplied by each scale, integers are rounded; what the configuration refuses is named and left out, and
so is, without a word, what rounding leaves as it is.
AUC is scored as in ``tracking/analysis_results.py``, its change to the settings as they are has the interval that the
sequences allow. Results are kept in ``sensitivity`` of the output folder, and a second call goes on with them.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import reduce
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.presence import PresenceReport, presence_report, tracked
from lib.models.family import find_family, load_experiment
from lib.test.analysis.metrics import compare_scores
from lib.test.analysis.report import Report, evaluate
from lib.test.evaluation.environment import env_settings
from lib.test.evaluation.evaluate import track_benchmarks
from lib.test.evaluation.results import scores_path
from lib.test.evaluation.runner import RunOptions
from lib.test.spec import TrackerSpec, add_tracker_options
from lib.utils.errors import ConfigError, DataError, run_cli

AS_IS = "as it is"


@dataclass(frozen=True)
class Variant:
    """A setting changed alone: ``KEY.SUB`` times ``scale`` is ``value``; the settings as they are have no key."""

    key: str = ""
    scale: float = 1.0
    value: float = 0.0

    @property
    def name(self) -> str:
        """Return the name of its folder."""
        return f"{self.key}_{self.value:g}" if self.key else "as_it_is"

    @property
    def overrides(self) -> tuple[str, ...]:
        """Return what changes the setting."""
        return (f"{self.key}={self.value:g}",) if self.key else ()


@dataclass(frozen=True)
class Row:
    """What a variant came to: percent, change in percentage points with its 95 % interval to the settings as they are.

    ``presence`` is of a tracker that tells how sure it is, on sequences that lose the target; otherwise None.
    """

    variant: Variant
    auc: float
    change: float
    low: float
    high: float
    presence: PresenceReport | None


def variants_of(spec: TrackerSpec, keys: Sequence[str], scales: Sequence[float]) -> tuple[list[Variant], list[str]]:
    """Return the settings as they are and all variants that the configuration allows, and why others are refused.

    Raises ConfigError: a key is unknown or its value no number.
    """
    cfg = load_experiment(spec.config, spec.overrides, spec.family)
    chosen, refused = [Variant()], []
    for key in keys:
        try:
            now = reduce(getattr, key.split("."), cfg)
        except AttributeError as error:
            raise ConfigError(f"--keys {key}: {spec.config} has no such setting") from error
        if not isinstance(now, int | float) or isinstance(now, bool):
            raise ConfigError(f"--keys {key}: it is {now!r}, and only numbers can be multiplied")
        for scale in scales:
            variant = Variant(key, scale, round(now * scale) if isinstance(now, int) else now * scale)
            if variant.value == now or variant.name in {one.name for one in chosen}:
                continue
            try:
                load_experiment(spec.config, (*spec.overrides, *variant.overrides), spec.family)
            except ConfigError as error:
                refused.append(f"{key} times {scale:g}: {error}")
            else:
                chosen.append(variant)
    return chosen, refused


def track(spec: TrackerSpec, variant: Variant, dataset: str, threads: int, folder: Path) -> Report:
    """Track a data set with a variant, or take the results that there are; score them.

    Raises DataError: a sequence failed; OSTrackError: the tracker cannot be built, or its results cannot be scored.
    """
    results = folder / variant.name
    options = RunOptions(workers=threads, results_dir=results)
    summary = track_benchmarks(replace(spec, overrides=spec.overrides + variant.overrides), [dataset], options)
    if summary.failed:
        raise DataError(f"{variant.name}: {len(summary.failed)} sequences failed, see above")
    return evaluate([(spec.family, Path(spec.config).stem)], dataset, results)


def presence_of(report: Report, threshold: float) -> PresenceReport | None:
    """Return how well confidence and annotation agree, or None where no target leaves or no confidence is told."""
    files = report.trackers[0].files
    if not all(scores_path(path).is_file() for path in files):
        return None
    told = presence_report([tracked(one, path) for one, path in zip(report.data, files, strict=True)], threshold)
    return told if told.absent else None


def measure(
    spec: TrackerSpec, chosen: Sequence[Variant], dataset: str, threads: int, threshold: float, folder: Path
) -> list[Row]:
    """Return a row for each variant, compared with the first; each is printed when it is there."""
    rows: list[Row] = []
    before: np.ndarray | None = None
    for variant in chosen:
        report = track(spec, variant, dataset, threads, folder)
        tracker = report.trackers[0]
        scores = tracker.sequence_scores()[:, 0]
        before = scores if before is None else before
        change = compare_scores(scores, before, tracker.weights)
        auc = tracker.scores()[report.score_names[0]]
        row = Row(variant, auc, change.difference, change.low, change.high, presence_of(report, threshold))
        print(line(row), flush=True)
        rows.append(row)
    return rows


def line(row: Row) -> str:
    """Return a line of the table."""
    name = f"{row.variant.key} = {row.variant.value:g}" if row.variant.key else AS_IS
    text = f"{name:38s} AUC {row.auc:6.2f}  {row.change:+6.2f} ({row.low:+.2f}..{row.high:+.2f})"
    if (told := row.presence) is None:
        return text
    return (
        f"{text}  AUROC {told.auroc:.3f}, found again {told.found} of {told.returns}, "
        f"falsely sure {told.false_finds} of {told.absent}"
    )


def plot(rows: Sequence[Row], path: Path) -> None:
    """Draw the change of AUC over the scale, a line for each setting."""
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    axes.axhline(0, color="0.7", linewidth=1)
    for key in dict.fromkeys(row.variant.key for row in rows if row.variant.key):
        points = sorted((row.variant.scale, row.change) for row in rows if row.variant.key in ("", key))
        axes.plot(*zip(*points, strict=True), marker="o", label=key)
    axes.set(xlabel="setting over its value in the experiment", ylabel="change of AUC, percentage points")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tracker", help="family of trackers")
    parser.add_argument("config", help="name or path of an experiment")
    parser.add_argument("--dataset", required=True, help="a benchmark, or folder:PATH")
    parser.add_argument("--keys", nargs="+", required=True, metavar="KEY.SUB", help="settings that are numbers")
    parser.add_argument("--scales", nargs="+", type=float, default=[0.5, 1.5], help="default: 0.5 1.5")
    parser.add_argument("--threshold", type=float, default=0.6, help="confidence from which it is sure (default 0.6)")
    parser.add_argument("--threads", type=int, default=0, help="worker processes; 0 tracks in this one")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the change of AUC over the scale")
    add_tracker_options(parser)
    args = parser.parse_intermixed_args()
    spec = TrackerSpec.from_arguments(args, find_family(args.tracker).name)
    chosen, refused = variants_of(spec, args.keys, args.scales)
    for reason in refused:
        print(f"left out: {reason}")
    folder = Path(env_settings().saving_to(args.save_dir).save_dir) / "sensitivity"
    rows = measure(spec, chosen, args.dataset, args.threads, args.threshold, folder)
    if args.json:
        args.json.write_text(json.dumps([asdict(row) for row in rows], indent=1, default=np.ndarray.tolist) + "\n")
    if args.plot:
        plot(rows, args.plot)


if __name__ == "__main__":
    run_cli(main)
