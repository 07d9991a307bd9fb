"""What can go wrong while training, and what the user is left with."""

import math
import resource
from dataclasses import replace

import pytest
import torch

from lib.models.ostrack.family import FAMILY
from lib.train import run_training as run_training_module
from lib.train.actors.ostrack import OSTrackActor
from lib.train.admin.loggers import RunLogger
from lib.train.trainers import trainer as trainer_module
from lib.train.trainers.step import NonFiniteLossError, train_step
from lib.utils.checkpoint import load_checkpoint, save_checkpoint
from lib.utils.errors import CheckpointError, ConfigError
from tests.train_processes import in_process


@pytest.fixture
def run(tmp_path, monkeypatch):
    return in_process(tmp_path, monkeypatch)


def poison_batch(monkeypatch, number, of_length, **values):
    """Put values into the ``number``-th batch (from 1) of every loader with ``of_length`` batches."""
    original = trainer_module.batches

    def poisoned(loader):
        last = len(loader) == of_length
        for index, batch in enumerate(original(loader), start=1):
            if last and index == number:
                for name, value in values.items():
                    batch[name][0, 1] = value
            yield batch

    monkeypatch.setattr(trainer_module, "batches", poisoned)


FOUR_STEPS = ("DATA.TRAIN.SAMPLE_PER_EPOCH=8", "TRAIN.EPOCH=2")


def test_nan_loss_keeps_the_batch_and_names_samples_and_parameters(run, tmp_path, monkeypatch):
    poison_batch(monkeypatch, 3, of_length=4, search_images=math.nan)
    with pytest.raises(NonFiniteLossError) as caught:
        run("out", *FOUR_STEPS)
    first, *lines = str(caught.value).splitlines()
    kept = tmp_path / "out/failures/tiny/train_epoch_1_step_3_rank0.pt"
    state = load_checkpoint(kept)
    (batch,) = state["batches"]
    assert first.startswith("train epoch 1, step 3: Loss/total is nan, ")
    assert first.endswith(f"for the batch made from: {batch['source'][0]}; {batch['source'][1]}")
    assert batch["search_images"].isnan().any(dim=(0, 2, 3, 4)).tolist() == [False, True]
    groups = [line.strip() for line in lines[:-1]]
    assert groups[0].startswith("gradients that are not finite: ")
    assert "tensors of parameter group 0 (learning rate 0.0001): box_head." in groups[0]
    assert "tensors of parameter group 1 (learning rate 1e-05): backbone." in groups[1]
    assert len(groups) == 2  # the weights are still good
    assert lines[-1].strip() == f"the batch is kept in {kept}"
    text = (tmp_path / "out/logs/ostrack-tiny.log").read_text()
    assert "NonFiniteLossError: train epoch 1, step 3" in text
    assert "finished" not in text


def test_bad_gradient_of_a_good_loss(run, tmp_path, monkeypatch):
    def build(*arguments, **options):
        net = built(*arguments, **options)
        net.backbone.blocks[1].attn.qkv.weight.register_hook(lambda gradient: gradient * math.inf)
        return net

    built = FAMILY.build
    monkeypatch.setattr(run_training_module, "family_of", lambda cfg: replace(FAMILY, build=build))
    with pytest.raises(NonFiniteLossError, match="train epoch 1, step 1: the gradient's norm is not finite") as caught:
        run("out")
    (group,) = (line for line in str(caught.value).splitlines() if "not finite:" in line)
    assert "gradients that are not finite: 1 of " in group
    assert group.endswith("parameter group 1 (learning rate 1e-05): backbone.blocks.1.attn.qkv.weight")


def test_a_first_step_that_ruins_the_weights_is_reported_by_the_next(run):
    with pytest.raises(NonFiniteLossError, match="train epoch 1, step 2: Loss/total is nan"):
        run("out", *FOUR_STEPS, "TRAIN.LR=1e30")  # a picture of samples is drawn between the two


