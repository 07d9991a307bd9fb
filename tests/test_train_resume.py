"""A run that was stopped at any moment goes on as if nothing had happened, or says why it cannot."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from lib.config.experiment import DataConfig
from lib.data.image_io import write_image
from lib.train import run_training as run_training_module
from lib.train.admin import environment
from lib.train.data.samples import open_source
from lib.train.trainers import checkpoints
from lib.train.trainers import trainer as trainer_module
from lib.train.trainers.stop import Preempted
from lib.utils.checkpoint import load_checkpoint, save_checkpoint
from lib.utils.errors import CheckpointError, ConfigError
from tests.train_processes import Runs, assert_same_run, in_process

EIGHT_STEPS = "DATA.TRAIN.SAMPLE_PER_EPOCH=16"


@pytest.fixture
def run(tmp_path, monkeypatch):
    return in_process(tmp_path, monkeypatch)


@pytest.fixture
def runs(tmp_path):
    runs = Runs(tmp_path)
    yield runs
    runs.close()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.end_to_end
def test_killed_at_many_moments_and_resumed_is_bit_identical(runs):
    changes = (EIGHT_STEPS, "TRAIN.EPOCH=3", "TRAIN.VAL_EPOCH_INTERVAL=2", "TRAIN.SAVE_EVERY_STEPS=3",
               "TRAIN.EMA_DECAY=0.9")  # fmt: skip
    status, text = runs.run("whole", *changes)
    assert status == 0, text
    whole = load_checkpoint(runs.checkpoints("whole") / "OSTrack_ep0003.pth.tar")
    folder = runs.checkpoints("parts")

    # While it runs, in the middle of an epoch, with data from a worker process.
    partial = "partial_ep0001_step000003.pth.tar"
    process = runs.start("parts", *changes, "TRAIN.NUM_WORKER=1", kill=f"{partial} wait")
    runs.wait_for(process, folder / partial)
    process.send_signal(signal.SIGKILL)
    runs.finish(process)
    # Asked to stop.
    partial = "partial_ep0001_step000006.pth.tar"
    process = runs.start("parts", *changes, kill=f"{partial} wait")
    runs.wait_for(process, folder / partial)
    process.send_signal(signal.SIGTERM)
    text = runs.finish(process)
    assert process.returncode == 75, text
    assert "stopped by SIGTERM after step" in text
    assert "finished" not in text
    # Between two epochs.
    status, text = runs.run("parts", *changes, kill="OSTrack_ep0002.pth.tar after")
    assert status == -signal.SIGKILL, text
    assert "OSTrack_ep0002.pth.tar" in names(folder)
    # During a save: the file is written, but not under its name.
    status, text = runs.run("parts", *changes, kill="partial_ep0003_step000006.pth.tar before")
    assert status == -signal.SIGKILL, text
    assert names(folder)[-2:] == ["partial_ep0003_step000003.pth.tar", "partial_ep0003_step000006.pth.tar.tmp"]
    # Torn by a machine that lost power: the one before is taken.
    status, text = runs.run("parts", *changes, kill="partial_ep0003_step000006.pth.tar torn")
    assert status == -signal.SIGKILL, text
    status, text = runs.run("parts", *changes)
    assert status == 0, text
    assert "partial_ep0003_step000006.pth.tar (1000 bytes) cannot be read" in text
    assert "trying the one before" in text

    parts = load_checkpoint(folder / "OSTrack_ep0003.pth.tar")
    assert_same_run(whole, parts)
    assert len(parts["stats"]["train"]["Loss/total"]) == 3
    assert not any("partial" in name for name in names(folder))


def test_resumed_after_an_epoch_is_bit_identical(run, whole_run):
    whole = whole_run("TRAIN.VAL_EPOCH_INTERVAL=4")
    run("parts", "TRAIN.EPOCH=2", "TRAIN.VAL_EPOCH_INTERVAL=9")
    parts = load_checkpoint(run("parts", "TRAIN.VAL_EPOCH_INTERVAL=4"))
    parts["stats"]["val"] = {name: values[1:] for name, values in parts["stats"]["val"].items()}  # of epoch 2
    assert_same_run(whole, parts)


def test_where_nothing_is_left_to_train_the_checkpoint_that_is_there_is_named(run):
    last = run("whole", "TRAIN.EPOCH=1")
    assert run("other", "TRAIN.EPOCH=1", resume=str(last)) == last and last.is_file()


def interrupt(monkeypatch, name, call):
    """SIGTERM to this process when the trainer's ``name`` is called for the ``call``-th time."""
    original, calls = getattr(trainer_module, name), []

    def interrupted(*arguments):
        calls.append(name)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments)

    monkeypatch.setattr(trainer_module, name, interrupted)


