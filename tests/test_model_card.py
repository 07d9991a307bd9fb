"""What goes into a model card: the numbers of its tables, the points of its curves, the frames of its pictures."""

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from lib.data.image_io import read_image
from lib.test.analysis.analyze import Selection
from lib.test.analysis.card import (
    Run,
    draw_curves,
    failure_frames,
    failure_strip,
    read_run,
    read_runs,
    score_table,
    scored_track,
    worst_sequences,
    write_card,
    write_curves,
)
from lib.test.analysis.report import evaluate
from lib.test.evaluation.environment import EnvSettings
from lib.utils.checkpoint import load_checkpoint, save_checkpoint
from lib.utils.errors import CheckpointError, ConfigError, DataError
from lib.vis.draw import COLORS, rgb
from tests.factories import run_command
from tests.train_processes import in_process

FRAMES, SIZE = 20, (320, 160)
TRUTH = np.array([[60.0 + 4 * t, 60, 40, 30] for t in range(FRAMES)])
LOST_FROM = {"good": FRAMES, "late": 15, "early": 5}  # frames from which on a box stays where it is


def gray(t):
    """The brightness of frame ``t``."""
    return 40 + 8 * t


@pytest.fixture
def data(tmp_path):
    """Three sequences of gray frames; ``ostrack/mine`` loses the target, 200 pixels away, ``opencv/csrt`` is right."""
    for name, lost in LOST_FROM.items():
        folder = tmp_path / "data" / name
        (folder / "img").mkdir(parents=True)
        for t in range(FRAMES):
            cv2.imwrite(str(folder / f"img/{t:04d}.png"), np.full((SIZE[1], SIZE[0], 3), gray(t), np.uint8))
        np.savetxt(folder / "groundtruth.txt", TRUTH, delimiter=",")
        boxes = TRUTH.copy()
        boxes[lost:] = [250, 10, 40, 30]
        for label, result in (("ostrack/mine", boxes), ("opencv/csrt", TRUTH)):
            path = tmp_path / "out/test/tracking_results" / label / f"{name}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savetxt(path, result, delimiter="\t")
    return tmp_path


def report_of(data, *labels):
    trackers = [tuple(label.split("/")) for label in labels]
    return evaluate(trackers, f"folder:{data / 'data'}", env=EnvSettings(save_dir=data / "out"))


def mine(data):
    report = report_of(data, "ostrack/mine")
    return report, report.trackers[0]


def card(data, dataset=None, config="mine", compare=(), **options):
    dataset = f"folder:{data / 'data'}" if dataset is None else dataset
    selection = Selection(dataset, "ostrack", [config] if config else [], compare)
    return write_card(data / "card", selection, env=EnvSettings(save_dir=data / "out"), **options)


# Scores


def test_the_table_has_every_score_of_the_one_and_the_first_of_the_others(data):
    report = report_of(data, "ostrack/mine", "opencv/csrt")
    table = score_table(report, "ostrack/mine")
    assert tuple(table.frame) == (
        *("Sequence", "Frames", "AUC", "OP50", "OP75", "Precision", "Norm Precision"),
        "AUC of opencv/csrt",
    )
    right = 100 * 20 / 21  # the highest AUC: an overlap of 1 is not above the last of 21 thresholds
    shares = {"early": 5 / 20, "good": 1, "late": 15 / 20}
    expected = [[name, 20, right * s, 100 * s, 100 * s, 100 * s, 100 * s, right] for name, s in shares.items()]
    mean = np.mean(list(shares.values()))
    expected.append(["all", 60, right * mean, *[100 * mean] * 4, right])
    for row, wanted in zip(table.frame.to_numpy().tolist(), expected, strict=True):
        assert row[:2] == wanted[:2]
        np.testing.assert_allclose(row[2:], wanted[2:])


def test_the_table_of_a_tracker_alone(data):
    table = score_table(report_of(data, "ostrack/mine"), "ostrack/mine")
    assert table.frame.columns[-1] == "Norm Precision" and table.title.startswith("ostrack/mine by sequence, folder:")
    assert table.frame.iloc[:, 0].tolist() == ["early", "good", "late", "all"]


# Failures


@pytest.mark.parametrize(
    ("overlap", "frames"),
    [
        ([1, 0.9, 0.05, 0.0, 0.08, 0.7, 0.8], (2, 4)),
        ([1, 0.0, 0.9, 0.0, 0.0, 0.9], (3, 4)),  # the longer one
        ([1, 0.0, 0.0, 0.9, 0.0, 0.0], (1, 2)),  # the earlier one
        ([1, 0.0, np.nan, np.nan, 0.1, 0.9], (1, 4)),  # without target, nothing ends
        ([1, 0.9, 0.0, 0.9, 0.8, np.nan], (2, 4)),  # a single frame: up to the last with a target
        ([1, 0.6, 0.3, 0.4, 0.9], (2, 4)),  # never lost: the lowest
        ([0, 0.9, 0.8, 0.0], (3, 3)),  # the first frame is given
    ],
)
def test_the_longest_failure_counts(overlap, frames):
    assert failure_frames(np.array(overlap, float)) == frames


