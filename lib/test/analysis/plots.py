"""Success and precision plots of a report."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lib.test.analysis.metrics import (
    CENTER_THRESHOLDS,
    NORM_CENTER_THRESHOLDS,
    OVERLAP_THRESHOLDS,
    mean_curves,
)
from lib.test.analysis.report import Report
from lib.test.analysis.tables import scope
from lib.utils.errors import OSTrackError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Paul Tol's bright and muted schemes: apart for colour-blind readers too. Line styles change when the colours run out.
COLORS = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#AA3377", "#66CCEE", "#882255", "#DD7711", "#332288", "#44AA99")
STYLES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class Plot:
    """One figure: its file name, the curve and the score that it shows, its axes, and where the score is read."""

    name: str
    curve: str
    score: str
    title: str
    x_label: str
    y_label: str
    thresholds: np.ndarray
    read_at: float | None = None


_ABOVE, _WITHIN = "Frames above threshold [%]", "Frames within threshold [%]"
PLOTS = (
    Plot("success_plot", "success", "AUC", "Success", "Overlap threshold", _ABOVE, OVERLAP_THRESHOLDS),
    Plot(
        "precision_plot",
        "precision",
        "Precision",
        "Precision",
        "Centre error threshold [pixels]",
        _WITHIN,
        CENTER_THRESHOLDS,
        read_at=20,
    ),
    Plot(
        "norm_precision_plot",
        "norm_precision",
        "Norm Precision",
        "Normalised precision",
        "Normalised centre error threshold",
        _WITHIN,
        NORM_CENTER_THRESHOLDS,
        read_at=0.2,
    ),
)


def write_plots(report: Report, folder: Path) -> list[Path]:
    """Write the three plots as PNG and PDF; returns the files.

    A tracker has the same colour in all three. Legends are sorted by the score of their plot.

    Raises:
        OSTrackError: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure  # no pyplot: no window system and no global state
    except ImportError as error:
        raise OSTrackError("plots need matplotlib: pip install matplotlib, or ask for --no_plots") from error
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # it tells of every glyph that goes into a PDF
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    with matplotlib.rc_context({"text.usetex": False, "font.size": 11, "pdf.fonttype": 42}):
        for plot in PLOTS:
            figure = Figure(figsize=(6.4, 4.8))
            draw_plot(figure.add_subplot(), plot, report)
            for suffix in ("png", "pdf"):
                files.append(folder / f"{plot.name}.{suffix}")
                figure.savefig(files[-1], dpi=180, bbox_inches="tight")
    return files


def draw_plot(axes: Axes, plot: Plot, report: Report) -> None:
    """Draw the mean curve of every tracker of ``report``, with a legend beside the axes."""
    entries = []
    for number, tracker in enumerate(report.trackers):
        score = tracker.scores()[plot.score]
        score_text = f"{score:4.1f}".replace(" ", "\N{FIGURE SPACE}")  # as wide as a digit: legends align
        style = {"color": COLORS[number % len(COLORS)], "linestyle": STYLES[number // len(COLORS) % len(STYLES)]}
        curve = 100 * getattr(mean_curves(tracker.curves), plot.curve)
        (line,) = axes.plot(plot.thresholds, curve, linewidth=2, label=f"{score_text}  {tracker.label}", **style)
        entries.append((score, line))
    if plot.read_at is not None:
        axes.axvline(plot.read_at, color="0.35", linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    axes.set_title(f"{plot.title} on {scope(report)}", loc="left", fontsize=12, pad=10)
    axes.set(xlabel=plot.x_label, ylabel=plot.y_label, xlim=(plot.thresholds[0], plot.thresholds[-1]), ylim=(0, 102))
    axes.set_yticks(range(0, 101, 20))
    axes.grid(color="0.9")
    axes.tick_params(length=0, pad=6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("0.5")
    lines = [line for _, line in sorted(entries, key=lambda entry: -entry[0])]
    title = plot.score if plot.read_at is None else f"{plot.score} at {plot.read_at:g}"
    axes.legend(handles=lines, title=title, loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False, alignment="left")
