"""The analysis behind ``tracking/analysis_results.py``: choose results, score them, write tables, plots and a page."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lib.data.own_folder import folder_label
from lib.data.sequence import Sequence
from lib.test.analysis.metrics import compare_scores
from lib.test.analysis.plots import write_plots
from lib.test.analysis.report import Report, Tracker, TrackerReport, evaluate, missing_results, tracker_label
from lib.test.analysis.tables import align, attribute_table, sequence_table, summary_text, text, write_tables
from lib.test.evaluation.benchmarks import BENCHMARKS, FOLDER_PREFIX, get_dataset
from lib.test.evaluation.environment import EnvSettings, env_settings
from lib.test.evaluation.results import LOST_BELOW, find_results, found_result, result_files
from lib.utils.errors import ConfigError, DataError, suggestion
from lib.utils.replacing import writing
from lib.vis.draw import COLORS

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AnalysisOptions:
    """Options of scoring and its output."""

    protocol: str = "pytracking"
    skip_missing: bool = False  # leave out sequences without results, which are an error otherwise
    by_sequence: bool = False  # also print the table of the sequences
    by_attribute: bool = False  # also print the table of the attributes
    compare: tuple[str, str] | None = None  # NAME/CONFIG or CONFIG each, to test for a significant difference
    plots: bool = True
    export: Seq[str] = ()  # formats (md, tex, csv) to write all tables in
    html: bool = False  # write the page report.html
    lost_below: float = LOST_BELOW  # frames with a lower score are marked on the page
    cache: bool = True  # of parsed result files, in OUTPUT/test/cache

    def __post_init__(self) -> None:
        if not 0 <= self.lost_below <= 1:
            raise ConfigError(f"--lost_below {self.lost_below}: this is a score from 0 to 1")


def analyze(
    dataset: str | None = None,
    tracker: str | None = None,
    configs: Seq[str] = (),
    options: AnalysisOptions = AnalysisOptions(),  # noqa: B008 (frozen)
    env: EnvSettings | None = None,
) -> Iterator[str]:
    """Score results and write tables and plots under ``OUTPUT/test/result_plots/``, see :func:`folder_name`.

    Args:
        dataset: a benchmark or ``folder:PATH``, or several separated by commas; None lists the results and scores every
            complete benchmark.
        tracker, configs: trackers to score; by default all with complete results. The others are listed.

    Yields:
        Text to print, block by block.

    Raises:
        OSTrackError: nothing to score, or data that cannot be scored.
    """
    env = env or env_settings()
    results_dir = Path(env.results_path)
    trackers = choose_trackers(results_dir, tracker, configs)
    if dataset is None:
        counts = [str(len(result_files(results_dir.joinpath(*one)))) for one in trackers]
        found = pd.DataFrame({"Tracker": map(tracker_label, trackers), "Sequences": counts})
        yield f"Results in {results_dir}\n{align(found)}"
        names = complete_benchmarks(results_dir, trackers, env)
        if not names:
            yield (
                "No benchmark is installed and complete. Score a part with --dataset NAME --skip_missing, "
                "a folder of your own with --dataset folder:PATH."
            )
    else:
        names = dataset.split(",")
    cache = Path(env.save_dir) / "test/cache" if options.cache else None
    for name in names:
        chosen = trackers
        if dataset is None or not configs:
            chosen, left_out = _usable(results_dir, trackers, name, options.skip_missing, env)
            if left_out:
                yield left_out
        report = evaluate(chosen, name, results_dir, options.protocol, options.skip_missing, env, cache, True)
        yield summary_text(report)
        if options.by_sequence:
            yield text(sequence_table(report))
        if options.by_attribute:
            table = attribute_table(report)
            yield text(table) if table else f"{report.dataset} has no attributes, or they were not found beside it"
        if options.compare:
            yield comparison_text(report, *options.compare)
        folder = Path(env.result_plot_path) / folder_name(name, options.protocol)
        files = _written(report, options, folder)
        yield f"Written to {folder}: {', '.join(path.name for path in files)}"


def _written(report: Report, options: AnalysisOptions, folder: Path) -> list[Path]:
    """Write the requested output to ``folder`` and return the files. Raises DataError: it cannot be written."""
    with writing(folder):
        files = write_tables(report, options.export, folder)
        if options.plots:
            files += write_plots(report, folder)
        if options.html:
            from lib.test.analysis.html import write_html

            files.append(write_html(report, folder / "report.html", lost_below=options.lost_below))
    return files


def _usable(
    results_dir: Path, trackers: Seq[Tracker], dataset: str, skip_missing: bool, env: EnvSettings
) -> tuple[list[Tracker], str]:
    """Keep the trackers with results of all sequences (``skip_missing``: of some); if there are none, all of them.

    The line that comes with them names those left out with some results of the data set.
    """
    known = [one for one in get_dataset(dataset, env=env) if one.has_boxes()]
    sequences, lacking = missing_results(results_dir, trackers, known)
    missing = {one: len(names) for one, names in lacking.items()}
    usable = [one for one, count in missing.items() if count <= (len(sequences) - 1 if skip_missing else 0)]
    partial = [
        f"{tracker_label(one)} (lacks {count} of {len(sequences)} sequences)"
        for one, count in missing.items()
        if usable and one not in usable and count < len(sequences)
    ]
    return usable or list(trackers), f"{dataset}: left out {', '.join(partial)}" if partial else ""


@dataclass(frozen=True)
class Selection:
    """Selected results of one data set, a benchmark or ``folder:PATH``."""

    dataset: str
    tracker: str | None = None  # None = all
    configs: Seq[str] = ()  # () = all
    compare: Seq[str] = ()  # other trackers to show, TRACKER/CONFIG
    protocol: str = "pytracking"  # defines which frames have a target, and how overlap is computed

    def trackers(self, results_dir: Path, sequence: Sequence | None = None) -> list[Tracker]:
        """Return the trackers in the requested order, without duplicates.

        Without tracker and configs, those without a result of ``sequence`` are left out.

        Raises:
            ConfigError: an entry of ``compare`` is invalid, or there are more trackers than colors.
            DataError: see :func:`choose_trackers`.
        """
        found = choose_trackers(results_dir, self.tracker, self.configs)
        found.sort(key=lambda one: self.configs.index(one[1]) if self.configs else 0)
        if sequence is not None and not (self.tracker or self.configs):
            found = [one for one in found if found_result(results_dir, *one, sequence).is_file()] or found
        for label in self.compare:
            name, slash, config = label.partition("/")
            if not (name and slash and config):
                raise ConfigError(f"--compare {label}: expected TRACKER/CONFIG, as in the path of its results")
            found += choose_trackers(results_dir, name, [config])
        found = list(dict.fromkeys(found))
        if len(found) > len(COLORS):
            count = f"{len(found)} trackers cannot be told apart, at most {len(COLORS)}"
            raise ConfigError(f"{count}: choose some with --config and --compare")
        return found


def choose_trackers(results_dir: Path, tracker: str | None, configs: Seq[str]) -> list[Tracker]:
    """Return the trackers under ``results_dir`` with a given name and configs; None and () mean all.

    Raises DataError: there are no results, or none of a requested name (the message suggests the nearest name).
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
                hint = suggestion(name, known, f"there are: {', '.join(sorted(known))}")
                raise DataError(f"no results of {kind} {name} in {results_dir}: {hint}")
    return [pair for pair in found if tracker in (None, pair[0]) and (not configs or pair[1] in configs)]


