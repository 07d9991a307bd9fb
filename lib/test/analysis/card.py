"""The contents of a model card from finished results: scores by sequence, training curves, the worst failures."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence as Seq
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter
from tqdm import tqdm

from lib.config import validated_epochs
from lib.config.experiment import TrainConfig
from lib.data.image_io import write_image
from lib.data.sequence import Sequence
from lib.test.analysis.analyze import Selection
from lib.test.analysis.html import picture_region
from lib.test.analysis.metrics import true_runs
from lib.test.analysis.on_frames import Track, chosen_frames, frame_marks, legend
from lib.test.analysis.plots import plot_style, tidy
from lib.test.analysis.report import Report, TrackerReport, evaluate, tracker_label
from lib.test.analysis.tables import Table, markdown, notes, sequence_table
from lib.test.evaluation.environment import EnvSettings, env_settings
from lib.utils.checkpoint import load_checkpoint
from lib.utils.errors import CheckpointError, ConfigError
from lib.vis.compare import marked_sheet
from lib.vis.draw import COLORS, rgb

logger = logging.getLogger(__name__)

LOST = 0.1  # overlap
TILE_WIDTH = 320  # pixels
_LEAST_ZOOM = 1 / 8  # a tile shows this part of its frame at least
PANEL_SIZE, DPI, COLUMNS = (4.2, 3.2), 150, 3  # inches, points per inch, panels in a row
_NEEDED = ("stats", "config", "settings", "epoch", "step", "epoch_step", "world")
_COUNTED = ("EPOCH", "BATCH_SIZE", "ACCUM_STEPS", "VAL_EPOCH_INTERVAL")  # keys of TRAIN that say what an epoch is


def write_card(
    folder: Path,
    selection: Selection,
    runs: Seq[str] = (),
    failures: int = 4,
    skip_missing: bool = False,
    env: EnvSettings | None = None,
) -> list[Path]:
    """Write ``card.md``, a piece of Markdown to be put into a model card, and its pictures; return the files, it first.

    Args:
        folder: is made; files of these names are replaced.
        selection: results to show, those of one configuration and of others beside them; without a data set only
            curves are shown.
        runs: checkpoints whose curves to show, see :func:`read_runs`.
        failures: how many of the worst sequences to show pictures of; 0 needs no frames.
        skip_missing: leave out sequences without results instead of refusing.

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


def worst_sequences(tracker: TrackerReport, count: int) -> list[int]:
    """Return the numbers of the ``count`` sequences with the lowest first score, the lowest first.

    Sequences in which no frame but the first has a target are left out.
    """
    scores = tracker.sequence_scores()[:, 0]
    order = np.argsort(scores, kind="stable").tolist()  # NaN last
    return [index for index in order if tracker.errors[index].valid[1:].any()][:count]


def scored_track(tracker: TrackerReport, index: int) -> Track:
    """Return the result of a tracker on sequence number ``index`` of its report, to draw."""
    errors = tracker.errors[index]
    overlap = np.where(errors.valid, errors.overlap, np.nan)
    return Track(tracker.label, rgb(COLORS[1]), errors.boxes, overlap, origin="")


def failure_frames(overlap: np.ndarray) -> tuple[int, int]:
    """Return the frame in which a tracker went wrong, and a later one: both ends of its longest failure.

    A failure is a run of frames with an overlap of 0.1 at most, or of the lowest one where that is more; of
    runs of equal length the earliest counts. If it is a single frame, the later one is the last with a target.

    Args:
        overlap: (frames,); NaN without a target, which neither makes nor ends a failure. The first frame is left out;
            some other must have a target.
    """
    seen = 1 + np.flatnonzero(np.isfinite(overlap[1:]))
    wrong = overlap[seen] <= max(LOST, overlap[seen].min())
    starts, ends = true_runs(wrong).T
    longest = int(np.argmax(ends - starts))
    first, last = int(seen[starts[longest]]), int(seen[ends[longest] - 1])
    return first, last if last > first else int(seen[-1])


def is_lost(overlap: np.ndarray) -> bool:
    """Return whether a target is lost at all: some frame after the first has an overlap of 0.1 at most."""
    return bool(np.nanmin(overlap[1:]) <= LOST)


def failure_strip(sequence: Sequence, track: Track) -> np.ndarray:
    """Return the frames of :func:`failure_frames` beside the first one, close up, with true box and prediction.

    RGB uint8, three tiles (two where the failure is the last frame) of 320 pixels under a legend. Raises DataError: the
    frames cannot be read.
    """
    wrong, later = failure_frames(track.overlap)
    titles = {0: "template", later: "later", wrong: "goes wrong" if is_lost(track.overlap) else "lowest overlap"}
    images, marks = [], []
    sequence.check_length()
    for t, image in zip(sorted(titles), chosen_frames(sequence, set(titles)), strict=True):
        of_frame = frame_marks(sequence, [track] if t else [], t)  # in the first frame both boxes are the same
        boxes = [mark.box for mark in of_frame if mark.box is not None]
        x, y, w, h = picture_region(boxes, (image.shape[1], image.shape[0]), _LEAST_ZOOM)
        images.append(image[y : y + h, x : x + w])
        corner = np.array([x, y, 0, 0])
        marks.append([mark._replace(box=(mark.box - corner).tolist()) if mark.box else mark for mark in of_frame])
    captions = [f"frame {t}, {titles[t]}" for t in sorted(titles)]
    return marked_sheet(images, captions, marks, legend([track]), TILE_WIDTH)


