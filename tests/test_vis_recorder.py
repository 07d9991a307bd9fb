"""Pictures and videos of a tracker at work: what is drawn where, and that looking on changes no box."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from lib.data.image_io import write_image
from lib.data.own_folder import folder_label
from lib.data.video_io import VideoFile
from lib.test.tracker import Tracker
from lib.test.tracker.inspected import InspectedTracker
from lib.utils.crop import sample_target
from lib.utils.errors import ConfigError
from lib.vis.draw import PREDICTION, TRUTH, faded, heat, lit, score_strip
from lib.vis.recorder import Dashboard, record_pictures, record_video
from lib.vis.views import View, captions, frame_picture, panels
from tests.factories import SMALL, TINY, drawn_model, drawn_weights, run_command, spread_scores, write_clip
from tests.golden.fixtures import clip_frame

FRAMES = 4


@pytest.fixture(scope="module")
def tracker() -> Tracker:
    return Tracker(*drawn_model())


def watched_views(tracker: Tracker, layers: tuple[int, ...] = ()) -> list[View]:
    views: list[View] = []
    watched = InspectedTracker(tracker, lambda name, total: nullcontext(views.append), layers)
    with watched.open_screen("clip", FRAMES, np.array([clip_frame(0)[1]])) as show:
        target = watched.start(*clip_frame(0))
        show(0, target)
        for t in range(1, FRAMES):
            watched.step([clip_frame(t)[0]], [target])
            show(t, target)
    return views


def test_looking_on_changes_nothing_and_shows_what_the_model_saw(tracker: Tracker) -> None:
    target = tracker.start(*clip_frame(0))
    alone = [tracker.step([clip_frame(t)[0]], [target]) for t in range(1, FRAMES)]
    views = watched_views(tracker, (0, 6))
    assert [view.box for view in views] == [clip_frame(0)[1]] + [step.boxes[0] for step in alone]
    assert [view.score for view in views[1:]] == [step.scores[0] for step in alone]
    assert [view.truth for view in views] == [clip_frame(0)[1], None, None, None]
    test = tracker.cfg.TEST
    for before, view in zip(views, views[1:], strict=False):
        search = sample_target(view.image, before.box, test.SEARCH_FACTOR, test.SEARCH_SIZE)[0]
        np.testing.assert_array_equal(view.search, search)
        window = tracker.window[0, 0].numpy()
        np.testing.assert_allclose(view.maps["score_map_hann"], view.maps["score_map"] * window, rtol=1e-6)
        best = view.maps["score_map_hann"].argmax()
        assert view.maps["score_map"].flat[best] == pytest.approx(view.score, abs=1e-6)
        assert {layer: len(places) for layer, places in view.removed.items()} == {3: 76, 6: 130, 9: 167}
        assert set(view.removed[3]) < set(view.removed[6]) < set(view.removed[9]) <= set(range(256))


def test_the_window_that_is_shown_has_less_weight_at_distractors() -> None:
    cfg, model = drawn_model(TINY, [*SMALL, "TEST.DISTRACTOR_WEIGHT=0.1"])
    spread_scores(model)
    tracker, weaker = Tracker(cfg, model), 0
    for view in watched_views(tracker)[1:]:
        scores, shown = view.maps["score_map"], view.maps["score_map_hann"]
        assert scores.flat[shown.argmax()] == pytest.approx(view.score, abs=1e-6)
        weaker += (shown < 0.5 * scores * tracker.window[0, 0].numpy()).sum()
    assert weaker > 0


def test_attention_lies_where_its_tokens_lie(tracker: Tracker) -> None:
    """The map of a layer behind eliminations is blank where they dropped; its rows are those of the middle tokens."""
    view = watched_views(tracker, (0, 6, 7))[-1]
    assert np.isfinite(view.attention[0]).all()
    for layer, stage in ((6, 3), (7, 6)):
        assert set(np.flatnonzero(np.isnan(view.attention[layer]))) == set(view.removed[stage])
        assert 0 < np.nansum(view.attention[layer]) < 1  # the rest goes to the template
    # What layer 6 drops is what its template pays least attention to: CE here ranks by the same tokens.
    kept = np.setdiff1d(np.arange(256), view.removed[6])
    dropped = np.setdiff1d(view.removed[6], view.removed[3])
    paid = view.attention[6].ravel()
    assert tracker.cfg.MODEL.BACKBONE.CE_TEMPLATE_RANGE == "CTR_POINT" or paid[kept].min() >= paid[dropped].max()
    assert paid[kept].mean() > paid[dropped].mean()


def test_layers_that_are_not_there_are_named(tracker: Tracker) -> None:
    with pytest.raises(ConfigError, match="layers 0 to 11, not -1, 12"):
        InspectedTracker(tracker, lambda name, total: nullcontext(print), (3, 12, -1))


def test_removed_patches_fade_and_others_stay() -> None:
    image = np.full((64, 64, 3), 50, np.uint8)
    picture = faded(image, np.array([0, 6]), 4)
    assert (picture[:16, :16] > 180).all() and (picture[16:32, 32:48] > 180).all()
    picture[:16, :16] = picture[16:32, 32:48] = 50
    assert (picture == 50).all()


def test_heat_is_brighter_where_more_and_attention_fades_where_dropped() -> None:
    values = np.array([[0.0, 0.25], [0.5, 1.0]])
    colors = heat(values, 8).sum(axis=2)
    assert colors[0, 0] < colors[0, 7] < colors[7, 0] < colors[7, 7]
    assert (heat(values / 2, 8)[7, 7] == heat(values, 8)[7, 0]).all()
    values[0, 0] = np.nan
    image = np.full((8, 8, 3), 90, np.uint8)
    picture = lit(image, values)
    np.testing.assert_array_equal(picture[:4, :4], faded(image, np.array([0]), 2)[:4, :4])
    assert (picture[4:, 4:] != picture[:4, 4:]).any()


def test_score_strip_keeps_the_worst_frame_of_a_column() -> None:
    scores = [1.0] * 1000
    scores[501] = 0.0
    strip = score_strip(scores, 1000, 100, 50)
    heights = (strip.sum(axis=2) > 300).sum(axis=0)
    assert heights[50] == 1 and heights[:50].min() == heights[51:98].min() > 40
    short = score_strip([1.0, np.nan, 0.5], 6, 60, 50)
    bars = (short.sum(axis=2) > 300).sum(axis=0)
    assert bars[5] > 40 and bars[15] == 0 and 18 < bars[25] < 24 and not bars[30:].any()


def test_frame_has_both_boxes_and_no_box_where_there_is_none() -> None:
    image = np.full((100, 160, 3), 60, np.uint8)
    view = View(3, image, [20.0, 40.0, 40.0, 30.0], 0.25, [90.0, 40.0, 30.0, 20.0], image)
    drawn = frame_picture(view, 200, 320)
    assert drawn.shape == (200, 320, 3)
    assert (drawn[79, 50:100] == PREDICTION).all() and (drawn[79, 190:230] == TRUTH).all()
    assert (drawn[195:, :40] == TRUTH).all(axis=2).mean() > 0.5, "the tag that says what green is"
    for truth in (None, [np.nan] * 4, [0.0, 0.0, 0.0, 0.0]):
        drawn = frame_picture(View(3, image, view.box, 0.25, truth, image), 200, 320)
        assert not (drawn == TRUTH).all(axis=2).any()


def test_captions_name_frame_and_score() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    first, later = (View(number, image, [0, 0, 4, 4], score, None, image) for number, score in ((0, np.nan), (6, 0.5)))
    assert captions(first, "clip", 9) == ("clip: frame 1 of 9", "start")
    assert captions(later, "a stream without known end", 0) == ("a stream without known end: frame 7", "score 0.50")


def test_dashboards_of_a_sequence_have_one_size(tracker: Tracker) -> None:
    board = Dashboard("clip", FRAMES)
    views = watched_views(tracker, (0,))
    names = ["template", "search_region", "score_map", "score_map_hann"]
    names += ["masked_search_3", "masked_search_6", "masked_search_9", "attention_0"]
    assert [list(panels(view)) for view in views] == [names] * FRAMES
    drawn = [board.draw(view) for view in views]
    assert len({picture.shape for picture in drawn}) == 1 and not (drawn[0].shape[0] % 2 or drawn[0].shape[1] % 2)
    other = View(9, np.zeros((300, 100, 3), np.uint8), *[getattr(views[1], name) for name in list(vars(views[1]))[2:]])
    assert board.draw(other).shape == drawn[0].shape  # a frame of another shape fits its place


def test_a_video_stands_under_its_name_when_it_is_complete(tracker: Tracker, tmp_path: Path) -> None:
    view = watched_views(tracker)[1]
    with pytest.raises(RuntimeError, match="stop"), record_video(tmp_path, 10.0, "clip", 3) as show:
        show(view)
        raise RuntimeError("stop")
    assert [path.name for path in tmp_path.iterdir()] == ["clip.part.mp4"]
    with record_video(tmp_path, 10.0, "clip", 3) as show:
        for _ in range(3):
            show(view)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]
    video = VideoFile(tmp_path / "clip.mp4")
    drawn = Dashboard("clip", 3).draw(view)
    assert len(video) == 3 and video.fps == 10 and video.frame(0).shape == drawn.shape
    assert np.abs(video.frame(0).astype(int) - drawn).mean() < 8


def test_pictures_of_an_earlier_run_go(tracker: Tracker, tmp_path: Path) -> None:
    for name in ("00000001.jpg", "00000009.jpg", "notes.txt"):
        write_image(tmp_path / "clip/x.png", np.zeros((4, 4, 3), np.uint8))
        (tmp_path / "clip" / name).touch()
    with record_pictures(tmp_path, "clip", 3) as show:
        show(watched_views(tracker)[0])
    assert sorted(path.name for path in (tmp_path / "clip").iterdir()) == ["00000001.jpg", "notes.txt", "x.png"]
    assert (tmp_path / "clip/00000001.jpg").stat().st_size > 1000


@pytest.mark.parametrize("options", [["--batch", "2"], pytest.param(["--threads", "2"], marks=pytest.mark.end_to_end)])
def test_the_command_writes_a_video_of_each_sequence(options, tmp_path, monkeypatch, caplog) -> None:
    for name in ("first", "second"):
        write_clip(tmp_path / "data" / name, FRAMES)
    weights = drawn_weights(tmp_path / "tiny.pth.tar", TINY, SMALL)
    arguments = ["ostrack", TINY, "--dataset", f"folder:{tmp_path / 'data'}", "--device", "cpu"]
    arguments += ["--checkpoint", weights, "--save_dir", tmp_path / "out"]
    arguments += ["--save_vis", tmp_path / "vis", "--vis_attention", "2", *options, *SMALL]
    assert run_command(monkeypatch, "test", arguments) == 0
    assert sorted(path.name for path in (tmp_path / "vis").iterdir()) == ["first.mp4", "second.mp4"]
    assert [len(VideoFile(path)) for path in (tmp_path / "vis").iterdir()] == [FRAMES] * 2
    results = tmp_path / "out/test/tracking_results/ostrack" / TINY / folder_label(tmp_path / "data")
    assert len((results / "first.txt").read_text().splitlines()) == FRAMES
    assert run_command(monkeypatch, "test", arguments) == 0
    assert "2 sequences were tracked before and are not shown: use --fresh" in caplog.text


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--debug", "1", "--threads", "2"], "one sequence at a time"),
        (["--debug", "1", "--batch", "2"], "one sequence at a time"),
        (["--debug", "1", "--save_vis", "v"], "choose one"),
        (["--vis_attention", "3"], "with --debug 1 or --save_vis DIR"),
    ],
)
def test_options_that_do_not_go_together(options, told, monkeypatch) -> None:
    with pytest.raises(ConfigError, match=told):
        run_command(monkeypatch, "test", ["ostrack", TINY, *options])