def test_the_worst_sequences_come_first(data):
    report, tracker = mine(data)
    assert [report.sequences[index] for index in worst_sequences(tracker, 2)] == ["early", "late"]
    assert [report.sequences[index] for index in worst_sequences(tracker, 9)] == ["early", "late", "good"]


def test_a_sequence_with_a_target_in_the_first_frame_only_has_no_failure(data):
    truth = np.full((FRAMES, 4), np.nan)
    truth[0] = TRUTH[0]
    np.savetxt(data / "data/early/groundtruth.txt", truth, delimiter=",")
    report, tracker = mine(data)
    assert [report.sequences[index] for index in worst_sequences(tracker, 9)] == ["late", "good"]


def tiles(strip, number=3):
    """The pictures of a strip, without legend and captions; each is 320 pixels wide and has a gap of 4 around."""
    assert strip.shape[:2] == (2 * 22 + 160 + 22 + 2 * 4, number * 324 + 4)
    return [strip[48 : 48 + 160, 4 + 324 * i : 324 * (i + 1)].astype(int) for i in range(number)]


def found(image, color):
    return int((np.abs(image - color).max(axis=-1) <= 0).sum())


@pytest.mark.parametrize(("name", "frames"), [("early", (0, 5, 19)), ("late", (0, 15, 19))])
def test_the_strip_shows_the_template_the_failure_and_its_end(data, name, frames):
    report, tracker = mine(data)
    index = report.sequences.index(name)
    pictures = tiles(failure_strip(report.data[index], scored_track(tracker, index)))
    assert [int(np.median(tile)) for tile in pictures] == [gray(t) for t in frames]
    colors = (255, 255, 255), rgb(COLORS[1])
    assert [[found(tile, color) > 100 for color in colors] for tile in pictures] == [
        [True, False],  # there the two are the same
        [True, True],
        [True, True],
    ]


def test_the_strip_is_a_close_up_of_the_boxes(data):
    report, tracker = mine(data)
    index = report.sequences.index("late")
    first, wrong, _ = tiles(failure_strip(report.data[index], scored_track(tracker, index)))
    # 40 x 30 pixels with four tenths of room are 0.2625 of the frame's height: 320 / 0.2625 / 320 times as large.
    rows, columns = np.nonzero((first != gray(0)).any(axis=-1))
    assert abs(np.ptp(columns) - 40 / 0.2625) < 12
    # Here both have to be seen: from 120 to 290 of 320 pixels, and from 10 to 90 of 160.
    rows, columns = np.nonzero((np.abs(wrong - rgb(COLORS[1])) == 0).all(axis=-1))
    scale = 1 / max(1.4 * 170 / 320, 1.4 * 80 / 160)
    assert abs(np.ptp(columns) - 40 * scale) < 12 and abs(np.ptp(rows) - 30 * scale) < 12


def test_a_failure_in_the_last_frame_needs_two_pictures(data):
    boxes = TRUTH.copy()
    boxes[-1] = [250, 10, 40, 30]
    np.savetxt(data / "out/test/tracking_results/ostrack/mine/good.txt", boxes, delimiter="\t")
    report, tracker = mine(data)
    index = report.sequences.index("good")
    pictures = tiles(failure_strip(report.data[index], scored_track(tracker, index)), 2)
    assert [int(np.median(tile)) for tile in pictures] == [gray(0), gray(19)]


# Curves


def history(epochs=4, interval=2, **changes):
    """A checkpoint after so many epochs of 10 steps of 2 x 8 pairs on two processes, and 3 steps of the next."""
    values = [0.1 * epoch for epoch in range(1, epochs + 1)]
    validated = [0.15 * epoch for epoch in range(1, epochs + 1) if epoch % interval == 0]
    return {
        "epoch": epochs,
        "step": 10 * epochs + 3,
        "epoch_step": 3,
        "world": 2,
        "settings": {"config_name": "mine"},
        "config": {"TRAIN": {"BATCH_SIZE": 8, "ACCUM_STEPS": 2, "VAL_EPOCH_INTERVAL": interval, "EPOCH": 9}},
        "stats": {
            "train": {"Loss/giou": values, "Loss/total": [2 * v for v in values], "IoU": values, "FPS": values},
            "val": {"IoU": validated, "Loss/total": [3 * v for v in validated]},
        },
    } | changes


