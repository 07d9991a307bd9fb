"""Whole training runs of a tiny model: checkpoints, resume, schedule, precision, errors."""

import math
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.config import load_config
from lib.config.ostrack import OSTrackConfig
from lib.models.ostrack import build_ostrack
from lib.test.evaluation.environment import EnvSettings
from lib.train import optim
from lib.train.actors.ostrack import OSTrackActor
from lib.train.admin.environment import EnvironmentSettings
from lib.train.admin.loggers import EpochStats
from lib.train.admin.settings import Settings
from lib.train.run_training import TrainOptions, pick_device, run_training
from lib.train.trainers import checkpoints, trainer
from lib.train.trainers.step import NonFiniteLossError, train_step
from lib.utils.checkpoint import load_checkpoint
from lib.utils.errors import ConfigError
from lib.vis.samples import sample_sheet
from tests.train_processes import SCRIPT, in_process


@pytest.fixture(autouse=True)
def in_this_process(tmp_path, monkeypatch):
    return in_process(tmp_path, monkeypatch)


@pytest.fixture
def tiny(tmp_path):
    return str(tmp_path / "tiny.yaml")


def run(tiny, save_dir, *overrides, **options):
    return run_training(tiny, overrides, TrainOptions(save_dir=str(save_dir), device="cpu", **options))


def configure_save_dir(out, folder):
    """Name the output folder in the user's file of paths, which :func:`in_process` looks for in ``folder``."""
    (folder / "no_local.py").write_text(f"class EnvironmentSettings:\n    save_dir = {str(out)!r}\n")


def test_run_leaves_the_published_files_and_a_checkpoint_that_loads_safely(tiny, tmp_path):
    out = tmp_path / "out"
    last = run(tiny, out)
    assert last == out / "checkpoints/train/ostrack/tiny/OSTrack_ep0004.pth.tar"
    # Every second is kept, and the two newest; the first was removed.
    assert list(checkpoints.list_checkpoints(last.parent)) == [2, 3, 4]
    state = torch.load(last, weights_only=True)
    assert (state["epoch"], state["step"]) == (4, 8)  # five samples are two steps of two
    assert (state["actor_type"], state["net_type"]) == ("OSTrackActor", "OSTrack")
    assert state["settings"]["config_name"] == "tiny"
    assert state["config"]["TRAIN"]["BATCH_SIZE"] == 2
    assert {"net", "optimizer", "scheduler", "scaler", "rng", "versions"} <= state.keys()
    train, val = state["stats"]["train"], state["stats"]["val"]
    assert [len(train[name]) for name in ("Loss/total", "Loss/giou", "Loss/l1", "Loss/location", "IoU")] == [4] * 5
    assert train["LearningRate/group0"] == pytest.approx([1e-4, 1e-4, 1e-4, 1e-5])
    assert train["LearningRate/group1"] == pytest.approx([1e-5, 1e-5, 1e-5, 1e-6])
    assert len(val["IoU"]) == 2  # epochs 3 and 4
    build_ostrack(load_config(OSTrackConfig, tiny)).load_state_dict(state["net"])
    text = (out / "logs/ostrack-tiny.log").read_text()
    assert text.count("[train: ") == 8
    assert "[val: 3, 2 / 2]" in text
    assert "ETA" in text
    assert "Loss/location" in text


def test_without_save_dir_the_files_go_where_the_tracker_looks_for_them(tiny, tmp_path, monkeypatch):
    assert EnvironmentSettings().save_dir == EnvSettings().save_dir
    configure_save_dir(tmp_path / "mine", tmp_path)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    last = run(tiny, "", "TRAIN.EPOCH=1")
    assert last == tmp_path / "mine/checkpoints/train/ostrack/tiny/OSTrack_ep0001.pth.tar" and last.is_file()
    assert (tmp_path / "mine/logs/ostrack-tiny.log").is_file() and not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize(
    "without",
    [
        ("DATA.VAL.DATASETS_NAME=[]", "DATA.VAL.DATASETS_RATIO=[]"),
        ("DATA.VAL.DATASETS_NAME=[]",),
        ("TRAIN.VAL_EPOCH_INTERVAL=0", "DATA.VAL.DATASETS_NAME=[LASOT]"),
        ("DATA.VAL.SAMPLE_PER_EPOCH=0", "DATA.VAL.DATASETS_NAME=[LASOT]"),
    ],
)
def test_training_without_validation(tiny, tmp_path, without):
    """The data sets that are not needed are not there."""
    changes = ("TRAIN.EPOCH=1", *without)
    state = torch.load(run(tiny, tmp_path / "out", *changes), weights_only=True)
    assert list(state["stats"]) == ["train"]
    text = (tmp_path / "out/logs/ostrack-tiny.log").read_text()
    assert "training without validation" in text and "[val: " not in text
    again = torch.load(run(tiny, tmp_path / "out", "TRAIN.EPOCH=2"), weights_only=True)  # now with it
    assert len(again["stats"]["val"]["IoU"]) == 1


