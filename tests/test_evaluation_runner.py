"""The runner with a tracker of a few lines: results, resuming, mixing, failures, processes, the command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from lib.test.evaluation import evaluate, find_results, get_dataset, read_result, results, runner
from lib.test.evaluation.prefetch import read_ahead
from lib.test.evaluation.sequence import Annotations, Sequence
from lib.utils.errors import CheckpointError, ConfigError, DataError, OSTrackError
from tests.conftest import REPOSITORY, load_script
from tests.evaluation_fakes import FakeTracker, build_broken, build_dying

RUN = {"tracker": "ostrack", "config": "c", "config_hash": "abc", "checkpoint_sha256": "123", "precision": "float32"}
LENGTHS = {"a": 4, "b": 9, "c": 6}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Sequences a, b, c of 4, 9 and 6 frames, whose pictures are 10, 11 and 12 rows high."""
    for i, (name, length) in enumerate(LENGTHS.items()):
        folder = tmp_path / "data" / name
        (folder / "img").mkdir(parents=True)
        for t in range(length):
            cv2.imwrite(str(folder / f"img/{t}.png"), np.full((10 + i, 16, 3), 5 * t, np.uint8))
        (folder / "groundtruth.txt").write_text("1.5,2,3,4\n" * length)
    return tmp_path / "data"


def run(data: Path, out: Path, trouble: dict[int, str] | None = None, **options: Any) -> runner.Summary:
    marks = out / "marks"
    marks.mkdir(parents=True, exist_ok=True)
    build = options.pop("build", None) or partial(FakeTracker, marks=marks, trouble=trouble)
    provenance = RUN | options.pop("provenance", {})
    return runner.run_sequences(get_dataset(f"folder:{data}"), build, out, "c", provenance, ["cpu"], **options)


def boxes(out: Path) -> dict[str, str]:
    return {p.name: p.read_text() for p in (out / "ostrack/c").glob("*.txt") if not p.stem.endswith("_time")}


# Reading ahead


def test_read_ahead_keeps_order_and_runs_in_another_thread() -> None:
    seen = []

    def items():
        for i in range(20):
            seen.append(threading.current_thread().name)
            yield i

    assert list(read_ahead(items(), depth=2)) == list(range(20))
    assert set(seen) == {"read-ahead"}


def test_read_ahead_is_bounded_and_stops_with_its_consumer() -> None:
    fetched = []
    frames = read_ahead((fetched.append(i) or i for i in range(1000)), depth=3)
    assert next(frames) == 0
    time.sleep(0.3)
    assert 3 <= len(fetched) <= 5
    frames.close()
    assert "read-ahead" not in [thread.name for thread in threading.enumerate()]


def test_read_ahead_passes_on_an_error_when_its_turn_comes() -> None:
    def items():
        yield from (1, 2)
        raise DataError("frame 3 is damaged")

    frames = read_ahead(items())
    assert [next(frames), next(frames)] == [1, 2]
    with pytest.raises(DataError, match="frame 3 is damaged"):
        next(frames)


# Result files


def test_result_files(data: Path, tmp_path: Path) -> None:
    summary = run(data, tmp_path / "out")
    folder = tmp_path / "out/ostrack/c"
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        f"{name}{end}" for name in LENGTHS for end in (".txt", "_time.txt", ".json")
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
    assert [outcome.frames for outcome in summary.done] == [3, 8, 5]
    assert str(summary).startswith("sequences: 3 tracked, 0 already there, 0 failed; 16 frames, tracker ")


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


def test_run_provenance_hashes_the_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"abc")
    record = results.run_provenance("ostrack", "c", "hash", tmp_path / "w.pth", "bf16", "cpu")
    assert record["checkpoint_sha256"] == "ba7816bf8f01cfea"
    assert record["versions"].keys() == {"python", "torch", "numpy", "opencv"}
    json.dumps(record)


# Resuming and mixing


@pytest.mark.parametrize("workers", [0, 2])
def test_a_second_run_does_nothing(data: Path, tmp_path: Path, workers: int) -> None:
    run(data, tmp_path / "out")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out/ostrack/c").iterdir()}
    summary = run(data, tmp_path / "out", workers=workers, build=build_broken)  # not even built
    assert (summary.skipped, summary.done, summary.failed) == (3, [], [])
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out/ostrack/c").iterdir()} == before


