"""Options of training: averaged weights, layer decay, precision, labels, weights of another experiment."""

import copy

import pytest
import torch
import yaml

from lib.config import to_plain
from lib.models.layers.score_map import focal_loss, gaussian_maps
from lib.models.ostrack import build_ostrack
from lib.models.ostrack.backbone import resize_position_embedding
from lib.train import optim
from lib.train.actors.ostrack import OSTrackActor
from lib.train.admin.settings import TrainOptions
from lib.train.losses import giou_loss
from lib.train.optim import Ema
from lib.train.other_experiments import load_previous
from lib.utils.checkpoint import load_checkpoint, save_checkpoint, strip_checkpoint
from lib.utils.errors import CheckpointError, ConfigError
from tests.small_training import build, small_batch, small_config

# Averaged weights


def test_ema_follows_its_formula():
    net = torch.nn.Sequential(torch.nn.Linear(1, 1, bias=False), torch.nn.BatchNorm1d(1))
    ema = Ema(net, 0.2)
    expected, decays = net[0].weight.item(), [1 / 10, 2 / 11, 0.2, 0.2]
    for step, decay in enumerate(decays):
        with torch.no_grad():
            net[0].weight.fill_(float(step + 1))
            net[1].running_mean.fill_(10.0 * (step + 1))
            net[1].num_batches_tracked.fill_(step + 1)
        ema.update(net)
        expected = decay * expected + (1 - decay) * (step + 1)
        assert ema.module[0].weight.item() == pytest.approx(expected, rel=1e-6)
    mean = 0.0
    for step, decay in enumerate(decays):
        mean = decay * mean + (1 - decay) * 10 * (step + 1)
    assert ema.module[1].running_mean.item() == pytest.approx(mean, rel=1e-6)
    assert ema.module[1].num_batches_tracked.item() == 4
    assert not ema.module.training and not ema.module[0].weight.requires_grad
    assert net.training and net[0].weight.requires_grad and net[0].weight.item() == 4


def test_ema_goes_on_from_its_state():
    net, target = build(), build(seed=1)
    whole = Ema(net, 0.999)
    for _ in range(3):
        whole.update(target)
    again = Ema(target, 0.999)
    again.load_state_dict(copy.deepcopy(whole.state_dict()))
    assert whole.state_dict()["net"].keys() == net.state_dict().keys()
    for ema in (whole, again):
        ema.update(net)
    for name, value in whole.module.state_dict().items():
        assert torch.equal(again.module.state_dict()[name], value), name


def test_stripping_takes_the_averaged_weights(tmp_path):
    net, average = build(), build(seed=1)
    ema = Ema(average, 0.9)
    full, small = tmp_path / "OSTrack_ep0003.pth.tar", tmp_path / "small.pth"
    save_checkpoint({"net": net.state_dict(), "ema": ema.state_dict(), "epoch": 3}, full)
    for wanted, model in ((True, average), (False, net)):
        strip_checkpoint(full, small, half=False, ema=wanted)
        kept = load_checkpoint(small)
        assert kept.keys() == {"net", "epoch"}
        assert all(torch.equal(kept["net"][name], value) for name, value in model.state_dict().items())
    save_checkpoint({"net": net.state_dict(), "ema": None}, full)
    with pytest.raises(CheckpointError, match="OSTrack_ep0003.pth.tar holds no averaged weights"):
        strip_checkpoint(full, small, ema=True)


# Learning rates


def rates(*overrides):
    cfg = small_config("MODEL.BACKBONE.DEPTH=3", "TRAIN.LR=0.01", "TRAIN.BACKBONE_MULTIPLIER=0.1", *overrides)
    net = build_ostrack(cfg)
    optimizer = optim.build_optimizer(net, cfg)
    rate = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    return optimizer, {name: rate.get(id(p)) for name, p in net.named_parameters()}


