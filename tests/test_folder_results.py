"""Results and plots of folders that bear the same names: each folder has its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.data.own_folder import folder_label
from lib.data.video_io import VideoFile
from lib.test.analysis.report import evaluate
from lib.test.evaluation import get_dataset
from lib.test.evaluation.environment import EnvSettings
from lib.test.evaluation.evaluate import select_sequence
from lib.test.evaluation.results import find_results, result_path
from lib.test.evaluation.runner import run_sequences
from lib.utils.errors import ConfigError, DataError
from tests.evaluation_fakes import RUN, FakeBatchTracker, boxes, build_broken, results, run


def write_folder(root: Path, gray: int, name: str = "car", first: str = "1,2,6,4") -> Path:
    """A sequence of four frames of that gray, in which the fake tracker goes by gray / 7 a frame."""
    (root / name / "img").mkdir(parents=True)
    for t in range(4):
        cv2.imwrite(str(root / name / f"img/{t}.png"), np.full((10, 60, 3), gray, np.uint8))
    (root / name / "groundtruth.txt").write_text(f"{first}\n" + "1,2,6,4\n" * 3)
    return root


def auc(out: Path, data: Path) -> float:
    env = EnvSettings(save_dir=out.parent / "unused")
    return evaluate([("ostrack", "c")], f"folder:{data}", out, env=env).trackers[0].scores()["AUC"]


def test_two_folders_of_the_same_names_and_boxes_are_tracked_and_scored_apart(tmp_path: Path) -> None:
    clean, dark = write_folder(tmp_path / "a/seqs", 0), write_folder(tmp_path / "b/seqs", 21)
    other = write_folder(tmp_path / "other", 21, first="2,2,6,4")  # and one with another first box
    out = tmp_path / "out"
    for data in (clean, dark, other):
        assert [outcome.name for outcome in run(data, out).done] == ["car"]
    for data, step in ((clean, 0), (dark, 3), (other, 3)):
        lines = (results(out, data) / "car.txt").read_text().splitlines()
        first = 2 if data == other else 1
        assert [float(line.split()[0]) for line in lines] == [first + step * t for t in range(4)]
        assert run(data, out, build=build_broken).skipped == 1
    assert find_results(out) == [("ostrack", "c")]
    # Overlaps of 6 x 4 boxes that are 3 and 6 or more pixels apart: 1/3 and 0, of 20 thresholds 7 and 0.
    assert auc(out, clean) == pytest.approx(100 * 20 / 21)
    assert auc(out, dark) == pytest.approx(100 * (20 + 7) / 84)


def test_a_folder_is_known_by_its_path_and_not_by_how_it_is_asked_for(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "my seqs", 0)
    (tmp_path / "link").symlink_to(data)
    label = folder_label(data)
    assert label.startswith("folder_my_seqs_") and len(label) == len("folder_my_seqs_") + 8
    for path in (data, tmp_path / "link", f"{data}/../my seqs/", data / "car"):
        (sequence,) = get_dataset(f"folder:{path}")
        assert result_path("r", "t", "c", sequence) == Path("r/t/c", label, "car.txt")
        assert sequence.label == f"{label}/car"


def test_other_frames_under_the_same_path_are_noticed(tmp_path: Path) -> None:
    data, out = write_folder(tmp_path / "seqs", 0), tmp_path / "out"
    run(data, out)
    path = results(out, data) / "car.txt"
    record = json.loads(path.with_suffix(".json").read_text())
    assert len(record["frames_sha256"]) == 16
    last = data / "car/img/3.png"
    cv2.imwrite(str(last), np.full((10, 60, 3), 9, np.uint8))
    with pytest.raises(DataError, match=r"car\.txt: frames_sha256 .* its frames were others"):
        run(data, out)
    with pytest.raises(DataError, match=r"car\.json: car was tracked on other frames .*--fresh"):
        auc(out, data)
    run(data, out, fresh=True)
    assert run(data, out).skipped == 1
    auc(out, data)

    last.rename(last.with_name("9.png"))  # another name, though the same pictures
    with pytest.raises(DataError, match="its frames were others"):
        run(data, out)
    record = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps({key: record[key] for key in record if key != "frames_sha256"}))
    assert run(data, out).skipped == 1  # an earlier version knew nothing of frames


def test_frames_that_are_gone_need_not_be_tracked_again(tmp_path: Path) -> None:
    data, out = write_folder(tmp_path / "seqs", 0), tmp_path / "out"
    run(data, out)
    score = auc(out, data)
    for path in (data / "car/img").iterdir():
        path.write_bytes(b"")
    (data / "car/img/0.png").unlink()
    (data / "car/img/0.png").symlink_to(tmp_path / "nowhere")
    assert run(data, out).skipped == 1 and auc(out, data) == score


def test_results_put_there_by_hand_are_read_but_not_those_of_another_folder(tmp_path: Path) -> None:
    data, out = write_folder(tmp_path / "seqs", 0), tmp_path / "out"
    plain = out / "ostrack/c/car.txt"
    plain.parent.mkdir(parents=True)
    plain.write_text("1 2 6 4\n" * 4)
    assert auc(out, data) == pytest.approx(100 * 20 / 21)
    plain.with_suffix(".json").write_text("{}")  # tracked here by an earlier version: who knows of which folder
    with pytest.raises(DataError) as error:
        auc(out, data)
    assert str(error.value).endswith(f"move them to {out / 'ostrack/c' / folder_label(data)}")
    assert f"{plain.parent} has results of these names" in str(error.value)


class Inspected(FakeBatchTracker):
    """Notes what the sequences are called that somebody looks at."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self.shown: list[str] = []

    @contextmanager
    def open_screen(self, name: str, total: int, truth: np.ndarray) -> Iterator:
        self.shown.append(name)
        yield lambda number, target: None


def test_two_folders_in_one_run(tmp_path: Path) -> None:
    a, b = write_folder(tmp_path / "a", 0), write_folder(tmp_path / "b", 0)
    write_folder(b, 0, "bus")
    sequences, tracker = get_dataset(f"folder:{a}", f"folder:{b}"), Inspected("cpu", tmp_path)
    summary = run_sequences(sequences, lambda device: tracker, tmp_path / "out", RUN, ["cpu"])
    assert len(summary.done) == 3 and len(boxes(tmp_path / "out")) == 2
    assert sorted(tracker.shown) == sorted(["bus", f"{folder_label(a)}/car", f"{folder_label(b)}/car"])
    with pytest.raises(ConfigError, match=rf"2 sequences are called 'car' \({a}/car/groundtruth"):
        select_sequence(sequences, "car")
    assert select_sequence(sequences, "bus") == select_sequence(sequences, "1")


def test_videos_are_told_apart_by_their_bytes(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    digests = set()
    for content in (b"a" * 3_000_000, b"a" * 2_999_999 + b"b", b"b" + b"a" * 2_999_999, b"a" * 3_000_001, b""):
        path.write_bytes(content)
        digests.add(VideoFile(path).digest)
    assert len(digests) == 5
    with pytest.raises(DataError, match="none.mp4 cannot be read"):
        VideoFile(tmp_path / "none.mp4").digest  # noqa: B018
