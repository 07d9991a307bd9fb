"""What tensorboard and Weights & Biases are given, read back from their files."""

from dataclasses import replace

import numpy as np
import pytest

from lib.train.admin.loggers import RunLogger
from lib.train.admin.settings import Settings
from lib.utils.errors import ConfigError

PUBLISHED = {"Loss/total": 7.5, "Loss/giou": 0.5, "Loss/l1": 0.25, "Loss/location": 4.0, "IoU": 0.625,
             "LearningRate/group0": 4e-4, "LearningRate/group1": 4e-5,
             "FPS": 120.0, "DataTime": 0.01, "ForwardTime": 0.2}  # fmt: skip


@pytest.fixture
def settings(tmp_path):
    return Settings("ostrack", config_name="small", save_dir=str(tmp_path))


def test_tensorboard_gets_the_published_names_and_the_picture(settings):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = RunLogger(settings, {})
    assert logger.run_id is None
    image = np.zeros((6, 9, 3), np.uint8)
    image[..., 0] = 255
    for epoch in (1, 2):
        logger.log_epoch("train", {name: value * epoch for name, value in PUBLISHED.items()}, epoch, 10 * epoch)
        logger.log_image("train", "samples", image, epoch, 10 * epoch - 9)
    logger.close()
    events = EventAccumulator(str(settings.tensorboard_dir))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {f"train/{name}" for name in PUBLISHED}
    for name, value in PUBLISHED.items():
        points = [(event.step, event.value) for event in events.Scalars(f"train/{name}")]
        assert points == [(1, pytest.approx(value)), (2, pytest.approx(2 * value))]
    (first, second) = events.Images("train/samples")
    assert (first.step, second.step, first.width, first.height) == (1, 2, 9, 6)


def test_tensorboard_shows_no_epochs_that_a_later_run_replaced(settings):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    # Three epochs; on from the first one, after a stop; and then anew.
    for done, values in ((0, [1, 2, 3]), (1, [20, 30]), (0, [100])):
        logger = RunLogger(settings, {}, epoch=done)
        for number, value in enumerate(values):
            logger.log_epoch("train", {"IoU": value}, done + number + 1, 0)
        logger.close()
        events = EventAccumulator(str(settings.tensorboard_dir))
        events.Reload()
        shown = [(event.step, event.value) for event in events.Scalars("train/IoU")]
        assert shown == {3: [(1, 1), (2, 2), (3, 3)], 2: [(1, 1), (2, 20), (3, 30)], 1: [(1, 100)]}[len(values)]


def test_wandb_runs_offline_and_a_resumed_run_is_the_same_one(settings, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    settings = replace(settings, use_wandb=True)
    first = RunLogger(settings, {"TRAIN": {"LR": 1e-4}})
    first.log_step("train", {"Loss/total": 7.0}, 5)
    first.log_image("train", "samples", np.zeros((6, 9, 3), np.uint8), 1, 6)
    first.log_epoch("train", PUBLISHED, 1, 7)
    first.log_step("train", {"Loss/total": 6.0}, 8)  # a step that begins commits the one before
    summary = dict(first._wandb.summary)
    assert (summary["train/Loss/total"], summary["train_epoch/Loss/giou"], summary["epoch"]) == (7.0, 0.5, 1)
    assert first._wandb.config["TRAIN"]["LR"] == 1e-4
    first.close()
    second = RunLogger(settings, {}, run_id=first.run_id)
    second.log_epoch("train", {"Loss/total": 3.0}, 2, 14)
    second.close()
    assert first.run_id and second.run_id == first.run_id
    files = list((tmp_path / "wandb").glob(f"offline-run-*-{first.run_id}/run-{first.run_id}.wandb"))
    assert files and all(file.stat().st_size > 0 for file in files)
    assert list((tmp_path / "wandb").glob("offline-run-*/files/media/images/train/samples_*.png"))
    other = RunLogger(settings, {})
    other.close()
    assert other.run_id != first.run_id


def test_wandb_that_does_not_start_is_one_clear_error(settings, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    settings = replace(settings, use_wandb=True)

    def fail(**options):
        raise wandb.errors.CommError("no route to host")

    monkeypatch.setattr(wandb, "init", fail)
    with pytest.raises(ConfigError, match="wandb does not start: no route to host; WANDB_MODE=offline"):
        RunLogger(settings, {})
