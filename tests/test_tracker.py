"""The tracker: published trajectories, precision, weights in their place, bad input."""

import numpy as np
import pytest
import torch

from lib.test.tracker import Tracker, build_tracker, find_checkpoint
from lib.test.tracker.video import track_frames
from lib.utils.errors import CheckpointError, ConfigError, DataError
from tests.factories import SMALL, TINY, drawn_model, drawn_weights, track_clip
from tests.golden.fixtures import clip_frame


@pytest.mark.parametrize(
    "name", ["vitb_256_mae_ce_32x4_ep300", "vitb_256_mae_32x4_ep300", "vitb_384_mae_ce_32x4_ep300"]
)
def test_trajectories_are_the_published_ones(name, golden):
    expected = golden("tracker_trajectory.json")[name]
    outputs = track_clip(Tracker(*drawn_model(name)), len(expected))
    for output, box in zip(outputs, expected[1:], strict=True):
        np.testing.assert_allclose(output["target_bbox"], box, atol=0.01)
        assert 0 < output["best_score"] < 1


@pytest.mark.parametrize("head", ["CORNER", "MLP"])
def test_the_other_heads_track(head):
    for output in track_clip(Tracker(*drawn_model(TINY, [*SMALL, f"MODEL.HEAD.TYPE={head}"])), 4):
        x, y, w, h = output["target_bbox"]
        assert w >= 10 and h >= 10 and 0 <= x <= 310 and 0 <= y <= 230
        assert 0 < output["best_score"] < 1


def test_gt_box_ranks_by_the_box_of_the_first_frame():
    cfg, model = drawn_model(TINY, ["MODEL.BACKBONE.CE_TEMPLATE_RANGE=GT_BOX"])
    image, box = clip_frame(0)
    target = Tracker(cfg, model).start(image, box)
    # The target fills the middle half of the template crop, 48 x 36 pixels.
    rows, columns = target.state["mask"].reshape(8, 8).nonzero().T.unique(dim=1)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 5, 2, 5)


def test_reduced_precision_stays_near_float32():
    cfg, model = drawn_model(TINY, SMALL)
    exact = track_clip(Tracker(cfg, model), 3)
    rough = track_clip(Tracker(cfg, model.to(torch.bfloat16)), 3)
    np.testing.assert_allclose(rough[0]["best_score"], exact[0]["best_score"], atol=0.02)


def test_weights_are_found_in_the_published_place(tmp_path):
    cfg, model = drawn_model(TINY, SMALL)
    path = tmp_path / "checkpoints/train/ostrack" / TINY / f"OSTrack_ep{cfg.TEST.EPOCH:04d}.pth.tar"
    with pytest.raises(CheckpointError, match=path.name):
        find_checkpoint(cfg, tmp_path)
    drawn_weights(path, TINY, SMALL)
    tracker = build_tracker(TINY, save_dir=tmp_path, overrides=SMALL)
    assert tracker.checkpoint == str(path)
    for ours, theirs in zip(track_clip(tracker, 3), track_clip(Tracker(cfg, model), 3), strict=True):
        assert ours["target_bbox"] == pytest.approx(theirs["target_bbox"], abs=1e-4)


def test_the_target_is_only_what_initialize_and_track_saw():
    cfg, model = drawn_model(TINY, SMALL)
    tracker = Tracker(cfg, model)
    with pytest.raises(RuntimeError, match="initialize"):
        tracker.track(clip_frame(0)[0])
    first = track_clip(tracker, 3)
    assert track_clip(tracker, 3) == first


def test_calls_of_other_scripts_give_the_same():
    tracker = Tracker(*drawn_model(TINY, SMALL))
    expected = track_clip(tracker, 3)
    box = clip_frame(0)[1]
    for form in (np.array(box), np.array([box], np.float32), torch.tensor(box), tuple(map(str, box))):
        assert tracker.initialize(clip_frame(0)[0], info={"init_bbox": form, "seq_name": "clip"}) is None
        assert tracker.track(clip_frame(1)[0], {"previous_output": {}, "gt_bbox": [1, 2, 3, 4]}) == expected[0]
        assert tracker.track(clip_frame(2)[0], info=None) == expected[1]


def test_a_stream_of_frames_gives_the_same_boxes():
    cfg, model = drawn_model(TINY, SMALL)
    expected = track_clip(Tracker(cfg, model), 3)
    image, box = clip_frame(0)
    frames = list(track_frames(Tracker(cfg, model), (clip_frame(t)[0] for t in range(3)), box))
    assert [frame.box for frame in frames] == [box] + [output["target_bbox"] for output in expected]
    assert [frame.score for frame in frames] == [1.0] + [output["best_score"] for output in expected]
    assert frames[0].picture().shape == image.shape and (frames[0].picture() != image).any()


def test_bad_input_is_named(tmp_path):
    cfg, model = drawn_model(TINY, SMALL)
    tracker = Tracker(cfg, model)
    image = clip_frame(0)[0]
    for box in ([0, 0, 0, 5], [400, 10, 20, 20], [-30, 10, 20, 20], [0, 0, float("nan"), 4], [1, 2, 3]):
        with pytest.raises(DataError, match="init_bbox"):
            tracker.initialize(image, {"init_bbox": box})
    for box in ("12 3 4 5", [[1, 2], [3]], None, 7, [1, 2, 3, "w"], [0, 0, 9, 0, 9, 9, 0, 9]):
        with pytest.raises(DataError, match="init_bbox .* is not four finite numbers x, y, w, h"):
            tracker.initialize(image, {"init_bbox": box})
    for info, what in (([60, 70, 48, 36], "a list"), ({"bbox": [1]}, r"a dict with \['bbox'\]"), (None, "a NoneType"),
                       (np.ones(4), "a ndarray")):  # fmt: skip
        with pytest.raises(DataError, match=rf'takes info = {{"init_bbox": \[x, y, w, h\]}} in pixels, not {what}'):
            tracker.initialize(image, info)
    for wrong in (image[..., 0], image.astype(np.float32), None, image[:0], image[:, :0]):
        with pytest.raises(DataError, match="RGB uint8"):
            tracker.initialize(wrong, {"init_bbox": [60, 70, 48, 36]})
    with pytest.raises(ConfigError, match="precision 'int4'"):
        build_tracker(TINY, precision="int4")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="no CUDA device"):
            build_tracker(TINY, device="cuda")