@pytest.mark.parametrize(
    ("name", "call", "left"),
    [
        ("train_step", 3, "partial_ep0001_step000004.pth.tar"),
        ("train_step", 8, "partial_ep0002_step000001.pth.tar"),
        ("eval_step", 1, "partial_ep0002_step000008.pth.tar"),
    ],
)
def test_sigterm_saves_and_the_run_goes_on_bit_identically(run, whole_run, monkeypatch, caplog, name, call, left):
    changes = (EIGHT_STEPS, "TRAIN.EPOCH=2")
    whole = whole_run(*changes)
    with monkeypatch.context() as patch:
        interrupt(patch, name, call)
        with pytest.raises(Preempted, match=f"stopped by SIGTERM after step .* saved .*{left}"):
            run("parts", *changes)
    parts = load_checkpoint(run("parts", *changes))
    assert_same_run(whole, parts)
    # The last val batch of the interrupted validation counts once.
    assert len(parts["stats"]["val"]["IoU"]) == 1
    assert f"{left}: " in caplog.text


def test_sigterm_means_what_it_did_before(run):
    before = signal.getsignal(signal.SIGTERM)
    run("out", "TRAIN.EPOCH=1")
    assert signal.getsignal(signal.SIGTERM) is before


def test_checkpoints_inside_an_epoch(run, tmp_path, monkeypatch):
    seen, original = [], checkpoints.remove_superseded

    def watch(folder, *arguments):
        original(folder, *arguments)
        seen.append(names(folder))

    monkeypatch.setattr(checkpoints, "remove_superseded", watch)
    run("out", EIGHT_STEPS, "TRAIN.EPOCH=1", "TRAIN.SAVE_EVERY_STEPS=2")
    step = "partial_ep0001_step00000{}.pth.tar".format
    assert seen == [[step(2)], [step(2), step(4)], [step(4), step(6)], ["OSTrack_ep0001.pth.tar"]]


def test_moments_are_in_order_and_epochs_are_epochs(tmp_path):
    paths = [
        checkpoints.checkpoint_path(tmp_path, 2),
        checkpoints.checkpoint_path(tmp_path, 2, 500),
        checkpoints.checkpoint_path(tmp_path, 2, 1500),
        checkpoints.checkpoint_path(tmp_path, 3),
        checkpoints.checkpoint_path(tmp_path, 10000),
    ]
    for path in (*paths, tmp_path / "OSTrack_ep0004.pth.tar.tmp", tmp_path / "other.pth.tar"):
        path.touch()
    assert list(checkpoints.list_moments(tmp_path).values()) == paths
    assert list(checkpoints.list_checkpoints(tmp_path)) == [2, 3, 10000]


def test_finished_run_does_nothing_more(run):
    last = run("out", "TRAIN.EPOCH=1")
    before = last.stat().st_mtime_ns
    assert run("out", "TRAIN.EPOCH=1") == last
    assert last.stat().st_mtime_ns == before


