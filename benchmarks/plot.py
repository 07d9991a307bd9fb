"""Draw speed against accuracy from ``benchmarks/figures.json``, and write the table of models in README.md from it.

    python benchmarks/plot.py

``figures.json`` holds the figures of all models: change a row there, and run this. A row has

- ``tracker`` and ``run``: which tracker, and how it was run;
- ``lasot``: AUC on LaSOT as the paper prints it;
- ``auc``: mean AUC on 44 real validation sequences; ``auc_easier``: on the twelve of the model card;
- ``corrections``: on the 44, how often in a hundred frames a person draws the box anew (``--annotator 0.5``);
- ``fps``: frames per second on two cores; ``size``: of the weights. Null is what was not measured.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from lib.utils.paths import PROJECT_DIR
from lib.vis.draw import COLORS

FIGURES = Path(__file__).with_name("figures.json")
README, PICTURE = PROJECT_DIR / "README.md", PROJECT_DIR / "docs/pictures/speed_accuracy.png"
START, END = "<!-- models: written by benchmarks/plot.py -->\n", "<!-- end of models -->\n"
TITLES = (
    "",
    "AUC on LaSOT",
    "AUC on 44 real sequences",
    "on 12 easier ones",
    "[corrections](docs/metrics.md) in 100 frames, fewer is better",
    "frames a second, 2 cores",
    "size",
)
HEADER = f"| {' | '.join(TITLES)} |\n|{'---|' * len(TITLES)}\n"


def table(rows: list[dict[str, Any]]) -> str:
    """Return the models in Markdown: the first row of each tracker."""
    first = {row["tracker"]: row for row in reversed(rows)}
    lines = []
    for tracker in dict.fromkeys(row["tracker"] for row in rows):
        row = first[tracker]
        paper = "" if row["lasot"] is None else f"{row['lasot']} (the paper's)"
        scores = " | ".join("" if row[key] is None else str(row[key]) for key in ("auc", "auc_easier", "corrections"))
        fps = "" if row["fps"] is None else f"{row['fps']} ({row['run']})"
        lines.append(f"| {tracker} | {paper} | {scores} | {fps} | {row['size']} |\n")
    return HEADER + "".join(lines)


def with_table(text: str, rows: list[dict[str, Any]]) -> str:
    """README's text with the table of ``rows`` between its two marks."""
    before, rest = text.split(START)
    return before + START + table(rows) + END + rest.split(END)[1]


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Write a PNG with one panel for each set of sequences; rows without speed or score are left out."""
    trackers = list(dict.fromkeys(row["tracker"] for row in rows))
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.8), dpi=130, sharex=True)
    for axes, key, title in zip(
        panels, ("auc", "auc_easier"), ("44 real sequences", "the 12 easier sequences of the model card"), strict=True
    ):
        axes.set(xscale="log", xlim=(9, 600), title=title, xlabel="frames a second, 2 cores", ylabel="mean AUC")
        axes.set_xticks([10, 20, 50, 100, 200, 400], ["10", "20", "50", "100", "200", "400"])
        axes.minorticks_off()
        axes.grid(color="#dddddd")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        shown = [row for row in rows if row["fps"] and row[key]]
        runs = Counter(row["tracker"] for row in shown)
        # Labels of a tracker's runs stand above and below alternately; of a single one the table says which it is.
        for number, row in enumerate(sorted(shown, key=lambda row: (row["tracker"], row["fps"]))):
            color = COLORS[trackers.index(row["tracker"]) % len(COLORS)]
            point = (row["fps"], row[key])
            axes.plot(*point, "o", color=color, markersize=8, label=row["tracker"])
            if runs[row["tracker"]] > 1:
                offset = (0, -14 if number % 2 else 7)
                axes.annotate(row["run"], point, offset, textcoords="offset points", ha="center", fontsize=7)
        axes.margins(y=0.25)
    known = {label: point for axes in panels for point, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(known.values(), known.keys(), loc="lower center", ncols=len(known), frameon=False, fontsize=8)
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    figure.savefig(path)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figures", type=Path, default=FIGURES, help="JSON with the rows")
    parser.add_argument("--out", type=Path, default=PICTURE, help="PNG to write")
    args = parser.parse_args()
    rows = json.loads(args.figures.read_text())
    plot(rows, args.out)
    README.write_text(with_table(README.read_text(), rows))
    print(f"Wrote {args.out} and the table of models in {README}")


if __name__ == "__main__":
    main()