def test_nan_in_validation_names_the_samples(run, tmp_path, monkeypatch):
    poison_batch(monkeypatch, 1, of_length=2, search_anno=math.nan)
    with pytest.raises(
        NonFiniteLossError, match="val epoch 2, step 1: Loss/total is nan.* made from: .*; .*\n.*kept in"
    ):
        run("out", *FOUR_STEPS)
    assert (tmp_path / "out/failures/tiny/val_epoch_2_step_1_rank0.pt").exists()


def test_overflow_in_float16_is_skipped_counted_and_logged(run, caplog, monkeypatch):
    poison_batch(monkeypatch, 3, of_length=4, search_images=math.inf)
    caplog.set_level("INFO", "lib")
    state = load_checkpoint(run("out", *FOUR_STEPS, "TRAIN.AMP=fp16"))
    assert "epoch 1, step 3: skipped, float16 overflowed; the loss scale falls to" in caplog.text
    train = state["stats"]["train"]
    assert train["SkippedSteps"][0] >= 0.25
    assert all(math.isfinite(value) for value in train["Loss/total"])
    assert all(value.isfinite().all() for value in state["net"].values() if value.is_floating_point())


def test_skipping_in_float16_does_not_go_on_for_ever():
    class Nan:
        net = torch.nn.Identity()

        def __call__(self, batch, epoch):
            loss = weight.sum() * math.nan
            return loss, {"Loss/total": loss.detach()}

    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([weight])
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**4)
    for scale in (8, 4, 2, 1, 0.5):
        assert train_step(Nan(), [{}], optimizer, scaler, 1).skipped
        assert scaler.get_scale() == scale
    with pytest.raises(NonFiniteLossError, match="Loss/total is nan"):
        train_step(Nan(), [{}], optimizer, scaler, 1)
    assert torch.equal(weight, torch.ones(3))


@pytest.mark.parametrize(
    ("room", "error", "message"),
    [
        (500_000, CheckpointError, r"OSTrack_ep0002\.pth\.tar cannot be written: .*File too large"),
        (64, ConfigError, "/out: File too large; free space .* The last checkpoint is whole"),  # not even for the log
    ],
)
def test_full_disk_leaves_the_earlier_checkpoint_whole(run, room, error, message):
    """A limit on the size of files that the process writes stands for the end of the disk."""
    first = run("out", "TRAIN.EPOCH=1")
    whole = first.read_bytes()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(error, match=message):
            run("out", "TRAIN.EPOCH=2")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in first.parent.iterdir()] == [first.name]
    assert first.read_bytes() == whole
    assert load_checkpoint(run("out", "TRAIN.EPOCH=2"))["epoch"] == 2


def test_folders_that_cannot_be_written(run, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="file/logs: Not a directory; .* choose another --save_dir"):
        run("file")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "checkpoints").touch()
    with pytest.raises(CheckpointError, match="checkpoint folder .*/out/checkpoints/.* cannot be written: .*Not a dir"):
        run("out", "TRAIN.EPOCH=1")
    with pytest.raises(CheckpointError, match="checkpoint .*file/new.pth cannot be written: .*File exists"):
        save_checkpoint({}, tmp_path / "file" / "new.pth")


@pytest.mark.parametrize(
    ("owner", "name"), [(RunLogger, "log_epoch"), (trainer_module, "eval_step"), (OSTrackActor, "losses")]
)
def test_a_crash_never_says_finished(run, tmp_path, monkeypatch, caplog, owner, name):
    def crash(*arguments):
        raise RuntimeError("a fault of ours")

    caplog.set_level("INFO", "lib")
    monkeypatch.setattr(owner, name, crash)
    with pytest.raises(RuntimeError, match="a fault of ours"):
        run("out", "TRAIN.EPOCH=1")
    text = (tmp_path / "out/logs/ostrack-tiny.log").read_text()
    assert "Traceback" in text
    assert "a fault of ours" in text
    assert "finished" not in text + caplog.text