def test_keys_without_effect_are_in_the_log(tiny, tmp_path):
    run(tiny, tmp_path / "out", "TRAIN.EPOCH=1", "DATA.VAL.DATASETS_NAME=[]", "TRAIN.DISTILL.SIZE_WEIGHT=2")
    text = (tmp_path / "out/logs/ostrack-tiny.log").read_text()
    assert text.count("TRAIN.DISTILL changes nothing without a teacher") == 1


def test_normalizing_on_the_device_trains_the_same_weights(tiny, tmp_path, monkeypatch):
    pictures = []
    monkeypatch.setattr(trainer, "sample_sheet", lambda *args: pictures.append(sample_sheet(*args)) or pictures[-1])
    paths = run(tiny, tmp_path / "a"), run(tiny, tmp_path / "b", "DATA.NORMALIZE_ON_DEVICE=true")
    expected, found = (torch.load(path, weights_only=True)["net"] for path in paths)
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
    half = len(pictures) // 2
    assert half > 0
    np.testing.assert_array_equal(pictures[:half], pictures[half:])


def test_every_forward_pass_of_a_run_has_its_precision(tiny, tmp_path, monkeypatch):
    """Steps, validation, and the picture of samples."""
    original, seen = OSTrackActor.forward, []

    def forward(self, batch, epoch):
        seen.append(torch.is_autocast_enabled("cpu"))
        return original(self, batch, epoch)

    monkeypatch.setattr(OSTrackActor, "forward", forward)
    run(tiny, tmp_path / "out", "TRAIN.AMP=bf16", "TRAIN.EPOCH=1")
    assert seen == [True] * len(seen) and len(seen) > 2


@pytest.fixture
def setting(tiny):
    cfg = load_config(OSTrackConfig, tiny, ["TRAIN.DROP_PATH_RATE=0"])
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    batch = {
        "template_images": torch.randn(1, 4, 3, 32, 32, generator=generator),
        "search_images": torch.randn(1, 4, 3, 64, 64, generator=generator),
        "template_anno": torch.tensor([0.25, 0.25, 0.5, 0.5]).expand(1, 4, 4),
        "search_anno": torch.rand(1, 4, 4, generator=generator) * 0.4 + 0.1,
        "source": [f"sample {i}" for i in range(4)],
    }
    return cfg, build_ostrack(cfg), batch


def part(batch, start, stop):
    return {key: value[start:stop] if key == "source" else value[:, start:stop] for key, value in batch.items()}


def off():
    return torch.amp.GradScaler("cpu", enabled=False)


def test_accumulated_gradient_is_that_of_the_joined_batch(setting):
    cfg, net, batch = setting
    net.eval()  # batch norm would see other batches
    actor = OSTrackActor(net, cfg)
    gradients = []
    for parts in ([batch], [part(batch, 0, 2), part(batch, 2, 4)]):
        optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
        norm = train_step(actor, parts, optimizer, off(), 1).norm
        gradients.append({name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None})
        assert norm == pytest.approx(math.sqrt(sum(g.square().sum().item() for g in gradients[-1].values())), rel=1e-4)
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-3, atol=1e-5)


def test_clipping(setting):
    cfg, net, batch = setting
    norm = train_step(OSTrackActor(net, cfg), [batch], torch.optim.SGD(net.parameters(), lr=0.0), off(), 1, 0.1).norm
    clipped = torch.stack([p.grad.norm() for p in net.parameters() if p.grad is not None]).norm().item()
    assert norm > 0.1
    assert clipped == pytest.approx(0.1, rel=1e-3)


@pytest.mark.parametrize("poison", ["search_images", "search_anno"])
def test_nan_stops_before_the_step_and_names_the_samples(setting, poison):
    cfg, net, batch = setting
    batch[poison] = batch[poison].clone()
    batch[poison][0, 2] = float("nan")
    before = {name: value.clone() for name, value in net.named_parameters()}
    with pytest.raises(NonFiniteLossError, match="Loss/total is nan"):
        train_step(OSTrackActor(net, cfg), [batch], optim.build_optimizer(net, cfg), off(), 1)
    for name, value in net.named_parameters():
        assert torch.equal(value, before[name])


def test_a_few_steps_lower_the_loss(setting):
    cfg, net, batch = setting
    net.train()
    actor, optimizer = OSTrackActor(net, cfg), torch.optim.AdamW(net.parameters(), lr=1e-3)
    totals = [train_step(actor, [batch], optimizer, off(), 1).stats["Loss/total"] for _ in range(30)]
    assert totals[-1] < 0.7 * totals[0]


