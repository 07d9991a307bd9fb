"""Success and precision plots of a report."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure  # no pyplot: no window system and no global state
from tqdm import tqdm

from lib.test.analysis.metrics import Curves, mean_curves
from lib.test.analysis.protocols import CURVE_ENDS, Rules, Score
from lib.test.analysis.report import Report
from lib.test.analysis.tables import scope
from lib.vis.draw import COLORS

_STYLES = ("-", "--", ":", "-.")
_PANELS, _COLUMNS = 24, 4  # of curves by attribute

_ABOVE, _WITHIN = "Frames above threshold [%]", "Frames within threshold [%]"
# Of each curve: name of its file, title, and labels of its axes.
CURVES = {
    "success": ("success_plot", "Success", "Overlap threshold", _ABOVE),
    "precision": ("precision_plot", "Precision", "Center error threshold [pixels]", _WITHIN),
    "norm_precision": ("norm_precision_plot", "Normalized precision", "Normalized center error threshold", _WITHIN),
}


def plotted_scores(rules: Rules) -> list[Score]:
    """Return the scores that are plotted: the first one of each curve."""
    return [next(one for one in rules.scores if one.curve == curve) for curve in {s.curve: None for s in rules.scores}]


@contextmanager
def plot_style() -> Iterator[None]:
    """Use the fonts of all plots here."""
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # it logs every glyph that goes into a PDF
    with matplotlib.rc_context({"text.usetex": False, "font.size": 11, "pdf.fonttype": 42}):
        yield


def tidy(axes: Axes) -> None:
    """Give axes the look of all plots here."""
    axes.grid(color="0.9")
    axes.tick_params(length=0, pad=6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("0.5")


def write_plots(report: Report, folder: Path) -> list[Path]:
    """Write a plot for each curve that has a score, as PNG and PDF; returns the files.

    Where sequences have attributes, there is one of the first score by attribute, and one with the first curve of each
    (of the 24 that most sequences have). A tracker has the same color in all of them. Legends are sorted by the score
    of their plot.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    with plot_style():
        drawn = {}
        for score in plotted_scores(report.rules):
            figure = drawn[CURVES[score.curve][0]] = Figure(figsize=(6.4, 4.8))
            draw_plot(figure.add_subplot(), score, report)
        if report.attributes:
            figure = drawn["attribute_plot"] = Figure(figsize=(6.4, 1.2 + 0.3 * len(report.attributes)))
            draw_attributes(figure.add_subplot(), report)
            drawn["attribute_curves"] = Figure(layout="constrained")
            draw_attribute_curves(drawn["attribute_curves"], report)
        for name, figure in tqdm(drawn.items(), "plots", delay=2, leave=False):
            for suffix in ("png", "pdf"):
                files.append(folder / f"{name}.{suffix}")
                figure.savefig(files[-1], dpi=180, bbox_inches="tight")
    return files


def line_style(number: int) -> dict[str, Any]:
    """Return color and line style of tracker ``number``; styles change when the colors run out."""
    return {"color": COLORS[number % len(COLORS)], "linestyle": _STYLES[number // len(COLORS) % len(_STYLES)]}


def draw_attributes(axes: Axes, report: Report) -> None:
    """Draw the first score of every tracker over the sequences that have each attribute, as dots on a line."""
    parts = report.attributes
    for number, tracker in enumerate(report.trackers):
        values = [tracker.part_scores(indices)[0] for indices in parts.values()]
        marker = "osD^"[number // len(COLORS) % 4]
        axes.plot(values, range(len(parts)), marker, color=COLORS[number % len(COLORS)], label=tracker.label)
    axes.set_yticks(range(len(parts)), [f"{name} ({len(indices)})" for name, indices in parts.items()])
    axes.set_title(f"By attribute on {scope(report)}, protocol {report.protocol}", loc="left", fontsize=12, pad=10)
    axes.set(xlabel=f"{report.score_names[0]} [%]", ylim=(len(parts) - 0.5, -0.5))
    tidy(axes)
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False)


def draw_attribute_curves(figure: Figure, report: Report) -> None:
    """Draw the first curve of every tracker over the sequences that have each attribute, a panel for each."""
    score = plotted_scores(report.rules)[0]
    parts = sorted(report.attributes.items(), key=lambda part: -len(part[1]))[:_PANELS]
    columns = min(_COLUMNS, len(parts))
    rows = -(-len(parts) // columns)
    figure.set_size_inches(3.2 * columns, 2.6 * rows + 0.3 * len(report.trackers))
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    panels = grid.flat
    for axes in panels[len(parts) :]:
        axes.set_axis_off()
    for axes, (name, indices) in zip(panels, parts, strict=False):
        for number, tracker in enumerate(report.trackers):
            weights = tracker.weights[indices]
            if weights.any():
                mean = mean_curves(Curves(*(curve[indices] for curve in vars(tracker.curves).values())), weights)
                curve = 100 * getattr(mean, score.curve)
                axes.plot(report.rules.thresholds(score.curve), curve, label=tracker.label, **line_style(number))
        axes.set_title(f"{name} ({len(indices)})", loc="left", fontsize=11)
        axes.set(xlim=(0, CURVE_ENDS[score.curve]), ylim=(0, 102))
        tidy(axes)
    _, title, x_label, y_label = CURVES[score.curve]
    figure.suptitle(f"{title} by attribute on {scope(report)}, protocol {report.protocol}", x=0.01, ha="left")
    for axes in grid[-1]:
        axes.set_xlabel(x_label)
    figure.supylabel(y_label)
    labels = {text: line for axes in figure.axes for line, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(labels.values(), labels, loc="outside lower left", frameon=False)


def draw_plot(axes: Axes, score: Score, report: Report) -> None:
    """Draw the curve of ``score`` of every tracker of ``report``, with a legend of the scores beside the axes."""
    _, title, x_label, y_label = CURVES[score.curve]
    entries = []
    for number, tracker in enumerate(report.trackers):
        value = tracker.scores()[score.name]
        text = f"{value:4.1f}".replace(" ", "\N{FIGURE SPACE}")  # as wide as a digit: legends align
        curve = 100 * getattr(tracker.mean_curves(), score.curve)
        x = report.rules.thresholds(score.curve)
        (line,) = axes.plot(x, curve, linewidth=2, label=f"{text}  {tracker.label}", **line_style(number))
        entries.append((value, line))
    legend_title = score.name
    if not isinstance(score.read, str):
        axes.axvline(score.read, color="0.35", linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        legend_title = f"{score.name} at {score.read:g}"
    axes.set_title(f"{title} on {scope(report)}, protocol {report.protocol}", loc="left", fontsize=12, pad=10)
    axes.set(xlabel=x_label, ylabel=y_label, xlim=(0, CURVE_ENDS[score.curve]), ylim=(0, 102))
    axes.set_yticks(range(0, 101, 20))
    tidy(axes)
    lines = [line for _, line in sorted(entries, key=lambda entry: -entry[0])]
    axes.legend(
        handles=lines, title=legend_title, loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False, alignment="left"
    )
