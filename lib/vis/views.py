"""What there is to see of a tracked frame, wherever it is shown: in a browser, a video or a folder of pictures."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np

from lib.vis.draw import PREDICTION, TRUTH, blank, draw_box, draw_label, faded, heat, line_width, lit, resized

_MAP_TITLES = {"score_map": "score map", "score_map_hann": "score map x Hann window"}


@dataclass(frozen=True)
class View:
    """One frame of a sequence, and what the tracker made of it. Images are RGB uint8, boxes ``xywh`` pixels."""

    number: int  # of the frame, from 0
    image: np.ndarray
    box: list[float]  # as predicted by the tracker; in frame 0 the box that was given
    score: float  # in [0, 1]; NaN in frame 0
    truth: list[float] | None  # the annotated box, which the tracker never gets; None where there is none
    template: np.ndarray  # what the target looked like in frame 0, square
    search: np.ndarray | None = None  # the search region, square; None in frame 0, where the tracker does not search
    # Maps (S, S) in [0, 1] over the search region, by their published window name.
    maps: dict[str, np.ndarray] = field(default_factory=dict)
    # The indices among the (grid x grid) search tokens that candidate elimination has dropped when a layer (from 0) is
    # done, those of earlier layers included.
    removed: dict[int, np.ndarray] = field(default_factory=dict)
    # How much the middle of the template attends to each search token, (grid, grid), by layer (from 0); NaN where the
    # token was dropped before.
    attention: dict[int, np.ndarray] = field(default_factory=dict)
    grid: int = 1  # search tokens per side


Show = Callable[[View], None]
# Opens a display for the views of one sequence: called with its name and its number of frames.
Screen = Callable[[str, int], AbstractContextManager[Show]]


class LeaveSequence(Exception):
    """Raised while a view is shown: the user wants to see the next sequence."""


class Panel(NamedTuple):
    """A small square picture of a view."""

    title: str  # one line (ASCII)
    picture: np.ndarray  # RGB uint8, as large as the search region (the template has its own size)


def captions(view: View, sequence: str, total: int) -> tuple[str, str]:
    """Return the captions of a view: the frame and its number, and the score; ``total`` 0 is an unknown end."""
    title = f"{sequence}: frame {view.number + 1}{f' of {total}' if total else ''}"
    return title, f"score {view.score:.2f}" if np.isfinite(view.score) else "start"


def frame_picture(view: View, height: int, width: int) -> np.ndarray:
    """Return the frame, scaled to fit ``height`` x ``width``, with the annotated and, over it, the predicted box.

    The annotated box is green, and a tag in the lower left corner says so; the predicted one orange, with its score.
    """
    scale = min(height / view.image.shape[0], width / view.image.shape[1])
    image = resized(view.image, scale)
    if view.truth is not None and np.isfinite(view.truth).all() and min(view.truth[2:]) > 0:
        image = draw_box(image, [scale * value for value in view.truth], TRUTH)
        draw_label(image, "ground truth (not told to the tracker)", (0, image.shape[0]), TRUTH, line_width(image))
    label = f"{view.score:.2f}" if np.isfinite(view.score) else "start"
    return draw_box(image, [scale * value for value in view.box], PREDICTION, label)


def panels(view: View) -> dict[str, Panel]:
    """Return the panels of a view by window name, the published ones by their published names.

    Every view of a sequence has the same panels; in frame 0 those of the search region are blank.
    """
    found: dict[str, Callable[[np.ndarray], Panel]] = {
        "search_region": partial(Panel, "search region"),
        **{name: partial(_map_panel, view, name) for name in view.maps},
        **{f"masked_search_{layer}": partial(_removed_panel, view, layer) for layer in view.removed},
        **{f"attention_{layer}": partial(_attention_panel, view, layer) for layer in view.attention},
    }
    template = {"template": Panel("template", view.template)}
    if view.search is None:
        side = len(view.template)
        return template | {name: Panel(name.replace("_", " "), blank(side, side)) for name in found}
    return template | {name: panel(view.search) for name, panel in found.items()}


def _map_panel(view: View, name: str, search: np.ndarray) -> Panel:
    values = view.maps[name]
    title = _MAP_TITLES.get(name, name.replace("_", " "))
    highest = 1.0 if name in _MAP_TITLES else float(values.max())
    return Panel(f"{title}, max {values.max():.2f}", heat(values, len(search), highest))


def _removed_panel(view: View, layer: int, search: np.ndarray) -> Panel:
    left, total = view.grid**2 - len(view.removed[layer]), view.grid**2
    return Panel(f"CE in layer {layer}: {left} of {total} left", faded(search, view.removed[layer], view.grid))


def _attention_panel(view: View, layer: int, search: np.ndarray) -> Panel:
    values = view.attention[layer]
    return Panel(f"attention layer {layer}, max {np.nanmax(values):.3f}", lit(search, values))
