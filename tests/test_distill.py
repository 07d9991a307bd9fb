"""Learning from a teacher."""

import pytest
import torch
import yaml

from lib.models.ostrack import build_ostrack
from lib.train.actors import build_actor
from lib.train.losses import quality_focal_loss, weighted_l1_loss
from lib.train.other_experiments import load_teacher
from lib.utils.checkpoint import save_checkpoint
from lib.utils.errors import CheckpointError, ConfigError
from tests.small_training import SMALL, small_batch, small_config

MAPS = ("score_map", "size_map", "offset_map")
NAMES = ("Loss/distill_score", "Loss/distill_size", "Loss/distill_offset")


def teacher(*overrides):
    """A teacher whose maps say something: scores, sizes and offsets that differ from cell to cell."""
    torch.manual_seed(5)
    cfg = small_config("MODEL.BACKBONE.DEPTH=3", *overrides)
    net = build_ostrack(cfg)
    with torch.no_grad():
        for name in ("ctr", "size", "offset"):
            net.box_head.get_submodule(f"conv5_{name}").weight.mul_(3)
        net.box_head.conv5_ctr.bias.fill_(-2)
    return build_actor(net.eval().requires_grad_(False), cfg)


def student_actor(cfg, taught=None):
    torch.manual_seed(6)
    return build_actor(build_ostrack(cfg), cfg, teacher=taught)


def test_losses_against_values_by_hand():
    score, target = torch.tensor([[0.2, 0.5], [0.9, 0.3]]), torch.tensor([[0.2, 1.0], [0.4, 0.3]])
    log = torch.log
    by_hand = 0.25 * -log(torch.tensor(0.5)) + 0.25 * -(0.4 * log(torch.tensor(0.9)) + 0.6 * log(torch.tensor(0.1)))
    assert quality_focal_loss(score, target).item() == pytest.approx(by_hand.item() / 2, rel=1e-5)
    predicted, wanted = torch.zeros(1, 2, 1, 2), torch.tensor([[[[1.0, 4.0]], [[3.0, 8.0]]]])
    weight = torch.tensor([[[[0.75, 0.25]]]])
    assert weighted_l1_loss(predicted, wanted, weight).item() == pytest.approx(0.75 * 2 + 0.25 * 6)


def test_total_is_the_usual_one_plus_the_weighted_three():
    cfg = small_config("TRAIN.DISTILL.SCORE_WEIGHT=2", "TRAIN.DISTILL.SIZE_WEIGHT=3", "TRAIN.DISTILL.OFFSET_WEIGHT=4")
    taught, batch = teacher(), small_batch()
    plain, distilled = student_actor(cfg), student_actor(cfg, taught)
    for actor in (plain, distilled):
        actor.net.eval()
    usual, stats = plain(batch, 1)
    total, more = distilled(batch, 1)
    assert list(more) == [*stats, *NAMES]
    assert all(more[name] == stats[name] for name in stats if name != "Loss/total")
    assert all(more[name] > 0 for name in NAMES)
    wanted = usual + sum(weight * more[name] for weight, name in zip((2, 3, 4), NAMES, strict=True))
    assert total.item() == more["Loss/total"].item() == pytest.approx(wanted.item(), rel=1e-6)
    total.backward()
    assert all(p.grad is None for p in taught.net.parameters())


def test_a_student_that_is_its_teacher_has_nothing_to_learn():
    cfg = small_config()
    actor = student_actor(cfg)
    actor = build_actor(actor.net.eval(), cfg, teacher=actor)
    stats = actor(small_batch(), 1)[1]
    assert [stats[name].item() for name in NAMES] == pytest.approx([0, 0, 0], abs=1e-7)


def test_the_teacher_keeps_tokens_by_its_own_ratio():
    batch = small_batch()
    for ratio, left in ((0.25, 12), (1.0, 0)):
        taught = teacher("MODEL.BACKBONE.DEPTH=3", f"MODEL.BACKBONE.CE_KEEP_RATIO=[{ratio}]")
        seen = []
        taught.net.register_forward_hook(lambda m, i, out, seen=seen: seen.append(out["removed_indexes_s"]))
        student_actor(small_config("TRAIN.CE_START_EPOCH=9"), taught)(batch, 1)  # the student keeps all at epoch 1
        assert sum(removed.shape[1] for removed in seen[0]) == left


def test_distillation_brings_the_student_nearer_to_the_teacher():
    taught, batch = teacher(), small_batch()
    with torch.no_grad():
        expected = taught.net(batch["template_images"][0], batch["search_images"][0])
    runs = []
    for weight in (0, 20):
        keys = ("SCORE_WEIGHT", "SIZE_WEIGHT", "OFFSET_WEIGHT")
        actor = student_actor(small_config(*(f"TRAIN.DISTILL.{key}={weight}" for key in keys)), taught)
        optimizer = torch.optim.AdamW(actor.net.parameters(), lr=3e-3)
        for _ in range(40):
            optimizer.zero_grad()
            actor(batch, 1)[0].backward()
            optimizer.step()
        with torch.no_grad():
            output = actor.forward(batch, 1)
            stats = actor.losses(output, batch)[1]
        distances = [(output[name] - expected[name]).abs().mean().item() for name in MAPS]
        runs.append((distances, [stats[name].item() for name in NAMES]))
    (far, large), (near, small) = runs
    assert all(a < 0.9 * b for a, b in zip(near, far, strict=True)), (near, far)
    assert all(a < 0.7 * b for a, b in zip(small, large, strict=True)), (small, large)


