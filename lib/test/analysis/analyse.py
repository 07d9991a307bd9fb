"""What ``tracking/analysis_results.py`` does: choose results, score them, write tables, plots and a page."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from collections.abc import Sequence as Seq
from pathlib import Path

from lib.data.own_folder import folder_label
from lib.test.analysis.plots import write_plots
from lib.test.analysis.report import Report, TrackerReport, evaluate
from lib.test.analysis.selection import Tracker, choose_trackers, complete_benchmarks, missing_results, tracker_label
from lib.test.analysis.statistics import compare_scores
from lib.test.analysis.tables import align, attribute_table, sequence_table, summary_text, text, write_tables
from lib.test.evaluation.benchmarks import FOLDER_PREFIX, get_dataset
from lib.test.evaluation.environment import EnvSettings, env_settings
from lib.test.evaluation.results import LOST_BELOW, result_files
from lib.utils.errors import DataError


def analyse(
    dataset: str | None = None,
    tracker: str | None = None,
    configs: Seq[str] = (),
    save_dir: str | Path | None = None,
    protocol: str = "pytracking",
    by_sequence: bool = False,
    by_attribute: bool = False,
    compare: tuple[str, str] | None = None,
    plots: bool = True,
    export: Seq[str] = (),
    html: bool = False,
    skip_missing: bool = False,
    cache: bool = True,
    env: EnvSettings | None = None,
    lost_below: float = LOST_BELOW,
) -> Iterator[str]:
    """Score results and write tables and plots under ``OUTPUT/test/result_plots/``, see :func:`folder_name`.

    Args:
        dataset: a benchmark or ``folder:PATH``, or several by comma; None lists the results and scores every benchmark
            that is complete.
        tracker, configs: whose results; by default all that are complete. Others are named.
        save_dir: OUTPUT, with the results in ``test/tracking_results``; by default that of the settings.
        protocol: name of the protocol.
        by_sequence, by_attribute: also yield the table of the sequences, of the attributes.
        compare: two trackers, ``NAME/CONFIG`` or CONFIG, whose difference is tested.
        plots: write them.
        export: formats (``md``, ``tex``, ``csv``) to write all tables in.
        html: write the page ``report.html``.
        skip_missing: leave out sequences without results instead of refusing.
        cache: keep the numbers of result files in ``OUTPUT/test/cache``.
        env: paths; by default those of ``lib/test/evaluation/local.py``.
        lost_below: frames of a lower score are marked on the page.

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
        names = list(complete_benchmarks(results_dir, trackers, env))
        if not names:
            yield (
                "No benchmark is installed and complete. Score a part with --dataset NAME --skip_missing, "
                "a folder of your own with --dataset folder:PATH."
            )
    else:
        names = dataset.split(",")

    for name in names:
        chosen = trackers
        if dataset is None or not configs:
            chosen, left_out = _usable(results_dir, trackers, name, skip_missing, env)
            if left_out:
                yield left_out
        kept = Path(env.save_dir) / "test/cache" if cache else None
        report = evaluate(chosen, name, results_dir, protocol, skip_missing, env, kept, differences=True)
        yield summary_text(report)
        if by_sequence:
            yield text(sequence_table(report))
        if by_attribute:
            table = attribute_table(report)
            yield text(table) if table else f"{name} has no attributes, or they were not found beside it"
        if compare:
            yield comparison_text(report, *compare)
        folder = plot_dir / folder_name(name, protocol)
        files = write_tables(report, export, folder)
        if plots:
            files += write_plots(report, folder)
        if html:
            from lib.test.analysis.html import write_html

            files.append(write_html(report, folder / "report.html", lost_below=lost_below))
        yield f"Written to {folder}: {', '.join(path.name for path in files)}"


def _usable(
    results_dir: Path, trackers: Seq[Tracker], dataset: str, skip_missing: bool, env: EnvSettings
) -> tuple[list[Tracker], str]:
    """Of trackers that nobody named, those with all sequences (``skip_missing``: with some); if there are none, all.

    Returns:
        the trackers, and a line that names those left out though they have results of the data set.
    """
    sequences = [one for one in get_dataset(dataset, env=env) if one.has_boxes()]
    missing = {one: len(missing_results(results_dir, one, sequences)) for one in trackers}
    usable = [one for one, count in missing.items() if count <= (len(sequences) - 1 if skip_missing else 0)]
    partial = [
        f"{tracker_label(one)} (lacks {count} of {len(sequences)} sequences)"
        for one, count in missing.items()
        if usable and one not in usable and count < len(sequences)
    ]
    return usable or list(trackers), f"{dataset}: left out {', '.join(partial)}" if partial else ""


def folder_name(dataset: str, protocol: str = "pytracking") -> str:
    """A data set's name as the name of a folder; for that of ``folder:PATH`` see :func:`folder_label`.

    The name of another protocol than the published one is put at its end.
    """
    path = dataset.removeprefix(FOLDER_PREFIX)
    name = dataset if path == dataset else folder_label(Path(path).expanduser())
    return name if protocol == "pytracking" else f"{name}_{protocol}"


def comparison_text(report: Report, first: str, second: str) -> str:
    """How sure it is that the tracker ``first`` is better, or worse, than ``second``; ``NAME/CONFIG`` or CONFIG."""
    a, b = _find(report, first), _find(report, second)
    name = report.score_names[0]
    found = compare_scores(a.sequence_scores()[:, 0], b.sequence_scores()[:, 0], a.weights)
    p_value = f"p = {found.p_value:.4f}" if found.p_value >= 0.0001 else "p < 0.0001"
    points = f"{abs(found.difference):.2f} points of {name}"
    if found.significant:
        verdict = f"{points} are more than noise: {(a if found.difference > 0 else b).label} is the better one"
    else:
        verdict = f"{points} are within noise: these sequences do not tell which of the two is better"
    return (
        f"{a.label} less {b.label}, {name}, {len(report.data)} sequences, protocol {report.protocol}\n"
        f"{found.difference:+.2f}, 95% interval {found.low:+.2f}..{found.high:+.2f}, {p_value}; "
        f"better on {found.better} sequences, worse on {found.worse}\n{verdict}."
    )


def _find(report: Report, name: str) -> TrackerReport:
    labels = {one.label: one for one in report.trackers}
    found = [one for label, one in labels.items() if name in (label, label.split("/", 1)[1])]
    if len(found) != 1:
        near = difflib.get_close_matches(name, labels, n=1)
        hint = f"did you mean {near[0]}?" if near and not found else f"there are: {', '.join(labels)}"
        raise DataError(f"cannot compare {name}: {'several trackers have' if found else 'none has'} that name; {hint}")
    return found[0]
