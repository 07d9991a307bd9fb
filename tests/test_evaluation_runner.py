"""The runner with a tracker of a few lines: reading ahead, result files, resuming, mixing, the command."""

from __future__ import annotations

import json
import pickle
import re
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.data.sequence import Annotations, Sequence
from lib.test.evaluation import evaluate, find_results, get_dataset, read_result, results, runner
from lib.test.evaluation.evaluate import RunOptions
from lib.test.evaluation.job import Summary
from lib.test.evaluation.prefetch import read_ahead
from lib.test.evaluation.writer import FrameTime, ResultWriter
from lib.test.spec import TrackerSpec
from lib.utils.errors import CheckpointError, ConfigError, DataError
from tests import evaluation_fakes as fakes
from tests.conftest import load_script
from tests.evaluation_fakes import (
    LENGTHS,
    RUN,
    FakeTracker,
    boxes,
    build_broken,
    run,
    write_sequences,
)
from tests.factories import run_command, run_program


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Sequences a, b, c of 4, 9 and 6 frames, whose pictures are 10, 11 and 12 rows high."""
    return write_sequences(tmp_path / "data")


# Reading ahead


def test_read_ahead_keeps_order_and_runs_in_another_thread() -> None:
    seen = []

    def items():
        for i in range(20):
            seen.append(threading.current_thread().name)
            yield i

    assert [item for item, _ in read_ahead(items(), depth=2)] == list(range(20))
    assert set(seen) == {"read-ahead"}


def test_read_ahead_times_the_fetching_and_not_the_waiting() -> None:
    def items():
        for seconds in (0.1, 0.02):
            time.sleep(seconds)
            yield seconds

    frames = read_ahead(items(), depth=1)
    _, first = next(frames)
    time.sleep(1.0)
    _, second = next(frames)
    assert first >= 0.1 and 0.02 <= second < 0.9


def test_read_ahead_is_bounded_and_stops_with_its_consumer() -> None:
    fetched = []
    before = set(threading.enumerate())
    frames = read_ahead((fetched.append(i) or i for i in range(1000)), depth=3)
    assert next(frames)[0] == 0
    time.sleep(0.3)
    assert len(fetched) <= 5  # 3 wait, one was taken, one is to be put
    frames.close()
    assert set(threading.enumerate()) <= before


def test_read_ahead_passes_on_an_error_when_its_turn_comes() -> None:
    def items():
        yield from (1, 2)
        raise DataError("frame 3 is damaged")

    frames = read_ahead(items())
    assert [next(frames)[0], next(frames)[0]] == [1, 2]
    with pytest.raises(DataError, match="frame 3 is damaged"):
        next(frames)


# Result files


def test_result_files(data: Path, tmp_path: Path) -> None:
    summary = run(data, tmp_path / "out")
    folder = fakes.results(tmp_path / "out", data)
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        f"{name}{end}" for name in LENGTHS for end in (".txt", "_time.txt", "_times.csv", ".json")
    )
    assert (folder / "a.txt").read_text().splitlines()[:3] == [
        "1.5000\t2.0000\t3.0000\t4.0000",
        f"{1.5 + 5 / 7:.4f}\t2.0000\t3.0000\t4.0000",
        f"{1.5 + 15 / 7:.4f}\t2.0000\t3.0000\t4.0000",
    ]
    for name, length in LENGTHS.items():
        assert read_result(folder / f"{name}.txt").shape == (length, 4)
        times = [float(line) for line in (folder / f"{name}_time.txt").read_text().split()]
        assert len(times) == length and min(times) >= 0
    record = json.loads((folder / "b.json").read_text())
    assert record.items() >= (RUN | {"dataset": "folder", "frames": 9, "init_box": [1.5, 2, 3, 4]}).items()
    assert {outcome.name: outcome.frames for outcome in summary.done} == {"a": 3, "b": 8, "c": 5}
    assert str(summary).startswith("sequences: 3 tracked, 0 already there, 0 failed; 16 frames, tracker ")


def test_integer_boxes_are_the_floats_cut_off(data: Path, tmp_path: Path) -> None:
    (data / "a/groundtruth.txt").write_text("-1.5,2,3,4\n" * 4)
    run(data, tmp_path / "float")
    run(data, tmp_path / "int", provenance={"compat_int": True})
    for name in LENGTHS:
        exact = read_result(fakes.results(tmp_path / "float", data) / f"{name}.txt")
        whole = (fakes.results(tmp_path / "int", data) / f"{name}.txt").read_text()
        assert whole == "".join("\t".join(str(int(v)) for v in row) + "\n" for row in exact)
    assert boxes(tmp_path / "int")["a.txt"].splitlines()[:3] == ["-1\t2\t3\t4", "0\t2\t3\t4", "0\t2\t3\t4"]
    assert json.loads((fakes.results(tmp_path / "int", data) / "a.json").read_text())["compat_int"] is True
    with pytest.raises(DataError, match="compat_int True, now None"):
        run(data, tmp_path / "int")
    with pytest.raises(DataError, match="compat_int None, now True"):
        run(data, tmp_path / "float", provenance={"compat_int": True})


def test_two_processes_do_not_write_one_result(tmp_path: Path) -> None:
    path = tmp_path / "s.txt"
    with ResultWriter(path, {}) as writer:
        writer.add([1, 2, 3, 4], FrameTime(0.1, 0.2))
        with pytest.raises(DataError, match="s.txt.part is being written by another process"), ResultWriter(path, {}):
            pass
        writer.add([5, 6, 7, 8], FrameTime(0.1, 0.25, 0.05, 0.125), 0.1234567)
    assert path.read_text() == "1.0000\t2.0000\t3.0000\t4.0000\n5.0000\t6.0000\t7.0000\t8.0000\n"
    assert (tmp_path / "s_time.txt").read_text() == "0.200000\n0.250000\n"
    assert (tmp_path / "s_scores.txt").read_text() == "nan\n0.123457\n"
    assert (tmp_path / "s_times.csv").read_text() == (
        "decode,crop,network,rest\n0.100000,nan,nan,nan\n0.100000,0.050000,0.125000,0.075000\n"
    )


def test_places_of_results(tmp_path: Path) -> None:
    def place(dataset: str) -> str:
        sequence = Sequence("s", dataset, [], lambda: Annotations(np.ones((1, 4))))
        return str(results.result_path(tmp_path, "t", "c", sequence).relative_to(tmp_path))

    assert place("lasot") == "t/c/s.txt"
    assert place("got10k") == "t/c/got10k/s.txt"
    assert place("trackingnet") == "t/c/trackingnet/s.txt"
    for name in ("t/c/got10k/s.txt", "t/b/s.txt", "u/only_times/s_time.txt", "u/empty/x.json", "t/stray.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert find_results(tmp_path) == [("t", "b"), ("t", "c")]
    assert find_results(tmp_path / "none") == []


def test_a_sequence_made_in_code_goes_to_other_processes() -> None:
    made = Sequence("s", "folder", [], partial(Annotations, np.ones((2, 4))))
    assert len(pickle.loads(pickle.dumps(made)).ground_truth) == 2


def test_run_provenance_hashes_the_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"abc")
    record = results.run_provenance("ostrack", "c", "hash", tmp_path / "w.pth", "bf16", "cpu")
    assert record["checkpoint_sha256"] == "ba7816bf8f01cfea"
    assert record["versions"].keys() == {"python", "torch", "numpy", "opencv"}
    json.dumps(record)


# Resuming and mixing


@pytest.mark.usefixtures("quick_workers")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_second_run_does_nothing(data: Path, tmp_path: Path, workers: int) -> None:
    run(data, tmp_path / "out")
    before = {p: p.stat().st_mtime_ns for p in fakes.results(tmp_path / "out", data).iterdir()}
    summary = run(data, tmp_path / "out", workers=workers, build=build_broken)  # not even built
    assert (summary.skipped, summary.done, summary.failed) == (3, [], [])
    assert {p: p.stat().st_mtime_ns for p in fakes.results(tmp_path / "out", data).iterdir()} == before


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"checkpoint_sha256": "456"}, "checkpoint_sha256 '123', now '456'"),
        ({"config_hash": "def"}, "config_hash 'abc', now 'def'"),
        ({"precision": "fp16"}, "precision 'float32', now 'fp16'"),
    ],
)
def test_results_of_another_run_are_not_mixed_in(data: Path, tmp_path: Path, change: dict, says: str) -> None:
    run(data, tmp_path / "out")
    before = boxes(tmp_path / "out")
    with pytest.raises(DataError, match=says) as error:
        run(data, tmp_path / "out", provenance=change)
    assert "3 results are not of this run" in str(error.value) and "--fresh" in str(error.value)
    assert boxes(tmp_path / "out") == before
    summary = run(data, tmp_path / "out", provenance=change, fresh=True)
    assert len(summary.done) == 3
    assert run(data, tmp_path / "out", provenance=change).skipped == 3


def test_results_that_another_run_writes_meanwhile_are_kept(data: Path, tmp_path: Path) -> None:
    out, plain = tmp_path / "out", partial(FakeTracker, marks=tmp_path)

    def build(device: str, checkpoint: str) -> FakeTracker:  # another run is done with c while this one is built
        other = RUN | {"checkpoint_sha256": checkpoint}
        runner.run_sequences(get_dataset(f"folder:{data}/c"), plain, out, other, ["cpu"])
        return plain(device)

    with pytest.raises(DataError, match=r"1 results are not of this run:\n.*c\.txt: checkpoint_sha256 '456', now"):
        run(data, out, build=partial(build, checkpoint="456"))
    folder = fakes.results(out, data)
    assert json.loads((folder / "c.json").read_text())["checkpoint_sha256"] == "456"
    assert not (folder / "c.txt.part").exists()
    summary = run(data, out, fresh=True)  # what was there before is replaced
    assert len(summary.done) == 3 and json.loads((folder / "c.json").read_text())["checkpoint_sha256"] == "123"
    (folder / "c.txt").unlink()
    summary = run(data, out, build=partial(build, checkpoint="123"))  # the same run, started twice
    assert (summary.skipped, summary.done, summary.failed) == (3, [], [])


@pytest.mark.parametrize("record", ["{", "[]", "null"])
def test_changed_foreign_and_renamed_results_are_reported(data: Path, tmp_path: Path, record: str) -> None:
    run(data, tmp_path / "out")
    folder = fakes.results(tmp_path / "out", data)
    (folder / "a.json").unlink()
    (folder / "b.txt").write_text("1\t2\t3\t4\n")
    (folder / "c.json").write_text(record)
    with pytest.raises(DataError) as error:
        run(data, tmp_path / "out")
    assert "a.txt: nothing says what it came from" in str(error.value)
    assert "b.txt: the file was changed after it was written" in str(error.value)
    assert re.search(r"c\.txt: .*/c\.json (cannot be read|is no record)", str(error.value))
    run(data, tmp_path / "out", fresh=True)
    (data / "b/groundtruth.txt").write_text("7,2,3,4\n" * 9)  # another sequence of the same name
    with pytest.raises(DataError, match=r"b\.txt: init_box \[1.5, 2.0, 3.0, 4.0\], now \[7.0"):
        run(data, tmp_path / "out")


def test_a_place_that_cannot_hold_results_ends_the_run_at_once(data: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/ostrack").write_text("in the way")
    with pytest.raises(NotADirectoryError, match="out/ostrack/c"):
        run(data, tmp_path / "out", build=None)


def test_two_sequences_of_one_name_are_refused(data: Path, tmp_path: Path) -> None:
    sequences = get_dataset(f"folder:{data}", f"folder:{data}/b")
    with pytest.raises(DataError, match="sequence b is asked for twice: name its data set once"):
        runner.run_sequences(sequences, build_broken, tmp_path, RUN, ["cpu"])
    sequences[-1].annotation = "elsewhere/b/groundtruth.txt"
    with pytest.raises(DataError, match="two sequences are called b: run their data sets with different --save_dir"):
        runner.run_sequences(sequences, build_broken, tmp_path, RUN, ["cpu"])


# Choosing devices and sequences


def test_choose_devices(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert runner.choose_devices("auto", 4) == ["cpu"]
    assert caplog.messages == ["--num_gpus 4: only 0 there, the CPU is used"]
    with pytest.raises(ConfigError, match="no CUDA device"):
        runner.choose_devices("cuda", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert runner.choose_devices("auto", None) == ["cuda:0", "cuda:1", "cuda:2"]
    assert runner.choose_devices("cuda", 2) == ["cuda:0", "cuda:1"]
    assert runner.choose_devices("auto", 8) == ["cuda:0", "cuda:1", "cuda:2"]
    assert runner.choose_devices("auto", 0) == runner.choose_devices("cpu", 2) == ["cpu"]


def test_select_sequence(data: Path) -> None:
    sequences = get_dataset(f"folder:{data}")
    assert [evaluate.select_sequence(sequences, key).name for key in ("b", "0", "2")] == ["b", "a", "c"]
    for key in ("3", "d", "-1"):
        with pytest.raises(ConfigError, match="no sequence"):
            evaluate.select_sequence(sequences, key)


# The command


CONFIG = "vitb_256_mae_ce_32x4_ep300"


def command_line(tmp_path: Path, data: Path, *more: str) -> list[str]:
    (tmp_path / "w.pth").write_bytes(b"weights")
    (tmp_path / "marks").mkdir(exist_ok=True)
    places = ["--checkpoint", str(tmp_path / "w.pth"), "--save_dir", str(tmp_path / "out")]
    return ["ostrack", CONFIG, "--dataset", f"folder:{data}", "--device", "cpu", *places, *more]


def test_the_command_reports_failures_by_its_exit_status(
    tmp_path: Path,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def build(spec: TrackerSpec) -> FakeTracker:
        return FakeTracker(spec.device, tmp_path / "marks", {11: "raise"})

    monkeypatch.setattr(evaluate, "build_from_spec", build)
    assert run_program(monkeypatch, "test", command_line(tmp_path, data)) == 1
    assert "the sky fell" in caplog.text
    printed = capsys.readouterr().out
    assert printed.startswith("sequences: 2 tracked, 0 already there, 1 failed")
    assert printed.endswith("failed: b (RuntimeError: the sky fell)\n")


def test_the_command_in_turn(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:

    def build(spec: TrackerSpec) -> FakeTracker:
        assert (spec.config, spec.checkpoint, spec.device, spec.precision) == (
            CONFIG, tmp_path / "w.pth", "cpu", "float32")  # fmt: skip
        return FakeTracker(spec.device, tmp_path / "marks")

    def call(*more: str) -> int:
        return run_command(monkeypatch, "test", command_line(tmp_path, data, *more))

    monkeypatch.setattr(evaluate, "build_from_spec", build)
    assert call("--sequence", "1", "--runid", "7") == 0
    assert capsys.readouterr().out.startswith("sequences: 1 tracked, 0 already there, 0 failed; 8 frames")
    assert call("--runid", "7", "TEST.EPOCH=300") == 0
    assert capsys.readouterr().out.startswith("sequences: 2 tracked, 1 already there, 0 failed; 8 frames")
    folder = tmp_path / "out/test/tracking_results/ostrack" / f"{CONFIG}_007"
    assert len(list(folder.glob("folder_data_*/*.txt"))) == 6
    with pytest.raises(DataError, match=r"1 results are not of this run:\n.*a\.txt: config_hash"):
        call("--runid", "7", "--sequence", "a", "TEST.SEARCH_FACTOR=4.5")
    with pytest.raises(DataError, match="compat_int None, now True"):
        call("--runid", "7", "--compat_int")
    with pytest.raises(ConfigError, match="at work, not FakeTracker"):
        call("--save_vis", str(tmp_path / "videos"), "--fresh")
    with pytest.raises(ConfigError, match="--batch 2: FakeTracker has no start"):
        call("--fresh", "--batch", "2")
    with pytest.raises(ConfigError, match="--batch 0"):
        call("--fresh", "--batch", "0")
    with pytest.raises(CheckpointError, match="there is no checkpoint none.pth"):
        call("--checkpoint", "none.pth")


def test_the_list_of_benchmarks_needs_no_tracker(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    assert run_command(monkeypatch, "test", ["--list"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("lasot", "got10k_test", "uav"))


def test_the_published_command_to_look_on_tracks_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    script = load_script("test")
    called: list[RunOptions] = []
    monkeypatch.setattr(script, "visdom_or_pictures", lambda *arguments: "screen")
    monkeypatch.setattr(script, "track_benchmarks", lambda spec, datasets, options: called.append(options) or Summary())
    command = "test.py ostrack vitb_384_mae_ce_32x4_ep300 --dataset vot22 --threads 1 --num_gpus 1 --debug 1"
    monkeypatch.setattr(sys, "argv", command.split())
    assert script.main() == 0
    assert (called[0].workers, called[0].screen, called[0].fresh) == (0, "screen", True)


@pytest.mark.parametrize("option", [{"num_gpus": -1}, {"run_id": -1}])
def test_numbers_below_0_are_refused(option: dict) -> None:
    with pytest.raises(ConfigError, match="-1: this is 0 or more"):
        RunOptions(**option)


@pytest.mark.parametrize("box", [[1, 2, 3], [1, 2, 3, 4, 5], [1, 2, -3, 4], [1, 2, float("nan"), 4]])
def test_a_box_that_is_none_is_no_result(tmp_path: Path, box: list) -> None:
    with pytest.raises(DataError, match=r"returned the box .* for frame 1 of walk: a box is four finite numbers"):
        with ResultWriter(tmp_path / "walk.txt", {}) as writer:
            writer.add([1, 2, 0, 4], FrameTime(0, 0))
            writer.add(box, FrameTime(0, 0))
    assert not (tmp_path / "walk.txt").exists()


def test_published_names_of_options() -> None:
    parse = load_script("test").parse_arguments
    args = parse("ostrack cfg --dataset_name lasot,otb --threads 16 --num_gpus 4 A.B=3 --runid 1 C.D=2".split())
    assert (args.config, args.dataset, args.threads, args.num_gpus, args.runid) == ("cfg", "lasot,otb", 16, 4, 1)
    assert args.overrides == ["A.B=3", "C.D=2"]
    assert parse(["ostrack", "cfg"]).dataset == "otb"
    assert parse(["--list"]).list
    for incomplete in ([], ["ostrack"]):
        with pytest.raises(SystemExit, match="2"):
            parse(incomplete)