def test_a_new_start_puts_the_old_checkpoints_aside(run, tmp_path):
    """Else the next run would go on from them instead of from the new ones."""
    folder = run("out", "TRAIN.EPOCH=3").parent
    third = (folder / "OSTrack_ep0003.pth.tar").read_bytes()
    again = load_checkpoint(run("out", "TRAIN.EPOCH=1", resume="none"))
    assert len(again["stats"]["train"]["IoU"]) == 1
    assert names(folder) == ["OSTrack_ep0001.pth.tar", "replaced_1"]
    assert (folder / "replaced_1" / "OSTrack_ep0003.pth.tar").read_bytes() == third
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    curves = accumulator.EventAccumulator(str(tmp_path / "out/tensorboard/train/ostrack/tiny"))
    curves.Reload()
    assert [event.step for event in curves.Scalars("train/IoU")] == [1]
    # From a path: what is newer than that goes too, the rest stays.
    run("out", "TRAIN.EPOCH=2")
    moved = load_checkpoint(run("out", "TRAIN.EPOCH=2", resume=str(folder / "OSTrack_ep0001.pth.tar")))
    assert len(moved["stats"]["train"]["IoU"]) == 2
    assert names(folder / "replaced_2") == ["OSTrack_ep0002.pth.tar"]


def test_another_configuration_names_what_differs(run):
    run("out", "TRAIN.EPOCH=1")
    with pytest.raises(ConfigError, match=r"TRAIN.BATCH_SIZE was 2, is 1; TRAIN.LR was 0.0001, is 0.001\."):
        run("out", "TRAIN.EPOCH=2", "TRAIN.LR=0.001", "TRAIN.BATCH_SIZE=1")
    with pytest.raises(ConfigError, match=r"configuration: TRAIN.EMA_DECAY was 0.0, is 0.5\."):
        run("out", "TRAIN.EPOCH=2", "TRAIN.EMA_DECAY=0.5")
    run("out", "TRAIN.EPOCH=2", "TRAIN.PRINT_INTERVAL=7", "TRAIN.SEED=42", "TRAIN.SAVE_EVERY_STEPS=1",
        "TRAIN.ACTIVATION_CHECKPOINTING=true", "DATA.MAX_BROKEN_SHARE=0.5")  # fmt: skip


def test_another_configuration_is_gone_on_with_from_the_end_of_an_epoch(run, tmp_path, caplog):
    folder = run("out", EIGHT_STEPS, "TRAIN.EPOCH=2", "TRAIN.SAVE_EVERY_STEPS=3").parent
    second = load_checkpoint(folder / "OSTrack_ep0002.pth.tar")
    changed = (EIGHT_STEPS, "TRAIN.LR=0.002", "TRAIN.BATCH_SIZE=4", "TRAIN.WEIGHT_DECAY=0.5", "TRAIN.EMA_DECAY=0.5",
               "DATA.SEARCH.CENTER_JITTER=2")  # fmt: skip
    with pytest.raises(ConfigError) as refused:
        run("out", *changed, "TRAIN.EPOCH=3")
    assert "TRAIN.BATCH_SIZE was 2, is 4; " in str(refused.value)
    assert "--resume_changed keeps weights, optimizer and epoch" in str(refused.value)
    assert f"MODEL.PRETRAIN_FILE={folder / 'OSTrack_ep0002.pth.tar'} from the weights" in str(refused.value)
    assert "\n" not in str(refused.value)

    caplog.clear()
    third = load_checkpoint(run("out", *changed, "TRAIN.EPOCH=3", resume_changed=True))
    assert "resumes with another configuration from epoch 3: DATA.SEARCH.CENTER_JITTER was 3, is 2; " in caplog.text
    assert (third["epoch"], third["step"]) == (3, 2 * 8 + 4)
    assert len(third["stats"]["train"]["IoU"]) == 3
    before, after = (state["optimizer"] for state in (second, third))
    assert {float(entry["step"]) for entry in after["state"].values()} == {16 + 4}  # AdamW counts on
    assert [group["initial_lr"] for group in after["param_groups"]] == pytest.approx([0.002, 0.0002])
    assert {group["weight_decay"] for group in after["param_groups"]} == {0.5}
    assert after["state"].keys() == before["state"].keys()
    assert third["ema"]["updates"] == 4
    assert third["settings"]["changes"][0].startswith("epoch 3: DATA.SEARCH.CENTER_JITTER was 3, is 2; ")
    # From now on the same command goes on exactly, in the middle of epochs too.
    same = load_checkpoint(run("out", *changed, "TRAIN.EPOCH=4", resume_changed=True))
    assert (same["step"], len(same["settings"]["changes"])) == (24, 1)


