"""The official rules of each benchmark, on boxes small enough to check by hand, and why they differ from the others."""

from itertools import product

import numpy as np
import pytest

from lib.data.sequence import Annotations, Sequence
from lib.test.analysis.metrics import clip_boxes, frame_errors, sequence_curves
from lib.test.analysis.protocols import AUC, OP50, OP75, PRECISION, PROTOCOLS, WHY, differing, protocol_differences
from lib.test.analysis.report import score_tracker
from lib.test.evaluation.benchmarks import BENCHMARKS
from lib.utils.errors import DataError

TRUTH = np.array([[10.0, 10, 20, 20], [12, 10, 20, 20], [14, 10, 20, 20], [16, 10, 20, 20]])
FAR = TRUTH + [1000, 0, 0, 0]


def rules(tag, protocol="official"):
    return PROTOCOLS[protocol].rules(tag)


def errors(prediction, tag, truth=TRUTH, visible=None, size=None, protocol="official"):
    return frame_errors(np.asarray(prediction, float), truth, visible, rules(tag, protocol), "car.txt", size)


def sequence(name, tag, truth, visible=None, official=None, size=(64, 48)):
    class Frames:
        def frame(self, t):
            return np.zeros((size[1], size[0], 3), np.uint8)

    return Sequence(
        name,
        tag,
        Frames(),
        lambda: Annotations(truth, visible),
        read_official=official if official is None else lambda: official,
    )


def score(tag, truths, predictions, flags=None, protocol="official", label="t/c"):
    flags = flags or [None] * len(truths)
    data = [
        sequence(f"s{i}", tag, truth, official=one) for i, (truth, one) in enumerate(zip(truths, flags, strict=True))
    ]
    names = [one.name for one in data]
    return score_tracker(label, predictions, data, rules(tag, protocol), names)


@pytest.mark.parametrize("tag", ["lasot", "lasot_extension_subset", "vasttrack", "tnl2k"])
def test_absent_frames_are_never_hits_and_stay_in_the_denominator(tag):
    curves = sequence_curves(errors(FAR, tag, visible=np.array([1, 1, 0, 0])))
    assert curves.success[0] == curves.precision[-1] == curves.norm_precision[-1] == 0.25  # the first frame alone


@pytest.mark.parametrize("tag", ["antiuav_rgb", "antiuav_tir", "antiuav410"])
def test_state_accuracy_is_the_mean_overlap_with_nothing_for_absent_frames(tag):
    truths = [TRUTH.copy(), TRUTH[:2]]
    truths[0][3] = 0
    found = score(tag, truths, [TRUTH + [5, 0, 0, 0], FAR[:2]])
    # Overlaps of 20 x 20 boxes that are 5 apart: 15 / 25. Each sequence weighs the same.
    assert found.scores()["SA"] == pytest.approx(100 * np.mean([(1 + 0.6 + 0.6 + 0) / 4, (1 + 0) / 2]))
    assert found.scores()["Precision"] == pytest.approx(100 * np.mean([0.75, 0.5]))
    assert list(found.scores()) == ["SA", "AUC", "Precision"]


@pytest.mark.parametrize("tag", ["lasot", "lasot_extension_subset", "vasttrack", "tnl2k", "lasher_rgb", "lasher_tir"])
def test_a_true_box_counts_when_all_four_numbers_are_positive(tag):
    """Quirk: the center error of a frame that does not count is -1, which is a hit of precision."""
    truth = TRUTH.copy()
    truth[1, 0] = 0
    truth[2, 3] = 0
    found = errors(FAR, tag, truth)
    np.testing.assert_array_equal(found.valid, [True, False, False, True])
    np.testing.assert_array_equal(found.overlap, [1, -1, -1, 0])
    np.testing.assert_array_equal(found.center, [0, -1, -1, 1000])
    np.testing.assert_array_equal(found.norm_center, [0, -1, -1, 50])
    assert sequence_curves(found).precision[20] == 0.75


@pytest.mark.parametrize("tag", ["uav", "otb", "itb"])
def test_frames_without_target_are_never_hits(tag):
    """The published code, like MATLAB's toolkits, makes the frames with NaN hits of precision for uav."""
    truth = TRUTH.copy()
    truth[2:] = np.nan
    curves = sequence_curves(errors(FAR, tag, truth))
    if tag == "uav":
        published = sequence_curves(errors(FAR, tag, truth, protocol="pytracking"))
        assert (published.success[0], published.precision[0]) == (0.25, 0.75)
    assert curves.success[0] == curves.precision[-1] == curves.norm_precision[-1] == 0.25


@pytest.mark.parametrize("tag", ["lasot", "otb", "got10k", "trackingnet", "folder"])
def test_short_predictions_are_refused(tag):
    with pytest.raises(DataError, match=r"car\.txt: 3 boxes for 4 frames"):
        errors(TRUTH[:3], tag, size=(64, 48))