@dataclass(frozen=True)
class Run:
    """The history of a training run: the epochs that it has completed, and the pairs that it has seen in these.

    ``curves`` holds, by split (``train``, ``val``) and name (``IoU``, ``Loss/...``), how many pairs had been seen, and
    the value then: the mean over the epoch that ended there, or over the validation pairs.
    """

    label: str
    epochs: int
    pairs: int
    curves: dict[str, dict[str, tuple[list[int], list[float]]]]

    def last(self, split: str, name: str) -> float:
        """Return the last value of a curve; NaN where there is none."""
        return self.curves.get(split, {}).get(name, ([], [math.nan]))[1][-1]


def read_runs(sources: Seq[str]) -> list[Run]:
    """Read training runs by their checkpoints, each ``PATH`` or ``LABEL=PATH``; the experiment names it by default.

    Raises ConfigError: two runs have the same label; CheckpointError: see :func:`read_run`.
    """
    runs: dict[str, Run] = {}
    for source in sources:
        label, _, path = source.rpartition("=")
        run = read_run(path, label)
        if run.label in runs:
            raise ConfigError(f"several runs are called {run.label}: give them other names, LABEL=PATH")
        runs[run.label] = run
    return list(runs.values())


def read_run(path: str | Path, label: str = "") -> Run:
    """Read the history in a checkpoint that training wrote. Raises CheckpointError: it cannot be read, or has none.

    A checkpoint says how many validations there were, not when. Where that does not follow from the configuration,
    because it was changed on the way, they are left out with a warning.
    """
    checkpoint = load_checkpoint(path)
    missing = [key for key in _NEEDED if key not in checkpoint]
    if missing or not checkpoint["epoch"]:
        reason = f"it has no {', '.join(missing)}" if missing else "no epoch is complete"
        raise CheckpointError(f"{path} has no curves, {reason}: name a checkpoint that tracking/train.py wrote")
    table, epochs = checkpoint["config"]["TRAIN"], checkpoint["epoch"]
    train = TrainConfig(**{key: table[key] for key in _COUNTED if key in table})
    steps = (checkpoint["step"] - checkpoint["epoch_step"]) // epochs
    per_epoch = steps * train.BATCH_SIZE * train.ACCUM_STEPS * checkpoint["world"]
    if changed := checkpoint["settings"].get("changes"):
        logger.warning("%s: pairs are counted by its last configuration, which was changed on the way (%s)",
                       path, "; ".join(changed))  # fmt: skip
    ends = {"train": list(range(1, epochs + 1))}
    ends["val"] = [epoch for epoch in validated_epochs(train) if 1 <= epoch <= epochs]
    curves: dict[str, dict[str, tuple[list[int], list[float]]]] = {}
    for split, stats in checkpoint["stats"].items():
        shown = {name: values for name, values in stats.items() if name in ("IoU", "AUC") or name.startswith("Loss/")}
        undated = [name for name, values in shown.items() if len(values) != len(ends[split])]
        if undated:
            logger.warning("%s: %s of split %s have more or fewer values than the configuration, which was changed on "
                           "the way, says: it is not known when they were, so they are not drawn",
                           path, ", ".join(undated), split)  # fmt: skip
        at = [per_epoch * epoch for epoch in ends[split]]
        drawn = {name: (at, values) for name, values in shown.items() if name not in undated}
        if drawn:
            curves[split] = drawn
    return Run(label or checkpoint["settings"]["config_name"], epochs, per_epoch * epochs, curves)


def runs_table(runs: Seq[Run]) -> Table:
    """Make a row for each run: epochs, pairs, and the last values of IoU and loss."""
    header = ["Run", "Epochs", "Pairs", "Validation IoU", "Validation loss", "Training IoU", "Training loss"]
    keys = [(split, name) for split in ("val", "train") for name in ("IoU", "Loss/total")]
    rows = [[run.label, run.epochs, run.pairs, *(run.last(*key) for key in keys)] for run in runs]
    return Table("At the end of training:", pd.DataFrame(rows, columns=header))


def write_curves(runs: Seq[Run], path: Path) -> Path:
    """Draw all runs into one picture, see :func:`draw_curves`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with plot_style():
        figure = Figure(layout="constrained")
        draw_curves(figure, runs)
        figure.savefig(path, dpi=DPI)
    return path


def draw_curves(figure: Figure, runs: Seq[Run]) -> None:
    """Draw a panel for IoU and each loss: validation as a line with dots, training as a faint one, a color per run."""
    names = list(dict.fromkeys(name for run in runs for stats in run.curves.values() for name in stats))
    names.sort(key=lambda name: (name != "IoU", name != "AUC", name != "Loss/total"))
    columns = min(COLUMNS, len(names))
    rows = -(-len(names) // columns)
    figure.set_size_inches(columns * PANEL_SIZE[0], rows * PANEL_SIZE[1])
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    for name, axes in zip(names, panels, strict=False):
        for number, run in enumerate(runs):
            for split, style in (("train", {"alpha": 0.4}), ("val", {"marker": "."})):
                if name in run.curves.get(split, {}):
                    label = f"{run.label}, {'training' if split == 'train' else 'validation'}"
                    axes.plot(*run.curves[split][name], color=COLORS[number % len(COLORS)], label=label, **style)
        axes.set(title=name, xlabel="Pairs seen", xlim=(0, None), ylim=(0, 1) if name == "IoU" else (0, None))
        axes.xaxis.set_major_formatter(EngFormatter())
        tidy(axes)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=2, frameon=False)