def test_changed_after_a_stop_inside_an_epoch(run, monkeypatch, tmp_path):
    """The steps of the epoch that was not complete are lost, and their checkpoint is put aside."""
    changed = (EIGHT_STEPS, "TRAIN.EPOCH=2", "TRAIN.LR=0.002")

    def stop_in_step(step):
        with monkeypatch.context() as patch, pytest.raises(Preempted):
            interrupt(patch, "train_step", step)
            run("out", EIGHT_STEPS, "TRAIN.EPOCH=2")

    stop_in_step(3)
    with pytest.raises(CheckpointError, match="partial_ep0001_step000004.* is of the first epoch; --resume_changed"):
        run("out", *changed, resume_changed=True)
    stop_in_step(6)  # four were left of the first epoch
    folder = tmp_path / "out/checkpoints/train/ostrack/tiny"
    partial = next(folder.glob("partial_ep0002*"))
    with pytest.raises(CheckpointError, match="was written inside an epoch"):
        run("out", *changed, resume=str(partial), resume_changed=True)
    last = load_checkpoint(run("out", *changed, resume_changed=True))
    assert (last["step"], last["optimizer"]["param_groups"][0]["initial_lr"]) == (16, 0.002)
    assert (folder / "replaced_1" / partial.name).exists()


def test_changes_that_do_not_fit_the_weights_name_the_way(run):
    run("out", "TRAIN.EPOCH=1")
    for changes, reason in (
        (("MODEL.HEAD.NUM_CHANNELS=8",), "the model needs (8, "),
        (("DATA.SEARCH.SIZE=96", "TEST.SEARCH_SIZE=96"), "backbone.pos_embed_x is (1, "),
        (("TRAIN.FREEZE_LAYERS=[2]",), "The optimizer has other groups of parameters"),
        (("TRAIN.FREEZE_PARTS=[backbone.norm]",), "The optimizer has other groups of parameters"),
        (("TRAIN.LAYER_DECAY=0.5",), "The optimizer has other groups of parameters"),
    ):
        with pytest.raises(CheckpointError) as error:
            run("out", "TRAIN.EPOCH=2", *changes, resume_changed=True)
        assert str(error.value).startswith("--resume_changed: ") and reason in str(error.value)
        assert len(str(error.value)) < 700 and "\n" not in str(error.value)  # a few names of many
        assert "MODEL.PRETRAIN_FILE=" in str(error.value) and "\n" not in str(error.value)


def test_as_many_other_frozen_parts_do_not_fit_either(run):
    run("out", "TRAIN.EPOCH=1", "TRAIN.FREEZE_PARTS=[backbone.blocks.0]")
    with pytest.raises(CheckpointError, match="The optimizer has other groups of parameters"):
        run("out", "TRAIN.EPOCH=2", "TRAIN.FREEZE_PARTS=[backbone.blocks.1]", resume_changed=True)


def test_the_weights_of_a_run_start_another_one(run):
    last = run("out", "TRAIN.EPOCH=1")
    still = ("TRAIN.LR=1e-12", "TRAIN.WEIGHT_DECAY=0")
    started = load_checkpoint(run("new", "TRAIN.EPOCH=1", *still, f"MODEL.PRETRAIN_FILE={last}"))["net"]
    for name, value in load_checkpoint(last)["net"].items():
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(started[name], value, rtol=0, atol=1e-9)