def test_layer_decay_gives_every_depth_its_rate():
    optimizer, rate = rates("TRAIN.LAYER_DECAY=0.5")
    expected = {"box_head.": 0.01, "backbone.norm.": 0.001, "backbone.blocks.2.": 0.0005,
                "backbone.blocks.1.": 0.00025, "backbone.blocks.0.": 0.000125, "backbone.": 0.0000625}  # fmt: skip
    for name, value in rate.items():
        wanted = next(lr for prefix, lr in expected.items() if name.startswith(prefix))
        assert value == pytest.approx(wanted, rel=1e-12), name
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx(list(expected.values()))
    optim.set_learning_rate(optimizer, 0.1)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([lr / 10 for lr in expected.values()])


def test_without_layer_decay_there_are_two_groups():
    optimizer, rate = rates()
    assert [group["lr"] for group in optimizer.param_groups] == [0.01, pytest.approx(0.001)]
    assert {name.split(".")[0]: lr for name, lr in rate.items()} == {"backbone": pytest.approx(0.001), "box_head": 0.01}
    assert optimizer.defaults["fused"] is None  # the CPU keeps the arithmetic of the published steps


def test_layer_decay_and_frozen_blocks():
    optimizer, rate = rates("TRAIN.LAYER_DECAY=0.5", "TRAIN.FREEZE_LAYERS=[1]")
    assert rate["backbone.blocks.0.attn.qkv.weight"] is None and rate["backbone.pos_embed_x"] is None
    assert rate["backbone.blocks.1.attn.qkv.weight"] == pytest.approx(0.00025)
    assert len(optimizer.param_groups) == 4


def test_tf32_is_on_only_when_asked_for(caplog):
    flags = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [flag.allow_tf32 for flag in flags]
    try:
        for wanted in (True, False):
            optim.set_precision(small_config(f"TRAIN.TF32={wanted}"), torch.device("cuda"))
            assert [flag.allow_tf32 for flag in flags] == [wanted, wanted]
        caplog.set_level("INFO")
        optim.set_precision(small_config("TRAIN.TF32=true"), torch.device("cpu"))
        assert [flag.allow_tf32 for flag in flags] == [False, False]
        assert "TRAIN.TF32 changes nothing on cpu" in caplog.text
    finally:
        for flag, value in zip(flags, before, strict=True):
            flag.allow_tf32 = value


# Classification samples


def losses(batch, net=None):
    actor = OSTrackActor((net or build()).eval(), small_config())
    batch = actor.to_device(batch)
    output = actor.forward(batch, 1)
    return actor.losses(output, batch), output


def test_samples_that_do_not_show_the_target_teach_the_score_alone():
    batch = small_batch()
    label = torch.tensor([1.0, 0.0, 1.0, 0.0])
    (total, stats), output = losses({**batch, "label": label})
    shown = [0, 2]
    boxes = batch["search_anno"][0]
    target = torch.cat((boxes[:, :2], boxes[:, :2] + boxes[:, 2:]), 1)
    c = output["pred_boxes"][:, 0]
    predicted = torch.cat((c[:, :2] - c[:, 2:] / 2, c[:, :2] + c[:, 2:] / 2), 1)
    giou, iou = giou_loss(predicted[shown], target[shown])
    l1 = (predicted[shown] - target[shown]).abs().mean()
    maps = gaussian_maps(boxes, 4)
    maps[[1, 3]] = 0
    location = focal_loss(output["score_map"], maps[:, None])
    expected = {"Loss/giou": giou, "Loss/l1": l1, "Loss/location": location, "IoU": iou.mean(),
                "Loss/total": 2 * giou + 5 * l1 + location}  # fmt: skip
    for name, value in expected.items():
        torch.testing.assert_close(stats[name], value.detach(), rtol=1e-5, atol=1e-6, msg=name)
    output["pred_boxes"].retain_grad()
    total.backward()
    gradient = output["pred_boxes"].grad[:, 0].abs().sum(1)
    assert (gradient[shown] > 0).all() and (gradient[[1, 3]] == 0).all()


