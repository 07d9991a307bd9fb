"""Narrowing the MLPs of a trained model."""

import shlex

import pytest
import torch
from torch import nn

from lib.config import ExperimentConfig
from lib.models.layers.block import Block
from lib.models.ostrack import build_ostrack
from lib.models.weights import load_weights
from lib.train import pruning
from lib.train.admin.environment import EnvironmentSettings
from lib.train.pruning import narrow_mlps
from lib.utils.checkpoint import load_checkpoint, save_checkpoint
from lib.utils.errors import CheckpointError, ConfigError
from tests.factories import run_command
from tests.small_training import SMALL, small_config


@pytest.fixture
def blocks():
    """Two blocks of width 16 with MLPs of 64 neurons, and 400 tokens."""
    torch.manual_seed(3)
    return nn.Sequential(Block(16, 2), Block(16, 2)), torch.randn(4, 100, 16)


@torch.no_grad()
def narrowed(model, tokens, hidden):
    """The outputs of ``model`` before and after it is narrowed."""
    before = model(tokens)
    narrow_mlps(model, hidden, lambda: model(tokens))
    assert (
        [block.mlp.fc1.out_features for block in model]
        == [block.mlp.fc2.in_features for block in model]
        == [hidden] * 2
    )
    return before, model(tokens)


def test_neurons_that_never_change_are_dropped_and_the_bias_takes_over(blocks):
    model, tokens = blocks
    kept = torch.arange(0, 64, 2)
    with torch.no_grad():
        for block in model:
            block.mlp.fc1.weight[1::2] = 0  # these give the same for every token
            block.mlp.fc1.bias[1::2] = 2
    weights = [block.mlp.fc1.weight[kept].clone() for block in model]
    before, after = narrowed(model, tokens, 32)
    torch.testing.assert_close(after, before, atol=1e-4, rtol=0)
    assert all(torch.equal(block.mlp.fc1.weight, weight) for block, weight in zip(model, weights, strict=True))


def test_of_neurons_that_do_the_same_one_takes_over(blocks, monkeypatch):
    monkeypatch.setattr(pruning, "RIDGE", 1e-9)
    model, tokens = blocks
    with torch.no_grad():
        for block in model:
            block.mlp.fc1.weight[32:] = block.mlp.fc1.weight[:32]
            block.mlp.fc1.bias[32:] = block.mlp.fc1.bias[:32]
    before, after = narrowed(model, tokens, 32)
    torch.testing.assert_close(after, before, atol=1e-3, rtol=0)


def test_chosen_and_fitted_neurons_are_better_than_the_first_ones(blocks):
    model, tokens = blocks
    with torch.no_grad():
        for block in model:
            block.mlp.fc1.weight.mul_(3)
    first = nn.Sequential(Block(16, 2, mlp_hidden=32), Block(16, 2, mlp_hidden=32))
    own = first.state_dict()
    state = model.state_dict()
    first.load_state_dict({name: state[name][tuple(slice(n) for n in value.shape)] for name, value in own.items()})
    before, after = narrowed(model, tokens, 32)
    error, naive = ((other - before).square().mean().item() for other in (after, first(tokens)))
    assert 0 < error < 0.2 * naive


DRAWN = (*SMALL, "MODEL.PRETRAIN_FILE=''", "DATA.TRAIN.DATASETS_NAME=[IMAGES]", "DATA.TRAIN.DATASETS_RATIO=[1]",
         "TRAIN.NUM_WORKER=0", "TRAIN.BATCH_SIZE=4")  # fmt: skip


def test_the_command_makes_weights_to_train_from(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pruning, "env_settings", EnvironmentSettings)
    source = build_ostrack(small_config("MODEL.BACKBONE.DEPTH=3"))
    folder = tmp_path / "checkpoints/train/ostrack/vitt_256_ce_images"
    save_checkpoint({"net": source.state_dict(), "epoch": 1}, folder / "OSTrack_ep0001.pth.tar")
    out = tmp_path / "narrow.pth"
    words = [
        "--config",
        "vitt_256_ce_images",
        "--config_prv",
        "vitt_256_ce_images",
        "--blocks_prv",
        "0,2",
        "--out",
        out,
    ]
    ratio = "MODEL.BACKBONE.MLP_RATIO=0.503"  # 96.6 neurons
    words += ["--save_dir", tmp_path, "--device", "cpu", "--samples", 8, *DRAWN, ratio]
    run_command(monkeypatch, "prune", words)
    following = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert following[-2:] == [ratio, f"MODEL.PRETRAIN_FILE={out}"]
    assert {"--save_dir", str(tmp_path), "--config_teacher", "vitt_256_ce_images"} <= set(following)
    narrow = build_ostrack(small_config(ratio))
    load_weights(narrow, out)
    state, given = narrow.state_dict(), source.state_dict()
    assert state["backbone.blocks.1.mlp.fc1.weight"].shape == (97, 192)
    rows = {tuple(row.tolist()) for row in given["backbone.blocks.2.mlp.fc1.weight"]}
    assert {tuple(row.tolist()) for row in state["backbone.blocks.1.mlp.fc1.weight"]} < rows
    assert torch.equal(state["backbone.blocks.1.attn.qkv.weight"], given["backbone.blocks.2.attn.qkv.weight"])
    assert load_checkpoint(out)["config"]["MODEL"]["BACKBONE"]["MLP_RATIO"] == 0.503


def test_an_experiment_with_wider_mlps_is_refused(tmp_path, monkeypatch):
    words = ["--config", "vits_192", "--config_prv", "vits_160", "--out", tmp_path / "out.pth"]
    with pytest.raises(
        ConfigError,
        match=r"vits_192 has 1536 neurons in each MLP \(MODEL.BACKBONE.MLP_RATIO\), vits_160 has 336: nothing",
    ):
        run_command(monkeypatch, "prune", words)


def test_what_cannot_be_done_is_said_before_the_work(tmp_path, monkeypatch):
    words = ["--config", "vits_160", "--config_prv", "vits_192", "--out"]
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="checkpoint .*out.pth.probe cannot be written"):
        run_command(monkeypatch, "prune", [*words, tmp_path / "file/out.pth"])
    with pytest.raises(ConfigError, match="--samples 0: this must be 1 or more"):
        run_command(monkeypatch, "prune", [*words, tmp_path / "out.pth", "--samples", 0])


def test_a_family_without_narrow_mlps_is_refused():
    cfg = ExperimentConfig()
    with pytest.raises(ConfigError, match="has no MODEL.BACKBONE.MLP_RATIO to narrow"):
        pruning._mlp_hidden(cfg)
