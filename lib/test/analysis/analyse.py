"""What ``tracking/analysis_results.py`` does: choose results, score them, write tables and plots."""

from __future__ import annotations

import re
from collections.abc import Iterator
from collections.abc import Sequence as Seq
from pathlib import Path

from lib.test.analysis.plots import write_plots
from lib.test.analysis.report import (
    Tracker,
    choose_trackers,
    complete_benchmarks,
    evaluate,
    missing_results,
    tracker_label,
)
from lib.test.analysis.tables import align, sequence_table, summary_table, write_sequence_csv
from lib.test.evaluation.benchmarks import get_dataset
from lib.test.evaluation.environment import EnvSettings, env_settings
from lib.test.evaluation.results import result_files


def analyse(
    dataset: str | None = None,
    tracker: str | None = None,
    configs: Seq[str] = (),
    save_dir: str | Path | None = None,
    protocol: str = "pytracking",
    by_sequence: bool = False,
    plots: bool = True,
    skip_missing: bool = False,
    env: EnvSettings | None = None,
) -> Iterator[str]:
    """Score results and write ``per_sequence.csv`` and plots under ``OUTPUT/test/result_plots/DATASET/``.

    Args:
        dataset: a benchmark or ``folder:PATH``; None lists the results and scores every benchmark that is complete.
        tracker, configs: whose results; by default all that are complete.
        save_dir: OUTPUT, with the results in ``test/tracking_results``; by default that of the settings.
        protocol: name of the protocol.
        by_sequence: also yield the table of the sequences.
        plots: write them.
        skip_missing: leave out sequences without results instead of refusing.
        env: paths; by default those of ``lib/test/evaluation/local.py``.

    Yields:
        Text to print, block by block.

    Raises:
        OSTrackError: nothing to score, or data that cannot be scored.
    """
    env = (env or env_settings()).saving_to(save_dir)
    results_dir, plot_dir = Path(env.results_path), Path(env.result_plot_path)
    trackers = choose_trackers(results_dir, tracker, configs)
    if dataset is None:
        rows = [[tracker_label(one), str(len(result_files(results_dir.joinpath(*one))))] for one in trackers]
        yield f"Results in {results_dir}\n{align(['Tracker', 'Sequences'], rows)}"
        jobs = complete_benchmarks(results_dir, trackers, env)
        if not jobs:
            yield (
                "No benchmark is installed and complete. Score a part with --dataset NAME --skip_missing, "
                "a folder of your own with --dataset folder:PATH."
            )
    else:
        jobs = {dataset: trackers if configs else _usable(results_dir, trackers, dataset, skip_missing, env)}

    for name, chosen in jobs.items():
        report = evaluate(chosen, name, results_dir, protocol, skip_missing, env)
        yield summary_table(report)
        if by_sequence:
            yield sequence_table(report)
        folder = plot_dir / folder_name(name)
        files = [write_sequence_csv(report, folder / "per_sequence.csv")]
        if plots:
            files += write_plots(report, folder)
        yield f"Written to {folder}: {', '.join(path.name for path in files)}"


def _usable(
    results_dir: Path, trackers: Seq[Tracker], dataset: str, skip_missing: bool, env: EnvSettings
) -> list[Tracker]:
    """Of trackers that nobody named, those with all sequences (``skip_missing``: with some); if there are none, all."""
    sequences = get_dataset(dataset, env=env)
    allowed = len(sequences) - 1 if skip_missing else 0
    usable = [one for one in trackers if len(missing_results(results_dir, one, sequences)) <= allowed]
    return usable or list(trackers)


def folder_name(dataset: str) -> str:
    """A data set's name as the name of a folder: ``folder:../shared/seqs`` becomes ``folder_seqs``."""
    kind, _, path = dataset.partition(":")
    return re.sub(r"[^\w.-]+", "_", f"{kind}_{Path(path).resolve().name}" if path else kind)