def test_labels_of_one_change_nothing_and_of_zero_leave_no_box_loss():
    batch, net = small_batch(), build()
    (plain, _), _ = losses(batch, net)
    (ones, _), _ = losses({**batch, "label": torch.ones(1, 4)}, net)
    assert ones.item() == pytest.approx(plain.item(), rel=1e-6)
    (total, stats), output = losses({**batch, "label": torch.zeros(4)}, net)
    assert stats["Loss/giou"] == stats["Loss/l1"] == stats["IoU"] == 0
    assert total.item() == stats["Loss/location"].item() == pytest.approx(
        -(torch.log(1 - output["score_map"]) * output["score_map"] ** 2).sum().item(), rel=1e-5
    )  # fmt: skip


# Weights of another experiment


@pytest.fixture
def previous(tmp_path):
    """An output folder in which the experiment ``vitt_256_ce_images`` has trained for two epochs."""
    folder = tmp_path / "checkpoints/train/ostrack/vitt_256_ce_images"
    nets = {epoch: build(seed=epoch) for epoch in (1, 2)}
    for epoch, net in nets.items():
        save_checkpoint({"net": net.state_dict(), "epoch": epoch}, folder / f"OSTrack_ep{epoch:04d}.pth.tar")
    return tmp_path, nets[2]


def start(save_dir, **others):
    """Options that start from the weights of ``previous``."""
    return TrainOptions(**{"save_dir": save_dir, "config_prv": "vitt_256_ce_images", "script_prv": "ostrack"} | others)


def test_starting_from_the_newest_weights_of_another_experiment(previous, caplog):
    save_dir, source = previous
    caplog.set_level("INFO")
    larger = "MODEL.BACKBONE.DEPTH=3", "DATA.SEARCH.SIZE=96", "TEST.SEARCH_SIZE=96", "MODEL.HEAD.NUM_CHANNELS=32"
    net = build(*larger)
    before = copy.deepcopy(net.state_dict())
    load_previous(net, small_config(*larger), start(save_dir))
    after, given = net.state_dict(), source.state_dict()
    for name in ("backbone.blocks.1.attn.qkv.weight", "backbone.pos_embed_z", "backbone.norm.bias"):
        assert torch.equal(after[name], given[name]), name
    grid = given["backbone.pos_embed_x"].unflatten(1, (4, 4)).movedim(3, 1)
    resized = torch.nn.functional.interpolate(grid, (6, 6), mode="bicubic").flatten(2).transpose(1, 2)
    torch.testing.assert_close(after["backbone.pos_embed_x"], resized)
    for name in ("backbone.blocks.2.attn.qkv.weight", "box_head.conv1_ctr.0.weight"):
        assert torch.equal(after[name], before[name]), name
    assert "OSTrack_ep0002.pth.tar: loaded" in caplog.text
    assert "not in the file, left as initialized: backbone.blocks.2.*" in caplog.text
    assert "of another shape, left as initialized: box_head.conv1_ctr.0.weight" in caplog.text


def test_weights_of_another_experiment_that_cannot_be_had(previous):
    save_dir, _ = previous
    with pytest.raises(ConfigError, match="unknown family of trackers .other"):
        load_previous(build(), small_config(), start(save_dir, script_prv="other"))
    with pytest.raises(ConfigError, match="no experiment 'vitt_256'"):
        load_previous(build(), small_config(), start(save_dir, config_prv="vitt_256"))
    with pytest.raises(CheckpointError, match="no weights for vitb_384_mae_ce_32x4_ep300"):
        load_previous(build(), small_config(), start(save_dir, config_prv="vitb_384_mae_ce_32x4_ep300"))
    newest = save_dir / "checkpoints/train/ostrack/vitt_256_ce_images/OSTrack_ep0003.pth.tar"
    save_checkpoint({"net": {"conv.weight": torch.zeros(3)}}, newest)
    with pytest.raises(CheckpointError, match="OSTrack_ep0003.pth.tar holds nothing that the model knows"):
        load_previous(build(), small_config(), start(save_dir))


