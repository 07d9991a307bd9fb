"""Runs with a simulated annotator, and in real time: what is tracked, counted, kept apart and shown."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

from lib.data.sequence import Annotations, Sequence
from lib.models.family import load_experiment
from lib.test.analysis.analyze import AnalysisOptions, analyze
from lib.test.evaluation import job, read_result
from lib.test.evaluation.environment import EnvSettings
from lib.test.evaluation.evaluate import RunOptions, track_benchmarks
from lib.test.evaluation.modes import Annotator
from lib.test.evaluation.results import read_scores
from lib.test.spec import TrackerSpec
from lib.test.tracker.build import tracking_model
from lib.utils.checkpoint import save_checkpoint
from lib.utils.errors import ConfigError, DataError
from tests import evaluation_fakes as fakes
from tests.evaluation_fakes import FakeBatchTracker, FakeTracker, write_sequences
from tests.factories import run_command
from tests.miniature import moving_boxes, write_frames, write_rows
from tests.train_processes import TINY


@pytest.fixture
def data(tmp_path):
    """Sequences of 4, 9 and 6 frames, whose target stands still; the fake tracker drifts 5, 10, 15 ... sevenths off."""
    return write_sequences(tmp_path / "data")


@pytest.mark.parametrize("tracker", [FakeTracker, FakeBatchTracker])
def test_the_annotator_draws_the_box_anew_where_the_overlap_is_too_small(data, tmp_path, tracker):
    rows = ["1.5,2,3,4"] * 9
    rows[4], rows[5] = "nan,nan,nan,nan", "40,40,3,4"  # absent; outside of the picture, where nobody can draw
    (data / "b/groundtruth.txt").write_text("\n".join(rows) + "\n")
    summary = fakes.run(data, tmp_path / "out", tracker=tracker, provenance={"annotator": 0.5})
    folder = fakes.results(tmp_path / "out", data)
    # A drift of 5/7 of a box 3 wide is an IoU of 0.62, which will do; 15/7 is one of 0.17.
    corrections = {name: json.loads((folder / f"{name}.json").read_text())["corrections"] for name in "abc"}
    assert corrections == {"a": [2, 3], "b": [2, 3, 6, 7, 8], "c": [2, 3, 4, 5]}
    found = read_result(folder / "b.txt")
    drift = (found[:, 0] - 1.5) * 7
    np.testing.assert_allclose(drift, [0, 5, 0, 0, 20, 45, 0, 0, 0], atol=1e-3)
    if tracker is FakeBatchTracker:  # which has scores: 1 where the box was drawn, and it begins anew
        np.testing.assert_allclose(read_scores(folder / "b.txt"), [1, 0.9, 1, 1, 0.9, 0.8, 1, 1, 1])
    assert "corrected 11 times: 68.75 in a hundred frames" in str(summary)
    with pytest.raises(DataError, match="annotator None, now 0.5"):
        fakes.run(data, tmp_path / "ordinary", tracker=tracker)
        fakes.run(data, tmp_path / "ordinary", tracker=tracker, provenance={"annotator": 0.5})


def test_the_annotator_needs_boxes_and_leaves_a_broken_tracker_alone():
    video = Sequence("one", "otb", None, lambda: Annotations(np.array([[1.0, 2, 3, 4]])))
    with pytest.raises(DataError, match="only its first box is known"):
        Annotator(video, 0.5)
    video = Sequence("two", "otb", None, lambda: Annotations(np.array([[1.0, 2, 3, 4]] * 2)))
    nan, image = [float("nan")] * 4, np.zeros((20, 20, 3), np.uint8)
    assert Annotator(video, 0.5).correct(1, nan, image) is None  # the writer refuses it
    assert Annotator(video, 0.5).correct(1, [9.0, 9, 1, 1], image) == [1, 2, 3, 4]
    flagged = Sequence("three", "otb", None, lambda: Annotations(np.ones((2, 4)), np.array([True, False])))
    assert Annotator(flagged, 0.5).correct(1, [9.0, 9, 1, 1], image) is None


def test_frames_that_arrive_while_the_tracker_computes_are_skipped(data, tmp_path, monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(job, "time", SimpleNamespace(perf_counter=lambda: clock.now))

    class Slow(FakeBatchTracker):
        def step(self, images, targets):
            clock.now += 0.125
            return super().step(images, targets)

    summary = fakes.run(data, tmp_path / "out", tracker=Slow, provenance={"realtime": 20.0})  # 2.5 frames in a step
    folder = fakes.results(tmp_path / "out", data)
    drift = (read_result(folder / "b.txt")[:, 0] - 1.5) * 7  # frame 1 is tracked, then 4, then 7
    np.testing.assert_allclose(drift, [0, 5, 5, 5, 25, 25, 25, 60, 60], atol=1e-3)
    np.testing.assert_allclose(read_scores(folder / "b.txt"), [1, 0.9, 0.9, 0.9, 0.8, 0.8, 0.8, 0.7, 0.7])
    times = np.loadtxt(folder / "b_time.txt")
    np.testing.assert_allclose(times, [0, 0.125, 0, 0, 0.125, 0, 0, 0.125, 0], atol=1e-6)
    assert json.loads((folder / "b.json").read_text())["skipped_frames"] == 5
    assert "in real time 10 of 16 frames were skipped" in str(summary) and "tracker 8.0 FPS" in str(summary)

    fast = fakes.run(data, tmp_path / "fast", tracker=Slow, provenance={"realtime": 8.0})  # just in time
    assert "in real time 0 of 16 frames were skipped" in str(fast)
    assert json.loads((fakes.results(tmp_path / "fast", data) / "b.json").read_text())["skipped_frames"] == 0


@pytest.fixture
def spec(tmp_path):
    """A tiny model with random weights, and a sequence of eight frames."""
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    torch.manual_seed(0)
    model = tracking_model(load_experiment(tmp_path / "tiny.yaml"))
    save_checkpoint({"net": model.state_dict()}, tmp_path / "tiny.pth")
    boxes = moving_boxes(8)
    write_frames([tmp_path / f"set/one/img/{t:08d}.jpg" for t in range(1, 9)], boxes)
    write_rows(tmp_path / "set/one/groundtruth.txt", boxes)
    return TrackerSpec(tmp_path / "tiny.yaml", checkpoint=tmp_path / "tiny.pth", save_dir=tmp_path / "out")


def test_their_results_lie_apart_and_are_reported(spec, tmp_path, monkeypatch, capsys):
    dataset = f"folder:{tmp_path / 'set'}"
    track_benchmarks(spec, [dataset])
    command = ["ostrack", spec.config, "--dataset", dataset, "--checkpoint", spec.checkpoint]
    command += ["--save_dir", spec.save_dir, "--device", "cpu"]
    for options in (["--annotator", "1"], ["--realtime", "1e9"], ["--realtime", "0.001"]):
        assert run_command(monkeypatch, "test", [*command, *options]) == 0
    said = capsys.readouterr().out
    assert "corrected 7 times: 100.00 in a hundred frames" in said  # no box is the true one to the last bit
    assert "in real time 6 of 7 frames were skipped" in said
    folders = {path.name for path in (tmp_path / "out/test/tracking_results/ostrack").iterdir()}
    assert folders == {"tiny", "tiny_annotator1", "tiny_realtime1e+09", "tiny_realtime0.001"}
    ordinary, slow = (
        next((tmp_path / f"out/test/tracking_results/ostrack/{name}").rglob("one.txt")).read_text()
        for name in ("tiny", "tiny_realtime0.001")
    )
    assert ordinary == slow

    options = AnalysisOptions(plots=False, export=["csv"], html=True, cache=False)
    printed = "\n".join(analyze(dataset, options=options, env=EnvSettings(save_dir=spec.save_dir)))
    assert (
        "Corrections by a simulated annotator" in printed and "boxes drawn anew below IoU 1 count as found" in printed
    )
    corrected, real = (next((tmp_path / "out").rglob(f"{name}.csv")).read_text() for name in ("annotator", "realtime"))
    assert corrected.splitlines()[1] == "ostrack/tiny_annotator1,1.0000,7,7,100.0000"
    assert "ostrack/tiny_realtime1e+09,1000000000.0000,6,7,85.7143" in real.splitlines()
    page = next((tmp_path / "out").rglob("report.html")).read_text()
    assert "ostrack/tiny_annotator1: Below IoU 1.00, Corrections 7, Frames 7, Per hundred frames 100.00" in page


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"annotator": 0.5, "realtime": 30}, "choose one"),
        ({"annotator": 1.5}, "least IoU that is accepted is above 0 and at most 1"),
        ({"realtime": 0}, "frames per second are above 0"),
        ({"realtime": 30, "batch": 2}, "leave out --batch"),
        ({"realtime": 30, "workers": 2}, "at most --threads 1"),
    ],
)
def test_what_cannot_be_is_told(spec, options, message):
    with pytest.raises(ConfigError, match=message):
        track_benchmarks(spec, ["otb"], RunOptions(**options))