def saved(tmp_path, name="run.pth.tar", **options):
    save_checkpoint(history(**options), tmp_path / name)
    return str(tmp_path / name)


def test_pairs_are_those_of_all_processes_and_batches(tmp_path):
    run = read_run(saved(tmp_path))
    assert (run.label, run.epochs, run.pairs) == ("mine", 4, 4 * 10 * 8 * 2 * 2)
    assert run.curves["train"].keys() == {"Loss/giou", "Loss/total", "IoU"}
    assert run.curves["train"]["IoU"][0] == [320, 640, 960, 1280]
    at, values = run.curves["val"]["Loss/total"]
    assert at == [640, 1280] and values == pytest.approx([0.9, 1.8])
    assert run.last("val", "IoU") == pytest.approx(0.6) and np.isnan(run.last("val", "Loss/giou"))


def test_the_last_epoch_is_validated_whatever_the_interval(tmp_path):
    state = history(epochs=3)
    state["config"]["TRAIN"]["EPOCH"] = 3
    state["stats"]["val"] = {"IoU": [0.2, 0.4]}
    save_checkpoint(state, tmp_path / "run.pth.tar")
    assert read_run(tmp_path / "run.pth.tar").curves["val"]["IoU"] == ([640, 960], [0.2, 0.4])


def test_a_run_without_validation_has_curves_of_training(tmp_path):
    state = history(interval=1)
    state["config"]["TRAIN"]["VAL_EPOCH_INTERVAL"] = 0
    del state["stats"]["val"]
    save_checkpoint(state, tmp_path / "run.pth.tar")
    run = read_run(tmp_path / "run.pth.tar")
    assert run.curves.keys() == {"train"} and np.isnan(run.last("val", "IoU"))


def test_validations_of_unknown_time_are_not_drawn(tmp_path, caplog):
    state = history()
    state["config"]["TRAIN"]["VAL_EPOCH_INTERVAL"] = 1
    save_checkpoint(state, tmp_path / "run.pth.tar")
    with caplog.at_level(logging.WARNING):
        assert read_run(tmp_path / "run.pth.tar").curves.keys() == {"train"}
    assert "IoU, Loss/total of split val" in caplog.text


def test_a_number_that_was_added_on_the_way_is_left_out_alone(tmp_path):
    state = history()
    state["stats"]["val"]["AUC"] = [60.0]
    save_checkpoint(state, tmp_path / "added.pth.tar")
    assert read_run(tmp_path / "added.pth.tar").curves["val"].keys() == {"IoU", "Loss/total"}
    state["stats"]["val"]["AUC"] = [50.0, 60.0]
    save_checkpoint(state, tmp_path / "whole.pth.tar")
    assert read_run(tmp_path / "whole.pth.tar").curves["val"]["AUC"] == ([640, 1280], [50.0, 60.0])


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"net": {}}, "has no curves, it has no stats, config, settings"),
        (history(epoch=0), "has no curves, no epoch is complete"),
    ],
)
def test_checkpoints_without_history_are_named(tmp_path, state, words):
    save_checkpoint(state, tmp_path / "stripped.pth")
    with pytest.raises(CheckpointError, match=f"stripped.pth {words}"):
        read_run(tmp_path / "stripped.pth")


def test_runs_have_names_of_their_own(tmp_path):
    path = saved(tmp_path)
    assert [run.label for run in read_runs([path, f"seed 2={path}"])] == ["mine", "seed 2"]
    with pytest.raises(ConfigError, match="several runs are called mine: .*LABEL=PATH"):
        read_runs([path, path])


def test_a_panel_for_each_number_and_a_color_for_each_run(tmp_path):
    figure = Figure()
    draw_curves(figure, [read_run(saved(tmp_path)), Run("other", 1, 50, {"val": {"IoU": ([50], [0.3])}})])
    panels = {axes.get_title(): axes for axes in figure.axes}
    assert list(panels) == ["IoU", "Loss/total", "Loss/giou"]
    train, val, other = panels["IoU"].lines
    np.testing.assert_allclose(train.get_xydata(), [[320, 0.1], [640, 0.2], [960, 0.3], [1280, 0.4]])
    np.testing.assert_allclose(val.get_xydata(), [[640, 0.3], [1280, 0.6]])
    assert [line.get_label() for line in (train, val, other)] == [
        "mine, training",
        "mine, validation",
        "other, validation",
    ]
    assert to_rgb(train.get_color()) == to_rgb(val.get_color()) != to_rgb(other.get_color())
    assert len(panels["Loss/giou"].lines) == 1


