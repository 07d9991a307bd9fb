"""Which peaks of a score map are distractors, and what they change."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lib.models.layers.head import BoxHead, CellHead
from lib.test.tracker import distractors

BOX = [40.0, 40.0, 20.0, 20.0]  # side 20, center 50, 50


def find(peaks: dict[int, float], score: float, known: tuple[float, ...] = ()) -> list[float]:
    """Return the x of the distractors on a row of cells, 10 pixels apart from x = 5 on, at the height of BOX."""
    scores = np.zeros(10)
    for cell, value in peaks.items():
        scores[cell] = value
    centers = np.stack((np.arange(10) * 10 + 5, np.full(10, 50)), axis=1)
    before = np.array([(x, 50) for x in known]).reshape(-1, 2)
    found = distractors.find(scores, centers, BOX, score, before)
    assert (found[:, 1] == 50).all()
    return found[:, 0].tolist()


def test_a_cell_is_where_its_predicted_box_is() -> None:
    maps = {"score_map": torch.zeros(1, 1, 2, 2), "offset_map": torch.full((1, 2, 2, 2), 0.5)}
    maps["offset_map"][0, :, 1, 0] = torch.tensor([0.75, -0.25])  # of the lower left cell
    middles = [[0.25, 0.75, 0.25, 0.75], [0.25, 0.25, 0.75, 0.75]]
    assert BoxHead.centers(maps)[0].tolist() == middles  # a head that predicts no offset
    middles[0][2], middles[1][2] = 0.375, 0.375
    assert CellHead.centers(maps)[0].tolist() == middles


def test_cells_near_a_distractor_weigh_less_unless_the_target_is_nearer() -> None:
    centers = np.array([(50, 50), (64, 50), (66, 50), (80, 50), (99, 50), (101, 50)])
    weights = distractors.cell_weights(centers, BOX, np.array([(80.0, 50.0)]), 0.25)
    assert weights.tolist() == [1, 1, 0.25, 0.25, 0.25, 1]
    assert distractors.cell_weights(centers, BOX, distractors.NONE, 0.25).tolist() == [1] * 6


def test_peaks_are_cells_without_a_higher_neighbor() -> None:
    score_map = torch.zeros(1, 1, 4, 4)
    score_map[0, 0, 1, 1], score_map[0, 0, 1, 2], score_map[0, 0, 3, 3] = 0.5, 0.25, 0.125
    peaks = distractors.peak_scores(score_map)
    assert peaks.nonzero()[:, 2:].tolist() == [[1, 1], [3, 3]]
    assert peaks.sum() == 0.625


@pytest.mark.parametrize(
    ("peaks", "score", "known", "found"),
    [
        ({8: 0.3}, 0.75, (), [85]),  # much weaker than a target that is sure
        ({8: 0.4}, 0.75, (), []),  # as good as the target
        ({8: 0.2}, 0.45, (), []),  # the target is not sure
        ({8: 0.2}, 0.45, (95,), [85]),  # known before
        ({8: 0.2}, 0.45, (65,), []),  # another one was
        ({8: 0.5}, 0.25, (85,), [85]),  # stronger than the target by now, but known
        ({8: 0.8}, 0.25, (85,), []),  # so strong that the target may be lost
        ({5: 0.3, 6: 0.3}, 0.75, (), [65]),  # at x = 55 it is the target
        ({8: 0.09}, 0.75, (85,), []),  # no peak worth the name
    ],
)
def test_distractors(peaks: dict[int, float], score: float, known: tuple[float, ...], found: list[float]) -> None:
    assert find(peaks, score, known) == found
