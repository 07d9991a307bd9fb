"""Choose the trackers whose results to show, and find the sequences without results."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from pathlib import Path

from lib.data.sequence import Sequence
from lib.test.evaluation.results import find_results, found_result
from lib.utils.errors import ConfigError, DataError, listed, suggestion
from lib.vis.draw import COLORS

Tracker = tuple[str, str]  # name and config, as in the path of its results


@dataclass(frozen=True)
class Selection:
    """Selected results of one data set, a benchmark or ``folder:PATH``.

    Attributes:
        tracker, configs: trackers to select; None and () mean all.
        compare: other trackers to show, ``TRACKER/CONFIG``.
        protocol: defines which frames have a target, and how overlap is computed.
    """

    dataset: str
    tracker: str | None = None
    configs: Seq[str] = ()
    compare: Seq[str] = ()
    protocol: str = "pytracking"

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


def tracker_label(tracker: Tracker) -> str:
    """Return ``NAME/CONFIG``."""
    return "/".join(tracker)


def missing_results(results_dir: Path, tracker: Tracker, sequences: Seq[Sequence]) -> list[str]:
    """List the sequences that ``tracker`` has no finished result file for."""
    return [one.name for one in sequences if not found_result(results_dir, *tracker, one).is_file()]


def untracked(
    results_dir: Path, trackers: Seq[Tracker], sequences: Seq[Sequence]
) -> tuple[list[Sequence], list[Sequence]]:
    """Split off the sequences that cannot be tracked here: without frames, and without results of any tracker.

    Returns:
        The other sequences, and these; the latter are empty if that would be all sequences.
    """
    lacking = [set(missing_results(results_dir, tracker, sequences)) for tracker in trackers]
    nowhere = set.intersection(*lacking) if lacking else set()
    kept: list[Sequence] = []
    frameless: list[Sequence] = []
    for one in sequences:
        (frameless if one.name in nowhere and not one.has_frames() else kept).append(one)
    return (kept, frameless) if kept else (frameless, [])


def missing_message(missing: Mapping[str, list[str]], dataset: str, sequences: Seq[Sequence], results_dir: Path) -> str:
    """Return the error message for missing results by label of the tracker, with advice."""
    lines = [f"results are missing in {results_dir}:"]
    for label, names in missing.items():
        lines.append(f"  {label}: {len(names)} of {len(sequences)} sequences of {dataset}: {listed(names)}")
    lines.append("Track them (tracking/test.py goes on where it stopped), or score without them: --skip_missing")
    for label, names in missing.items():
        group, folder = sequences[0].group, results_dir / label
        others = (folder, *folder.glob("folder_*/")) if group and len(names) == len(sequences) else ()
        if found := next((other for other in others if (other / f"{names[0]}.txt").is_file()), None):
            lines.append(
                f"{found} has results of these names: of another folder, of this one before it was moved, or of an "
                f"earlier version. If you know them to be of this one, move them to {folder / group}"
            )
    return "\n".join(lines)


def choose_trackers(results_dir: Path, tracker: str | None, configs: Seq[str]) -> list[Tracker]:
    """Return the trackers under ``results_dir`` with a given name and configs; None and () mean all.

    Raises:
        DataError: there are no results, or none of a requested name (the message suggests the nearest name).
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
