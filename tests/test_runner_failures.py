"""The runner in trouble: killed runs, failing sequences, dying workers."""

from __future__ import annotations

import contextlib
import errno
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

import cv2
import numpy as np
import pytest

from lib.data.sequence import Sequence
from lib.test.evaluation import get_dataset, prefetch
from lib.test.evaluation import workers as workers_module
from lib.test.evaluation.job import Job
from lib.test.evaluation.workers import run_in_processes
from lib.test.evaluation.writer import FrameTime, ResultWriter
from lib.utils.errors import DataError, OSTrackError
from tests.conftest import REPOSITORY
from tests.evaluation_fakes import FakeBatchTracker, boxes, build_broken, build_dying, results, run, write_sequences

pytestmark = pytest.mark.usefixtures("quick_workers")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Sequences a, b, c of 4, 9 and 6 frames, whose pictures are 10, 11 and 12 rows high."""
    return write_sequences(tmp_path / "data")


@pytest.mark.end_to_end
@pytest.mark.parametrize(("workers", "batch"), [(0, 1), (2, 2)])
def test_a_killed_run_goes_on(tmp_path: Path, workers: int, batch: int) -> None:
    data = write_sequences(tmp_path / "data", {"a": 4, "b": 9, "c": 6, "d": 120, "e": 40})
    out = tmp_path / "out"
    folder = results(out, data)
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


BAD = {  # what is done to sequence c, and the line that is told
    "boxes": (lambda c: write(c, "1,2,3\n"), "FILE, line 1: expected four numbers x, y, w, h, found '1 2 3'"),
    "picture": (lambda c: (c / "img/4.png").write_bytes(b"no"), "image IMG/4.png cannot be decoded (2 bytes): it is"),
    "lengths": (lambda c: (c / "img/3.png").unlink(), "5 frames but 6 boxes in FILE; is the copy complete?"),
    "no area": (lambda c: write(c, "1,2,0,4\n" * 6), "the first box [1.0, 2.0, 0.0, 4.0] in FILE has no area"),
    "outside": (
        lambda c: write(c, "16,2,3,4\n" * 6),
        "the first box [16.0, 2.0, 3.0, 4.0] in FILE lies outside of its picture of 16 x 12 pixels",
    ),
    "commas": (lambda c: write(c, "1,5\t2,0\t3,0\t4,0\n" * 6), "FILE, line 1: found '1,5 2,0 3,0 4,0'; are these dec"),
    "flags": (
        lambda c: (c / "absence.label").write_text("0\n1\n"),
        "C/absence.label has 2 flags for the 6 boxes of FILE",
    ),
}


def write(folder: Path, boxes: str) -> None:
    (folder / "groundtruth.txt").write_text(boxes)


@pytest.mark.parametrize("what", BAD)
def test_bad_data_are_told_in_one_line_and_tried_once(
    data: Path, tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    spoil, says = BAD[what]
    spoil(data / "c")
    summary = run(data, tmp_path / "out", workers=1 if what == "lengths" else 0)
    assert sorted(outcome.name for outcome in summary.done) == ["a", "b"]
    names = {"FILE": f"{data}/c/groundtruth.txt", "IMG": f"{data}/c/img", "C/": f"{data}/c/"}
    for short, whole in names.items():
        says = says.replace(short, whole)
    (line,) = (record.message for record in caplog.records if record.levelname == "ERROR")
    assert line.startswith(f"sequence c failed: {says}") and "\n" not in line
    assert [record.levelname for record in caplog.records] == ["ERROR"]  # no second try
    assert str(summary).splitlines()[-1] == "failed, see above: c"  # and not the sentence again
    assert len(summary.failed) == 1


def test_a_video_that_is_cut_short_is_told_in_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "data/clip/clip.avi"
    path.parent.mkdir(parents=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for _ in range(40):
        writer.write(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))
    writer.release()
    (path.parent / "groundtruth.txt").write_text("1,2,3,4\n" * 40)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    run(tmp_path / "data", tmp_path / "out")
    (line,) = caplog.messages
    assert line.startswith("sequence clip failed: ") and str(path) in line and "\n" not in line


def test_hundreds_of_failures_are_not_told_one_by_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = write_sequences(tmp_path / "data", {f"s{i:02d}": 1 for i in range(25)})
    for i in range(25):
        write(data / f"s{i:02d}", "1,2,3\n")
    summary = run(data, tmp_path / "out")
    assert len(caplog.messages) == 21 and caplog.messages[-1].startswith("more than 20 sequences fail for their data")
    assert str(summary).endswith("failed, see above: " + ", ".join(f"s{i:02d}" for i in range(12)) + " and 13 more")


def test_a_box_that_is_no_number_is_a_failure(data: Path, tmp_path: Path) -> None:
    summary = run(data, tmp_path / "out", trouble={12: "nan"})
    assert [outcome.name for outcome in summary.failed] == ["c"]
    assert "the tracker returned the box [nan" in summary.failed[0].error


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a file that is always full is Linux's")
def test_results_that_cannot_be_written_are_told_in_one_line(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = results(tmp_path / "out", data)
    folder.mkdir(parents=True)
    (folder / "b_time.txt").symlink_to("/dev/full")
    (folder / "c.txt.part").mkdir()
    summary = run(data, tmp_path / "out")
    assert [outcome.name for outcome in summary.done] == ["a"]
    full = f"{folder / 'b.txt'} cannot be written: No space left on device"  # it may have space when tried again
    barred = f"{folder / 'c.txt.part'} cannot be written: Is a directory"
    assert [(one.error, one.final) for one in summary.failed] == [(barred, True), (full, False)]
    assert [record.message for record in caplog.records] == [
        f"sequence b failed and will be tried once more: {full}",
        f"sequence c failed: {barred}",
        f"sequence b failed again: {full}",
    ]
    assert not (folder / "b.txt").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a file that is always full is Linux's")
def test_a_box_on_a_full_disk_is_told_in_one_line(tmp_path: Path) -> None:
    full = "s.txt cannot be written: No space left on device"
    with pytest.raises(DataError, match=full), ResultWriter(tmp_path / "s.txt", {}) as writer:
        writer._file.close()
        writer._file = open("/dev/full", "a")  # noqa: SIM115 (the writer closes it)
        with pytest.raises(DataError, match=full):
            writer.add([1, 2, 3, 4], FrameTime(0.1, 0.2))


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
            raise DataError("a/groundtruth.txt cannot be read") from OSError(errno.ESTALE, "Stale file handle")
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
    assert re.fullmatch(r"its worker process sent nothing for \S+ minutes and was killed", outcome.error)
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
