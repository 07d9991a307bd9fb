"""How the transformer blocks are run in training, and by the benchmark: compiled, recomputed, in half precision."""

import copy
import importlib.util

import pytest
import torch
from torch._dynamo.utils import counters

from lib.models.layers.attention import explicit_attention
from lib.models.layers.block import Execution, run_direct, run_recomputed
from lib.models.ostrack import build_ostrack
from lib.train.actors import build_actor
from lib.train.actors.ostrack import OSTrackActor
from lib.train.optim import Ema
from tests.conftest import REPOSITORY
from tests.small_training import build, small_batch, small_config


def gradients(net, seed=3, epoch=1):
    """Loss and gradients of one step, stochastic depth drawn from ``seed``."""
    net.zero_grad()
    torch.manual_seed(seed)
    loss, _ = OSTrackActor(net, small_config())(small_batch(), epoch)
    loss.backward()
    return loss.item(), {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}


def test_recomputed_blocks_give_the_same_gradients():
    plain = build("TRAIN.DROP_PATH_RATE=0.5").train()
    options = ["TRAIN.DROP_PATH_RATE=0.5", "TRAIN.ACTIVATION_CHECKPOINTING=true"]
    saving = build(*options).train()
    assert saving.state_dict().keys() == plain.state_dict().keys()
    runs = []
    for block in saving.backbone.blocks:
        block.mlp.fc1.register_forward_hook(lambda *arguments: runs.append(torch.is_grad_enabled()))
    (loss, expected), (again, found) = gradients(plain), gradients(saving)
    assert len(runs) == 4  # forward, and once more in the backward pass
    assert again == loss
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-7)
    assert gradients(plain, seed=4)[0] != loss, "stochastic depth must have drawn something"


def test_norms_and_activations_computed_again_change_nothing():
    saving = build("TRAIN.DROP_PATH_RATE=0.5", "TRAIN.AMP=bf16").train()
    torch.manual_seed(0)
    plain = build_ostrack(small_config("TRAIN.DROP_PATH_RATE=0.5"), execution=Execution(explicit_attention)).train()
    ran = []
    for name in ("norm1", "attn.qkv", "mlp.fc1", "mlp.act", "mlp.fc2"):
        part = saving.backbone.blocks[0].get_submodule(name)
        part.register_forward_hook(lambda *arguments, name=name: ran.append(name))
    (loss, expected), (again, found) = gradients(plain), gradients(saving)
    assert again == loss and found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
    # In the backward pass up to the products, which are not computed again.
    assert ran == ["norm1", "attn.qkv", "mlp.fc1", "mlp.act", "mlp.fc2", "mlp.act", "norm1"]
    with torch.no_grad():
        batch = small_batch()
        inputs = batch["template_images"][0], batch["search_images"][0]
        assert torch.equal(saving.eval()(*inputs)["score_map"], plain.eval()(*inputs)["score_map"])
    copied = copy.deepcopy(saving).train()
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.mul_(1.5)
    assert gradients(copied)[0] != loss and gradients(saving.train())[0] == loss


def compiled(monkeypatch, backend, *overrides):
    """A network with compiled blocks, and the same one without."""
    torch._dynamo.reset()
    counters.clear()
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda *args, **options: compile_(*args, **options, backend=backend))
    return build("TRAIN.COMPILE=true", *overrides), build(*overrides)


DEEP = ("MODEL.BACKBONE.DEPTH=5", "MODEL.BACKBONE.CE_LOC=[1, 3]", "MODEL.BACKBONE.CE_KEEP_RATIO=[0.7, 0.7]",
        "TRAIN.DROP_PATH_RATE=0.3")  # fmt: skip


@pytest.mark.end_to_end
def test_changing_numbers_of_tokens_compile_nothing_anew(monkeypatch):
    net, plain = compiled(monkeypatch, "eager", *DEEP)
    batch = small_batch(8)
    images, rows = (batch["template_images"][0], batch["search_images"][0]), torch.tensor([[0]]).expand(8, -1)
    for keep in (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4):
        for model in (net, plain):
            torch.manual_seed(1)
            model.zero_grad()
            out = model.train()(*images, rows, keep)
            sum(out[name].square().sum() for name in ("score_map", "size_map", "offset_map")).backward()
        for (name, a), b in zip(net.named_parameters(), plain.parameters(), strict=True):
            if b.grad is not None:
                torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-4, msg=name)
    # Attention with and without the rows that rank, and the MLP: for all blocks and all numbers of tokens.
    assert counters["stats"]["unique_graphs"] == 3
    with torch.no_grad():
        expected, found = (model.eval()(*images, rows)["score_map"] for model in (plain, net))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert counters["stats"]["unique_graphs"] == 6
    assert net.state_dict().keys() == plain.state_dict().keys()


@pytest.mark.end_to_end
def test_a_copy_of_a_compiled_network_runs_its_own_weights(monkeypatch):
    net, other = compiled(monkeypatch, "eager")
    ema = Ema(net, 0.0)
    with torch.no_grad():
        for p in other.parameters():
            p.mul_(1.5)
    ema.update(other)
    batch = small_batch(2)
    with torch.no_grad():
        found = ema.module(batch["template_images"][0], batch["search_images"][0])["score_map"]
        expected = other.eval()(batch["template_images"][0], batch["search_images"][0])["score_map"]
        start = net.eval()(batch["template_images"][0], batch["search_images"][0])["score_map"]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert (found - start).abs().max() > 1e-4