def complete_benchmarks(results_dir: Path, trackers: Seq[Tracker], env: EnvSettings) -> list[str]:
    """Return the benchmarks that can be scored here and of which at least one tracker has complete results."""
    complete = []
    for name, row in BENCHMARKS.items():
        if not env.folder(row).is_dir():
            continue
        try:
            sequences = get_dataset(name, env=env)
        except DataError as error:  # the folder exists, but not (all of) this benchmark, such as a training set
            logger.warning("%s is left out: %s", name, error)
            continue
        kept, lacking = missing_results(results_dir, trackers, sequences)
        full = len(kept) == len(sequences) and not all(lacking.values())
        if full and any(len(sequence.ground_truth) > 1 for sequence in sequences):
            complete.append(name)
    return complete


def folder_name(dataset: str, protocol: str = "pytracking") -> str:
    """Return a data set's name as that of a folder, with the protocol at the end unless it is the published one."""
    path = dataset.removeprefix(FOLDER_PREFIX)
    name = dataset if path == dataset else folder_label(Path(path).expanduser())
    return name if protocol == "pytracking" else f"{name}_{protocol}"


def comparison_text(report: Report, first: str, second: str) -> str:
    """Describe the significance of the difference between two trackers; names are ``NAME/CONFIG`` or CONFIG."""
    a, b = _find(report, first), _find(report, second)
    name = report.score_names[0]
    found = compare_scores(a.sequence_scores()[:, 0], b.sequence_scores()[:, 0], a.weights)
    p_value = f"p = {found.p_value:.4f}" if found.p_value >= 0.0001 else "p < 0.0001"
    points = f"{abs(found.difference):.2f} points of {name}"
    meaning = {
        "more than noise": f"are more than noise: {(a if found.difference > 0 else b).label} is the better one",
        "within noise": "are within noise: these sequences do not tell which of the two is better",
        "too few sequences": f"on {found.better + found.worse} sequences that differ say nothing yet: "
        "the test needs at least 6",
    }[found.verdict]
    return (
        f"{a.label} less {b.label}, {name}, {len(report.data)} sequences, protocol {report.protocol}\n"
        f"{found.difference:+.2f}, 95% interval {found.low:+.2f}..{found.high:+.2f}, {p_value}; "
        f"better on {found.better} sequences, worse on {found.worse}\n{points} {meaning}."
    )


def _find(report: Report, name: str) -> TrackerReport:
    labels = {one.label: one for one in report.trackers}
    found = [one for label, one in labels.items() if name in (label, label.split("/", 1)[1])]
    if len(found) != 1:
        hint = suggestion(name, () if found else labels, f"there are: {', '.join(labels)}")
        raise DataError(f"cannot compare {name}: {'several trackers have' if found else 'none has'} that name; {hint}")
    return found[0]
