"""The runner in trouble: killed runs, failing sequences, dying workers."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lib.test.evaluation import get_dataset, prefetch
from lib.test.evaluation import workers as workers_module
from lib.test.evaluation.job import Job
from lib.test.evaluation.sequence import Sequence
from lib.test.evaluation.workers import run_in_processes
from lib.utils.errors import DataError, OSTrackError
from tests.conftest import REPOSITORY
from tests.evaluation_fakes import (
    FakeBatchTracker,
    boxes,
    build_broken,
    build_dying,
    run,
    write_sequences,
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Sequences a, b, c of 4, 9 and 6 frames, whose pictures are 10, 11 and 12 rows high."""
    return write_sequences(tmp_path / "data")


@pytest.mark.parametrize(("workers", "batch"), [(0, 1), (0, 2), (2, 2)])
def test_a_killed_run_goes_on(tmp_path: Path, workers: int, batch: int) -> None:
    data = write_sequences(tmp_path / "data", {"a": 4, "b": 9, "c": 6, "d": 120, "e": 40})
    out, folder = tmp_path / "out", tmp_path / "out/ostrack/c"
    script = textwrap.dedent(f"""
        from pathlib import Path
        from tests.evaluation_fakes import FakeBatchTracker, run
        if __name__ == "__main__":
            run(Path({str(data)!r}), Path({str(out)!r}), tracker=FakeBatchTracker, pause=0.03,
                workers={workers}, batch={batch})
    """)
    (tmp_path / "script.py").write_text(script)
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(
        [sys.executable, tmp_path / "script.py"], cwd=REPOSITORY, env=environment, stderr=subprocess.DEVNULL
    )
    wait_until(lambda: any(folder.glob("?.txt")) and streamed(folder))
    process.kill()
    assert process.wait() == -signal.SIGKILL
    there = sorted(path.name for path in folder.glob("?.txt"))
    assert 0 < len(there) < 5
    # Workers notice that nobody listens to them, and let go of their sequences.
    builders = {int(mark.name.split("_")[0]) for mark in (out / "marks").iterdir()}
    wait_until(lambda: not any(is_running(pid) for pid in builders))
    assert streamed(folder)
    there = sorted(path.name for path in folder.glob("?.txt"))
    before = {name: (folder / name).stat().st_mtime_ns for name in there}

    summary = run(data, out, tracker=FakeBatchTracker, workers=workers, batch=batch)
    assert (summary.skipped, len(summary.done), summary.failed) == (len(there), 5 - len(there), [])
    assert {name: (folder / name).stat().st_mtime_ns for name in there} == before
    run(data, tmp_path / "whole", tracker=FakeBatchTracker)
    assert boxes(out) == boxes(tmp_path / "whole")
    assert not any(folder.glob("*.part"))


def wait_until(true: Callable[[], bool]) -> None:
    for _ in range(2400):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("it never came")


def streamed(folder: Path) -> bool:
    """Whether a part of a result is there already, of several frames."""
    with contextlib.suppress(FileNotFoundError):  # it has just become a result
        return any(path.stat().st_size > 100 for path in folder.glob("*.part"))
    return False