def test_a_killed_run_goes_on(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "whole")
    script = textwrap.dedent(f"""
        from pathlib import Path
        from tests.test_evaluation_runner import run
        run(Path({str(data)!r}), Path({str(tmp_path / "out")!r}), trouble={{11: "kill"}})
    """)
    killed = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    folder = tmp_path / "out/ostrack/c"
    assert sorted(p.name for p in folder.iterdir()) == ["a.json", "a.txt", "a_time.txt", "b.txt.part"]
    assert len((folder / "b.txt.part").read_text().splitlines()) == 2  # streamed: what was tracked is there
    summary = run(data, tmp_path / "out")
    assert (summary.skipped, [outcome.name for outcome in summary.done]) == (1, ["b", "c"])
    assert boxes(tmp_path / "out") == boxes(tmp_path / "whole")
    assert not (folder / "b.txt.part").exists()


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


def test_changed_foreign_and_renamed_results_are_reported(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "out")
    folder = tmp_path / "out/ostrack/c"
    (folder / "a.json").unlink()
    (folder / "b.txt").write_text("1\t2\t3\t4\n")
    (folder / "c.json").write_text("{")
    with pytest.raises(DataError) as error:
        run(data, tmp_path / "out")
    assert "a.txt: nothing says what it came from" in str(error.value)
    assert "b.txt: the file was changed after it was written" in str(error.value)
    assert "c.txt: c.json cannot be read" in str(error.value)
    run(data, tmp_path / "out", fresh=True)
    (data / "b/groundtruth.txt").write_text("7,2,3,4\n" * 9)  # another sequence of the same name
    with pytest.raises(DataError, match=r"b\.txt: init_box \[1.5, 2.0, 3.0, 4.0\], now \[7.0"):
        run(data, tmp_path / "out")


def test_two_sequences_of_one_name_are_refused(data: Path, tmp_path: Path) -> None:
    sequences = get_dataset(f"folder:{data}", f"folder:{data}/b")
    with pytest.raises(DataError, match="two sequences are called b"):
        runner.run_sequences(sequences, build_broken, tmp_path, "c", RUN, ["cpu"])


# Failures


def test_damaged_data_fail_by_name(data: Path, tmp_path: Path) -> None:
    (data / "a/groundtruth.txt").write_text("1,2,3\n")
    (data / "b/img/4.png").write_bytes(b"no picture")
    (data / "c/img/3.png").unlink()
    summary = run(data, tmp_path / "out")
    errors = {outcome.name: outcome.error for outcome in summary.failed}
    assert "a/groundtruth.txt, line 1" in errors["a"]
    assert "b/img/4.png cannot be decoded" in errors["b"]
    assert "sequence c: 5 frames but 6 boxes" in errors["c"]
    assert summary.done == []


def test_a_box_that_is_no_number_is_a_failure(data: Path, tmp_path: Path) -> None:
    summary = run(data, tmp_path / "out", trouble={12: "nan"})
    assert [outcome.name for outcome in summary.failed] == ["c"]
    assert "the tracker returned the box [nan" in summary.failed[0].error


# Processes