def test_bf16_forward_with_float32_losses(setting):
    cfg, net, batch = setting
    net.eval()
    plain, _ = OSTrackActor(net, cfg)(batch, 1)
    mixed, stats = OSTrackActor(net, cfg, torch.bfloat16)(batch, 1)
    assert mixed.dtype == torch.float32
    assert all(value.dtype == torch.float32 for value in stats.values())
    assert mixed.item() == pytest.approx(plain.item(), rel=0.05)
    assert mixed.item() != plain.item()


def test_fp16_scaler_skips_a_step_whose_gradient_overflows(setting):
    cfg, net, batch = setting
    actor, optimizer = OSTrackActor(net, cfg, torch.float16), optim.build_optimizer(net, cfg)
    weight = net.backbone.blocks[0].attn.qkv.weight
    before = weight.detach().clone()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    outcome = train_step(actor, [batch], optimizer, scaler, 1, 0.1)
    assert outcome.skipped
    assert not math.isfinite(outcome.norm)
    assert torch.equal(weight, before)
    assert scaler.get_scale() == 2.0**39
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    outcome = train_step(actor, [batch], optimizer, scaler, 1, 0.1)
    assert not outcome.skipped
    assert math.isfinite(outcome.norm)
    assert not torch.equal(weight, before)


@pytest.mark.parametrize("head", ["CORNER", "MLP"])
def test_other_heads_train(tiny, setting, head):
    cfg = load_config(OSTrackConfig, tiny, [f"MODEL.HEAD.TYPE={head}"])
    net = build_ostrack(cfg)
    outcome = train_step(OSTrackActor(net, cfg), [setting[2]], optim.build_optimizer(net, cfg), off(), 1)
    assert outcome.stats["Loss/giou"] > 0
    assert outcome.norm > 0


def test_frozen_blocks(tiny):
    cfg = load_config(OSTrackConfig, tiny, ["TRAIN.FREEZE_LAYERS=[1]"])
    net = build_ostrack(cfg)
    groups = optim.build_optimizer(net, cfg).param_groups
    trained = {id(p) for group in groups for p in group["params"]}
    names = {name for name, p in net.named_parameters() if p.requires_grad}
    assert len(names) == len(trained)
    assert "backbone.blocks.1.attn.qkv.weight" in names
    assert "backbone.norm.weight" in names
    frozen = ("backbone.blocks.0.", "backbone.patch_embed", "backbone.pos_embed")
    assert not any(name.startswith(frozen) for name in names)


def test_frozen_parts_keep_weights_and_statistics(tiny, setting):
    frozen = "TRAIN.FREEZE_PARTS=[box_head, backbone.blocks, backbone.pos_embed_x]"  # modules, and a parameter
    cfg = load_config(OSTrackConfig, tiny, [frozen, "TRAIN.WEIGHT_DECAY=0.1"])
    net = build_ostrack(cfg)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    optimizer = optim.build_optimizer(net, cfg)
    optim.train_mode(net, cfg)
    assert net.training and net.backbone.training and not net.box_head.training
    train_step(OSTrackActor(net, cfg), [setting[2]], optimizer, off(), 1)
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert "backbone.pos_embed_z" in changed
    assert not any(name.startswith(("box_head.", "backbone.blocks.", "backbone.pos_embed_x")) for name in changed)
    for parts, message in (
        ("[boxes]", "no part 'boxes', but backbone, box_head"),
        ("[backbone, box_head]", "nothing to"),
    ):
        with pytest.raises(ConfigError, match=message):
            optim.build_optimizer(build_ostrack(cfg), load_config(OSTrackConfig, tiny, [f"TRAIN.FREEZE_PARTS={parts}"]))


def schedule(tiny, *overrides):
    cfg = load_config(OSTrackConfig, tiny, overrides)
    return lambda epoch, progress=0.0: optim.lr_factor(cfg, epoch, progress)


def test_step_and_milestone_schedules(tiny):
    factor = schedule(tiny, "TRAIN.LR_DROP_EPOCH=10", "TRAIN.SCHEDULER.DECAY_RATE=0.2")
    assert [factor(e) for e in (1, 10, 11, 20, 21)] == pytest.approx([1, 1, 0.2, 0.2, 0.04])
    factor = schedule(tiny, "TRAIN.SCHEDULER={TYPE: Mstep, MILESTONES: [5, 8], GAMMA: 0.5}")
    assert [factor(e) for e in (1, 5, 6, 8, 9)] == pytest.approx([1, 1, 0.5, 0.5, 0.25])


