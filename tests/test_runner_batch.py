"""Many sequences in one step: the boxes of one at a time, slots that are filled again, failures, and times."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lib.test.evaluation import get_dataset, read_result
from lib.test.evaluation.job import Job, track_jobs
from lib.test.evaluation.results import read_scores, sequence_provenance
from lib.test.evaluation.runner import RunOptions, run_sequences
from lib.test.tracker import Tracker
from lib.utils.errors import ConfigError
from tests.evaluation_fakes import (
    LENGTHS,
    RUN,
    FakeBatchTracker,
    FakeTracker,
    TooLargeTracker,
    boxes,
    results,
    run,
    write_sequences,
)
from tests.factories import SMALL, TINY, drawn_model, write_clip
from tests.golden.fixtures import clip_frame

# Height, width and number of frames of each sequence.
CLIPS = {"p": (240, 320, 6), "q": (200, 300, 3), "r": (230, 410, 4), "s": (180, 260, 3), "t": (240, 320, 5)}

pytestmark = pytest.mark.usefixtures("quick_workers")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_sequences(tmp_path / "data")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sequences of different sizes and lengths, each a cut-out of the procedural clip from another frame on."""
    root = tmp_path_factory.mktemp("clips")
    for offset, (name, (height, width, frames)) in enumerate(CLIPS.items()):
        write_clip(root / name, frames, (height, width), offset)
    return root


def build_real(*overrides: str) -> Tracker:
    """A small model, with random weights that give each frame another box."""
    return Tracker(*drawn_model(TINY, [*SMALL, *overrides]))


def track(clips: Path, out: Path, tracker: Any, batch: int) -> dict[str, np.ndarray]:
    run_sequences(get_dataset(f"folder:{clips}"), lambda device: tracker, out, RUN, ["cpu"], RunOptions(batch=batch))
    return {path.stem: read_result(path) for path in out.glob("ostrack/c/*/?.txt")}


@pytest.mark.parametrize("template_range", ["CTR_POINT", "GT_BOX", "ALL"])
def test_a_batch_gives_the_boxes_of_one_at_a_time(clips: Path, tmp_path: Path, template_range: str) -> None:
    tracker = build_real(f"MODEL.BACKBONE.CE_TEMPLATE_RANGE={template_range}")
    alone = track(clips, tmp_path / "1", tracker, batch=1)
    together = track(clips, tmp_path / "3", tracker, batch=3)
    assert {name: len(found) for name, found in alone.items()} == {name: clip[2] for name, clip in CLIPS.items()}
    for name in CLIPS:
        np.testing.assert_allclose(together[name], alone[name], rtol=0, atol=1e-3)
        assert np.abs(np.diff(alone[name], axis=0)).max() > 1  # it does move


def test_targets_choose_different_tokens_in_one_step() -> None:
    fine = ("DATA.TEMPLATE.SIZE=128", "TEST.TEMPLATE_SIZE=128")  # an 8 x 8 grid
    tracker = build_real("MODEL.BACKBONE.CE_TEMPLATE_RANGE=GT_BOX", *fine)
    (image, box), (following, _) = clip_frame(0), clip_frame(1)
    other = [100, 40, 40, 120]
    targets = [tracker.start(image, box), tracker.start(image, other)]
    assert targets[0].state["mask"].sum() != targets[1].state["mask"].sum()
    step = tracker.step([following, following[:200]], targets)
    for first, image, found, score in zip((box, other), (following, following[:200]), *step[:2], strict=True):
        tracker.initialize(clip_frame(0)[0], {"init_bbox": first})
        alone = tracker.track(image)
        np.testing.assert_allclose(found, alone["target_bbox"], rtol=0, atol=1e-3)
        np.testing.assert_allclose(score, alone["best_score"], atol=1e-5)
    assert [target.box for target in targets] == step.boxes


def test_a_failing_step_changes_no_target() -> None:
    tracker = build_real()
    image, box = clip_frame(0)
    targets = [tracker.start(image, box), tracker.start(image, box)]
    with pytest.raises(Exception, match="RGB uint8"):
        tracker.step([image, image[..., 0]], targets)
    assert [target.box for target in targets] == [box, box]


def test_the_next_sequence_takes_the_slot_of_one_that_ended(data: Path, tmp_path: Path) -> None:
    tracker = FakeBatchTracker("cpu", tmp_path)
    jobs = [Job(s, tmp_path / f"{s.name}.txt", sequence_provenance(RUN, s)) for s in get_dataset(f"folder:{data}")]
    taken = []
    outcomes = track_jobs(tracker, (taken.append(job.sequence.name) or job for job in jobs), 2, lambda count: None)
    first = next(outcomes)
    assert (first.name, first.frames, taken) == ("a", 3, ["a", "b"])  # c waits for a slot
    assert [(outcome.name, outcome.frames) for outcome in outcomes] == [("b", 8), ("c", 5)]
    assert tracker.batches == [2] * 8  # 3 frames of a and b, then 5 of b and c, which ends with b


