"""Distractors: objects that look like the target, remembered from one frame to the next.

A peak of the score map that is apart from the target, and much weaker than it while the tracker is sure, shows another
object. Where such a peak was, scores of the next frame count less (``TEST.DISTRACTOR_WEIGHT``), so that the object is
not taken for the target when that is blurred or half hidden. KeepTrack (Mayer et al., ICCV 2021) trains a network to
follow distractors; this needs none. The place of a cell is the center of the box that it predicts, in image pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

# Scores, in (0, 1); distances as multiples of the target's side, the square root of its box's area.
_LEAST_SCORE = 0.1  # of a peak
_SURE = 0.5  # score of the target from which on weaker peaks become distractors
_WEAKER = 0.5  # their largest score, as a multiple of the target's
_STRONGEST = 3.0  # multiple of the target's score above which a distractor is no longer one: the target may be lost
_APART = 0.5  # least distance of a peak from the target's center
_SAME = 1.0  # distance up to which a distractor may have moved between two frames

NONE = np.zeros((0, 2))


def center_of(box: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return the center of an ``xywh`` box."""
    x, y, w, h = box
    return np.array([x + w / 2, y + h / 2])


def cell_weights(places: np.ndarray, box: Sequence[float], distractors: np.ndarray, weight: float) -> np.ndarray:
    """Return a weight for each cell: ``weight`` near a distractor, unless the target's last box is nearer, else 1.

    Args:
        places: of the cells, (N, 2).
        box: last ``xywh`` box of the target.
        distractors: those of the last frame, (N, 2).
    """
    nearest = _distance_to_nearest(places, distractors)
    from_target = np.linalg.norm(places - center_of(box), axis=1)
    return np.where((nearest < _SAME * _side(box)) & (nearest < from_target), weight, 1.0)


def peak_scores(score_map: Tensor) -> Tensor:
    """Return a map like ``score_map``, (B, 1, S, S), with 0 wherever one of the eight cells around is higher."""
    return torch.where(max_pool2d(score_map, 3, stride=1, padding=1) == score_map, score_map, 0)


def find(peaks: np.ndarray, places: np.ndarray, box: Sequence[float], score: float, known: np.ndarray) -> np.ndarray:
    """Return the distractors (N, 2) of a frame.

    Args:
        peaks: score of each cell that is a peak, else 0.
        places: of the cells, (N, 2).
        box: ``xywh`` box of the target in this frame.
        score: its score.
        known: the distractors of the frame before.
    """
    candidates = peaks > _LEAST_SCORE
    peaks, places = peaks[candidates], places[candidates]
    apart = np.linalg.norm(places - center_of(box), axis=1) > _APART * _side(box)
    seen_before = _distance_to_nearest(places, known) < _SAME * _side(box)
    other = seen_before | ((score >= _SURE) & (peaks <= _WEAKER * score))
    return places[apart & other & (peaks <= _STRONGEST * score)]


def _distance_to_nearest(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the distance of each point to the nearest other one; infinity if there is none."""
    return np.linalg.norm(points[:, None] - others[None], axis=2).min(axis=1, initial=np.inf)


def _side(box: Sequence[float]) -> float:
    return float(np.sqrt(box[2] * box[3]))