def test_the_picture_has_three_panels_in_a_row(tmp_path):
    picture = read_image(write_curves([read_run(saved(tmp_path))], tmp_path / "new/curves.png"))
    assert picture.shape[:2] == (480, 1890)  # 3.2 by three times 4.2 inches of 150 points
    assert 0.01 < (picture < 250).any(axis=2).mean() < 0.3  # ink, and mostly paper


def test_a_real_run_can_be_drawn(tmp_path, monkeypatch):
    last = in_process(tmp_path, monkeypatch)("out", "TRAIN.EPOCH=2", "TRAIN.VAL_EPOCH_INTERVAL=1")
    run = read_run(last)
    stats = load_checkpoint(last)["stats"]
    assert (run.label, run.epochs, run.pairs) == ("tiny", 2, 8)  # two steps of two
    assert run.curves["val"]["IoU"] == ([4, 8], stats["val"]["IoU"])
    assert run.curves["train"]["Loss/total"] == ([4, 8], stats["train"]["Loss/total"])


# The card


def test_the_card_shows_tables_pictures_and_curves(data):
    files = card(data, compare=["opencv/csrt"], runs=[saved(data)], failures=2)
    assert [path.name for path in files] == ["card.md", "failure_early.png", "failure_late.png", "curves.png"]
    text = files[0].read_text()
    assert f"| all | 60 | {100 * 20 / 21 * 2 / 3:.2f} | 66.67 | 66.67 | 66.67 | 66.67 | {100 * 20 / 21:.2f} |" in text
    assert "- origin unknown: opencv/csrt, ostrack/mine" in text
    assert f"early: AUC {100 * 20 / 21 / 4:.1f}, goes wrong in frame 5 (0 to 19)" in text
    assert "| mine | 4 | 1280 | 0.60 | 1.80 | 0.40 | 0.80 |" in text
    for line in text.splitlines():
        if line.startswith("!["):
            assert (files[0].parent / line.partition("](")[2].rstrip(")")).is_file()
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "## Scores",
        "## Lowest scores",
        "## Training",
    ]
    assert tiles(read_image(files[1]))


def test_a_sequence_that_is_tracked_to_its_end_has_no_failure(data):
    card(data, failures=3)
    assert "\ngood: AUC 95.2, lowest overlap, 1.00, in frame 1 (0 to 19)" in (data / "card/card.md").read_text()


def test_each_half_can_be_had_alone(data):
    assert [path.name for path in card(data, failures=0)] == ["card.md"]
    assert "## Training" not in (data / "card/card.md").read_text()
    assert [path.name for path in write_card(data / "curves", Selection(""), runs=[saved(data)])] == [
        "card.md",
        "curves.png",
    ]
    assert (data / "curves/card.md").read_text().startswith("## Training")


def test_sequences_without_results_are_refused_or_named(data):
    (data / "out/test/tracking_results/ostrack/mine/late.txt").unlink()
    with pytest.raises(DataError, match="ostrack/mine: 1 of 3 sequences .*: late"):
        card(data)
    card(data, skip_missing=True, failures=0)
    assert "- left out, no results of ostrack/mine: late" in (data / "card/card.md").read_text()


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"dataset": ""}, ConfigError, "name results with --dataset and --config"),
        ({"config": ""}, ConfigError, "name results with --dataset and --config"),
        ({"dataset": "", "config": "", "compare": ["a/b"], "runs": ["x"]}, ConfigError, "--compare"),
        ({"failures": -1}, ConfigError, "-1 failures"),
        ({"config": "min"}, DataError, "did you mean mine"),
        ({"compare": ["csrt"]}, ConfigError, "expected TRACKER/CONFIG"),
        ({"runs": ["nowhere.pth.tar"]}, CheckpointError, "nowhere.pth.tar does not exist"),
    ],
)
def test_what_cannot_be_shown_is_named(data, options, error, words):
    with pytest.raises(error, match=words):
        card(data, **options)
    assert not (data / "card").exists()


@pytest.mark.parametrize("failures", [0, 1])
def test_a_folder_that_cannot_be_written_is_named(data, failures):
    (data / "card").write_text("a file")
    with pytest.raises((DataError, FileExistsError), match="card"):
        card(data, failures=failures, runs=[saved(data)])


def test_frames_that_cannot_be_read_are_named(data):
    (data / "data/early/img/0005.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"0005\.png"):
        card(data)


def test_the_command(data, monkeypatch, capsys):
    arguments = ["--output", data / "card", "--dataset", f"folder:{data / 'data'}", "--config", "mine"]
    arguments += ["--compare", "opencv/csrt", "--failures", 1, "--save_dir", data / "out"]
    run_command(monkeypatch, "model_card", arguments)
    wrote, _ = capsys.readouterr().out.splitlines()
    assert wrote == f"Wrote to {Path(data / 'card')}: card.md, failure_early.png"
