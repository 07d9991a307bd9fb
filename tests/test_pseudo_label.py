"""Labels for videos without annotation: the agreement of two directions, on drawn clips with a drawn tracker."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.data.image_io import read_image
from lib.data.own_folder import own_sequences
from lib.data.video_io import VideoWriter
from lib.test.evaluation.protocol import TrackResult
from lib.test.labeling.candidates import Candidate, Detector, moving_regions, worth_following
from lib.test.labeling.pseudo_label import (
    RECORD,
    LabelOptions,
    find_videos,
    follow,
    follow_both_ways,
    label_frames,
    label_videos,
    longest_run,
    moves,
)
from lib.utils.checkpoint import load_checkpoint, save_checkpoint
from lib.utils.errors import CheckpointError, ConfigError, DataError
from lib.vis.samples import label_sheets
from tests.conftest import REPOSITORY
from tests.factories import run_command, run_program

RED, BLUE = (250, 20, 20), (20, 20, 250)
SHORT = LabelOptions(min_frames=5, frames=40)
ORIGIN = {"tracker": "color", "detector": "drawn"}


def frame(*objects, size=(96, 128), shift=0):
    """Gray noise that is the same in all frames, moved ``shift`` pixels, with rectangles: x, y, w, h, color."""
    texture = np.random.default_rng(0).integers(60, 140, (size[0] // 4, size[1]), np.uint8)
    texture = cv2.resize(texture, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)[: size[0], shift : size[1] + shift]
    image = np.repeat(texture[..., None], 3, axis=2)
    for x, y, w, h, color in objects:
        image[y : y + h, x : x + w] = color
    return image


def clip(count=20, speed=2):
    """A red square that moves right, over a blue one that stands still."""
    return [frame((80, 60, 20, 20, BLUE), (10 + speed * t, 20, 16, 16, RED)) for t in range(count)]


def colored(image, color):
    """The box around the pixels of about this color, None where there are none."""
    rows, columns = np.nonzero(np.abs(image.astype(int) - color).sum(2) < 150)
    if not len(rows):
        return None
    return [float(v) for v in (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)]


def patterned(x, shift=0):
    """A square of red and dark tiles in a larger frame, whose left side is at ``x``."""
    tiles = np.kron(np.random.default_rng(1).integers(0, 2, (6, 6)), np.ones((4, 4))).astype(bool)
    image = frame((x, 40, 24, 24, RED), size=(120, 160), shift=shift)
    image[40:64, x : x + 24][tiles] = (180, 0, 0)
    return image


class ColorTracker:
    """Follows the color in the middle of its first box. A ``step`` ends where it is lost."""

    def start(self, image, box):
        x, y, w, h = box
        return {"color": image[int(y + h / 2), int(x + w / 2)].astype(int), "box": list(box)}

    def step(self, images, targets):
        box = colored(images[0], targets[0]["color"])
        targets[0]["box"] = box or targets[0]["box"]
        return TrackResult([targets[0]["box"]], [0.9 if box else 0.1])


class DriftingTracker(ColorTracker):
    """Jumps forward in time to another place after ten frames, from which there is no way back."""

    def start(self, image, box):
        return super().start(image, box) | {"age": 0}

    def step(self, images, targets):
        targets[0]["age"] += 1
        if targets[0]["age"] >= 10:
            return TrackResult([[100.0, 70.0, 20.0, 20.0]], [0.9])
        return super().step(images, targets)


def detect(image):
    """Red is a dog, blue a cat."""
    found = ((colored(image, RED), "dog"), (colored(image, BLUE), "cat"))
    return [Candidate(tuple(box), name, 0.9) for box, name in found if box]


def write_video(path, frames):
    with VideoWriter(path) as writer:
        for image in frames:
            writer.write(image)
    return path


def test_what_both_directions_agree_on_is_kept_and_what_stands_still_is_not():
    (track,) = label_frames(clip(), ColorTracker(), detect, SHORT)
    assert (track.name, track.first, track.agreement) == ("dog", 0, 1.0)
    np.testing.assert_array_equal(track.boxes, [[10 + 2 * t, 20, 16, 16] for t in range(20)])
    assert len(track.frames) == 20


def test_only_the_run_of_agreement_is_left():
    """Forward jumps away in frame 10; backward stays there, so frames 0 to 9 disagree, and the rest stands still."""
    start = Candidate((10, 20, 16, 16), "dog")
    assert follow_both_ways(clip(), 0, start, DriftingTracker(), None, SHORT) is None


def test_following_ends_where_the_target_is_lost():
    shown = clip()[:12] + [frame()] * 8
    boxes = follow(ColorTracker(), shown, (10, 20, 16, 16))
    assert len(boxes) == 12 and boxes[-1].tolist() == [32, 20, 16, 16]


def test_what_has_not_moved_by_then_is_not_tracked_further():
    shown = [frame((10, 20, 16, 16, RED))] * 8 + clip()
    boxes = {least: follow(ColorTracker(), shown, (10, 20, 16, 16), (6, least)) for least in (0.0, 0.01)}
    assert [len(boxes[least]) for least in (0.0, 0.01)] == [28, 6]
    assert [track.first for track in label_frames(shown, ColorTracker(), detect, SHORT)] == [14]  # its second start


def test_the_sequence_ends_where_the_detector_sees_its_class_again():
    shown = clip()
    known = {image.tobytes(): t for t, image in enumerate(shown)}

    def sees_until(last):
        return lambda image: [one for one in detect(image) if known[image.tobytes()] <= last]

    lengths = [
        [len(t.boxes) for t in label_frames(shown, ColorTracker(), sees_until(n), SHORT)] for n in (19, 15, 12, 4)
    ]
    assert lengths == [[20], [15], [10], []]


@pytest.mark.parametrize(
    ("flags", "run"),
    [("", (0, 0)), ("000", (0, 0)), ("111", (0, 3)), ("0110111", (4, 7)), ("110011", (0, 2))],
)
def test_the_longest_run(flags, run):
    found = longest_run(np.array([flag == "1" for flag in flags], bool))
    assert (found.start, found.stop) == run


def test_motion_is_measured_in_sides_of_the_box():
    boxes = np.array([[0, 0, 10, 40.0], [4, 0, 10, 40], [0, 0, 10, 40]])
    assert moves(boxes, 0.2) and not moves(boxes, 0.21)  # 4 of 20 pixels


def test_caps_and_classes():
    shown = [frame((80 - t, 60, 20, 20, BLUE), (10 + 2 * t, 20, 16, 16, RED)) for t in range(20)]

    def names(counts=None, **options):
        chosen = LabelOptions(min_frames=5, **options)
        return [track.name for track in label_frames(shown, ColorTracker(), detect, chosen, counts)]

    assert names() == ["dog", "cat"]  # each once, though both are seen in the middle of the shot too
    assert names({"dog": 1}) == ["cat", "dog"]  # the rarest first
    assert names(per_video=1) == ["dog"]
    assert names({"dog": 3}, per_class=3) == ["cat"]
    assert names(classes=("cat",)) == names(without=("dog",)) == ["cat"]


def test_no_sequence_goes_across_a_cut_or_is_longer_than_asked_for():
    inverted = [255 - image for image in clip()]
    tracks = label_frames(clip() + inverted, ColorTracker(), detect, SHORT)
    assert [(track.first, len(track.boxes)) for track in tracks] == [(0, 20)]
    tracks = label_frames(clip(), ColorTracker(), detect, LabelOptions(min_frames=5, frames=8))
    assert [(track.first, len(track.boxes)) for track in tracks] == [(0, 8), (8, 8)]  # the last 4 are too few
    assert tracks[1].boxes[0].tolist() == [26, 20, 16, 16]


def test_moving_regions_are_found_under_a_moving_camera():
    shots = [patterned(30 + 6 * t, shift=2 * t) for t in range(3)]
    best = moving_regions(*shots)[0]
    assert best.name == "moving"
    np.testing.assert_allclose(best.box, [36, 40, 24, 24], atol=4)
    assert moving_regions(*(patterned(30 - 2 * t, shift=2 * t) for t in range(3))) == []  # moves with the background
    assert moving_regions(*[np.zeros((60, 60, 3), np.uint8)] * 3) == []


def test_boxes_that_are_tiny_or_fill_the_frame_are_not_followed():
    image = np.zeros((100, 200, 3), np.uint8)
    wanted = [worth_following(box, image) for box in ((0, 0, 9, 90), (0, 0, 10, 10), (0, 0, 100, 100), (0, 0, 150, 90))]
    assert wanted == [False, True, True, False]


def test_sequences_are_written_where_training_and_evaluation_find_them_and_done_once(tmp_path, caplog):
    moving, broken = write_video(tmp_path / "in/a b.mp4", clip()), tmp_path / "in/c.mp4"
    broken.write_bytes(b"no video")
    write_video(tmp_path / "in/still.mp4", clip(speed=0))
    videos, out = find_videos([tmp_path / "in"]), tmp_path / "out"
    assert [path.name for path in videos] == ["a b.mp4", "c.mp4", "still.mp4"]
    assert label_videos(videos, out, ColorTracker(), ORIGIN, detect, SHORT) == (1, 1)
    assert "left out: video" in caplog.text and "c.mp4 cannot be opened" in caplog.text
    (sequence,) = own_sequences(out)
    assert sequence.name.startswith("pseudo_a_b_") and sequence.name.endswith("_0")
    boxes = np.loadtxt(sequence.boxes, delimiter=",")
    np.testing.assert_allclose(boxes, [[10 + 2 * t, 20, 16, 16] for t in range(20)], atol=2)  # a lossy video
    assert len(list(sequence.frames.iterdir())) == 20
    assert read_image(sequence.frames / "00001.jpg").shape == (96, 128, 3)
    meta = json.loads((sequence.folder / "meta.json").read_text())
    assert meta["video"] == str(moving) and meta["class"] == "dog" and meta["frames"] == [0, 19]
    assert meta["tracker"] == "color" and meta["detector"] == "drawn" and meta["agreement"] > 0.9

    def no_tracker(image):
        raise AssertionError("a video that is done is done again")

    (sequence.folder / "groundtruth.txt").unlink()  # who drops a sequence does not get it again
    assert label_videos(videos, out, ColorTracker(), ORIGIN, no_tracker, SHORT) == (0, 1)
    with pytest.raises(ConfigError, match="pseudo_label.jsonl was made with another min_frames: use the same"):
        label_videos(videos, out, ColorTracker(), ORIGIN, detect, LabelOptions(min_frames=6, frames=40))
    head, *lines = (out / RECORD).read_text().splitlines(keepends=True)
    older = {key: value for key, value in json.loads(head).items() if key not in ("read", "without")}
    (out / RECORD).write_text("".join([json.dumps(older) + "\n", *lines]))  # of a version without these options
    assert label_videos(videos, out, ColorTracker(), ORIGIN, no_tracker, SHORT) == (0, 1)
    with pytest.raises(ConfigError, match="was made with another read, without: use the same"):
        label_videos(videos, out, ColorTracker(), ORIGIN, detect, replace(SHORT, read=9, without=("cat",)))
    with (out / RECORD).open("a") as file:
        file.write('{"dig')
    with pytest.raises(DataError, match="pseudo_label.jsonl is damaged"):
        label_videos(videos, out, ColorTracker(), ORIGIN, detect, SHORT)


def test_frames_are_thinned_and_made_smaller(tmp_path):
    video = write_video(tmp_path / "a.mp4", clip(40, 1))
    options = LabelOptions(min_frames=5, stride=3, side=96)
    assert label_videos([video], tmp_path / "out", ColorTracker(), ORIGIN, detect, options) == (1, 0)
    (sequence,) = own_sequences(tmp_path / "out")
    assert read_image(sequence.frames / "00014.jpg").shape == (72, 96, 3)
    boxes = np.loadtxt(sequence.boxes, delimiter=",")
    np.testing.assert_allclose(boxes, [[7.5 + 2.25 * t, 15, 12, 12] for t in range(14)], atol=1.5)
    assert json.loads((sequence.folder / "meta.json").read_text())["frames"] == [0, 39]

    options = LabelOptions(min_frames=5, stride=3, read=6)
    assert label_videos([video], tmp_path / "less", ColorTracker(), ORIGIN, detect, options) == (1, 0)
    (sequence,) = own_sequences(tmp_path / "less")
    assert json.loads((sequence.folder / "meta.json").read_text())["frames"] == [0, 15]


def test_the_sheet_shows_every_sequence(tmp_path):
    video = write_video(tmp_path / "a.mp4", clip())
    label_videos([video], tmp_path / "out", ColorTracker(), ORIGIN, detect, SHORT)
    assert label_sheets(tmp_path / "out", tmp_path / "sheet.png") == [tmp_path / "sheet.png"]
    sheet = read_image(tmp_path / "sheet.png")
    assert sheet.shape[1] == 3 * 604 + 4
    assert (sheet.reshape(-1, 3) == (255, 200, 0)).all(1).any()  # a box
    with pytest.raises(DataError, match="nothing to draw on the sheet"):
        label_sheets(tmp_path / "none", tmp_path / "sheet.png")


class Network:
    """Answers with a raw output that is given."""

    def __init__(self, output):
        self.output = output

    def setInput(self, image):
        self.image = image

    def forward(self):
        return self.output


def raw_output(classes=80, size=64):
    """Of a network for 64 pixels: a grid of 8 x 8, of 4 x 4 and of 2 x 2 cells."""
    return np.zeros((1, sum((size // stride) ** 2 for stride in (8, 16, 32)), 5 + classes), np.float32)


def build_detector(monkeypatch, tmp_path, output):
    path = tmp_path / "yolox.onnx"
    path.touch()
    monkeypatch.setattr(cv2.dnn, "readNetFromONNX", lambda _: Network(output))
    return Detector(path, size=64)


def test_the_detector_decodes_grids(monkeypatch, tmp_path):
    output = raw_output()
    output[0, 64 + 1 * 4 + 2, :5] = (0.5, 0.25, np.log(2), np.log(1), 0.8)  # stride 16, column 2, row 1
    output[0, 64 + 1 * 4 + 2, 5 + 16] = 1
    output[0, 64 + 1 * 4 + 1, :5] = (1.5, 0.25, np.log(2), np.log(1), 0.6)  # the same object, less sure
    output[0, 64 + 1 * 4 + 1, 5 + 16] = 1
    output[0, 80, :5] = (0, 0, 0, 0, 0.9)  # stride 32, the first cell, half of it outside
    output[0, 80, 5] = 0.9
    detector = build_detector(monkeypatch, tmp_path, output)
    found = detector(np.full((64, 128, 3), (10, 20, 30), np.uint8))  # shown at half its size
    assert [(one.name, round(one.score, 2)) for one in found] == [("person", 0.81), ("dog", 0.8)]
    np.testing.assert_allclose([one.box for one in found], [(0, 0, 32, 32), (48, 24, 64, 32)], atol=1e-4)
    shown = detector._net.image
    assert shown.shape == (1, 3, 64, 64)
    assert shown[0, :, 0, 0].tolist() == [30, 20, 10] and shown[0, :, 40, 0].tolist() == [114, 114, 114]  # BGR


def test_a_detector_of_another_form_is_named(monkeypatch, tmp_path):
    assert build_detector(monkeypatch, tmp_path, raw_output(3)).names == ["class 0", "class 1", "class 2"]
    with pytest.raises(CheckpointError, match=r"yolox.onnx: expected an output of \(1, 84, 5 \+ classes\)"):
        build_detector(monkeypatch, tmp_path, raw_output(size=128))
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="yolox.onnx is not an ONNX file"):
        Detector(tmp_path / "yolox.onnx")
    with pytest.raises(CheckpointError, match="there is no detector .*none.onnx"):
        Detector(tmp_path / "none.onnx")


def test_videos_that_are_missing_are_named(tmp_path):
    with pytest.raises(DataError, match="there is no video or folder .*none"):
        find_videos([tmp_path / "none"])
    with pytest.raises(DataError, match="no videos .*mp4.* in "):
        find_videos([tmp_path])


def parameters(config):
    """Of the tracker of one's own that is this module."""
    return config


