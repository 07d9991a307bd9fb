"""The inference form of the model gives what the plain model gives."""

import pytest
import torch

from lib.models.layers.attention import attention_rows, explicit_attention
from lib.models.layers.linear import PackedLinear, can_pack
from lib.models.ostrack.elimination import template_mask
from lib.models.ostrack.inference import initial_state, prepare_inference
from lib.models.ostrack.plain import PlainModel
from tests.factories import SMALL, TINY, drawn_model

TWICE = ("MODEL.BACKBONE.DEPTH=4", "MODEL.BACKBONE.CE_LOC=[1, 2]", "MODEL.BACKBONE.CE_KEEP_RATIO=[0.7, 0.6]")


def case(*overrides, batch=2):
    """An experiment, its model with running statistics as after training, and crops as bytes."""
    torch.manual_seed(1)
    cfg, model = drawn_model(TINY, [*SMALL, *TWICE, *overrides])
    template, search = (torch.randint(0, 256, (batch, size, size, 3), dtype=torch.uint8) for size in (64, 128))
    return cfg, model, template, search


def normalized(cfg, pixels):
    pixels = pixels.permute(0, 3, 1, 2).double() / 255
    mean, std = (torch.tensor(list(v), dtype=torch.float64)[:, None, None] for v in (cfg.DATA.MEAN, cfg.DATA.STD))
    return ((pixels - mean) / std).float()


@pytest.mark.parametrize("ranking", ["CTR_POINT", "GT_BOX"])
@pytest.mark.parametrize(
    "options",
    [
        (),
        ("MODEL.HEAD.CORRELATION=true",),
        ("MODEL.HEAD.TYPE=CORNER",),
        ("MODEL.HEAD.TYPE=MLP",),
        ("MODEL.BACKBONE.SEP_SEG=true",),
        ("MODEL.BACKBONE.TOKEN_TYPES=true",),
        ("MODEL.BACKBONE.MLP_RATIO=0.5",),
        ("MODEL.BACKBONE.CE_LOC=[]", "MODEL.BACKBONE.CE_KEEP_RATIO=[]"),
    ],
    ids=["center", "correlation", "corner", "mlp", "segments", "token_types", "narrow", "no_elimination"],
)
@torch.no_grad()
def test_in_float32_it_equals_the_plain_model(options, ranking):
    cfg, model, template, search = case(*options, f"MODEL.BACKBONE.CE_TEMPLATE_RANGE={ranking}")
    boxes = torch.tensor([[0.2, 0.3, 0.4, 0.5], [0.4, 0.25, 0.2, 0.5]])
    mask = template_mask(cfg, 64, 2, "cpu", boxes)
    inputs = normalized(cfg, template), normalized(cfg, search)
    expected = model(*inputs, ce_template_mask=mask, template_box=boxes)
    plain, state = PlainModel(cfg, model), initial_state(cfg, template, boxes)
    assert set(state) <= {"template", "box", "mask"}
    outputs = plain.run(plain.prepare(state), search)[0]
    for name in model.box_head.outputs:
        torch.testing.assert_close(outputs[name], expected[name], rtol=1e-5, atol=1e-5)
    for pack in (False, True):
        fast = prepare_inference(cfg, model, pack=pack)
        found, changed = fast.run(fast.prepare(state), search)
        assert changed == {} and set(found) == set(model.box_head.outputs)
        for name, value in found.items():
            torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=3e-5)


@torch.no_grad()
def test_the_model_stays_as_it_was():
    cfg, model, template, search = case()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    before = model(normalized(cfg, template), normalized(cfg, search))
    prepare_inference(cfg, model.train(), torch.bfloat16)
    assert model.training
    after = model.eval()(normalized(cfg, template), normalized(cfg, search))
    assert torch.equal(before["score_map"], after["score_map"])
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("pack", [False, True])
@torch.no_grad()
def test_in_bfloat16_all_but_the_last_layers_is_rounded(pack):
    cfg, model, template, search = case("MODEL.BACKBONE.CE_LOC=[]", "MODEL.BACKBONE.CE_KEEP_RATIO=[]")
    expected = model(normalized(cfg, template), normalized(cfg, search))
    fast = prepare_inference(cfg, model, torch.bfloat16, pack=pack)
    assert {parameter.dtype for parameter in fast.head.last.parameters()} == {torch.float32}
    assert {parameter.dtype for parameter in fast.head.branches.parameters()} == {torch.bfloat16}
    tokens = fast.embed(template, "template")
    assert tokens.dtype == torch.bfloat16
    found = fast(tokens, search)
    spread = expected["size_map"].std().item()
    error = (found["size_map"] - expected["size_map"]).abs().max().item()
    assert found["size_map"].dtype == torch.float32
    assert 0 < error < 0.5 * spread


@torch.no_grad()
def test_bytes_are_exact_in_bfloat16():
    cfg, model, template, _ = case()
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal((levels.to(torch.bfloat16) - 128).double(), levels.double() - 128)
    exact = prepare_inference(cfg, model).embed(template, "template")
    rough = prepare_inference(cfg, model, torch.bfloat16).embed(template, "template")
    assert (rough - exact).abs().mean() < 0.01 * exact.std()


