"""The video demo: what the tracker sees, what is written, keys, and bad input."""

import json
import logging
import sys
from array import array
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from lib.data.image_io import read_image, write_image
from lib.data.picture_video import PictureVideo, open_frames
from lib.data.video_io import LiveVideo, VideoFile, VideoWriter, open_video
from lib.test import video_demo
from lib.test.evaluation.protocol import TrackResult
from lib.test.evaluation.results import read_result, read_scores
from lib.test.evaluation.writer import FrameTime, ResultWriter
from lib.test.spec import TrackerSpec
from lib.test.tracker import build_tracker
from lib.test.tracker.video import LOST, TrackedFrame, track_frames
from lib.test.video_demo import result_path, track_video
from lib.test.video_loop import Demo, DemoSummary, VideoOptions, run_demo
from lib.utils.checkpoint import load_checkpoint, save_checkpoint
from lib.utils.errors import ConfigError, DataError, run_cli
from lib.vis.draw import COLORS, rgb
from lib.vis.views import LeaveSequence
from lib.vis.window import CvWindow, DrawnBox, display_problem
from tests.factories import SMALL, TINY, drawn_weights, run_command
from tests.golden.fixtures import clip_frame

SCORES = [1, 0.8, 0.7, 0.6, 0.5, 0.4]  # of the tracker below, in six frames
ORANGE = (230, 120, 20)
R, SPACE, Q, NOTHING = ord("r"), ord(" "), ord("q"), -1


class FakeTracker:
    """Moves each box right by a pixel a frame, with a score that falls by a tenth; keeps what it was given."""

    def __init__(self):
        self.images, self.batches, self.started = [], [], []

    def start(self, image, box):
        if box[0] >= image.shape[1]:
            raise DataError(f"init_bbox {box} has no area inside the image")
        self.images.append(image)
        self.started.append(list(box))
        return {"box": list(box), "score": 0.9}

    def step(self, images, targets):
        self.images += images
        self.batches.append(len(targets))
        for target in targets:
            target["box"] = [target["box"][0] + 1, *target["box"][1:]]
            target["score"] -= 0.1
        return TrackResult([target["box"] for target in targets], [target["score"] for target in targets], 0.25, 0.5)


class FakeWindow:
    """Presses the keys in turn, and draws the boxes; ``None`` among them means that the user would not."""

    def __init__(self, keys=(), boxes=()):
        self.keys, self.boxes = list(keys), list(boxes)
        self.shown, self.waits, self.asked = [], [], []

    def show(self, image, wait=False):
        self.shown.append(image)
        self.waits.append(wait)
        return self.keys.pop(0) if self.keys else NOTHING

    def select(self, image, number, total):
        self.asked.append((number, total))
        return self.boxes.pop(0)


def write_video(path, frames=6, size=(90, 60), color=ORANGE, fps=12.0):
    with VideoWriter(path, fps) as writer:
        for _ in range(frames):
            writer.write(np.full((size[1], size[0], 3), color, np.uint8))
    return path


def run(video, tracker=None, results=(), **options):
    writers = [ResultWriter(path, {}) for path in results]
    given = {name: options.pop(name) for name in ("boxes", "window", "viewer") if name in options}
    demo = Demo(options=VideoOptions(**{"lost_below": 0.0, **options}), results=writers, **given)
    return run_demo(tracker or FakeTracker(), VideoFile(video), demo)


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "clip.mp4")


def test_the_tracker_sees_rgb_and_the_output_is_like_the_source(video, tmp_path):
    tracker, output = FakeTracker(), tmp_path / "new" / "out.mp4"
    run(video, tracker, boxes=[[10, 20, 8, 8]], output=output)
    assert len(tracker.images) == 6
    for image in tracker.images:
        assert np.abs(image.mean(axis=(0, 1)) - ORANGE).max() < 8  # blue and red exchanged would be 210 off
    written = VideoFile(output)
    assert written.fps == 12 and len(written) == 6
    for image in written:
        assert image.shape == (60, 90, 3) and np.abs(np.median(image, axis=(0, 1)) - ORANGE).max() < 8


def test_frames_of_another_size_fit_into_the_output(tmp_path):
    frames = [np.full((60, 90, 3), ORANGE, np.uint8), np.full((90, 60, 3), ORANGE, np.uint8)] * 2

    class Turning(VideoFile):
        def __iter__(self):
            return iter(frames)

    source, output = Turning(write_video(tmp_path / "clip.mp4")), tmp_path / "out.mp4"
    run_demo(FakeTracker(), source, Demo([[10, 20, 8, 8]], VideoOptions(output=output)))
    first, second, *_ = written = list(VideoFile(output))
    assert len(written) == 4 and first.shape == second.shape == (60, 90, 3)
    assert np.abs(second[50, 55].astype(int) - ORANGE).max() < 16 and second[50, 5].max() < 60  # 40 of 90 columns


