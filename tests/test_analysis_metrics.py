"""Metrics: the published per-frame values and tables, and every rule on boxes small enough to check by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from lib.test.analysis.metrics import curve_scores, frame_errors, mean_curves, sequence_curves, stack_curves
from lib.test.analysis.protocols import PROTOCOLS, Rules, get_protocol
from lib.utils.errors import DataError, OSTrackError

GOLDEN = Path(__file__).parent / "golden"
TABLES = json.loads((GOLDEN / "metrics_tables.json").read_text())
OVERLAPS, CENTERS, NORM_CENTERS = map(Rules().thresholds, ("success", "precision", "norm_precision"))
TRUTH = np.array([[10.0, 10, 20, 20], [12, 10, 20, 20], [14, 10, 20, 20], [16, 10, 20, 20]])


def errors(prediction, truth=TRUTH, visible=None, tag="otb"):
    return frame_errors(np.asarray(prediction, float), truth, visible, PROTOCOLS["pytracking"].rules(tag), "car.txt")


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "metrics.npz") as file:
        return dict(file)


@pytest.mark.parametrize("tag", TABLES)
def test_published_values_and_table(golden, tag):
    curves = []
    for number in range(6):
        expected = {
            name: golden.get(f"{tag}/{number}/{name}")
            for name in ("gt", "pred", "visible", "overlap", "center", "center_norm", "valid")
        }
        found = errors(expected["pred"], expected["gt"], expected["visible"], tag)
        np.testing.assert_allclose(found.overlap, expected["overlap"], atol=1e-12)
        np.testing.assert_allclose(found.center, expected["center"], atol=1e-10)
        np.testing.assert_allclose(found.norm_center, expected["center_norm"], atol=1e-12)
        np.testing.assert_array_equal(found.valid, expected["valid"])
        curves.append(sequence_curves(found))
    scores = curve_scores(mean_curves(stack_curves(curves)))
    # The published table is a float32 mean of float32 fractions: it is off by up to 1e-5 points.
    np.testing.assert_allclose(scores, list(TABLES[tag].values()), atol=2e-5)


def test_golden_covers_quirks(golden):
    """The files would not pin the rules if no frame were invalid and every prediction had the right length."""
    assert any((~golden[f"{tag}/{i}/valid"]).any() for tag in TABLES for i in range(6))
    lengths = [len(golden[f"{tag}/{i}/pred"]) - len(golden[f"{tag}/{i}/gt"]) for tag in TABLES for i in range(6)]
    assert min(lengths) < 0 < max(lengths)


def test_overlap_and_distance_by_hand():
    found = errors(TRUTH + [[0, 0, 0, 0], [10, 0, 0, 0], [0, 5, 0, 0], [100, 0, 0, 0]])
    np.testing.assert_allclose(found.overlap, [1, 200 / 600, 300 / 500, 0])
    np.testing.assert_allclose(found.center, [0, 10, 5, 100])
    np.testing.assert_allclose(found.norm_center, [0, 0.5, 0.25, 5])
    assert found.valid.all()


def test_center_is_that_of_the_pixels_of_the_box():
    """A box of width 1 on pixel 5 has its center at 5, not 5.5; so a wider box with the same corner is off by half."""
    found = errors([[5, 5, 1, 1], [5, 5, 2, 1]], np.array([[5.0, 5, 1, 1], [5, 5, 1, 1]]))
    np.testing.assert_allclose(found.center, [0, 0.5])


def test_thresholds_are_strict_for_overlap_and_inclusive_for_distances():
    truth = np.tile([[100.0, 100, 40, 40]], (4, 1))
    shift = np.array([[0, 0, 0, 0], [0, 0, 0, -20], [20, 0, 0, 0], [0, 10, 0, 0]])  # overlap 1/2; 20 px; 10/40
    found = sequence_curves(errors(truth + shift, truth))
    overlap = errors(truth + shift, truth).overlap
    assert overlap[1] == 0.5
    assert found.success[10] == pytest.approx((overlap > 0.5).sum() / 4) == 0.5
    assert found.precision[20] == 1.0 and found.precision[19] == 0.75
    assert found.norm_precision[25] == 0.75 and found.norm_precision[24] == 0.25


def test_curves_equal_plain_counting():
    rng = np.random.default_rng(0)
    truth = np.column_stack((rng.uniform(0, 200, (500, 2)), rng.uniform(10, 60, (500, 2)))).round()
    found = errors(truth + rng.normal(0, 8, (500, 4)).round().clip(-9, None), truth)
    curves = sequence_curves(found)
    success = (found.overlap[:, None] > OVERLAPS).mean(0)
    precision = (found.center[:, None] <= CENTERS).mean(0)
    norm_precision = (found.norm_center[:, None] <= NORM_CENTERS).mean(0)
    np.testing.assert_allclose(curves.success, success, atol=1e-12)
    np.testing.assert_allclose(curves.precision, precision, atol=1e-12)
    np.testing.assert_allclose(curves.norm_precision, norm_precision, atol=1e-12)
    expected = [success.mean(), success[10], success[15], precision[20], norm_precision[20]]
    np.testing.assert_allclose(curve_scores(curves), 100 * np.array(expected))


def test_threshold_grids():
    np.testing.assert_array_equal(OVERLAPS, [float(f"{i * 0.05:.2f}") for i in range(21)])
    np.testing.assert_array_equal(CENTERS, range(51))
    np.testing.assert_array_equal(NORM_CENTERS, [float(f"{i * 0.01:.2f}") for i in range(51)])


def test_first_frame_is_ground_truth():
    assert errors([[0, 0, 1, 1], *TRUTH[1:]]).overlap[0] == 1


def test_box_without_area_repeats_the_one_before():
    prediction = TRUTH.copy()
    prediction[2] = [0, 0, 0, 7]
    prediction[3] = [0, 0, 9, 0]
    expected = TRUTH[[0, 1, 1, 1]]
    np.testing.assert_array_equal(errors(prediction).center, np.abs(expected - TRUTH)[:, 0])


def test_long_prediction_is_cut_and_short_one_padded():
    np.testing.assert_array_equal(errors(np.tile(TRUTH, (2, 1))).overlap, [1, 1, 1, 1])
    np.testing.assert_array_equal(errors(TRUTH[:2]).overlap, [1, 1, 0, 0])


def test_lasot_wants_complete_predictions():
    with pytest.raises(DataError, match=r"car\.txt: 2 boxes for 4 frames"):
        errors(TRUTH[:2], tag="lasot")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_prediction_must_be_finite(value):
    prediction = TRUTH.copy()
    prediction[2, 0] = value
    with pytest.raises(DataError, match=r"car\.txt: frame 2"):
        errors(prediction)


def test_negative_size_is_an_error():
    prediction = TRUTH.copy()
    prediction[1, 3] = -1
    with pytest.raises(DataError, match=r"car\.txt: frame 1"):
        errors(prediction)


@pytest.mark.parametrize("shape", [(0, 4), (4, 5), (4,)])
def test_prediction_must_be_boxes(shape):
    with pytest.raises(DataError, match=r"car\.txt: prediction of shape"):
        errors(np.ones(shape))


def test_truth_must_be_boxes_and_flags_must_fit():
    with pytest.raises(DataError, match="ground truth of shape"):
        errors(TRUTH, TRUTH[:, :3])
    with pytest.raises(DataError, match="visibility flags of shape"):
        errors(TRUTH, visible=np.ones(3))


def test_nan_truth_is_an_error_except_where_it_means_absent():
    truth = TRUTH.copy()
    truth[2] = np.nan
    with pytest.raises(DataError, match="ground truth of frame 2"):
        errors(TRUTH, truth)
    for tag, center in (("uav", -1), ("folder", np.inf)):
        found = errors(TRUTH, truth, tag=tag)
        np.testing.assert_array_equal(found.valid, [True, True, False, True])
        assert (found.overlap[2], found.center[2], found.norm_center[2]) == (-1, center, -1)


def test_quirk_invalid_frames_count_as_hits():
    """Missed in every visible frame but the first, a tracker still gets its points in the invisible ones."""
    far = TRUTH + [1000, 0, 0, 0]
    visible = np.array([1, 1, 0, 0])
    expected = {"otb": (0.25, 0.75), "uav": (0.75, 0.75), "lasot": (0.25, 0.25), "lasot_extension_subset": (0.25, 0.75)}
    for tag, (precision, norm_precision) in expected.items():
        curves = sequence_curves(errors(far, visible=visible, tag=tag))
        assert (curves.precision[20], curves.norm_precision[20]) == (precision, norm_precision), tag
        assert curves.success[0] == 0.25, tag


def test_quirk_lasot_forgives_an_empty_box_that_is_visible():
    truth = TRUTH.copy()
    truth[3, 2:] = 0
    found = errors(TRUTH + [1000, 0, 0, 0], truth, np.ones(4), "lasot")
    assert (found.center[3], found.norm_center[3]) == (np.inf, -1)


def test_sequences_weigh_the_same_whatever_their_length():
    perfect, lost = sequence_curves(errors(TRUTH)), sequence_curves(errors([TRUTH[0], [200, 0, 1, 1]], TRUTH[:2]))
    scores = curve_scores(mean_curves(stack_curves([perfect, lost])))
    np.testing.assert_allclose(scores, [75 * 20 / 21, 75, 75, 75, 75])


def test_unknown_protocol_names_the_nearest():
    with pytest.raises(OSTrackError, match="did you mean pytracking"):
        get_protocol("pytrackin")
