"""Curves of training runs over the pairs that they have seen, from the history in their checkpoints."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from lib.config import validated_epochs
from lib.config.experiment import TrainConfig
from lib.test.analysis.plots import plot_style, tidy
from lib.test.analysis.tables import Table
from lib.utils.checkpoint import load_checkpoint
from lib.utils.errors import CheckpointError, ConfigError
from lib.vis.draw import COLORS

logger = logging.getLogger(__name__)

PANEL_SIZE, DPI, COLUMNS = (4.2, 3.2), 150, 3  # inches, points per inch, panels in a row
_NEEDED = ("stats", "config", "settings", "epoch", "step", "epoch_step", "world")
_COUNTED = ("EPOCH", "BATCH_SIZE", "ACCUM_STEPS", "VAL_EPOCH_INTERVAL")  # keys of TRAIN that say what an epoch is


@dataclass(frozen=True)
class Run:
    """The history of a training run.

    Attributes:
        label: what to call it.
        epochs: how many of them it has completed.
        pairs: how many pairs it has seen in these.
        curves: by split (``train``, ``val``) and name (``IoU``, ``Loss/...``), how many pairs had been seen, and the
            value then: the mean over the epoch that ended there, or over the validation pairs.
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

    Raises:
        ConfigError: two runs have the same label.
        CheckpointError: a checkpoint cannot be read or holds no history.
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
    ends = {
        "train": list(range(1, epochs + 1)),
        "val": [epoch for epoch in validated_epochs(train) if 1 <= epoch <= epochs],
    }
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