def test_cosine_schedule_with_fractional_warmup(tiny):
    factor = schedule(tiny, "TRAIN.EPOCH=10", "TRAIN.SCHEDULER={TYPE: cosine, WARMUP_EPOCH: 0.5}")
    assert factor(1, 0.25) == pytest.approx(0.5, abs=0.01)
    assert factor(1, 0.5) == pytest.approx(1)
    assert factor(10, 1.0) == pytest.approx(0.01)
    middle = 0.01 + 0.99 * 0.5
    assert factor(6, 0.25) == pytest.approx(middle)
    rates = [factor(e, p) for e in range(1, 11) for p in (0.5, 1.0)]
    assert rates == sorted(rates, reverse=True)


def test_precision_setting():
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert optim.amp_dtype(False, cuda) is None
    assert optim.amp_dtype(True, cpu) is optim.amp_dtype("bf16", cuda) is torch.bfloat16
    assert optim.amp_dtype(True, cuda) is optim.amp_dtype("fp16", cpu) is torch.float16


def test_several_templates_are_refused(tiny):
    cfg = load_config(OSTrackConfig, tiny, ["DATA.TEMPLATE.NUMBER=2"])
    with pytest.raises(ConfigError, match="NUMBER is 2; it must be 1"):
        OSTrackActor(build_ostrack(cfg), cfg)


def test_device_that_is_not_there():
    assert pick_device("cpu") == torch.device("cpu")
    with pytest.raises(ConfigError, match="nonsense"):
        pick_device("nonsense")
    with pytest.raises(ConfigError, match="cuda:64"):
        pick_device("cuda:64")


def test_published_class_names_and_statistics():
    settings = Settings("ostrack", config_name="x", save_dir="out")
    assert settings.checkpoint_dir == Path("out/checkpoints/train/ostrack/x")
    stats = EpochStats({"a": (1.0, 1)})
    stats.update({"a": 1.0, "b": 1.0}, 3)
    stats.add({"b": (5.0, 1)})
    assert stats.averages() == {"a": 1.0, "b": 2.0}
    assert stats.sums == {"a": (4.0, 4), "b": (8.0, 4)}


def test_wandb_offline(tiny, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    run(tiny, tmp_path, "TRAIN.EPOCH=1", use_wandb=True)
    assert list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))


class TestCommandLine:
    @pytest.fixture
    def call(self, tmp_path, monkeypatch):
        configure_save_dir(tmp_path / "output", tmp_path)

        def call(*arguments):
            monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
            with pytest.raises(SystemExit) as leave:
                runpy.run_path(str(SCRIPT), run_name="__main__")
            return leave.value.code

        return call

    def test_config_alone_and_overrides(self, call, tiny, tmp_path):
        assert call("--config", tiny, "TRAIN.EPOCH=1", "--device", "cpu", "--seed", "7", "TRAIN.LR=0.01") == 0
        state = load_checkpoint(tmp_path / "output/checkpoints/train/ostrack/tiny/OSTrack_ep0001.pth.tar")
        assert (state["config"]["TRAIN"]["SEED"], state["config"]["TRAIN"]["LR"]) == (7, 0.01)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--config", "TINY", "--mode", "multi_node", "--nnodes", "2"], "--rank None"),
            (["--config", "TINY", "--mode", "multiple", "--nproc_per_node", "2", "--nnodes", "2"], "--mode multi_node"),
            (["--config", "TINY", "--mode", "single", "--nproc_per_node", "2"], "--nproc_per_node 2 needs --mode"),
            (["--config", "TINY", "--nproc_per_node", "0"], "--nproc_per_node 0: this must be 1 or more"),
            (["--config", "TINY", "--port", "99999"], "--port 99999: this must be from 1 to 65535"),
            (["--config", "TINY", "--rank", "1"], "--nnodes and --rank need --mode multi_node"),
            (["--config", "TINY", "--distill", "1"], "--config_teacher"),
            (["--config", "TINY", "--config_teacher", "x"], "--distill 1 and --config_teacher"),
            (["--config", "TINY", "--script_prv", "ostrack"], "--config_prv"),
            (["--config", "TINY", "--blocks_prv", "0,2"], "--blocks_prv needs --config_prv"),
            (["--config", "TINY", "--script_prv", "other", "--config_prv", "x"], "unknown family"),
            (["--config", "TINY", "--script", "other"], "'other'"),
            (["--config", "TINY", "TRAIN.BATCH_SIZ=3"], "TRAIN.BATCH_SIZE"),
        ],
    )
    def test_errors_are_one_line_and_status_1(self, call, tiny, capsys, arguments, message):
        assert call(*(tiny if word == "TINY" else word for word in arguments)) == 1
        assert message in capsys.readouterr().err

    @pytest.mark.end_to_end
    def test_from_any_folder(self, tmp_path):
        command = [sys.executable, str(SCRIPT), "--config", "no_such_experiment"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 1
        assert "no_such_experiment" in done.stderr
        assert "Traceback" not in done.stderr