def test_any_number_of_workers_gives_the_same_files_and_failures(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for workers in (0, 2):
        caplog.clear()
        summary = run(data, tmp_path / str(workers), trouble={11: "raise"}, workers=workers)
        assert sorted(outcome.name for outcome in summary.done) == ["a", "c"]
        assert [outcome.name for outcome in summary.failed] == ["b"]
        assert "Traceback" in caplog.text and "the sky fell" in caplog.text
        assert str(summary).endswith("failed: b")
        marks = list((tmp_path / str(workers) / "marks").iterdir())
        built = {mark.name.split("_")[0] for mark in marks}
        assert len(built) == len(marks) == max(1, workers)  # once in each process
        assert (str(os.getpid()) in built) == (workers == 0)
    assert boxes(tmp_path / "0").keys() == {"a.txt", "c.txt"}
    assert boxes(tmp_path / "0") == boxes(tmp_path / "2")


def test_a_dying_worker_is_replaced(data: Path, tmp_path: Path) -> None:
    summary = run(data, tmp_path / "out", trouble={11: "kill"}, workers=1)
    assert [(outcome.name, outcome.error) for outcome in summary.failed] == [
        ("b", "its worker process died (exit status -9; killed, most often because memory ran out)")
    ]
    assert [outcome.name for outcome in summary.done] == ["c", "a"]  # the longest first


@pytest.mark.parametrize(("build", "says"), [(build_broken, "weights.pth is damaged"), (build_dying, "exit status 5")])
def test_workers_that_cannot_start_end_the_run(data: Path, tmp_path: Path, build: Any, says: str) -> None:
    with pytest.raises(OSTrackError, match=says):
        run(data, tmp_path / "out", build=build, workers=1)


# Choosing devices and sequences


def test_choose_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner.torch.cuda, "is_available", lambda: False)
    assert runner.choose_devices("auto", 4) == ["cpu"]
    with pytest.raises(ConfigError, match="no CUDA device"):
        runner.choose_devices("cuda", None)
    monkeypatch.setattr(runner.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(runner.torch.cuda, "device_count", lambda: 3)
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


def test_the_command_reports_failures_by_its_exit_status(tmp_path: Path, data: Path) -> None:
    script = textwrap.dedent(f"""
        import runpy, sys
        from pathlib import Path
        from tests.evaluation_fakes import FakeTracker
        from lib.test.evaluation import evaluate
        evaluate.build_tracker = lambda config, checkpoint, device, precision, overrides: FakeTracker(
            device, Path({str(tmp_path / "marks")!r}), {{11: "raise"}})
        sys.argv = ["test.py", *{command_line(tmp_path, data)!r}]
        runpy.run_path("tracking/test.py", run_name="__main__")
    """)
    ended = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True)
    assert ended.returncode == 1, ended.stderr
    assert "the sky fell" in ended.stderr
    assert ended.stdout.startswith("sequences: 2 tracked, 0 already there, 1 failed")
    assert ended.stdout.endswith("failed: b\n")


def test_the_command_in_turn(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    test = load_script("test")

    def build(config: str, checkpoint: Path, device: str, precision: str, overrides: list[str]) -> FakeTracker:
        assert (config, checkpoint, device, precision) == (CONFIG, tmp_path / "w.pth", "cpu", "float32")
        return FakeTracker(device, tmp_path / "marks")

    def call(*more: str) -> int:
        monkeypatch.setattr(sys, "argv", ["test.py", *command_line(tmp_path, data, *more)])
        return test.main()

    monkeypatch.setattr(evaluate, "build_tracker", build)
    assert call("--sequence", "1", "--runid", "7") == 0
    assert capsys.readouterr().out.startswith("sequences: 1 tracked, 0 already there, 0 failed; 8 frames")
    assert call("--runid", "7", "TEST.EPOCH=300") == 0
    assert capsys.readouterr().out.startswith("sequences: 2 tracked, 1 already there, 0 failed; 8 frames")
    folder = tmp_path / "out/test/tracking_results/ostrack" / f"{CONFIG}_007"
    assert len(list(folder.glob("*.txt"))) == 6
    with pytest.raises(DataError, match=r"1 results are not of this run:\n.*a\.txt: config_hash"):
        call("--runid", "7", "--sequence", "a", "TEST.SEARCH_FACTOR=4.5")
    with pytest.raises(ConfigError, match="--debug 1 is not available yet"):
        call("--debug", "1")
    with pytest.raises(CheckpointError, match="there is no checkpoint none.pth"):
        call("--checkpoint", "none.pth")


def test_published_names_of_options() -> None:
    parse = load_script("test").parse_arguments
    args = parse("ostrack cfg --dataset_name lasot,otb --threads 16 --num_gpus 4 A.B=3 --runid 1 C.D=2".split())
    assert (args.config, args.dataset, args.threads, args.num_gpus, args.runid) == ("cfg", "lasot,otb", 16, 4, 1)
    assert args.overrides == ["A.B=3", "C.D=2"]
    assert parse(["ostrack", "cfg"]).dataset == "otb"