@pytest.mark.parametrize(("workers", "batch"), [(0, 2), (0, 8), (2, 2)])
def test_batches_and_workers_give_the_same_files(data: Path, tmp_path: Path, workers: int, batch: int) -> None:
    run(data, tmp_path / "whole")
    summary = run(data, tmp_path / "out", tracker=FakeBatchTracker, workers=workers, batch=batch)
    assert (len(summary.done), summary.frames) == (3, 16)
    assert boxes(tmp_path / "out") == boxes(tmp_path / "whole")
    folder = results(tmp_path / "out", data)
    for name, length in LENGTHS.items():  # each sequence has its own scores, 1 in the first frame
        np.testing.assert_allclose(read_scores(folder / f"{name}.txt"), 1 - np.arange(length) / 10)
    assert not list((tmp_path / "whole").rglob("*_scores.txt"))  # that tracker tells none
    # A sequence is tracked whole or not at all, and so are its scores; those of another tracker do not stay.
    (folder / "b.txt").unlink()
    (folder / "b_scores.txt").write_text("0.5\n")
    assert len(run(data, tmp_path / "out", tracker=FakeBatchTracker, workers=workers, batch=batch).done) == 1
    assert len(read_scores(folder / "b.txt")) == LENGTHS["b"]
    run(data, tmp_path / "out", fresh=True)
    assert not list(folder.glob("*_scores.txt"))


@pytest.mark.parametrize("trouble", ["raise", "nan", "frame"])
def test_a_failing_sequence_costs_only_itself(data: Path, tmp_path: Path, trouble: str) -> None:
    run(data, tmp_path / "whole")
    if trouble == "frame":
        (data / "b/img/4.png").write_bytes(b"no picture")
    tracker = FakeBatchTracker("cpu", tmp_path, {} if trouble == "frame" else {11: trouble})
    summary = run(data, tmp_path / "out", build=lambda device: tracker, batch=3)
    assert sorted(outcome.name for outcome in summary.done) == ["a", "c"]
    says = {"raise": "the sky fell", "nan": "returned the box [nan", "frame": "4.png cannot be decoded"}[trouble]
    assert [outcome.name for outcome in summary.failed] == ["b"] and says in summary.failed[0].error
    assert boxes(tmp_path / "out") == {k: v for k, v in boxes(tmp_path / "whole").items() if k != "b.txt"}
    assert 1 in tracker.batches and max(tracker.batches) == 3


def test_a_worker_that_dies_costs_the_others_one_try(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "whole")
    options = {"tracker": FakeBatchTracker, "workers": 1, "batch": 3}
    summary = run(data, tmp_path / "out", trouble={11: "kill"}, **options)
    assert sorted(outcome.name for outcome in summary.done) == ["a", "c"]
    assert [outcome.name for outcome in summary.failed] == ["b"]
    assert boxes(tmp_path / "out").items() < boxes(tmp_path / "whole").items()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_batch_that_does_not_fit_ends_the_run(data: Path, tmp_path: Path, workers: int) -> None:
    with pytest.raises(Exception, match="--batch 3 does not fit on the GPU, use a smaller one: CUDA out of memory"):
        run(data, tmp_path / "out", tracker=TooLargeTracker, batch=3, workers=workers)
    assert len(run(data, tmp_path / "out", tracker=TooLargeTracker, batch=2).done) == 3


@pytest.mark.parametrize("workers", [0, 1])
def test_a_tracker_of_one_target_takes_no_batch(data: Path, tmp_path: Path, workers: int) -> None:
    with pytest.raises(Exception, match=r"--batch 2: FakeTracker has no start\(\) and step\(\)"):
        run(data, tmp_path / "out", tracker=FakeTracker, batch=2, workers=workers)


def test_times_are_of_each_frame(data: Path, tmp_path: Path) -> None:
    summary = run(data, tmp_path / "out", tracker=FakeBatchTracker, batch=3, pause=0.05)
    for name, length in LENGTHS.items():
        with open(results(tmp_path / "out", data) / f"{name}_times.csv") as file:
            rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
        seconds = [float(line) for line in (results(tmp_path / "out", data) / f"{name}_time.txt").read_text().split()]
        assert len(rows) == len(seconds) == length and list(rows[0]) == ["decode", "crop", "network", "rest"]
        for row, whole in zip(rows[1:], seconds[1:], strict=True):
            assert row["crop"] + row["network"] + row["rest"] == pytest.approx(whole, abs=3e-6)
            assert row["network"] == pytest.approx(2 * row["crop"], abs=3e-6)  # as the fake tracker says
            assert 0.05 <= whole < 0.15  # three frames take 0.15 seconds, and each its share
    times = summary.times
    assert 0.8 <= times.tracker < summary.seconds and times.network == pytest.approx(2 * times.crop)
    fps = 16 / times.network, 16 / times.tracker, 16 / summary.seconds
    says = "; 16 frames, network {:.1f} FPS, tracker {:.1f} FPS, end to end {:.1f} FPS".format(*fps)
    first, second = str(summary).splitlines()
    assert first.endswith(says)
    assert second.startswith(f"a frame: {1000 * times.tracker / 16:.2f} ms in the tracker = crop ")
    assert "(25%), network " in second and "(50%), rest" in second and "up to 3 sequences in one step" in second


def test_the_tracker_tells_its_times_apart() -> None:
    tracker = build_real()
    image, box = clip_frame(0)
    target = tracker.start(image, box)
    step = tracker.step([image], [target])
    assert 0 < step.crop < step.network < 10


def test_odd_numbers_are_refused(data: Path, tmp_path: Path) -> None:
    for options in ({"batch": 0}, {"workers": -1}):
        with pytest.raises(ConfigError, match="--batch"):
            run(data, tmp_path / "out", **options)