@pytest.fixture
def experiment(tmp_path):
    """Writes a teacher's experiment file and its trained weights, and returns the file."""

    def write(*overrides):
        path = tmp_path / "teacher.yaml"
        nested = {}
        for text in (*SMALL, "MODEL.PRETRAIN_FILE=''", "MODEL.BACKBONE.TYPE=vit_tiny_patch16_224_ce", "TEST.EPOCH=7",
                     "DATA.SEARCH.FACTOR=4.0", *overrides):  # fmt: skip
            key, _, value = text.partition("=")
            table = nested
            for part in key.split(".")[:-1]:
                table = table.setdefault(part, {})
            table[key.rpartition(".")[2]] = yaml.safe_load(value)
        path.write_text(yaml.safe_dump(nested))
        return path

    return write


def test_loading_a_teacher(experiment, tmp_path):
    path = experiment("MODEL.HEAD.NUM_CHANNELS=8")
    net = build_ostrack(small_config("MODEL.HEAD.NUM_CHANNELS=8"))
    with pytest.raises(CheckpointError, match="no weights for teacher: put them at .*OSTrack_ep0007.pth.tar"):
        load_teacher(path, tmp_path, small_config(), "cpu")
    save_checkpoint({"net": net.state_dict()}, tmp_path / "checkpoints/train/ostrack/teacher/OSTrack_ep0007.pth.tar")
    taught = load_teacher(str(path), tmp_path, small_config(), "cpu")
    assert not taught.net.training and not any(p.requires_grad for p in taught.net.parameters())
    assert taught.cfg.MODEL.HEAD.NUM_CHANNELS == 8
    for name, value in net.state_dict().items():
        assert torch.equal(taught.net.state_dict()[name], value)
    assert student_actor(small_config(), taught)(small_batch(), 1)[1]["Loss/distill_size"] > 0


@pytest.mark.parametrize(
    ("teaching", "learning", "message"),
    [
        (["DATA.SEARCH.SIZE=96", "TEST.SEARCH_SIZE=96"], [], "its DATA.SEARCH.SIZE / FACTOR is 24, the student's 16"),
        ([], ["DATA.TEMPLATE.FACTOR=3.0"], "its DATA.TEMPLATE.FACTOR is 2.0, the student's 3.0"),
        (["MODEL.BACKBONE.STRIDE=8"], [], "its MODEL.BACKBONE.STRIDE is 8, the student's 16"),
        (["MODEL.HEAD.TYPE=CORNER"], [], "of the teacher teacher is CORNER"),
        ([], ["MODEL.HEAD.TYPE=CORNER"], "of the student is CORNER"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused(experiment, tmp_path, teaching, learning, message):
    with pytest.raises(ConfigError, match=message):
        load_teacher(experiment(*teaching), tmp_path, small_config(*learning), "cpu")


def test_a_teacher_of_larger_search_regions_sees_their_middle(experiment, tmp_path):
    larger = "DATA.SEARCH.SIZE=128", "TEST.SEARCH_SIZE=128"  # at 16 pixels for a target's side, as the student's 64 / 4
    path = experiment(*larger, "DATA.SEARCH.FACTOR=8.0", "MODEL.BACKBONE.CE_TEMPLATE_RANGE=CTR_POINT")
    net = build_ostrack(small_config(*larger)).eval()
    save_checkpoint({"net": net.state_dict()}, tmp_path / "checkpoints/train/ostrack/teacher/OSTrack_ep0007.pth.tar")
    taught, batch = load_teacher(path, tmp_path, small_config(), "cpu"), small_batch()
    middle = net.backbone.pos_embed_x.unflatten(1, (8, 8))[:, 2:6, 2:6].flatten(1, 2)
    assert torch.equal(taught.net.backbone.pos_embed_x, middle)
    actor = student_actor(small_config(), taught)
    actor.net.load_state_dict(taught.net.state_dict())
    actor.net.eval()
    stats = actor(batch, 1)[1]
    maps = taught.forward(batch, None)  # its sizes are fractions of 128 pixels, the student's of 64
    expected = weighted_l1_loss(maps["size_map"], 2 * maps["size_map"], maps["score_map"])
    assert stats["Loss/distill_size"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert stats["Loss/distill_score"].item() == pytest.approx(0, abs=1e-7)
    cfg = small_config("DATA.SEARCH.SIZE=48", "TEST.SEARCH_SIZE=48", "DATA.SEARCH.FACTOR=3.0")
    with pytest.raises(ConfigError, match="teacher cannot take search regions of 48 pixels: .* in steps of 32"):
        load_teacher(path, tmp_path, cfg, "cpu")


def test_tokens_are_learned_where_they_have_a_weight():
    taught, batch = teacher(), small_batch()
    cfg = small_config("TRAIN.DISTILL.FEATURE_WEIGHT=5")
    plain, learning = student_actor(small_config(), taught), student_actor(cfg, taught)
    learning.net.load_state_dict(plain.net.state_dict())
    for actor in (plain, learning):
        actor.net.eval()
    usual, _ = plain(batch, 1)
    total, stats = learning(batch, 1)
    ours, theirs = (actor.forward(batch, None)["backbone_feat"] for actor in (learning, taught))
    by_hand = ((ours - theirs) ** 2).mean() / (theirs**2).mean()
    assert stats["Loss/distill_feature"].item() == pytest.approx(by_hand.item(), rel=1e-5)
    assert total.item() == pytest.approx(usual.item() + 5 * by_hand.item(), rel=1e-5)
    wide = small_config("TRAIN.DISTILL.FEATURE_WEIGHT=5", "MODEL.BACKBONE.TYPE=vit_small_patch16_224_ce")
    with pytest.raises(ConfigError, match=r"FEATURE_WEIGHT: the tokens are \(20, 384\), the teacher's \(20, 192\)"):
        student_actor(wide, taught)(batch, 1)