def is_running(pid: int) -> bool:
    """Whether the process lives and has not just died unnoticed by its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


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


@pytest.mark.parametrize("workers", [0, 1])
def test_a_failed_sequence_is_tried_once_more_after_the_others(
    data: Path, tmp_path: Path, workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    summary = run(data, tmp_path / "out", trouble={11: "once"}, workers=workers)
    assert [outcome.name for outcome in summary.done] == ["c", "a", "b"]
    assert summary.failed == [] and summary.frames == 16
    run(data, tmp_path / "whole")
    assert boxes(tmp_path / "out") == boxes(tmp_path / "whole")
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "sequence b failed and will be tried once more: RuntimeError: the sky fell")
    ]


def test_an_annotation_that_comes_back_is_read(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, tries = Sequence.num_frames.fget, []

    def hiccup(sequence: Sequence) -> int:
        if sequence.name == "a" and not tries:
            tries.append(1)
            raise DataError("a/groundtruth.txt cannot be read: Stale file handle")
        return original(sequence)

    monkeypatch.setattr(Sequence, "num_frames", property(hiccup))
    summary = run(data, tmp_path / "out")
    assert sorted(outcome.name for outcome in summary.done) == ["a", "b", "c"] and summary.failed == []


# Processes


def test_any_number_of_workers_gives_the_same_files_and_failures(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for workers in (0, 2):
        caplog.clear()
        summary = run(data, tmp_path / str(workers), trouble={11: "raise"}, workers=workers)
        assert sorted(outcome.name for outcome in summary.done) == ["a", "c"]
        assert [outcome.name for outcome in summary.failed] == ["b"]
        assert caplog.text.count("Traceback") == 1 and "sequence b failed again: Traceback" in caplog.text
        assert str(summary).endswith("failed: b (RuntimeError: the sky fell)")
        marks = [mark for mark in (tmp_path / str(workers) / "marks").iterdir() if "tripped" not in mark.name]
        built = {mark.name.split("_")[0] for mark in marks}
        assert len(built) == len(marks) == (3 if workers else 1)  # once in each process; the last try has a new one
        assert (str(os.getpid()) in built) == (workers == 0)
    assert boxes(tmp_path / "0").keys() == {"a.txt", "c.txt"}
    assert boxes(tmp_path / "0") == boxes(tmp_path / "2")


def test_a_dying_worker_is_replaced(data: Path, tmp_path: Path) -> None:
    summary = run(data, tmp_path / "out", trouble={11: "kill"}, workers=1)
    assert [(outcome.name, outcome.error) for outcome in summary.failed] == [
        ("b", "its worker process died (exit status -9; killed, most often because memory ran out)")
    ]
    assert [outcome.name for outcome in summary.done] == ["c", "a"]  # the longest first


@pytest.fixture
def little_patience(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The runner has no patience with workers that hang on purpose, for as long as they do."""
    monkeypatch.setattr(workers_module, "_CHECK_SECONDS", 0.05)
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            hanging = any(is_running(int(mark.suffix[1:])) for mark in tmp_path.glob("*/marks/hangs.*"))
            workers_module._SILENT_SECONDS = 0.1 if hanging else 600.0

    thread = threading.Thread(target=watch)
    thread.start()
    yield
    over.set()
    thread.join()
    workers_module._SILENT_SECONDS = 1800.0


@pytest.mark.usefixtures("little_patience")
def test_a_worker_that_hangs_is_ended(data: Path, tmp_path: Path) -> None:
    marks = tmp_path / "out/marks"
    marks.mkdir(parents=True)
    jobs = [Job(sequence, tmp_path / f"{sequence.name}.txt", {}) for sequence in get_dataset(f"folder:{data}")]
    build = partial(FakeBatchTracker, marks=marks, trouble={11: "hang"})
    (outcome,) = run_in_processes(jobs[1:2], build, ["cpu"], 1, 1, lambda count: None)
    assert outcome.name == "b"
    assert re.fullmatch(r"its worker process gave no sign of life for \S+ minutes and was killed", outcome.error)
    assert not is_running(int(next(marks.glob("hangs.*")).suffix[1:]))


def test_reading_that_hangs_does_not_hold_up_who_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    def frames() -> Iterator[int]:
        yield 1
        time.sleep(60)

    monkeypatch.setattr(prefetch, "_GRACE_SECONDS", 0.1)
    start = time.monotonic()
    with contextlib.closing(prefetch.read_ahead(frames())) as ahead:
        assert next(ahead)[0] == 1
    assert time.monotonic() - start < 10


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (build_broken, "the tracker cannot be built: weights.pth is damaged"),
        (build_dying, "exit status 5"),
        (partial(build_dying, status=0), "exit status 0"),
    ],
)
def test_workers_that_cannot_start_end_the_run(data: Path, tmp_path: Path, build: Any, says: str) -> None:
    with pytest.raises(OSTrackError, match=says):
        run(data, tmp_path / "out", build=build, workers=1)
