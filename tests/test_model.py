"""The model against the published one, and what the published one could not do."""

from functools import cache

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lib.config import load_config
from lib.config.ostrack import OSTrackConfig
from lib.models.layers.candidate_elimination import box_mask, central_tokens
from lib.models.ostrack import build_ostrack
from lib.models.ostrack.elimination import keep_rate, template_mask
from lib.models.ostrack.ostrack import head_features
from tests.factories import reference_model
from tests.golden.fixtures import image_batch

TINY = "vitt_256_ce_images"
CE_256 = "vitb_256_mae_ce_32x4_ep300"


@pytest.fixture(scope="module")
def filled():
    """Published models with the reference weights, built once each."""
    return cache(lambda name: reference_model(name)[1])


def tiny_model(*overrides):
    torch.manual_seed(0)
    return build_ostrack(load_config(OSTrackConfig, TINY, ["MODEL.BACKBONE.DEPTH=4", "MODEL.BACKBONE.CE_LOC=[1, 2]",
                                            "MODEL.BACKBONE.CE_KEEP_RATIO=[0.7, 0.7]", *overrides])).eval()  # fmt: skip


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("vitb_256_mae_32x4_ep300", []),
        ("vitb_256_mae_ce_32x4_ep300", []),
        ("vitb_256_mae_ce_32x4_got10k_ep100", []),
        ("vitb_384_mae_32x4_ep300", []),
        ("vitb_384_mae_ce_32x4_ep300", []),
        ("vitb_384_mae_ce_32x4_got10k_ep100", []),
        ("vit_large_256_ce", ["MODEL.BACKBONE.TYPE=vit_large_patch16_224_ce", "MODEL.BACKBONE.CE_LOC=[6, 12, 18]"]),
        ("vitb_256_sepseg_central", ["MODEL.BACKBONE.SEP_SEG=true", "MODEL.BACKBONE.CAT_MODE=template_central"]),
    ],
)
def test_names_and_shapes_are_the_published_ones(name, overrides, golden):
    with torch.device("meta"):
        state = build_ostrack(load_config(OSTrackConfig, CE_256 if overrides else name, overrides)).state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == golden("state_dict_shapes.json")[name]


# (config, case, batch, template range or None, keep rate)
REFERENCES = [
    (CE_256, "ctr_point_b1", 1, "CTR_POINT", None),
    (CE_256, "ctr_point_b2", 2, "CTR_POINT", None),
    (CE_256, "ctr_rec_b2", 2, "CTR_REC", None),
    (CE_256, "gt_box_b1", 1, "GT_BOX", None),
    (CE_256, "all_b2_keep085", 2, None, 0.85),
    (CE_256, "all_b2_keep1", 2, None, 1.0),
    ("vitb_384_mae_ce_32x4_ep300", "ctr_point_b1", 1, "CTR_POINT", None),
    ("vitb_256_mae_32x4_ep300", "b1", 1, None, None),
]


