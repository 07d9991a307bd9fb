"""Losses, optimizer steps and schedule of the published system, through the actor, the trainer and its loader."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.config import load_config
from lib.config.ostrack import OSTrackConfig
from lib.models.layers.score_map import gaussian_maps
from lib.train.actors import build_actor
from lib.train.admin.settings import Settings
from lib.train.data.loader import BrokenImages, PairLoader, collate
from lib.train.data.sampler import EpochSampler
from lib.train.optim import build_optimizer, lr_factor, set_learning_rate
from lib.train.trainers import trainer as trainer_module
from lib.train.trainers.step import eval_step
from tests.factories import reference_model, reference_weights
from tests.golden.fixtures import image_batch

GOLDEN = Path(__file__).parent / "golden"
EXPECTED = json.loads((GOLDEN / "train.json").read_text())
ARRAYS = np.load(GOLDEN / "train.npz")
CONFIG = "vitb_256_mae_ce_32x4_ep300"
# Epoch 60 is the last, so that a trainer which has done 59 does that one only.
CHANGES = ["TRAIN.DROP_PATH_RATE=0", "TRAIN.BATCH_SIZE=4", "TRAIN.EPOCH=60", "TRAIN.PRINT_INTERVAL=1"]
STEPS = 3


@pytest.fixture(scope="module")
def batch():
    return {
        "template_images": image_batch(21, 4, 128)[None],
        "search_images": image_batch(22, 4, 256)[None],
        "template_anno": torch.from_numpy(ARRAYS["template_anno"])[None],
        "search_anno": torch.from_numpy(ARRAYS["search_anno"])[None],
        "source": ["golden"] * 4,
    }


@pytest.fixture(scope="module")
def cfg():
    return load_config(OSTrackConfig, CONFIG, CHANGES)


@pytest.fixture(scope="module")
def net(cfg):
    return reference_model(CONFIG, CHANGES)[1]


@pytest.fixture
def actor(cfg, net):
    net.load_state_dict(reference_weights(net))
    return build_actor(net, cfg)


def assert_stats(stats, expected):
    assert set(stats) == {"Loss/total", "Loss/giou", "Loss/l1", "Loss/location", "IoU"}
    for name, value in stats.items():
        assert value == pytest.approx(expected[name], rel=1e-3, abs=1e-4), name


def test_target_maps(batch):
    maps = gaussian_maps(batch["search_anno"][0], 16)
    np.testing.assert_allclose(maps.numpy(), ARRAYS["heatmap"], atol=1e-4)


def test_losses_in_eval_mode_at_several_epochs(actor, batch, monkeypatch):
    outputs, forward = {}, actor.net.forward

    def once(*images, ce_keep_rate, **options):
        """An epoch shows in the keep rate alone: two of them do not need to be computed."""
        if ce_keep_rate not in outputs:
            outputs[ce_keep_rate] = forward(*images, ce_keep_rate=ce_keep_rate, **options)
        return outputs[ce_keep_rate]

    monkeypatch.setattr(actor.net, "forward", once)
    actor.net.eval()
    for key in (key for key in EXPECTED if key.startswith("eval_mode_epoch_")):
        assert_stats(eval_step(actor, batch, int(key.rpartition("_")[2])), EXPECTED[key])
    assert len(outputs) == 5


class GoldenSamples:
    """The samples of the golden batch, whatever the epoch."""

    def __init__(self, batch):
        self.batch = batch

    def __getitem__(self, key):
        _, index = key
        sample = {name: value[:, index % 4] for name, value in self.batch.items() if name != "source"}
        return {**sample, "source": f"golden {index % 4}", "broken": []}


class Notes:
    """A logger that keeps what it is told, and has a look at the gradients after the first step."""

    run_id = None

    def __init__(self, net):
        self.net, self.averages = net, []

    def log_step(self, split, values, step):
        if step == 1:
            check_gradients(self.net)
        self.averages.append(values)

    def log_epoch(self, split, values, epoch, step):
        assert (split, epoch, step) in (("train", 60, STEPS), ("val", 60, STEPS))

    def log_image(self, split, name, image, epoch, step):
        assert (image.dtype, image.ndim) == (np.uint8, 3)


def loader_of(batch, count):
    loader = PairLoader(GoldenSamples(batch), batch_size=4, sampler=EpochSampler(count, 4), collate_fn=collate)
    loader.broken = BrokenImages(0.0)
    return loader


def test_three_optimizer_steps_of_the_trainer(actor, cfg, batch, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer_module, "save_checkpoint", lambda state, path: None)  # it would be a gigabyte
    notes, net = Notes(actor.net), actor.net
    loaders = loader_of(batch, 4 * STEPS), loader_of(batch, 1)
    trainer = trainer_module.Trainer(actor, cfg, Settings("ostrack", str(tmp_path), config_name="golden"), *loaders)
    trainer.run_logger = notes
    groups = [
        {"n": len(group["params"]), "lr": group["lr"], "wd": group["weight_decay"]}
        for group in trainer.optimizer.param_groups
    ]
    assert groups == [{**group, "lr": pytest.approx(group["lr"])} for group in EXPECTED["param_groups"]]
    trainer.epoch = 59
    trainer.train()

    assert len(notes.averages) == STEPS
    for index, expected in enumerate(EXPECTED["train_steps_epoch60"]):
        expected = {"GradNorm" if name == "grad_norm" else name: value for name, value in expected.items()}
        for name, value in expected.items():
            # The logger gets running averages: back to the value of this step.
            before = notes.averages[index - 1][name] * index if index else 0.0
            found = notes.averages[index][name] * (index + 1) - before
            assert found == pytest.approx(value, rel=1e-3, abs=1e-4), (index, name)

    state = net.state_dict()
    for key in (key for key in ARRAYS if key.startswith("after3/")):
        found = state[key.removeprefix("after3/")].flatten()
        expected = ARRAYS[key]
        np.testing.assert_allclose(found[: len(expected)].numpy(), expected, rtol=1e-3, atol=1e-4, err_msg=key)


def check_gradients(net):
    gradients = {name: p.grad for name, p in net.named_parameters()}
    assert [name for name, grad in gradients.items() if grad is None] == EXPECTED["no_grad_params"]
    expected = EXPECTED["clipped_grad_norms_step0"]
    found = {name: grad.norm().item() for name, grad in gradients.items() if grad is not None}
    assert found.keys() == expected.keys()
    for name, norm in found.items():
        # A bias before batch norm has no gradient but rounding errors, hence the absolute tolerance.
        assert norm == pytest.approx(expected[name], rel=1e-3, abs=1e-7), name


def test_learning_rate_changes(cfg, net):
    optimizer = build_optimizer(net, cfg)
    changes = []
    for epoch in range(1, 301):
        set_learning_rate(optimizer, lr_factor(cfg, epoch))
        rates = [group["lr"] for group in optimizer.param_groups]
        if not changes or rates != changes[-1][1]:
            changes.append([epoch, rates])
    assert changes == [[epoch, pytest.approx(rates, rel=1e-12)] for epoch, rates in EXPECTED["lr_changes"]]