def test_other_training_data_are_told(run, tmp_path, monkeypatch, caplog):
    image = np.full((120, 160, 3), 90, np.uint8)
    for number in range(3):
        write_image(tmp_path / f"images/{number}.png", image + 40 * number)
    env = replace(environment.EnvironmentSettings(), images_dir=str(tmp_path / "images"))
    monkeypatch.setattr(
        run_training_module, "open_sources", lambda *_: {"IMAGES": open_source("IMAGES", env, DataConfig())}
    )
    assert load_checkpoint(run("out", "TRAIN.EPOCH=1"))["data_sizes"] == {"IMAGES": 3}
    run("out", "TRAIN.EPOCH=2")
    assert "the training data are not those" not in caplog.text
    (tmp_path / "images/2.png").unlink()
    run("out", "TRAIN.EPOCH=3")
    assert "OSTrack_ep0002.pth.tar, so other samples follow; sequences or images: IMAGES had 3, has 2" in caplog.text


def test_a_checkpoint_without_the_sizes_of_its_data_is_resumed(run):
    last = run("out", "TRAIN.EPOCH=1")
    state = load_checkpoint(last)
    del state["data_sizes"]
    save_checkpoint(state, last)
    assert load_checkpoint(run("out", "TRAIN.EPOCH=2"))["step"] == 2 * state["step"]


def test_the_same_step_may_be_shared_out_in_another_way(run):
    run("out", "TRAIN.EPOCH=1", "DATA.TRAIN.SAMPLE_PER_EPOCH=8", "TRAIN.ACCUM_STEPS=2")
    last = load_checkpoint(run("out", "TRAIN.EPOCH=2", "DATA.TRAIN.SAMPLE_PER_EPOCH=8", "TRAIN.BATCH_SIZE=4"))
    assert (last["epoch"], last["step"]) == (2, 4)


def test_torn_checkpoint_gives_way_to_the_one_before(run, caplog):
    folder = run("out", "TRAIN.EPOCH=2").parent
    second = checkpoints.checkpoint_path(folder, 2)
    second.write_bytes(second.read_bytes()[:1000])
    state = load_checkpoint(run("out", "TRAIN.EPOCH=2"))
    assert "trying the one before" in caplog.text
    assert state["step"] == 4
    for epoch in (1, 2):
        checkpoints.checkpoint_path(folder, epoch).write_bytes(b"torn")
    with pytest.raises(CheckpointError, match="no checkpoint in .* can be loaded"):
        run("out", "TRAIN.EPOCH=2")


def test_a_checkpoint_with_a_hole_gives_way_to_the_one_before(run, caplog):
    """torch loads it: it compares no checksums."""
    folder = run("out", "TRAIN.EPOCH=2").parent
    second = checkpoints.checkpoint_path(folder, 2)
    content = bytearray(second.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 1000] = bytes(1000)
    second.write_bytes(content)
    assert load_checkpoint(second)["epoch"] == 2
    assert load_checkpoint(run("out", "TRAIN.EPOCH=2"))["epoch"] == 2
    assert f"{second} is damaged: the checksum of" in caplog.text
    assert "resumed from" in caplog.text and "OSTrack_ep0001.pth.tar: 1 epochs" in caplog.text


@pytest.mark.end_to_end
def test_sigterm_before_training_exits_as_after_saving(runs):
    """The file of paths stands for data sets that take long to open."""
    (runs.folder / "no_local.py").write_text("import time\nopen('reached', 'w')\ntime.sleep(120)\n")
    process = runs.start("out")
    runs.wait_for(process, runs.folder / "reached")
    process.terminate()
    assert runs.finish(process).endswith("stopped by SIGTERM outside of training: there is nothing to save\n")
    assert process.returncode == 75


def test_weights_alone_cannot_be_resumed(run, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"net": {}}, path)
    with pytest.raises(CheckpointError, match="cannot be resumed: it has no .*optimizer"):
        run("out", resume=str(path))
    with pytest.raises(CheckpointError, match="does not exist"):
        run("out", resume=str(tmp_path / "nowhere.pth"))


def test_only_own_checkpoints_are_ever_removed(tmp_path):
    for epoch in range(1, 8):
        checkpoints.checkpoint_path(tmp_path, epoch).touch()
    own = {4, 5, 6, 7}
    for epoch in range(3, 8):
        checkpoints.remove_superseded(tmp_path, (epoch, 0), 5, own)
    assert list(checkpoints.list_checkpoints(tmp_path)) == [1, 2, 3, 5, 6, 7]
