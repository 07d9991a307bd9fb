"""What the tracker can do with a step's box and score beyond the published way: keys ``TEST.*``, off by default."""

from __future__ import annotations

from collections.abc import Sequence

from lib.config.experiment import HoldConfig


def smooth_size(box: Sequence[float], last: Sequence[float], keep: float) -> list[float]:
    """The ``xywh`` box about the same centre, its sides mixed with those of ``last``, whose share is ``keep``."""
    if keep == 0:
        return list(box)
    x, y, w, h = box
    width, height = (keep * before + (1 - keep) * now for before, now in zip(last[2:], (w, h), strict=True))
    return [x + 0.5 * (w - width), y + 0.5 * (h - height), width, height]


def settle(
    found: Sequence[float], score: float, last: Sequence[float], reach: float, options: HoldConfig
) -> tuple[list[float], float]:
    """Where a target is taken to be after a step, and how far to look around it in the next.

    A box whose score is too low is not believed: the target stays where it was, and is looked for in a region that
    grows with every such step.

    Args:
        found: the box of this step.
        score: its score.
        last: the box from before.
        reach: side of the search region of this step, over that of the published tracker.
        options: section ``TEST.HOLD`` of the experiment.

    Returns:
        Box and reach.
    """
    if score < options.SCORE:
        return list(last), min(reach * options.GROWTH, options.LIMIT)
    return list(found), 1.0