def test_several_targets_are_one_step_and_one_file_each(video, tmp_path):
    tracker, paths = FakeTracker(), [tmp_path / "a.txt", tmp_path / "b.txt"]
    summary = run(video, tracker, paths, boxes=[[10, 20, 8, 8], [40, 5, 6, 9]], lost_below=0.55)
    assert tracker.batches == [2] * 5
    for path, (x, *rest) in zip(paths, [(10, 20, 8, 8), (40, 5, 6, 9)], strict=True):
        np.testing.assert_array_equal(read_result(path), [[x + t, *rest] for t in range(6)])
        np.testing.assert_allclose(read_scores(path), SCORES)
    assert (summary.frames, summary.tracked, summary.lost) == (6, 5, [2, 2]) and not summary.left
    assert summary.lowest == pytest.approx([0.4, 0.4])
    assert "target 2: lowest score 0.40, lost in 2 frames: 4 to 5" in str(summary)
    rows = np.loadtxt(tmp_path / "a_times.csv", delimiter=",", skiprows=1)
    np.testing.assert_allclose(rows[1:, 1:3], [[0.125, 0.25]] * 5)  # of the batch, divided by its size


def counted_video(path, frames=8):
    """Frame t is of gray level 20 * t."""
    with VideoWriter(path, 10) as writer:
        for t in range(frames):
            writer.write(np.full((60, 90, 3), 20 * t, np.uint8))
    return path


def test_targets_start_in_frames_of_their_own(tmp_path):
    tracker, source = FakeTracker(), counted_video(tmp_path / "clip.mp4")
    paths = [tmp_path / name for name in ("a.txt", "b.txt", "c.txt")]
    boxes = [[50, 5, 6, 9], [10, 20, 8, 8], [20, 20, 4, 4]]
    output = tmp_path / "out.mp4"
    summary = run(source, tracker, paths, boxes=boxes, starts=[5, 3, 5], start_frame=2, output=output, lost_below=0.75)
    assert tracker.started == [boxes[1], boxes[0], boxes[2]] and tracker.batches == [1, 1, 3, 3]
    assert [round(image.mean() / 20) for image in tracker.images[:3]] == [3, 4, 5]  # frame 2 has no target
    for path, box, first in zip(paths, boxes, (5, 3, 5), strict=True):
        np.testing.assert_array_equal(read_result(path), [[box[0] + t, *box[1:]] for t in range(8 - first)])
        assert json.loads(path.with_suffix(".json").read_text())["first_frame"] == first
    written = list(VideoFile(output))
    assert [round(np.median(image) / 20) for image in written] == [2, 3, 4, 5, 6, 7]
    assert (summary.frames, summary.tracked, summary.lost) == (6, 4, [1, 3, 1])
    assert summary.lowest == pytest.approx([0.7, 0.5, 0.7])


def test_targets_that_come_late_keep_their_number():
    frame = TrackedFrame(np.zeros((80, 200, 3), np.uint8), [[100, 40, 20, 20]], [0.9], 0.1, numbers=[2])
    alone = TrackedFrame(frame.image, frame.boxes, frame.scores, 0.1)
    assert alone.numbers == range(1, 2) and (alone.picture() != frame.picture()).any()
    color = rgb(COLORS[0])  # of the second
    assert (frame.picture() == color).all(-1).any() and not (alone.picture() == color).all(-1).any()


def test_boxes_drawn_anew_take_the_place_of_those_that_were_to_come(tmp_path):
    window = FakeWindow([NOTHING, NOTHING, R], [[30, 30, 5, 5], [40, 30, 5, 5]])
    paths = [tmp_path / "a.txt", tmp_path / "b.txt"]
    boxes, tracker = [[1, 2, 9, 9], [10, 20, 8, 8]], FakeTracker()
    run(counted_video(tmp_path / "clip.mp4"), tracker, paths, boxes=boxes, starts=[0, 5], window=window)
    assert tracker.started == [boxes[0], [30, 30, 5, 5], [40, 30, 5, 5]]
    assert [len(read_result(path)) for path in paths] == [8, 6]
    assert json.loads((tmp_path / "b.json").read_text())["first_frame"] == 2


