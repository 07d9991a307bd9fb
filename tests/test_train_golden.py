"""Losses, optimiser steps and schedule of the published system, through the actor and the trainer's own step."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.config.ostrack import load_config
from lib.models.ostrack import build_ostrack
from lib.train.actors.ostrack import OSTrackActor
from lib.train.losses import gaussian_maps
from lib.train.optim import build_optimizer, lr_factor, set_learning_rate
from lib.train.trainers.step import eval_step, train_step
from tests.golden.fixtures import fill_state_dict, image_batch

GOLDEN = Path(__file__).parent / "golden"
EXPECTED = json.loads((GOLDEN / "train.json").read_text())
ARRAYS = np.load(GOLDEN / "train.npz")
CONFIG = "vitb_256_mae_ce_32x4_ep300"


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
    return load_config(CONFIG, ["TRAIN.DROP_PATH_RATE=0"])


@pytest.fixture(scope="module")
def net(cfg):
    return build_ostrack(cfg)


@pytest.fixture(scope="module")
def weights(net):
    return fill_state_dict(net.state_dict())


@pytest.fixture
def actor(cfg, net, weights):
    net.load_state_dict(weights)
    return OSTrackActor(net, cfg)


def assert_stats(stats, expected):
    assert set(stats) == {"Loss/total", "Loss/giou", "Loss/l1", "Loss/location", "IoU"}
    for name, value in stats.items():
        assert value == pytest.approx(expected[name], rel=1e-3, abs=1e-4), name


def test_target_maps(batch):
    maps = gaussian_maps(batch["search_anno"][0], 16)
    np.testing.assert_allclose(maps.numpy(), ARRAYS["heatmap"], atol=1e-4)


def test_losses_in_eval_mode_at_several_epochs(actor, batch):
    actor.net.eval()
    for key in (key for key in EXPECTED if key.startswith("eval_mode_epoch_")):
        assert_stats(eval_step(actor, batch, int(key.rpartition("_")[2])), EXPECTED[key])


def test_three_optimiser_steps(actor, batch):
    actor.net.train()
    optimizer = build_optimizer(actor.net, actor.cfg)
    groups = [
        {"n": len(group["params"]), "lr": group["lr"], "wd": group["weight_decay"]} for group in optimizer.param_groups
    ]
    assert groups == [{**group, "lr": pytest.approx(group["lr"])} for group in EXPECTED["param_groups"]]

    scaler = torch.amp.GradScaler("cpu", enabled=False)
    for index, expected in enumerate(EXPECTED["train_steps_epoch60"]):
        stats, norm = train_step(actor, [batch], optimizer, scaler, 60, actor.cfg.TRAIN.GRAD_CLIP_NORM)
        assert_stats(stats, expected)
        assert norm == pytest.approx(expected["grad_norm"], rel=1e-3)
        if index == 0:
            check_gradients(actor.net)

    state = actor.net.state_dict()
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
    for epoch in range(1, cfg.TRAIN.EPOCH + 1):
        set_learning_rate(optimizer, lr_factor(cfg, epoch))
        rates = [group["lr"] for group in optimizer.param_groups]
        if not changes or rates != changes[-1][1]:
            changes.append([epoch, rates])
    assert changes == [[epoch, pytest.approx(rates, rel=1e-12)] for epoch, rates in EXPECTED["lr_changes"]]