@pytest.mark.parametrize(
    ("reference", "as_indices"),
    [(row, True) for row in REFERENCES] + [(row, False) for row in REFERENCES if row[3] in ("CTR_POINT", "CTR_REC")],
)
def test_forward_equals_the_published_one(reference, as_indices, filled, golden):
    """With the template tokens given as their indices, and as a mask."""
    config, case, batch, template_range, keep = reference
    model, cfg, mask = filled(config), load_config(OSTrackConfig, config), None
    template_size = cfg.DATA.TEMPLATE.SIZE
    if template_range:
        chosen = load_config(OSTrackConfig, config, [f"MODEL.BACKBONE.CE_TEMPLATE_RANGE={template_range}"])
        boxes = torch.tensor([[0.2, 0.3, 0.4, 0.35]]).expand(batch, -1)
        mask = template_mask(chosen, template_size, batch, "cpu", boxes)
        if not as_indices:
            mask = torch.zeros(batch, (template_size // 16) ** 2, dtype=torch.bool).scatter(1, mask, True)
    seeds = (1, 2) if batch == 1 else (3, 4)
    with torch.no_grad():
        out = model(
            image_batch(seeds[0], batch, template_size), image_batch(seeds[1], batch, cfg.DATA.SEARCH.SIZE), mask, keep
        )
    reference = golden("model_eval.npz")
    prefix = f"{config}/{case}/"
    for name in ("score_map", "size_map", "offset_map", "pred_boxes"):
        np.testing.assert_allclose(out[name], reference[prefix + name], atol=1e-4, err_msg=name)
    features = out["backbone_feat"]
    assert list(features.shape) == reference[prefix + "backbone_feat_shape"].tolist()
    np.testing.assert_allclose(features[:, ::29, ::61], reference[prefix + "backbone_feat_sub"], atol=1e-4)
    removed = [reference[key] for key in sorted(reference) if key.startswith(prefix + "removed_")]
    assert len(out["removed_indexes_s"]) == len(removed)
    for ours, theirs in zip(out["removed_indexes_s"], removed, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_template_masks(golden):
    geometry = golden("geometry.npz")
    for kind in ("CTR_POINT", "CTR_REC"):
        for size in (128, 192):
            expected = np.flatnonzero(geometry[f"mask_{kind}_{size}"][0])
            assert central_tokens(size // 16, point=kind == "CTR_POINT").tolist() == expected.tolist()
    box = box_mask(torch.tensor([[0.2, 0.3, 0.4, 0.35]]), 128, 8)
    np.testing.assert_array_equal(box, golden("model_eval.npz")[f"{CE_256}/gt_box_mask"])


@pytest.mark.parametrize(("grid", "point", "rows"), [(7, 3, [3]), (8, 3, [3, 4]), (14, 6, [6, 7]), (10, 4, [4, 5])])
def test_quirk_the_central_token_is_up_and_left_of_the_center(grid, point, rows):
    assert central_tokens(grid, point=True).tolist() == [point * grid + point]
    assert central_tokens(grid, point=False).tolist() == [y * grid + x for y in rows for x in rows]


def test_a_tiny_box_still_ranks_by_the_center():
    assert box_mask(torch.tensor([[0.5, 0.5, 0.001, 0.001]]), 128, 8).nonzero()[:, 1].tolist() == [27]


@pytest.mark.parametrize("name", [CE_256, "vitb_256_mae_ce_32x4_got10k_ep100", "vitb_384_mae_ce_32x4_ep300",
                                  "vitb_384_mae_ce_32x4_got10k_ep100"])  # fmt: skip
def test_keep_rate_schedule(name, golden):
    cfg = load_config(OSTrackConfig, name)
    for epoch, rate in enumerate(golden("keep_rate_schedule.json")[name], start=1):
        assert keep_rate(cfg, epoch) == pytest.approx(rate, abs=1e-12)


def test_ranking_computes_only_the_rows_it_needs(golden):
    """FLOPs of the whole model: the published ones, less the template rows that CE no longer forms."""
    model = reference_model(CE_256)[1]
    images = torch.zeros(1, 3, 128, 128), torch.zeros(1, 3, 256, 256)

    def flops(mask):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(*images, ce_template_mask=mask)
        return counter.get_total_flops() / 1e9

    published = golden("profile.json")[CE_256]["flop_counter_gflops"]
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        one_row, all_rows = flops(torch.tensor([[27]])), flops(None)
    assert all_rows == pytest.approx(published, rel=0.003)
    row = 2 * 768 * (320 + 244 + 190) / 1e9  # one query against all keys at each CE layer
    assert one_row == pytest.approx(published + row, rel=1e-4)
    assert all_rows - one_row == pytest.approx(63 * row, rel=1e-3)


def test_recovery_when_a_single_layer_removes_nothing():
    """The published code crashes here: its list of removed tokens has a hole."""
    model = tiny_model("MODEL.BACKBONE.CE_KEEP_RATIO=[1.0, 0.5]")
    with torch.no_grad():
        out = model(image_batch(1, 2, 128), image_batch(2, 2, 256))
    assert [tuple(r.shape) for r in out["removed_indexes_s"]] == [(2, 128)]
    search = out["backbone_feat"][:, 64:]
    for sample in range(2):
        zero = (search[sample] == 0).all(-1).nonzero()[:, 0]
        assert zero.tolist() == sorted(out["removed_indexes_s"][0][sample].tolist())


def test_gt_box_masks_of_different_sizes_share_a_batch():
    model = tiny_model()
    boxes = torch.tensor([[0.2, 0.2, 0.6, 0.6], [0.45, 0.4, 0.1, 0.2]])
    mask = box_mask(boxes, 128, 8)
    assert mask[0].sum() != mask[1].sum()
    template, search = image_batch(1, 2, 128), image_batch(2, 2, 256)
    with torch.no_grad():
        together = model(template, search, mask)
        for i in range(2):
            alone = model(template[i : i + 1], search[i : i + 1], mask[i : i + 1])
            np.testing.assert_allclose(together["score_map"][i], alone["score_map"][0], atol=1e-5)
            assert together["removed_indexes_s"][0][i].tolist() == alone["removed_indexes_s"][0][0].tolist()


def test_attention_maps_only_when_asked_for():
    model = tiny_model()
    template, search = image_batch(1, 1, 128), image_batch(2, 1, 256)
    with torch.no_grad():
        plain, shown = model(template, search), model(template, search, attention_layers=(0, 3))
    assert "attn" not in plain
    assert [tuple(a.shape) for a in shown["attn"]] == [(1, 3, 320, 320), (1, 3, 64 + 126, 64 + 126)]
    np.testing.assert_allclose(shown["attn"][0].sum(-1), 1, atol=1e-5)
    np.testing.assert_array_equal(plain["score_map"], shown["score_map"])


def test_token_order_carries_no_information():
    template, search = image_batch(1, 1, 128), image_batch(2, 1, 256)
    direct, central = tiny_model(), tiny_model("MODEL.BACKBONE.CAT_MODE=template_central")
    with torch.no_grad():
        np.testing.assert_array_equal(direct(template, search)["score_map"], central(template, search)["score_map"])


@pytest.mark.parametrize(
    ("head", "search_size", "steps"), [("CENTER", 256, 120), ("CORNER", 128, 100), ("MLP", 128, 200)]
)
def test_every_head_learns_a_box(head, search_size, steps):
    """A few steps on two pairs: the predicted box moves onto the wanted one."""
    sizes = [f"{key}={search_size // 2}" for key in ("DATA.TEMPLATE.SIZE", "TEST.TEMPLATE_SIZE")]
    sizes += [f"{key}={search_size}" for key in ("DATA.SEARCH.SIZE", "TEST.SEARCH_SIZE")]
    model = tiny_model(f"MODEL.HEAD.TYPE={head}", "MODEL.HEAD.NUM_CHANNELS=32", "MODEL.BACKBONE.CE_LOC=[]",
                       "MODEL.BACKBONE.CE_KEEP_RATIO=[]", "MODEL.BACKBONE.DEPTH=1", *sizes).train()  # fmt: skip
    template, search = image_batch(1, 2, search_size // 2), image_batch(2, 2, search_size)
    wanted = torch.tensor([[0.3, 0.6, 0.2, 0.3], [0.7, 0.4, 0.3, 0.1]])
    grid = search_size // 16
    columns, rows = (wanted[:, :2] * grid).long().T
    cells = torch.nn.functional.one_hot(rows * grid + columns, grid**2).float()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0.05, steps)
    for _ in range(steps):
        out = model(template, search)
        loss = 5 * (out["pred_boxes"][:, 0] - wanted).abs().mean()
        if "score_map" in out:
            score = out["score_map"].flatten(1)
            loss = loss + torch.nn.functional.binary_cross_entropy(score, cells, reduction="sum")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        falling.step()
    assert (out["pred_boxes"][:, 0] - wanted).abs().max() < 0.06


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_keeps_scores_and_boxes_in_float32(dtype):
    model = tiny_model()
    template, search = image_batch(1, 1, 128), image_batch(2, 1, 256)
    with torch.no_grad():
        exact = model(template, search, ce_keep_rate=1.0)
        half = model.to(dtype)(template.to(dtype), search.to(dtype), ce_keep_rate=1.0)
    for name in ("score_map", "size_map", "offset_map", "pred_boxes"):
        assert half[name].dtype == torch.float32
    np.testing.assert_allclose(half["size_map"], exact["size_map"], atol=0.02)
    model.box_head.conv5_ctr.bias.data.fill_(1000)
    with torch.no_grad():
        assert model(template.to(dtype), search.to(dtype))["score_map"].max().item() == pytest.approx(0.9999, abs=1e-6)


def test_correlation_shows_the_head_where_the_template_is():
    """With identity features, the channel of a template token peaks at the search token that equals it."""
    model = tiny_model("MODEL.HEAD.CORRELATION=true")
    seen = {}
    model.box_head.register_forward_pre_hook(lambda module, arguments: seen.update(x=arguments[0]))
    features = image_batch(5, 1, 256).flatten()[: 320 * 192].reshape(1, 320, 192)
    features[0, 64 + 37] = 3 * features[0, 11]
    template, search = features.split([64, 256], dim=1)
    model.box_head(head_features(search, template, 16, model.correlation))
    channel = seen["x"][0, 192 + 11].flatten()
    assert channel.argmax() == 37 and channel[37].item() == pytest.approx(1.0, abs=1e-5)


def test_wrong_image_sizes_are_named():
    with pytest.raises(ValueError, match="the search is .128, 128. pixels, the model was built for 256 x 256"):
        tiny_model()(image_batch(1, 1, 128), image_batch(2, 1, 128))


def test_exports_without_graph_breaks():
    """torch.export traces one whole graph; what it computes equals the model."""
    model = tiny_model()
    arguments = image_batch(1, 1, 128), image_batch(2, 1, 256), torch.tensor([[27]])
    program = torch.export.export(model, arguments)
    with torch.no_grad():
        expected, exported = model(*arguments), program.module()(*arguments)
    for name in ("score_map", "pred_boxes"):
        np.testing.assert_allclose(exported[name], expected[name], atol=1e-5)


@pytest.mark.end_to_end
def test_compiles_to_one_graph(tmp_path, monkeypatch):
    # The compiler's cache is shared by all programs of a user; one that was killed may have left it damaged.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    model = tiny_model()
    arguments = image_batch(1, 1, 128), image_batch(2, 1, 256), torch.tensor([[27]])
    compiled = torch.compile(model, fullgraph=True)
    with torch.no_grad():
        np.testing.assert_allclose(compiled(*arguments)["score_map"], model(*arguments)["score_map"], atol=1e-4)