def test_frames_that_never_come_are_told_and_nothing_is_lost(tmp_path):
    source, paths = counted_video(tmp_path / "clip.mp4"), [tmp_path / "a.txt", tmp_path / "b.txt"]
    with pytest.raises(DataError, match=r"frame 7 .*target 2 .* frame 20"):
        run(source, None, paths, boxes=[[1, 2, 9, 9]] * 2, starts=[0, 20], output=tmp_path / "out.mp4")
    assert len(read_result(paths[0])) == len(VideoFile(tmp_path / "out.mp4")) == 8
    assert sorted(path.name for path in tmp_path.glob("b*")) == []
    with pytest.raises(DataError, match="has no frame 8: choose a lower --start_frame"):
        run(source, None, paths[:1], boxes=[[1, 2, 9, 9]], start_frame=8)
    for options in ({"start_frame": -1}, {"start_frame": 3, "starts": [2]}, {"starts": [-2]}):
        with pytest.raises(ConfigError, match="frames count from 0, and no box may be in one before the first"):
            run(source, boxes=[[1, 2, 9, 9]], **options)


def test_frames_that_change_their_size_are_tracked_and_written(tmp_path, caplog):
    sizes = [(60, 90), (60, 90), (120, 180), (90, 60), (60, 90)]
    for t, size in enumerate(sizes):
        write_image(tmp_path / f"walk/{t}.png", np.full((*size, 3), ORANGE, np.uint8))
    tracker, output = FakeTracker(), tmp_path / "out.mp4"
    frames = open_frames(tmp_path / "walk")
    run_demo(tracker, frames, Demo([[10, 20, 8, 8]], VideoOptions(output=output)))
    assert [image.shape[:2] for image in tracker.images] == sizes
    written = list(VideoFile(output))
    assert [image.shape for image in written] == [(60, 90, 3)] * 5
    high = written[3]  # 90 x 60 in 60 x 90 is 60 x 40 in the middle
    assert np.abs(high[:, 30:60].mean((0, 1)) - ORANGE).max() < 12 and high[:, :20].mean() < 60 > high[:, 70:].mean()
    assert caplog.text.count("another size") == 1 and "frame 2 has another size" in caplog.text