def test_a_wrong_size_is_told():
    cfg, model, template, search = case()
    fast = prepare_inference(cfg, model)
    with pytest.raises(ValueError, match="the template is 128 x 128 pixels, the model was built for 64 x 64"):
        fast.embed(search, "template")
    with pytest.raises(ValueError, match="the search is 64 x 64 pixels, the model was built for 128 x 128"):
        fast(fast.embed(template, "template"), template)


@torch.no_grad()
def test_a_packed_layer_computes_what_the_layer_does():
    torch.manual_seed(0)
    assert can_pack(torch.float32) and not can_pack(torch.float64)
    linear, x = torch.nn.Linear(24, 40), torch.randn(2, 7, 24)
    torch.testing.assert_close(PackedLinear(linear)(x), linear(x), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        PackedLinear(linear, "gelu")(x), torch.nn.functional.gelu(linear(x)), rtol=1e-5, atol=1e-6
    )


def test_linear_layers_are_packed_where_they_can_be(monkeypatch):
    cfg, model, *_ = case()
    kinds = [type(module) for module in prepare_inference(cfg, model).encoder.blocks.modules()]
    assert kinds.count(PackedLinear) == 4 * 4 and torch.nn.Linear not in kinds
    monkeypatch.setattr("lib.models.layers.linear.can_pack", lambda dtype: False)
    kinds = [type(module) for module in prepare_inference(cfg, model).encoder.blocks.modules()]
    assert PackedLinear not in kinds and kinds.count(torch.nn.Linear) == 4 * 4


def test_attention_by_products_is_the_fused_one():
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 3, 9, 8).unbind(0)
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(explicit_attention(q, k, v), expected)


def test_what_all_keys_share_costs_no_precision():
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 2, 50, 16, generator=generator).bfloat16() for _ in range(3))
    k = k + 30 * torch.randn(1, 2, 1, 16, generator=generator).bfloat16()  # logits of some hundred, for all keys alike
    exact = explicit_attention(q.double(), k.double(), v.double())
    torch.testing.assert_close(
        exact, torch.nn.functional.scaled_dot_product_attention(q.double(), k.double(), v.double())
    )
    direct = ((q * 16**-0.5) @ k.transpose(-2, -1)).softmax(-1) @ v
    error, direct_error = ((found - exact).abs().mean().item() for found in (explicit_attention(q, k, v), direct))
    assert error < 0.001 < 0.004 < direct_error


def test_tokens_are_ranked_in_float32():
    generator = torch.Generator().manual_seed(0)
    q, k = (3 * torch.randn(1, 2, 40, 16, generator=generator).bfloat16() for _ in range(2))
    exact = ((q.double() * 16**-0.5) @ k.double().transpose(-2, -1)).softmax(-1)
    for rows in (slice(3, 5), torch.tensor([[3, 4]])):
        torch.testing.assert_close(attention_rows(q, k, rows).double(), exact[:, :, 3:5], rtol=1e-4, atol=1e-7)


@torch.no_grad()
def test_it_exports_whole_with_static_shapes():
    cfg, model, template, search = case(batch=1)
    fast = prepare_inference(cfg, model, pack=False)
    tokens, mask = fast.embed(template, "template"), torch.tensor([[5]])
    program = torch.export.export(fast, (tokens, search, mask))
    found, expected = program.module()(tokens, search, mask), fast(tokens, search, mask)
    assert torch.equal(found["score_map"], expected["score_map"])


@torch.no_grad()
def test_a_narrowed_model_sees_the_middle_of_what_it_was_trained_on():
    cfg, model, _, _ = case()
    side, before = model.backbone.search_grid, model.backbone.pos_embed_x.clone()
    model.backbone.set_search_size(96)
    assert (side, model.backbone.search_grid) == (8, 6)
    after = model.backbone.pos_embed_x.view(6, 6, -1)
    assert torch.equal(after, before.view(8, 8, -1)[1:7, 1:7])
    fast = prepare_inference(cfg, model)
    pixels = torch.randint(0, 256, (1, 96, 96, 3), dtype=torch.uint8)
    template = torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8)
    mask = template_mask(cfg, 64, 1, "cpu")
    expected = model(normalized(cfg, template), normalized(cfg, pixels), mask)
    found = fast(fast.embed(template, "template"), pixels)
    assert found["score_map"].shape == (1, 1, 6, 6)
    torch.testing.assert_close(found["score_map"], expected["score_map"], rtol=1e-5, atol=1e-5)
    for size in (104, 80, 112, 0):  # no multiple of the stride; another center; nothing
        with pytest.raises(ValueError, match="steps of 32"):
            model.backbone.set_search_size(size)


def test_a_widened_model_repeats_the_embeddings_at_the_edge():
    _, model, _, _ = case()
    before = model.backbone.pos_embed_x.view(8, 8, -1).clone()
    model.backbone.set_search_size(192)
    after = model.backbone.pos_embed_x.view(12, 12, -1)
    assert torch.equal(after[2:10, 2:10], before) and model.backbone.search_grid == 12
    assert torch.equal(after[:3, 5], before[:1, 3].expand(3, -1)) and torch.equal(after[11, 11], before[7, 7])
    model.backbone.set_search_size(128)
    assert torch.equal(model.backbone.pos_embed_x.view(8, 8, -1), before)