def test_starting_from_some_blocks_of_another_experiment(previous):
    save_dir, source = previous
    given, blocks = source.state_dict(), "backbone.blocks"
    one = "MODEL.BACKBONE.DEPTH=1", "MODEL.BACKBONE.CE_LOC=[]", "MODEL.BACKBONE.CE_KEEP_RATIO=[]"
    net = build(*one)
    load_previous(net, small_config(*one), start(save_dir, blocks_prv=(1,)))
    after = net.state_dict()
    assert not torch.equal(given[f"{blocks}.0.attn.qkv.weight"], given[f"{blocks}.1.attn.qkv.weight"])
    for name in ("attn.qkv.weight", "attn.proj.bias", "mlp.fc2.weight"):
        assert torch.equal(after[f"{blocks}.0.{name}"], given[f"{blocks}.1.{name}"]), name
    assert torch.equal(after["box_head.conv1_ctr.0.weight"], given["box_head.conv1_ctr.0.weight"])
    turned = build()
    load_previous(turned, small_config(), start(save_dir, blocks_prv=(1, 0)))
    for old, new in ((0, 1), (1, 0)):
        assert torch.equal(turned.state_dict()[f"{blocks}.{new}.norm1.weight"], given[f"{blocks}.{old}.norm1.weight"])
    for wrong in ((0,), (0, 2), (0, -1)):
        with pytest.raises(ConfigError, match="--blocks_prv 0.*: name 2 blocks, .* of 0 to 1"):
            load_previous(build(), small_config(), start(save_dir, blocks_prv=wrong))


def test_starting_in_the_middle_of_larger_search_regions_at_about_the_same_scale(tmp_path):
    larger = small_config("DATA.SEARCH.SIZE=128", "TEST.SEARCH_SIZE=128", "DATA.SEARCH.FACTOR=8.0")
    path = tmp_path / "larger.yaml"
    path.write_text(yaml.safe_dump(to_plain(larger)))
    source = build("DATA.SEARCH.SIZE=128", "TEST.SEARCH_SIZE=128").state_dict()
    folder = tmp_path / "checkpoints/train/ostrack/larger"
    save_checkpoint({"net": source, "epoch": 1}, folder / "OSTrack_ep0001.pth.tar")
    net, other = build(seed=1), build(seed=1)
    load_previous(net, small_config("DATA.SEARCH.FACTOR=4.1"), start(tmp_path, config_prv=str(path)))
    load_previous(other, small_config("DATA.SEARCH.FACTOR=5.0"), start(tmp_path, config_prv=str(path)))  # another scale
    state = net.state_dict()
    middle = source["backbone.pos_embed_x"].unflatten(1, (8, 8))[:, 2:6, 2:6].flatten(1, 2)
    assert torch.equal(state["backbone.pos_embed_x"], middle)
    resized = resize_position_embedding(source["backbone.pos_embed_x"], 4)
    assert torch.equal(other.state_dict()["backbone.pos_embed_x"], resized)
    assert torch.equal(state["box_head.conv1_ctr.0.weight"], source["box_head.conv1_ctr.0.weight"])


def test_token_types_learn_at_the_rate_of_the_head():
    cfg = small_config("MODEL.BACKBONE.TOKEN_TYPES=true", "TRAIN.LAYER_DECAY=0.5", "TRAIN.LR=0.01")
    net = build("MODEL.BACKBONE.TOKEN_TYPES=true")
    head, *others = optim.parameter_groups(net, cfg)
    assert head["lr"] == 0.01
    types = {id(parameter) for parameter in net.backbone.token_types.parameters()}
    assert len(types) == 3 and types <= {id(parameter) for parameter in head["params"]}
    assert not types & {id(parameter) for group in others for parameter in group["params"]}