def test_pictures_are_a_video(tmp_path, caplog):
    for t in (1, 2, 10):
        write_image(tmp_path / f"walk/img/f{t}.jpg", np.full((60, 90, 3), 20 * t, np.uint8))
        cv2.imwrite(str(tmp_path / f"gray_{t:03d}.png"), np.full((60, 90), 20 * t, np.uint8))
    for source, name in (
        (tmp_path / "walk", "walk"),
        (tmp_path / "walk/img", "walk"),
        (f"{tmp_path}/walk/img/f%d.jpg", "walk"),
        (f"{tmp_path}/gray_%03d.png", tmp_path.name),
        (f"{tmp_path}/gray_*.png", tmp_path.name),
        (tmp_path, tmp_path.name),
    ):
        frames = open_frames(source)
        assert isinstance(frames, PictureVideo) and len(frames) == frames.coded_frames == 3 and frames.fps == 25
        assert [round(image.mean() / 20) for image in frames] == [1, 2, 10], source
        assert all(image.shape == (60, 90, 3) for image in frames) and frames.seeks_exactly()
        assert result_path(tmp_path, frames).name == f"video_{name}.txt"
        assert frames.frame(2).mean() == frames.seek(2).mean() and round(frames.frame(2).mean() / 20) == 10
        with pytest.raises(DataError, match="has no frame 3"):
            frames.frame(3)
    assert caplog.text.count("7 numbers are missing, the first is 3") == 2
    write_video(tmp_path / "one/clip.mp4")
    assert len(open_frames(tmp_path / "one")) == 6 and len(open_frames(tmp_path / "one/clip.mp4")) == 6
    (tmp_path / "100%d.mp4").write_bytes((tmp_path / "one/clip.mp4").read_bytes())
    assert len(open_frames(tmp_path / "100%d.mp4")) == 6  # a file's name, not a pattern
    (tmp_path / "empty").mkdir()
    for source, message in (
        (f"{tmp_path}/none_%d.png", "no file matches .*none_%d.png"),
        (f"{tmp_path}/none/*.png", "no file matches"),
        (tmp_path / "empty", "expected pictures"),
        (tmp_path / "none.mp4", "none.mp4 does not exist"),
    ):
        with pytest.raises(DataError, match=message):
            open_frames(source).fps  # noqa: B018
    (tmp_path / "walk/img/f2.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError, match="f2.jpg cannot be decoded"):
        list(open_frames(tmp_path / "walk"))


def test_keys_select_anew_pause_and_quit(video, tmp_path):
    # Frame 0: nothing. 1: draw anew. 2: pause; r while paused, drawn and shown again; space goes on. 3: quit.
    keys = [NOTHING, R, NOTHING, SPACE, R, NOTHING, SPACE, Q]
    window, tracker = FakeWindow(keys, [[30, 30, 5, 5], [50, 10, 4, 4]]), FakeTracker()
    summary = run(video, tracker, [tmp_path / "a.txt"], boxes=[[10, 20, 8, 8]], window=window)
    assert tracker.started == [[10, 20, 8, 8], [30, 30, 5, 5], [50, 10, 4, 4]] and window.asked == [(1, 1)] * 2
    assert "lost in 0 frames" in str(summary) and str(
        DemoSummary(frames=1, boxes=array("d", (0, 1, 5, 5, 9, 9, 0.1)), last=0)
    ).splitlines() == ["1 frame", "target 1: lowest score 0.10, lost in 1 frame: 0"]  # fmt: skip
    assert summary.left and summary.frames == 4 and "left by the user" in str(summary)
    expected = [[10, 20, 8, 8], [30, 30, 5, 5], [50, 10, 4, 4], [51, 10, 4, 4]]
    np.testing.assert_array_equal(read_result(tmp_path / "a.txt"), expected)
    assert read_scores(tmp_path / "a.txt").tolist()[:3] == [1, 1, 1]  # boxes that were given
    assert window.waits == [False, False, False, False, True, True, True, False]


def test_a_selection_that_is_broken_off_changes_nothing(video):
    window, tracker = FakeWindow([NOTHING, R], [[30, 30, 5, 5], None]), FakeTracker()
    assert run(video, tracker, boxes=[[10, 20, 8, 8], [1, 2, 3, 4]], window=window).frames == 6
    assert len(tracker.started) == 2 and window.asked == [(1, 2), (2, 2)]


def test_boxes_are_drawn_where_none_are_given(video):
    window, tracker = FakeWindow(boxes=[[1, 2, 30, 40], [5, 6, 7, 8]]), FakeTracker()
    run(video, tracker, window=window, targets=2)
    assert tracker.started == [[1, 2, 30, 40], [5, 6, 7, 8]] and window.asked == [(1, 2), (2, 2)]
    with pytest.raises(ConfigError, match="no box was drawn"):
        run(video, window=FakeWindow(boxes=[None]))


def test_a_lost_target_is_told_by_color_and_word():
    frame = TrackedFrame(np.full((120, 200, 3), 90, np.uint8), [[20, 60, 40, 30], [120, 60, 40, 30]], [0.9, 0.1], 0.1)
    sure, lost = frame.picture(), frame.picture(lost_below=0.3)
    right = np.s_[:, 100:]
    assert (sure[:, :100] == lost[:, :100]).all() and (sure[right] != lost[right]).any()
    assert (lost[right] == LOST).all(axis=-1).sum() > 200 and not (sure == LOST).all(axis=-1).any()


def test_a_viewer_sees_each_frame_of_the_first_target_and_may_leave(video, tmp_path):
    seen = []

    class Viewer:
        def __init__(self, last):
            self.last = last

        def __enter__(self):
            return self.look

        def look(self, number, target):
            seen.append((number, target["box"][0]))
            if number == self.last:
                raise LeaveSequence

        def __exit__(self, *_):
            seen.append("closed")

    boxes = [[10, 20, 8, 8], [30, 20, 8, 8]]
    assert not run(video, boxes=boxes, viewer=Viewer(last=9)).left
    assert seen == [(t, 10 + t) for t in range(6)] + ["closed"]
    paths = [tmp_path / "a.txt", tmp_path / "b.txt"]
    assert run(video, results=paths, boxes=boxes, viewer=Viewer(last=2)).left
    assert [len(read_result(path)) for path in paths] == [3, 3]


def test_box_is_drawn_from_any_corner():
    drawn = DrawnBox()
    drawn.on_mouse(cv2.EVENT_MOUSEMOVE, 3, 3, 0, None)
    assert drawn.box is None
    for event, x, y in ((cv2.EVENT_LBUTTONDOWN, 50, 40), (cv2.EVENT_MOUSEMOVE, 30, 60), (cv2.EVENT_LBUTTONUP, 20, 70)):
        drawn.on_mouse(event, x, y, 0, None)
    drawn.on_mouse(cv2.EVENT_MOUSEMOVE, 5, 5, 0, None)  # the button is up
    assert drawn.box == [20.0, 40.0, 30.0, 30.0]
    drawn.on_mouse(cv2.EVENT_LBUTTONDOWN, 7, 7, 0, None)
    assert drawn.box is None


class FakeGui:
    """OpenCV's functions of a window; ``gone`` is what happens when it is looked for after the user has closed it."""

    def __init__(self, monkeypatch, gone):
        self.keys, self.shown, self.sizes, self.open, self.gone = [], [], [], False, gone
        monkeypatch.setattr("lib.vis.window.display_problem", lambda: None)
        for name in ("namedWindow", "resizeWindow", "imshow", "waitKey", "getWindowProperty", "destroyAllWindows",
                     "setMouseCallback", "setWindowTitle"):  # fmt: skip
            monkeypatch.setattr(cv2, name, getattr(self, name))

    def namedWindow(self, *_):
        self.open = True

    def resizeWindow(self, _, width, height):
        self.sizes.append((width, height))

    def imshow(self, _, image):
        assert self.open
        self.shown.append(image)

    def waitKey(self, _):
        key = self.keys.pop(0)
        if key == "close":
            self.open, key = False, NOTHING
        return self.mouse(*key) if isinstance(key, tuple) else key

    def mouse(self, *event):
        self.callback(*event, 0, None)
        return NOTHING

    def getWindowProperty(self, *_):
        if not self.open and self.gone:
            raise self.gone
        return float(self.open)

    def setMouseCallback(self, _, callback):
        self.callback = callback

    def setWindowTitle(self, *_):
        assert self.open

    def destroyAllWindows(self):
        assert self.open


@pytest.mark.parametrize("gone", [None, cv2.error("no window")])
def test_the_window_shows_rgb_takes_boxes_and_can_be_closed(monkeypatch, gone):
    gui, image = FakeGui(monkeypatch, gone), np.full((1440, 1280, 3), ORANGE, np.uint8)
    with CvWindow("title") as window:
        gui.keys = [NOTHING]
        assert window.show(image) == NOTHING
        assert gui.sizes == [(640, 720)] and (gui.shown[0] == ORANGE[::-1]).all()  # OpenCV shows BGR
        gui.keys = [NOTHING, NOTHING, R]
        assert window.show(image, wait=True) == R and not gui.keys
        gui.keys = [13, (cv2.EVENT_LBUTTONDOWN, 10, 20), (cv2.EVENT_LBUTTONUP, 40, 60), 13]
        assert window.select(image, 1, 1) == [10, 20, 30, 40]  # Enter without a box takes nothing
        gui.keys = [27]
        assert window.select(image, 1, 1) is None
        gui.keys = [NOTHING, "close"]
        assert window.show(image, wait=True) == Q
        assert window.select(image, 1, 1) is None
    gui = FakeGui(monkeypatch, gone)
    with CvWindow("title") as window:
        gui.keys = [NOTHING, "close"]
        assert window.select(image, 1, 1) is None


def test_why_there_is_no_window(monkeypatch):
    monkeypatch.setattr(cv2, "currentUIFramework", lambda: "QT")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    assert display_problem() == "there is no display"
    monkeypatch.setenv("DISPLAY", ":4711")
    assert display_problem() == "the display :4711 cannot be opened"
    monkeypatch.setattr(cv2, "currentUIFramework", lambda: "")
    assert "opencv-python-headless" in display_problem()


@pytest.fixture
def weights(tmp_path):
    return drawn_weights(tmp_path / "tiny.pth.tar", TINY, SMALL)


def test_the_command_writes_what_the_tracker_finds(tmp_path, weights, monkeypatch, capsys, caplog):
    caplog.set_level(logging.INFO)
    boxes = [clip_frame(0)[1], [20, 30, 40, 50]]
    source = tmp_path / "my clip.mp4"
    with VideoWriter(source, 10) as writer:
        for t in range(4):
            writer.write(clip_frame(t)[0])
    box_options = [text for box in boxes for text in ("--optional_box", *map(str, box))]
    run_command(monkeypatch, "video_demo", ["ostrack", TINY, source, *SMALL, *box_options, "--save_results",
        "--save_dir", tmp_path / "out", "--output", tmp_path / "out.mp4", "--checkpoint", weights, "--device", "cpu",
        "--no_display", "--lost_below", 0, "--label", "dog",
        "--save", tmp_path / "mot.csv", tmp_path / "cvat.xml"])  # fmt: skip
    frames = list(track_frames(build_tracker(TINY, weights, overrides=SMALL), VideoFile(source), *boxes))
    for number in (1, 2):
        path = tmp_path / f"out/test/tracking_results/ostrack/{TINY}/video_my_clip_target{number}.txt"
        np.testing.assert_allclose(read_result(path), [frame.boxes[number - 1] for frame in frames], atol=0.01)
        np.testing.assert_allclose(read_scores(path), [frame.scores[number - 1] for frame in frames], atol=1e-5)
        assert f"Wrote {path}" in caplog.text
    assert json.loads(path.with_suffix(".json").read_text())["init_box"] == boxes[1]
    assert len(VideoFile(tmp_path / "out.mp4")) == 4
    rows = np.loadtxt(tmp_path / "mot.csv", delimiter=",")
    np.testing.assert_allclose(rows[1::2, 2:6] - [1, 1, 0, 0], [frame.boxes[1] for frame in frames], atol=0.01)
    assert f"Wrote {tmp_path}/cvat.xml" in caplog.text and 'label="dog"' in (tmp_path / "cvat.xml").read_text()
    assert "4 frames; tracker" in capsys.readouterr().out


def test_the_command_takes_gray_pictures_late_targets_and_small_boxes(tmp_path, weights, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    for t in range(5):
        write_image(
            tmp_path / f"walk/{t:04d}.png", np.repeat(clip_frame(t)[0].mean(2, keepdims=True), 3, 2).astype("u1")
        )
        picture = cv2.imread(str(tmp_path / f"walk/{t:04d}.png"), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(tmp_path / f"walk/{t:04d}.png"), picture)
    state = load_checkpoint(weights)
    state["net"]["box_head.conv5_size.bias"].fill_(-3)  # boxes of a twentieth of the search region
    save_checkpoint(state, weights)
    command = ["ostrack", TINY, f"{tmp_path}/walk/%04d.png", *SMALL]
    run_command(monkeypatch, "video_demo", [*command, "--start_frame", 1, "--box_at", 3, 60, 70, 4, 5, "--optional_box",
        60, 70, 48, 36, "--min_size", 2, "--save_results", "--save_dir", tmp_path / "out", "--checkpoint", weights,
        "--no_display"])  # fmt: skip
    folder = tmp_path / f"out/test/tracking_results/ostrack/{TINY}"
    late, first = (read_result(folder / f"video_walk_target{number}.txt") for number in (1, 2))
    assert (len(late), len(first)) == (2, 4) and late[0].tolist() == [60, 70, 4, 5]
    tracker = build_tracker(TINY, weights, overrides=[*SMALL, "TEST.MIN_SIZE=2"])
    tracker.initialize(read_image(tmp_path / "walk/0003.png"), {"init_bbox": [60, 70, 4, 5]})
    expected = tracker.track(read_image(tmp_path / "walk/0004.png"))["target_bbox"]
    np.testing.assert_allclose(late[1], expected, atol=0.01)
    assert min(expected[2:]) < 10
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    for wrong, message in (
        (["--start_frame", "9"], "has 5 frames, 0 to 4: no target can start after them"),
        (
            ["--box_at", "0", "1", "2", "3", "4", "--box_at", "1.5", "1", "2", "3", "4"],
            "--box_at 1.5: FRAME is a whole",
        ),
    ):
        with pytest.raises(ConfigError, match=message):
            run_command(monkeypatch, "video_demo", [*command, *wrong, "--optional_box", 1, 2, 3, 4])


def test_debug_shows_the_first_target(tmp_path, weights, monkeypatch, caplog):
    source = write_video(tmp_path / "clip.mp4", frames=3)
    run_command(monkeypatch, "video_demo", ["ostrack", TINY, source, *SMALL, "--optional_box", 20, 20, 20, 20,
        "--save_dir", tmp_path, "--checkpoint", weights, "--device", "cpu", "--no_display", "--debug", 1,
        "--visdom_port", 9])  # fmt: skip
    assert f"the pictures go to {tmp_path / 'test/debug'}" in caplog.text
    assert len(list((tmp_path / "test/debug").rglob("video_clip/**/*.*"))) >= 3


def test_the_result_of_another_video_of_that_name_is_not_replaced(tmp_path):
    a, b = VideoFile(write_video(tmp_path / "a/walk.mp4")), VideoFile(tmp_path / "b/walk.mp4")
    for _ in range(2):  # the same video may be tracked again
        (writer,) = video_demo._writers(tmp_path / "out", {}, a, [[1, 2, 3, 4]], 1)
        with writer:
            writer.add([1, 2, 3, 4], FrameTime(0, 0))
    with pytest.raises(DataError, match=rf"out/video_walk\.txt is the result of another video, {a.path}: use another"):
        video_demo._writers(tmp_path / "out", {}, b, [[1, 2, 3, 4]], 1)
    assert len(video_demo._writers(tmp_path / "out", {}, b, (), 2)) == 2  # several targets have other names


def test_result_files_have_the_published_name(tmp_path):
    assert result_path(tmp_path, VideoFile("a/walk.mp4")).name == "video_walk.txt"
    assert result_path(tmp_path, LiveVideo(2)).name == "video_camera2.txt"
    assert result_path(tmp_path, LiveVideo("rtsp://host:554/live?x=1"), 2, 3).name == "video_live_x_1_target2.txt"


def test_bad_input_is_named_before_any_model_is_built(video, tmp_path, monkeypatch):
    (tmp_path / "text.mp4").write_text("no video")
    for source, message in (
        (tmp_path / "none.mp4", "none.mp4 does not exist"),
        (tmp_path / "text.mp4", "text.mp4 cannot be opened"),
        ("4711", "camera 4711 cannot be opened"),
        ("http://127.0.0.1:9/live", "stream http://127.0.0.1:9/live cannot be opened"),
    ):
        with pytest.raises(DataError, match=message):
            track_video(TrackerSpec(TINY, checkpoint=tmp_path / "none"), source, [[1, 2, 3, 4]])
    for boxes, options, message in (
        ([], {"display": False}, "give --optional_box"),
        ([[1, 2, 3, 4]], {"targets": 0}, "targets 0"),
        ([[1, 2, 3, 4]], {"lost_below": 2}, "lost_below 2"),
        ([[1, 2, 3, 4]], {"run_id": -1}, "--runid -1"),
    ):
        with pytest.raises(ConfigError, match=message):
            track_video(TrackerSpec(TINY, checkpoint=tmp_path / "none"), video, boxes, VideoOptions(**options))


def test_a_stream_is_read_to_its_end(video, caplog):
    caplog.set_level(logging.INFO)
    stream = open_video(f"file://{video}")
    assert isinstance(stream, LiveVideo) and stream.fps == 12
    assert run_demo(FakeTracker(), stream, Demo([[10, 20, 8, 8]])).frames == 6
    assert f"stream file://{video} ended after 6 frames" in caplog.text


def test_a_video_that_cannot_be_written_whole_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    for name in ("out.png", "out"):
        with pytest.raises(DataError, match=f"{name} cannot be written: .*ending in .mp4"):
            write_video(tmp_path / name)
    with pytest.raises(FileExistsError, match="file"):
        write_video(tmp_path / "file/out.mp4")
    for suffix in (".mp4", ".avi", ".mkv", ".mov"):
        assert len(VideoFile(write_video(tmp_path / f"whole{suffix}"))) == 6
    monkeypatch.setattr("lib.data.video_io._read_packets", lambda path: (3, 12.0))  # as a full disk leaves it
    with pytest.raises(DataError, match="long.mp4 was not written whole"):
        write_video(tmp_path / "long.mp4")


def test_a_folder_that_refuses_results_is_one_line(tmp_path, weights, monkeypatch, capsys):
    source, taken = write_video(tmp_path / "clip.mp4"), tmp_path / "taken"
    taken.write_text("no folder")
    command = ["ostrack", TINY, source, *SMALL, "--optional_box", 20, 20, 20, 20, "--save_dir", taken, "--checkpoint",
               weights, "--device", "cpu", "--no_display", "--save_results"]  # fmt: skip
    with pytest.raises(SystemExit) as ended:
        run_cli(lambda: run_command(monkeypatch, "video_demo", command))
    error = capsys.readouterr().err.splitlines()[-1]
    assert ended.value.code == 1 and error.startswith(f"error: {taken}") and error.endswith("Not a directory")


def test_trouble_on_the_way_is_an_error(video, weights, tmp_path):
    with pytest.raises(DataError, match=r"\[95.0, 5.0, 10.0, 10.0\] has no area inside the 90 x 60 image"):
        track_video(
            TrackerSpec(TINY, checkpoint=weights, overrides=SMALL),
            video,
            [[95, 5, 10, 10]],
            VideoOptions(display=False),
        )
    with pytest.raises(ConfigError, match="is the video that is read"):
        run(video, boxes=[[1, 2, 3, 4]], output=video)
    assert len(VideoFile(video)) == 6
    with VideoWriter(tmp_path / "long.avi", 10) as writer:
        for image in np.random.default_rng(0).integers(0, 256, (60, 48, 64, 3), np.uint8):
            writer.write(image)
    whole = (tmp_path / "long.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="is damaged or cut short, .* copy or download it again"):
        run(tmp_path / "cut.avi", results=[tmp_path / "cut.txt"], boxes=[[1, 2, 3, 4]], output=tmp_path / "cut.mp4")
    assert not (tmp_path / "cut.txt").exists()
    seen = len(VideoFile(tmp_path / "cut.mp4"))
    assert 0 < seen < 60 and len(read_result(tmp_path / "cut.txt.part")) == seen


SAVED = ("mot.csv", "coco.json", "cvat.xml", "labelstudio.json")


def test_what_was_tracked_is_saved_for_other_programs(video, tmp_path):
    """Two targets, one from frame 2 on. A score below 0.55 is lost, and a lost target has no box."""
    files = [tmp_path / "out" / name for name in SAVED]
    options = {"starts": [0, 2], "lost_below": 0.55, "save": files, "label": "dog"}
    summary = run(video, boxes=[[10, 20, 8, 6], [30, 5, 4, 4]], **options)
    expected = [(t, 1, 10 + t, 20, 8, 6) for t in range(4)] + [(t, 2, 28 + t, 5, 4, 4) for t in range(2, 6)]

    rows = np.loadtxt(files[0], delimiter=",")
    assert sorted((f - 1, i, x - 1, y - 1, w, h) for f, i, x, y, w, h in rows[:, :6]) == sorted(expected)
    task = json.loads(files[3].read_text())[0]["predictions"][0]["result"][1]["value"]
    assert [key["frame"] for key in task["sequence"]] == [3, 4, 5, 6] and task["labels"] == ["dog"]
    assert (summary.fps, summary.size, len(summary.tracks().tracks[1].boxes)) == (12, (90, 60), 6)

    one = tmp_path / "clip_boxes.txt"
    run(video, boxes=[[10, 20, 8, 6]], lost_below=0.55, save=[one], start_frame=1)
    boxes = np.loadtxt(one, delimiter=",")
    assert np.isnan(boxes[[0, 5]]).all() and boxes[1:5, 0].tolist() == [10, 11, 12, 13]  # frames of the video


def test_saved_tracks_are_read_by_the_libraries_that_they_are_for(video, tmp_path):
    coco, models, supervision = (
        pytest.importorskip(name, reason=f"{name} is not installed: pip install supervision pycocotools cvat-sdk")
        for name in ("pycocotools.coco", "cvat_sdk.models", "supervision")
    )
    files = [tmp_path / name for name in SAVED]
    summary = run(video, boxes=[[10, 20, 8, 6]], lost_below=0.55, save=files, label="dog")  # lost in frames 4 and 5

    found = coco.COCO(str(files[1]))
    assert [found.loadAnns(found.getAnnIds(imgIds=[t + 1])) == [] for t in range(6)] == [False] * 4 + [True] * 2
    assert found.loadAnns(found.getAnnIds(imgIds=[3]))[0]["bbox"] == [12, 20, 8, 6]

    read = supervision.DetectionDataset.from_coco(str(tmp_path), str(files[1]))
    assert read.classes == ["dog"] and len(read) == 6
    boxes = {path.rpartition("/")[2]: part.xyxy.tolist() for path, part in read.annotations.items()}
    assert boxes["000004.jpg"] == [[13, 20, 21, 26]] and boxes["000006.jpg"] == []
    np.testing.assert_array_equal(summary.to_supervision(3).xyxy, [[13, 20, 21, 26]])
    assert summary.to_supervision(3).confidence.tolist() == pytest.approx([0.6]) and not len(summary.to_supervision(5))

    (node,) = ElementTree.parse(files[2]).getroot().iter("track")
    shapes = [
        models.TrackedShapeRequest(
            type=models.ShapeType("rectangle"),
            frame=int(box.get("frame")),
            outside=box.get("outside") == "1",
            points=[float(box.get(side)) for side in ("xtl", "ytl", "xbr", "ybr")],
        )
        for box in node
    ]
    track = models.LabeledTrackRequest(frame=shapes[0].frame, label_id=1, group=0, shapes=shapes)
    assert [(one.frame, one.outside) for one in track.shapes] == [*((t, False) for t in range(4)), (4, True)]
    assert track.shapes[3].points == [13, 20, 21, 26]


def test_tracks_are_saved_when_a_video_breaks_off_and_wrong_names_are_told_first(video, tmp_path):
    saved, tracker = tmp_path / "clip.mot.csv", FakeTracker()
    with pytest.raises(DataError, match="target 2 was to start in frame 50"):
        run(video, boxes=[[10, 20, 8, 6], [1, 2, 3, 4]], starts=[0, 50], save=[saved])
    assert len(saved.read_text().splitlines()) == 6
    with pytest.raises(ConfigError, match="clip.mat: the name must be one of boxes.txt, mot.csv"):
        run(video, tracker, boxes=[[10, 20, 8, 6]], save=[tmp_path / "clip.mat"])
    with pytest.raises(ConfigError, match="boxes.txt holds one target, not 2"):
        run(video, tracker, boxes=[[10, 20, 8, 6]] * 2, save=[tmp_path / "boxes.txt"])
    assert not tracker.images