def get_tracker_class():
    return lambda config, device: ColorTracker()


def test_the_command_takes_a_tracker_of_ones_own_and_what_moves(monkeypatch, tmp_path, capsys):
    write_video(tmp_path / "in/a.mp4", [cv2.resize(patterned(20 + 4 * t), (320, 240)) for t in range(24)])
    words = [
        "tests.test_pseudo_label",
        "any",
        "--device",
        "cpu",
        "--videos",
        tmp_path / "in",
        "--out",
        tmp_path / "out",
    ]
    run_command(monkeypatch, "pseudo_label", [*words, "--sheet", tmp_path / "sheet.png"])
    assert "wrote 1 sequences" in capsys.readouterr().out and Path(tmp_path / "sheet.png").is_file()
    (sequence,) = own_sequences(tmp_path / "out")
    assert json.loads((sequence.folder / "meta.json").read_text())["class"] == "moving"
    write_video(tmp_path / "still/a.mp4", [patterned(20)] * 24)
    still = ["--videos", tmp_path / "still", "--out", tmp_path / "none", "--sheet", tmp_path / "none.png"]
    assert run_program(monkeypatch, "pseudo_label", [*words, *still]) == 0
    assert "wrote 0 sequences" in capsys.readouterr().out and not (tmp_path / "none.png").exists()
    assert run_program(monkeypatch, "pseudo_label", [*words, "--classes", "dog"]) == 1
    assert "class 'dog' is unknown" in capsys.readouterr().err
    assert run_program(monkeypatch, "pseudo_label", [*words, "--stride", "0"]) == 1
    assert "--stride 0: must be 1 or more" in capsys.readouterr().err
    for wrong, message in (
        (["--agreement", "2"], "--agreement 2.0: an IoU"),
        (["--frames", "10"], "--min_frames 20: no sequence has more than --frames 10"),
        (["--per_video", "0"], "--per_video 0: must be 1 or more"),
    ):
        assert run_program(monkeypatch, "pseudo_label", [*words, *wrong]) == 1
        assert message in capsys.readouterr().err
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    words[words.index(tmp_path / "in")], words[words.index(tmp_path / "out")] = (
        tmp_path / "broken.mp4",
        tmp_path / "none",
    )
    assert run_program(monkeypatch, "pseudo_label", words) == 1
    printed = capsys.readouterr().out
    assert "1 of 1 videos could not be read" in printed and "next:" not in printed


def test_labels_of_other_weights_are_not_mixed_in(monkeypatch, tmp_path, capsys):
    write_video(tmp_path / "a.mp4", [np.zeros((64, 64, 3), np.uint8)] * 5)
    words = ["ostrack", "vits_160", "--device", "cpu", "--videos", tmp_path / "a.mp4", "--out", tmp_path / "out"]
    assert run_program(monkeypatch, "pseudo_label", words) == 0
    state = load_checkpoint(REPOSITORY / "pretrained_models/ostrack_vits_160.pth")
    save_checkpoint({**state, "epoch": 99}, tmp_path / "other.pth")
    assert run_program(monkeypatch, "pseudo_label", [*words, "--checkpoint", tmp_path / "other.pth"]) == 1
    assert "was made with another weights" in capsys.readouterr().err
    assert run_program(monkeypatch, "pseudo_label", [*words, "TEST.MIN_SIZE=3"]) == 1
    assert "was made with another config_hash" in capsys.readouterr().err