def test_got10k_clips_boxes_and_pushes_them_inside():
    boxes = np.array([[-10.0, 5, 20, 20], [60, 40, 20, 20], [70, -3, 5, 5], [4, 4, 8, 8]])
    expected = [[0, 5, 20, 20], [60, 40, 4, 8], [64, 0, 0, 5], [4, 4, 8, 8]]
    np.testing.assert_array_equal(clip_boxes(boxes, (64, 48)), expected)
    truth = np.array([[1.0, 1, 4, 4], [0, 0, 20, 40], [50, 10, 30, 30]])
    found = errors([[1, 1, 4, 4], [-20, 0, 20, 40], [50, 10, 14, 30]], "got10k", truth, size=(64, 48))
    np.testing.assert_array_equal(found.overlap, [1, 1, 1])  # pushed onto the truth; equal within the image


def test_got10k_pools_frames_and_leaves_out_the_first_one_and_hidden_ones():
    """Sequence 0 scores frame 1 (overlap 1/3); sequence 1 frames 1, 2, 3 with overlaps 1, 3/5 and 0."""
    long = TRUTH + [[0, 0, 0, 0], [0, 0, 0, 0], [5, 0, 0, 0], [30, 0, 0, 0]]
    flags = [np.array([True, True, False]), np.ones(4, bool)]
    report = score("got10k", [TRUTH[:3], TRUTH], [TRUTH[:3] + [[0, 0, 0, 0], [10, 0, 0, 0], [0] * 4], long], flags)
    assert report.weights.tolist() == [1, 3]
    np.testing.assert_allclose(report.sequence_scores(), 100 * np.array([[1 / 3, 0, 0], [1.6 / 3, 2 / 3, 1 / 3]]))
    expected = 100 * np.array([(1 / 3 + 1.6) / 4, 2 / 4, 1 / 4])
    assert tuple(report.scores()) == ("AO", "SR0.50", "SR0.75")
    np.testing.assert_allclose(list(report.scores().values()), expected)
    curve = report.mean_curves().success
    assert curve.shape == (101,)
    # 3/5 is a tie with its threshold, and not above it
    assert curve[[0, 33, 34, 59, 60, 99, 100]].tolist() == [0.75, 0.75, 0.5, 0.5, 0.25, 0.25, 0]


def test_got10k_does_not_repeat_empty_boxes():
    prediction = TRUTH.copy()
    prediction[2, 2:] = 0
    assert errors(prediction, "got10k", size=(64, 48)).overlap.tolist() == [1, 1, 0, 1]


def test_got10k_sequence_without_a_scored_frame_weighs_nothing():
    flags = [np.array([True, False, False, False]), np.ones(4, bool)]
    report = score("got10k", [TRUTH, TRUTH], [FAR, TRUTH], flags)
    assert np.isnan(report.sequence_scores()[0]).all()
    assert report.scores() == {"AO": 100, "SR0.50": 100, "SR0.75": 100}
    with pytest.raises(DataError, match="no frame of 1 sequences has a target"):
        score("got10k", [TRUTH], [TRUTH], flags[:1])


def test_trackingnet_takes_areas_by_the_trapezoid_rule():
    """A perfect overlap is above all thresholds but the last; 10 px are within those from 10 of 0, 2.5 .. 50 on."""
    perfect = score("trackingnet", [TRUTH], [TRUTH]).scores()
    assert tuple(perfect) == ("AUC", "Norm Precision", "Precision")
    np.testing.assert_allclose(list(perfect.values()), [97.5, 100, 100])
    shifted = score("trackingnet", [TRUTH], [TRUTH + [[0] * 4, *[[10, 0, 0, 0]] * 3]]).scores()
    # overlap 1/3 is above 0, 0.05 .. 0.30: 7 points; 10 px and 10/20 within 17 and 1 of the 21
    expected = [(97.5 + 3 * 100 * 6.5 / 20) / 4, (100 + 3 * 100 * 0.5 / 20) / 4, (100 + 3 * 100 * 16.5 / 20) / 4]
    np.testing.assert_allclose(list(shifted.values()), expected)


def test_trackingnet_rounds_boxes():
    found = errors(TRUTH + 0.4, "trackingnet", TRUTH - 0.4)
    np.testing.assert_array_equal(found.overlap, 1)
    np.testing.assert_array_equal(found.boxes, TRUTH)


def test_vot_averages_overlaps_over_frames_with_a_target():
    truth = TRUTH.copy()
    truth[3] = np.nan
    half = truth + [[0, 0, 0, 0], [0, 0, 0, 20], [0, 0, 0, 0], [0, 0, 0, 0]]
    half[3] = [1, 1, 5, 5]
    report = score("vot18", [truth, TRUTH], [half, TRUTH])
    assert report.weights.tolist() == [2, 3]
    assert report.scores()["AO"] == pytest.approx(100 * (0.5 + 1 + 3) / 5)