@pytest.mark.end_to_end
def test_compiled_and_recomputed_blocks_with_the_real_compiler(monkeypatch, tmp_path):
    # The compiler's cache is shared by all programs of a user; one that was killed may have left it damaged.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    net, plain = compiled(monkeypatch, "inductor", "TRAIN.ACTIVATION_CHECKPOINTING=true", "TRAIN.DROP_PATH_RATE=0.3")
    (loss, expected), (again, found) = gradients(plain.train()), gradients(net.train())
    assert again == pytest.approx(loss, rel=1e-5)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-5, msg=name)


def test_stochastic_depth_rises_linearly_and_keeps_the_mean():
    backbone = build("MODEL.BACKBONE.DEPTH=3", "TRAIN.DROP_PATH_RATE=0.4").backbone.train()
    torch.manual_seed(0)
    for layer, rate in enumerate((0.0, 0.2, 0.4)):
        scale = backbone._draw_scale(layer, 20000, torch.device("cpu"))
        assert scale.shape == (20000, 1, 1)
        assert set(scale.flatten().tolist()) <= {0.0, torch.tensor(1 / (1 - rate)).item()}
        assert (scale == 0).float().mean().item() == pytest.approx(rate, abs=0.01)
    assert backbone.eval()._draw_scale(2, 5, torch.device("cpu")) is None


def test_a_dropped_half_leaves_its_tokens():
    block = build().backbone.blocks[0]
    x, scale = torch.randn(2, 5, 192), torch.tensor([0.0, 2.0])[:, None, None]
    for half in (lambda **option: block.attend(x, **option)[0], lambda **option: block.feed_forward(x, **option)):
        whole, scaled = half(), half(scale=scale)
        assert torch.equal(scaled[0], x[0])
        torch.testing.assert_close(scaled[1], x[1] + 2 * (whole[1] - x[1]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_all_but_the_last_layers_of_the_head_and_the_losses_is_in_half(dtype):
    net, seen = build().train(), {}
    for name in ("backbone.blocks.0.mlp.fc1", "box_head.conv1_ctr.0", "box_head.conv5_size"):
        net.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: seen.update({name: (inputs[0].dtype, output.dtype)})
        )
    loss, stats = build_actor(net, small_config(), dtype)(small_batch(), 1)
    loss.backward()
    assert seen["backbone.blocks.0.mlp.fc1"][1] == dtype
    assert seen["box_head.conv1_ctr.0"][1] == dtype
    assert seen["box_head.conv5_size"] == (torch.float32, torch.float32)
    assert loss.dtype == torch.float32 and all(value.dtype == torch.float32 for value in stats.values())
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)


# The benchmark


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench_train", REPOSITORY / "benchmarks" / "bench_train.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_variants_of_the_benchmark_start_from_the_same_loss(bench):
    cfg = small_config("TRAIN.BATCH_SIZE=2")
    plain, ours = (bench.measure(cfg, bench.VARIANTS[i], torch.device("cpu"), 1, 2, 0) for i in (0, 2))
    assert ours.loss == pytest.approx(plain.loss, rel=1e-4)
    assert plain.seconds > 0
    for found in (plain, ours):
        assert len(found.shares) == 4 and sum(found.shares) == pytest.approx(1) and min(found.shares) > 0


def test_what_a_step_keeps_in_memory_is_counted(bench):
    cpu, published, float32 = torch.device("cpu"), bench.VARIANTS[0], bench.VARIANTS[2]
    common, saving = ("TRAIN.BATCH_SIZE=2", "DATA.SEARCH.SIZE=256"), ("TRAIN.ACTIVATION_CHECKPOINTING=true",)
    plain, ours, recomputed = (
        bench.measure(small_config(*common, *more), way, cpu, 1, 2, 0)
        for way, more in ((published, ()), (float32, ()), (float32, saving))
    )
    net = build("DATA.SEARCH.SIZE=256")
    numbers = sum(parameter.numel() for parameter in net.parameters())
    unused = net.backbone.pos_embed.numel() + net.backbone.cls_token.numel()
    # Gradient and AdamW's two moments; its count of steps is one number for each tensor.
    assert plain.fixed == ours.fixed == pytest.approx(4 * (numbers + 3 * (numbers - unused)), rel=1e-3)
    # Float32 attention of two layers, two samples, three heads; instead of it, the fused kernel's values of 64 numbers.
    maps, values = (4 * 2 * 2 * 3 * (4 + 256) * width for width in (4 + 256, 64))
    assert maps - values <= plain.kept - ours.kept <= maps
    assert recomputed.kept < ours.kept < plain.kept
    assert plain.fixed < recomputed.memory < ours.memory < plain.memory


def test_what_is_computed_again_is_not_kept(bench):
    kept = []
    for run_segment in (run_direct, run_recomputed):
        net = build_ostrack(small_config("DATA.SEARCH.SIZE=256"), execution=Execution(run_segment=run_segment)).train()
        actor, batch = OSTrackActor(net, small_config("DATA.SEARCH.SIZE=256")), small_batch(2, search=256)
        kept.append(bench.memory_of(lambda actor=actor, batch=batch: actor(batch, 1), torch.device("cpu"))[0])
    rows = 2 * (4 + 256) * 192  # a number of each channel of each token, in the first three halves
    fewer = 2 * (4 + 128) * 192  # likewise after elimination, in the last
    again = 4 * (2 * rows + 5 * (rows + fewer))  # what norms give, and GELU, which is four times as wide
    assert kept[0] - kept[1] == pytest.approx(again, rel=0.01)


def test_memory_that_stays_and_the_most_at_any_moment(bench):
    weight = torch.ones(1000, requires_grad=True)

    def run():
        hidden = weight.exp()  # kept: 4,000 bytes
        for_now = hidden + 1  # not kept, but there while what follows is made
        return (for_now + hidden).sum()  # a number

    assert bench.memory_of(run, torch.device("cpu")) == (4004, pytest.approx(12000, abs=64))
