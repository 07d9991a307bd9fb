"""Intervals and the paired test, against closed forms and enumeration."""

import math

import numpy as np
import pytest

from lib.test.analysis.metrics import bootstrap_intervals, compare_scores


def test_interval_agrees_with_the_normal_approximation():
    values = np.random.default_rng(3).normal(60, 20, (400, 2))
    found = bootstrap_intervals(values, np.ones(400))
    half = 1.96 * values.std(axis=0) / 20
    np.testing.assert_allclose(found, np.stack([values.mean(0) - half, values.mean(0) + half], axis=1), atol=0.15)
    np.testing.assert_array_equal(found, bootstrap_intervals(values, np.ones(400)))  # the same draws every time


def test_interval_of_equal_scores_has_no_width():
    np.testing.assert_allclose(bootstrap_intervals(np.full((7, 1), 42.0), np.ones(7)), [[42, 42]], rtol=1e-6)


def test_interval_weighs_sequences_and_leaves_out_those_of_no_weight():
    values = np.array([[0.0], [100], [np.nan]])
    low, high = bootstrap_intervals(values, np.array([1.0, 3, 0]))[0]
    assert (low, high) == (0, 100)  # each of the two is drawn twice in a quarter of the resamples
    many = np.tile(values[:2], (200, 1))
    found = bootstrap_intervals(many, np.tile([1.0, 3], 200))[0]
    assert found[0] < 75 < found[1] and found[1] - found[0] < 10


def test_a_single_sequence_has_no_interval():
    assert np.isnan(bootstrap_intervals(np.array([[5.0, 6]]), np.ones(1))).tolist() == [[True, True], [True, True]]


def test_p_value_of_few_sequences_is_exact():
    """Of the 32 ways to flip five signs, two give a sum as large as all alike."""
    found = compare_scores(np.array([3.0, 2, 5, 1, 9]), np.zeros(5), np.ones(5))
    assert (found.difference, found.p_value, found.better, found.worse) == (4, 2 / 32, 5, 0)
    assert not found.significant
    mixed = compare_scores(np.array([3.0, 0]), np.array([0.0, 1]), np.ones(2))
    assert (mixed.difference, mixed.p_value) == (1, 1.0)  # |+-3 +- 1| is 4, 2, 2, 4: all at least 2


def test_equal_trackers_do_not_differ():
    scores = np.random.default_rng(0).uniform(0, 100, 50)
    found = compare_scores(scores, scores, np.ones(50))
    assert (found.difference, found.low, found.high, found.p_value, found.better, found.worse) == (0, 0, 0, 1, 0, 0)


def test_noise_and_a_real_difference_are_told_apart():
    rng = np.random.default_rng(5)
    base = rng.uniform(20, 90, 280)
    noise = compare_scores(base + rng.normal(0, 10, 280), base, np.ones(280))
    real = compare_scores(base + rng.normal(2, 5, 280), base, np.ones(280))
    assert not noise.significant and noise.low < 0 < noise.high
    assert real.significant and 0 < real.low < real.difference < real.high
    assert real.p_value == pytest.approx(1 / 10001)  # no draw reached it; the data themselves count as one


def test_p_value_agrees_with_the_normal_approximation():
    differences = np.random.default_rng(8).normal(1, 10, 200)
    z = differences.mean() / differences.std() * 200**0.5
    assert 0.05 < compare_scores(differences, np.zeros(200), np.ones(200)).p_value < 0.5
    assert compare_scores(differences, np.zeros(200), np.ones(200)).p_value == pytest.approx(
        math.erfc(abs(z) / 2**0.5), abs=0.02
    )


def test_weights_count():
    found = compare_scores(np.array([1.0, 0, np.nan]), np.array([0.0, 3, 0]), np.array([9.0, 1, 0]))
    assert found.difference == pytest.approx(0.6)
