"""The contents of a model card from finished results: scores by sequence, training curves, the worst failures."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import replace
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from lib.data.image_io import write_image
from lib.test.analysis.curves import read_runs, runs_table, write_curves
from lib.test.analysis.failures import failure_frames, failure_strip, is_lost, scored_track, worst_sequences
from lib.test.analysis.report import Report, evaluate
from lib.test.analysis.selection import Selection, tracker_label
from lib.test.analysis.tables import Table, markdown, notes, sequence_table
from lib.test.evaluation.environment import EnvSettings, env_settings
from lib.utils.errors import ConfigError


def write_card(
    folder: Path,
    selection: Selection,
    runs: Seq[str] = (),
    failures: int = 4,
    skip_missing: bool = False,
    env: EnvSettings | None = None,
) -> list[Path]:
    """Write ``card.md``, a piece of Markdown to be put into a model card, and the pictures that it shows.

    Args:
        folder: is made; files of these names are replaced.
        selection: results to show, those of one configuration and of others beside them; without a data set only
            curves are shown.
        runs: checkpoints whose curves to show, see :func:`lib.test.analysis.curves.read_runs`.
        failures: how many of the worst sequences to show pictures of; 0 needs no frames.
        skip_missing: leave out sequences without results instead of refusing.
        env: paths; by default those of ``lib/test/evaluation/local.py``.

    Returns:
        The files, ``card.md`` first.

    Raises:
        OSTrackError: nothing to show, missing results, or a file that cannot be read.
        OSError: a file cannot be written.
    """
    dataset = selection.dataset
    if not (dataset or runs) or bool(dataset) != bool(selection.configs) or (selection.compare and not dataset):
        raise ConfigError("name results with --dataset and --config (and --compare), checkpoints with --runs, or both")
    if failures < 0:
        raise ConfigError(f"{failures} failures cannot be shown: 0 or more can")
    history = read_runs(runs)
    env = env or env_settings()
    text: list[str] = []
    files: list[Path] = []
    if dataset:
        results_dir = Path(env.results_path)
        trackers = selection.trackers(results_dir)
        report = evaluate(trackers, dataset, results_dir, selection.protocol, skip_missing, env)
        bullets = "\n".join(f"- {line}" for line in notes(report))
        text += ["## Scores", markdown(score_table(report, tracker_label(trackers[0]))), bullets]
        shown, files = _write_failures(report, tracker_label(trackers[0]), failures, folder)
        text += shown
    card = folder / "card.md"
    folder.mkdir(parents=True, exist_ok=True)
    if history:
        files.append(write_curves(history, folder / "curves.png"))
        text += ["## Training", "![IoU and losses over the pairs seen](curves.png)", markdown(runs_table(history))]
    card.write_text("\n\n".join(piece.strip() for piece in text) + "\n")
    return [card, *files]


def score_table(report: Report, label: str) -> Table:
    """Make a row per sequence and one over all: each score of tracker ``label``, the first of the others."""
    one = report.tracker(label)
    others = [tracker for tracker in report.trackers if tracker is not one]
    first = report.score_names[0]
    own = sequence_table(replace(report, trackers=[one]))
    beside = {f"{first} of {tracker.label}": tracker.sequence_scores()[:, 0] for tracker in others}
    rows = own.frame.assign(**beside)
    whole = ["all", sum(report.frames), *one.scores().values(), *(tracker.scores()[first] for tracker in others)]
    last = pd.DataFrame([whole], columns=rows.columns)
    return replace(own, frame=pd.concat([rows, last], ignore_index=True))


def _write_failures(report: Report, label: str, count: int, folder: Path) -> tuple[list[str], list[Path]]:
    """Write pictures of a tracker's worst sequences; return the Markdown that shows them, and the files."""
    one = report.tracker(label)
    text: list[str] = []
    files: list[Path] = []
    for index in tqdm(worst_sequences(one, count), "failures", delay=2, leave=False):
        sequence, track = report.data[index], scored_track(one, index)
        files.append(folder / f"failure_{sequence.name}.png")
        write_image(files[-1], failure_strip(sequence, track))
        score = f"{report.score_names[0]} {one.sequence_scores()[index, 0]:.1f}"
        wrong = failure_frames(track.overlap)[0]
        what = "goes wrong" if is_lost(track.overlap) else f"lowest overlap, {track.overlap[wrong]:.2f},"
        said = f"{sequence.name}: {score}, {what} in frame {wrong} (0 to {len(track.boxes) - 1})"
        text.append(f"{said}\n\n![{said}]({files[-1].name})")
    return (["## Lowest scores", *text] if text else []), files