@pytest.mark.parametrize("tag", ["folder", "images_val"])
def test_own_sequences_are_scored_where_they_show_the_target(tag):
    truth = np.array([[1, 1, 9, 9], [1, 1, 9, 9], [np.nan] * 4, [1, 1, 9, 9]])
    prediction = np.array([[1, 1, 9, 9], [1, 1, 9, 9], [5, 5, 9, 9], [40, 40, 9, 9]])
    official = score(tag, [truth], [prediction]).scores()
    for name in ("OP50", "Precision", "Norm Precision"):
        assert official[name] == pytest.approx(200 / 3)
    assert score("itb", [truth], [prediction]).scores()["OP50"] == 50
    if tag == "folder":  # the published code stops at the NaN of images_val
        assert score(tag, [truth], [prediction], protocol="pytracking").scores()["OP50"] == 50


def test_columns_of_benchmarks_with_few_scores():
    assert rules("avist").scores == (AUC, OP50, OP75)
    assert rules("nt_vot211").scores == (AUC, PRECISION)
    assert rules("otb").scores == (AUC, OP50, PRECISION)
    assert rules("vot22").score_names == ("AO", "AUC")


def test_official_flags_are_those_of_the_benchmark():
    data = [sequence("s", "tnl2k", TRUTH, visible=None, official=np.array([True, True, True, False]))]
    official = score_tracker("t/c", [TRUTH], data, rules("tnl2k"), ["s"])
    published = score_tracker("t/c", [TRUTH], data, rules("tnl2k", "pytracking"), ["s"])
    assert (official.scores()["OP50"], published.scores()["OP50"]) == (75, 100)


def test_every_benchmark_has_its_rules_and_every_difference_its_reason():
    tags = {row.dataset for row in BENCHMARKS.values()}
    assert tags - set(PROTOCOLS["official"].special) == {"itb"}  # nothing special about it
    assert set(PROTOCOLS["official"].special) <= tags | {"folder"}
    quiet = {"scores", "flags_expected", "nan_is_absent", "pad_short", "success_points"}
    for tag in (*tags, "folder"):
        published, official = rules(tag, "pytracking"), rules(tag)
        for name in set(differing(published, official)) - quiet:
            assert (name, getattr(official, name)) in WHY, (tag, name)


def difference_lines(tag, protocol, truth, prediction, visible=None):
    data = [sequence("s", tag, truth, visible)]

    def rescore(label, chosen):
        return score_tracker(label, [prediction], data, chosen, ["s.txt"]).scores()

    return list(protocol_differences(protocol, tag, {"t/c": rescore("t/c", rules(tag, protocol))}, rescore))


def test_differences_are_measured_and_explained():
    """Of 4 frames 1 is hit; the published code adds 2 absent ones to normalized precision."""
    visible = np.array([True, True, False, False])
    assert difference_lines("lasot_extension_subset", "pytracking", TRUTH, FAR, visible) == [
        "protocol official, t/c: AUC 23.81, OP50 25.00, OP75 25.00, Precision 25.00, Norm Precision 25.00 (-50.00)",
        "from pytracking to official, t/c:",
        "  Norm Precision -50.00: absent frames are never hits",
    ]
    same = difference_lines("lasot", "pytracking", TRUTH, FAR, visible)
    assert same == ["protocol official prints the same"]


def test_differences_of_other_measures():
    lines = difference_lines("got10k", "official", TRUTH, TRUTH + [[0] * 4, *[[5, 0, 0, 0]] * 3])
    assert lines[0].startswith("protocol pytracking, t/c: AUC 66.67, OP50 100.00, OP75 25.00")
    assert lines[2] == "  AO, SR0.50, SR0.75 are other measures than AUC, OP50, OP75, Precision, Norm Precision"
    assert lines[3] == "  AO -10.00, SR0.75 -25.00: the first frame is left out"


def test_differences_by_the_number_of_thresholds_are_explained():
    """Distances 0, 3, 3, 3: with 51 thresholds the area is 0.9625, with 21, a step of 2.5 pixels, 0.94375."""
    found = difference_lines("trackingnet", "pytracking", TRUTH, TRUTH + [[0] * 4, *[[3, 0, 0, 0]] * 3])
    assert found[-1].endswith("Precision -1.88: the curves of both precisions have 21 points")


def test_a_protocol_that_cannot_score_says_so():
    truth = TRUTH.copy()
    truth[2] = np.nan
    (line,) = difference_lines("otb", "official", truth, TRUTH)
    assert line.startswith(
        "protocol pytracking cannot be compared: s.txt, sequence s: the ground truth of frame 2 is [nan"
    )


def test_scores_are_weighted_means_of_sequence_scores():
    rng = np.random.default_rng(1)
    truths = [np.column_stack((rng.uniform(1, 40, (n, 2)), rng.uniform(5, 20, (n, 2)))) for n in (5, 9, 30)]
    predictions = [truth + rng.normal(0, 2, truth.shape).clip(-4, 4) for truth in truths]
    for tag, protocol in product(("otb", "got10k", "trackingnet", "vot18"), PROTOCOLS):
        report = score(tag, truths, predictions, protocol=protocol)
        mean = np.average(report.sequence_scores(), axis=0, weights=report.weights)
        np.testing.assert_allclose(list(report.scores().values()), mean)
