"""Checkpoint files: safe to read, whole or not written, and clear when they do not fit."""

import io
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lib.config import load_config
from lib.config.ostrack import OSTrackConfig
from lib.models.ostrack import build_ostrack
from lib.models.ostrack.backbone import resize_position_embedding
from lib.models.ostrack.pretrained import load_pretrained
from lib.models.ostrack.weights import adapt_weights, arch_spec, explain_misfit
from lib.models.weights import load_weights, with_names_of
from lib.utils.checkpoint import Placeholder, load_checkpoint, network_state, save_checkpoint, strip_checkpoint
from lib.utils.errors import CheckpointError, ConfigError
from tests.conftest import GOLDEN
from tests.factories import SMALL, TINY, run_command


class Malice:
    """Pickles as a call of ``os.system`` that would create a file."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_published_form_loads_and_foreign_classes_are_inert():
    checkpoint = load_checkpoint(GOLDEN / "official_format_OSTrack_ep0300.pth.tar")
    state = network_state(checkpoint, "golden")
    assert state and all(isinstance(value, torch.Tensor) for value in state.values())
    assert checkpoint["epoch"] == 300
    assert isinstance(checkpoint["settings"], Placeholder)
    assert type(checkpoint["settings"]).__name__ == "Settings"


@pytest.mark.parametrize("legacy", [False, True])
def test_nothing_in_a_checkpoint_is_executed(tmp_path, legacy):
    marker = tmp_path / "executed"
    path = tmp_path / "malicious.pth.tar"
    content = {"net": {"weight": torch.arange(4.0)}, "settings": Malice(f"touch {marker}")}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    torch.load(path, weights_only=False)
    assert marker.exists(), "the planted pickle must be one that plain loading would execute"
    marker.unlink()
    checkpoint = load_checkpoint(path)
    assert not marker.exists()
    assert isinstance(checkpoint["settings"], Placeholder)
    assert checkpoint["net"]["weight"].tolist() == [0, 1, 2, 3]


def test_a_bare_malicious_pickle_stays_inert(tmp_path):
    marker, path = tmp_path / "executed", tmp_path / "bare.pth"
    path.write_bytes(pickle.dumps({"net": Malice(f"touch {marker}")}, protocol=2))
    with pytest.raises(CheckpointError, match="bare.pth"):
        network_state(load_checkpoint(path), path)
    assert not marker.exists()


def test_saving_is_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "run" / "OSTrack_ep0001.pth.tar"
    save_checkpoint({"net": {"a": torch.ones(2)}}, path)

    def full_disk(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(CheckpointError, match="OSTrack_ep0001.pth.tar cannot be written: .*No space left"):
        save_checkpoint({"net": {"a": torch.zeros(2)}}, path)
    assert load_checkpoint(path)["net"]["a"].tolist() == [1, 1]
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_ctrl_c_while_saving_is_no_error_of_the_disk(tmp_path, monkeypatch):
    path = tmp_path / "OSTrack_ep0001.pth.tar"
    save_checkpoint({"net": {"a": torch.ones(2)}}, path)

    class Interrupted(io.FileIO):
        writes = 0

        def write(self, data):
            self.writes += 1
            if self.writes == 2:  # torch then raises an error of its own
                raise KeyboardInterrupt
            return super().write(data)

    monkeypatch.setattr("lib.utils.checkpoint.open", Interrupted, raising=False)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint({"net": {"a": torch.zeros(2)}}, path)
    assert load_checkpoint(path)["net"]["a"].tolist() == [1, 1]
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_damaged_files_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere.pth does not exist"):
        load_checkpoint(tmp_path / "nowhere.pth")
    whole = tmp_path / "whole.pth"
    torch.save({"net": {"a": torch.zeros(1000)}}, whole)
    for size in (0, 10, 700, whole.stat().st_size - 300):
        torn = tmp_path / f"torn{size}.pth"
        torn.write_bytes(whole.read_bytes()[:size])
        with pytest.raises(CheckpointError, match=f"torn{size}.pth .{size} bytes. cannot be read"):
            load_checkpoint(torn)
    archive = tmp_path / "other.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("readme.txt", "no checkpoint")
    with pytest.raises(CheckpointError, match=r"other.zip .* cannot be read"):
        load_checkpoint(archive)
    torch.save({"a": torch.zeros(3)}, whole)
    with zipfile.ZipFile(whole) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(tmp_path / "odd.pth", "w") as file:
        for name, data in parts.items():
            file.writestr(name, data.replace(b"X\x07\x00\x00\x00storage", b"X\x07\x00\x00\x00storagf"))
    with pytest.raises(CheckpointError, match="odd.pth .* cannot be read.*AssertionError"):
        load_checkpoint(tmp_path / "odd.pth")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2], "holds a list"),
        ({"net": {}}, "holds no weights"),
        ({"net": {"a": 3, "b": torch.ones(1)}}, "'a' is a int, not a tensor"),
        (
            {"epoch": 3, "backbone": {"a": torch.ones(1)}},
            "it has epoch, backbone, and they are looked for under net, model, state_dict, model_state_dict, network",
        ),
        ({"net": {"a": np.ones(1)}}, r"without any of these; in 'net', 'a' is a ndarray: save tensors$"),
        ({"model": [1]}, r"; 'model' is a list: save its state_dict\(\) instead$"),
        ({"model": torch.nn.Linear(1, 1)}, r"'model' is a Linear: save its state_dict\(\) instead"),
        (torch.nn.Linear(1, 1), r"holds a Linear, not a dictionary of weights: save its state_dict\(\)"),
        ({"net": {"a": torch.ones(1), "module.a": torch.zeros(1)}}, "two different 'a', one as 'module.a'"),
        ({"net": {"a": torch.tensor([1.0, float("nan")])}}, "'a' holds NaN"),
    ],
)
def test_files_without_usable_weights_are_refused(tmp_path, content, words):
    path = tmp_path / "odd.pth"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=words):
        network_state(load_checkpoint(path), path)


def test_weights_round_trip_in_half_precision_and_from_data_parallel(tmp_path):
    model = build_ostrack(load_config(OSTrackConfig, TINY, SMALL))
    half = {f"module.{name}": value.half() if value.is_floating_point() else value
            for name, value in model.state_dict().items()}  # fmt: skip
    save_checkpoint({"net": half}, tmp_path / "half.pth")
    other = build_ostrack(load_config(OSTrackConfig, TINY, SMALL))
    load_weights(other, tmp_path / "half.pth")
    for name, value in model.state_dict().items():
        assert other.state_dict()[name].dtype == value.dtype
        np.testing.assert_allclose(other.state_dict()[name], value, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("rename", "wrap"),
    [
        (lambda name: name, lambda state: {"state_dict": state, "model": {"type": "OSTrack"}, "epoch": 3}),
        (lambda name: f"model.{name}", lambda state: {"state_dict": state}),  # as Lightning
        (lambda name: f"_orig_mod.{name}", lambda state: {"net": {"state_dict": state}}),
        (lambda name: f"module._orig_mod.{name}", lambda state: {"model": {"model_state_dict": state}}),
        (lambda name: f"_orig_mod.module.{name}", lambda state: state),
        (lambda name: name.replace(".blocks.", "._orig_mod.blocks."), lambda state: {"model_ema": state, "net": {}}),
        (lambda name: f"net._fsdp_wrapped_module.{name}", lambda state: {"network": state}),
        (lambda name: f"tracker.{name}", lambda state: {"state_dict": state}),  # Lightning, under a name of one's own
        (lambda name: f"module.tracker._orig_mod.net.{name}", lambda state: state),
    ],
)
def test_weights_are_found_whatever_holds_and_wraps_them(tmp_path, rename, wrap):
    model, other = (build_ostrack(load_config(OSTrackConfig, TINY, SMALL)) for _ in range(2))
    thop = {f"{part}total_{what}": torch.zeros(1, dtype=torch.float64) + float("nan")
            for part in ("", "backbone.", "backbone.blocks.0.attn.") for what in ("ops", "params")}  # fmt: skip
    counted = {k: v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save(wrap({rename(name): value for name, value in (counted | thop).items()}), tmp_path / "other.pth")
    load_weights(other, tmp_path / "other.pth")
    for name, value in counted.items():
        assert torch.equal(other.state_dict()[name], value), name
    named = network_state(load_checkpoint(tmp_path / "other.pth"), "other")
    assert not set(with_names_of(model.state_dict(), named)) - set(model.state_dict())


class Holder(torch.nn.Module):
    """A model with a part that is called as what holds others."""

    def __init__(self):
        super().__init__()
        self.net, self.head = torch.nn.Linear(2, 1), torch.nn.ModuleDict({"module": torch.nn.Linear(1, 1)})


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model."])
def test_parts_of_a_model_may_be_called_as_wrappers_are(tmp_path, prefix):
    model, other = Holder(), Holder()
    torch.save({"net": {f"{prefix}{name}": value for name, value in model.state_dict().items()}}, tmp_path / "h.pth")
    load_weights(other, tmp_path / "h.pth")
    strip_checkpoint(tmp_path / "h.pth", tmp_path / "stripped.pth", half=False)
    load_weights(again := Holder(), tmp_path / "stripped.pth")
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value) and torch.equal(again.state_dict()[name], value), name


def test_weights_of_another_model_keep_their_names_in_the_error(tmp_path):
    torch.save({"net": {"encoder.a": torch.ones(1), "encoder.b": torch.ones(1)}}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"Unexpected: encoder\.a, encoder\.b \(2\)"):
        load_weights(Holder(), tmp_path / "other.pth")


def test_safetensors_are_read(tmp_path):
    save_file({"module.a": torch.arange(3.0)}, tmp_path / "w.safetensors")
    assert network_state(load_checkpoint(tmp_path / "w.safetensors"), "w")["a"].tolist() == [0, 1, 2]
    (tmp_path / "torn.safetensors").write_bytes((tmp_path / "w.safetensors").read_bytes()[:-4])
    with pytest.raises(CheckpointError, match="torn.safetensors .* cannot be read"):
        load_checkpoint(tmp_path / "torn.safetensors")


def test_stripping_keeps_the_network_in_half_precision(tmp_path):
    net = {"a": torch.tensor([0.1, 2.0]), "count": torch.tensor(7)}
    full, small = tmp_path / "OSTrack_ep0003.pth.tar", tmp_path / "small.pth"
    save_checkpoint({"net": net, "epoch": 3, "optimizer": {"state": torch.zeros(10000)}, "config": {"TRAIN": 1}}, full)
    strip_checkpoint(full, small)
    kept = load_checkpoint(small)
    assert kept.keys() == {"net", "epoch", "config"} and kept["epoch"] == 3
    assert kept["net"]["a"].dtype == torch.float16 and kept["net"]["count"].item() == 7
    np.testing.assert_allclose(kept["net"]["a"].float(), net["a"], rtol=1e-3)
    save_checkpoint({"net": {"a": torch.tensor([1e6])}}, full)
    with pytest.raises(CheckpointError, match="a cannot be held in half precision"):
        strip_checkpoint(full, small)
    assert load_checkpoint(small)["epoch"] == 3
    save_checkpoint({"net": net, "ema": 0.99}, full)  # other code keeps its decay there
    with pytest.raises(CheckpointError, match="holds no averaged weights"):
        strip_checkpoint(full, small, ema=True)
    with pytest.raises(CheckpointError, match=r"n\.safetensors would be a file of PyTorch's: call it \.pth"):
        strip_checkpoint(full, tmp_path / "n.safetensors")


def test_stripping_never_replaces_what_it_reads(tmp_path, monkeypatch):
    path, other = tmp_path / "OSTrack_ep0001.pth.tar", tmp_path / "other.pth"
    save_checkpoint({"net": {"a": torch.ones(2)}, "optimizer": {"step": 1}}, path)
    save_checkpoint({"net": {"a": torch.zeros(2)}, "optimizer": {"step": 2}}, other)
    monkeypatch.chdir(tmp_path)
    for out, mix in ((path.name, None), (other, other)):
        with pytest.raises(CheckpointError, match="name another file"):
            strip_checkpoint(path, out, mix=mix)
    assert [load_checkpoint(file)["optimizer"]["step"] for file in (path, other)] == [1, 2]


def test_weights_of_a_quantized_model_are_refused(tmp_path):
    model = torch.nn.Linear(2, 2)
    whole = {name: (100 * value).to(torch.int8) for name, value in model.state_dict().items()}
    save_checkpoint({"net": whole}, tmp_path / "int8.pth")
    with pytest.raises(CheckpointError, match=r"bias is of torch\.int8, the model needs floating point"):
        load_weights(model, tmp_path / "int8.pth")


def meta_state(name, *overrides):
    with torch.device("meta"):
        return build_ostrack(load_config(OSTrackConfig, name, list(overrides))).state_dict()


def test_a_256_checkpoint_with_a_384_config_says_so(tmp_path):
    state = {
        k: torch.zeros((), dtype=v.dtype).expand(v.shape) for k, v in meta_state("vitb_256_mae_ce_32x4_ep300").items()
    }
    path = tmp_path / "OSTrack_ep0300.pth.tar"
    torch.save({"net": state}, path)
    with torch.device("meta"):
        model = build_ostrack(load_config(OSTrackConfig, "vitb_384_mae_ce_32x4_ep300"))
    with pytest.raises(CheckpointError) as error:
        load_weights(model, path, explain_misfit)
    message = str(error.value)
    for words in (
        "template 128 px, search 256 px", "template 192 px, search 384 px", "OSTrack_ep0300.pth.tar",
        "vitb_256_mae_32x4_ep300, vitb_256_mae_ce_32x4_ep300, vitb_256_mae_ce_32x4_got10k_ep100",
    ):  # fmt: skip
        assert words in message


def test_the_architecture_is_read_off_weights():
    seen = arch_spec(meta_state(TINY, "MODEL.BACKBONE.DEPTH=6", "MODEL.BACKBONE.CE_LOC=[3]",
                              "MODEL.BACKBONE.CE_KEEP_RATIO=[0.7]", "MODEL.HEAD.TYPE=CORNER",
                              "MODEL.BACKBONE.MLP_RATIO=0.5"))  # fmt: skip
    assert (seen.width, seen.blocks, seen.hidden, seen.template, seen.search) == (192, 6, 96, 128, 256)
    assert seen.head == "CORNER" and not seen.token_types and not seen.correlation
    other = arch_spec(meta_state(TINY, "MODEL.BACKBONE.TOKEN_TYPES=true", "MODEL.HEAD.CORRELATION=true"))
    assert other.token_types and other.correlation and str(other).endswith("channels, token types, correlation")
    state = meta_state(TINY)
    (said,) = explain_misfit(state, state | {"memory.token": torch.zeros(1)})
    assert "of another family: it is made of backbone, box_head, memory" in said
    assert arch_spec({"weight": torch.zeros(3)}) is None


def plain_vit(width=192, blocks=12, patch=16):
    """A pre-trained ViT's state dict under timm's names, with recognizable values."""
    rng = np.random.default_rng(0)

    def draw(*shape):
        return torch.from_numpy(rng.standard_normal(shape).astype(np.float32))

    state = {"cls_token": draw(1, 1, width), "pos_embed": draw(1, 197, width),
             "patch_embed.proj.weight": draw(width, 3, patch, patch), "patch_embed.proj.bias": draw(width),
             "norm.weight": draw(width), "norm.bias": draw(width)}  # fmt: skip
    for i in range(blocks):
        for name, shape in (("norm1", ()), ("attn.qkv", (3,)), ("attn.proj", (1,)), ("norm2", ()),
                            ("mlp.fc1", (4,)), ("mlp.fc2", (1, 4))):  # fmt: skip
            rows, columns = (shape + (1, 1))[:2] if shape else (1, 0)
            weight = draw(rows * width, columns * width) if columns else draw(width)
            state[f"blocks.{i}.{name}.weight"], state[f"blocks.{i}.{name}.bias"] = weight, draw(len(weight))
    return state


def test_mae_weights_start_the_backbone(tmp_path, caplog):
    state = plain_vit()
    path = tmp_path / "mae.pth"
    torch.save({"model": {**state, "decoder_embed.weight": torch.zeros(2, 2)}}, path)
    model = build_ostrack(load_config(OSTrackConfig, TINY))
    caplog.set_level("INFO")
    load_pretrained(model, str(path))
    own = model.backbone.state_dict()
    assert torch.equal(own["blocks.7.attn.qkv.weight"], state["blocks.7.attn.qkv.weight"])
    assert torch.equal(own["pos_embed"], state["pos_embed"])
    for name, grid in (("pos_embed_z", 8), ("pos_embed_x", 16)):
        np.testing.assert_allclose(own[name], resize_position_embedding(state["pos_embed"][:, 1:], grid), atol=1e-6)
    assert "in the file, not in the model: decoder_embed.weight" in caplog.text
    assert "left as initialized: none" in caplog.text


def test_a_plain_vit_may_be_called_backbone(tmp_path):
    state = plain_vit()
    named = {f"module.backbone.{name}": value for name, value in state.items()} | {"module.head.weight": torch.ones(2)}
    torch.save({"student": {}, "teacher": named, "epoch": 3}, tmp_path / "dino.pth")
    model = build_ostrack(load_config(OSTrackConfig, TINY))
    load_pretrained(model, str(tmp_path / "dino.pth"))
    own = model.backbone.state_dict()
    assert torch.equal(own["blocks.7.attn.qkv.weight"], state["blocks.7.attn.qkv.weight"])
    np.testing.assert_allclose(own["pos_embed_z"], resize_position_embedding(state["pos_embed"][:, 1:], 8), atol=1e-6)


def test_a_kernel_of_another_patch_size_is_resized(tmp_path):
    state = plain_vit(patch=14)
    torch.save(state, tmp_path / "vit14.pth")
    model = build_ostrack(load_config(OSTrackConfig, TINY))
    load_pretrained(model, str(tmp_path / "vit14.pth"))
    expected = torch.nn.functional.interpolate(state["patch_embed.proj.weight"], (16, 16), mode="bicubic")
    np.testing.assert_allclose(model.backbone.patch_embed.proj.weight.detach(), expected, atol=1e-6)


def test_flax_weights_land_under_the_same_names(tmp_path):
    state, width, heads = plain_vit(blocks=2), 192, 3
    arrays = {
        "embedding/kernel": state["patch_embed.proj.weight"].permute(2, 3, 1, 0),
        "embedding/bias": state["patch_embed.proj.bias"],
        "cls": state["cls_token"], "Transformer/posembed_input/pos_embedding": state["pos_embed"],
        "Transformer/encoder_norm/scale": state["norm.weight"], "Transformer/encoder_norm/bias": state["norm.bias"],
    }  # fmt: skip
    for i in range(2):
        ours, flax = f"blocks.{i}.", f"Transformer/encoderblock_{i}/"
        for a, b in (("norm1", "LayerNorm_0"), ("norm2", "LayerNorm_2")):
            arrays[f"{flax}{b}/scale"], arrays[f"{flax}{b}/bias"] = state[f"{ours}{a}.weight"], state[f"{ours}{a}.bias"]
        attention = flax + "MultiHeadDotProductAttention_1/"
        for j, part in enumerate(("query", "key", "value")):
            rows = slice(j * width, (j + 1) * width)
            arrays[f"{attention}{part}/kernel"] = state[ours + "attn.qkv.weight"][rows].T.reshape(width, heads, 64)
            arrays[f"{attention}{part}/bias"] = state[ours + "attn.qkv.bias"][rows].reshape(heads, 64)
        arrays[attention + "out/kernel"] = state[ours + "attn.proj.weight"].T.reshape(heads, 64, width)
        arrays[attention + "out/bias"] = state[ours + "attn.proj.bias"]
        for j in (0, 1):
            arrays[f"{flax}MlpBlock_3/Dense_{j}/kernel"] = state[f"{ours}mlp.fc{j + 1}.weight"].T
            arrays[f"{flax}MlpBlock_3/Dense_{j}/bias"] = state[f"{ours}mlp.fc{j + 1}.bias"]
    np.savez(tmp_path / "vit.npz", **{name: value.numpy() for name, value in arrays.items()})
    model = build_ostrack(load_config(OSTrackConfig, TINY))
    load_pretrained(model, str(tmp_path / "vit.npz"))
    own = model.backbone.state_dict()
    for name, value in state.items():
        assert torch.equal(own[name], value), name


def test_pretraining_that_fits_nothing_is_refused(tmp_path):
    torch.save({"model": {"conv.weight": torch.zeros(3)}}, tmp_path / "resnet.pth")
    torch.save({"model": plain_vit(width=64, blocks=1)}, tmp_path / "narrow.pth")
    model = build_ostrack(load_config(OSTrackConfig, TINY))
    with pytest.raises(CheckpointError, match="resnet.pth holds nothing that the model knows"):
        load_pretrained(model, str(tmp_path / "resnet.pth"))
    with pytest.raises(CheckpointError, match="narrow.pth: .* do not go together"):
        load_pretrained(model, str(tmp_path / "narrow.pth"))
    with pytest.raises(CheckpointError, match="PRETRAIN_FILE missing.pth"):
        load_pretrained(model, "missing.pth")
    for shape in ((1, 196, 192), (1, 1, 192), (197, 192), (1, 197, 64)):  # SigLIP's, and others
        torch.save({"model": plain_vit() | {"pos_embed": torch.zeros(shape)}}, tmp_path / "siglip.pth")
        with pytest.raises(CheckpointError, match=r"siglip.pth: pos_embed is .* needs \(1, 1 \+ n \* n, 192\)"):
            load_pretrained(model, str(tmp_path / "siglip.pth"))
    np.savez(tmp_path / "whole.npz", cls=np.zeros(3))
    for name, data in (("torn", (tmp_path / "whole.npz").read_bytes()[:60]), ("empty", b"")):
        (tmp_path / f"{name}.npz").write_bytes(data)
        with pytest.raises(CheckpointError, match=f"{name}.npz cannot be read as an .npz archive"):
            load_pretrained(model, str(tmp_path / f"{name}.npz"))


def test_a_head_without_correlation_starts_none_with_it():
    net = build_ostrack(load_config(OSTrackConfig, TINY, ["MODEL.HEAD.CORRELATION=true"]))
    plain = dict(build_ostrack(load_config(OSTrackConfig, TINY)).state_dict())
    given = plain["box_head.conv1_ctr.0.weight"].clone()
    adapt_weights(net, plain)
    assert torch.equal(plain["box_head.conv1_ctr.0.weight"], given)  # of another shape, as load_matching reports


def test_a_share_without_a_mixture_is_refused(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="--share 0.1 is that of a mixture: name the other weights with --mix"):
        run_command(monkeypatch, "strip_checkpoint", [tmp_path / "a.pth", tmp_path / "b.pth", "--share", 0.1])


def test_stripping_mixes_the_weights_of_two_files(tmp_path):
    first, second, mixed = (tmp_path / f"{name}.pth" for name in ("first", "second", "mixed"))
    save_checkpoint({"net": {"a": torch.tensor([1.0, 2.0]), "count": torch.tensor(7)}, "epoch": 3}, first)
    save_checkpoint({"net": {"a": torch.tensor([0.0, 4.0]).half(), "count": torch.tensor(9)}, "epoch": 5}, second)
    strip_checkpoint(first, mixed, mix=second, share=0.75)
    kept = load_checkpoint(mixed)
    assert kept["net"]["a"].tolist() == [0.75, 2.5]
    assert kept["net"]["count"].item() == 7 and kept["epoch"] == 3
    averaged = tmp_path / "averaged.pth"
    save_checkpoint({"net": {"a": torch.zeros(2)}, "ema": {"a": torch.tensor([4.0, 8.0])}}, averaged)
    strip_checkpoint(averaged, mixed, mix=averaged, share=0.0, ema=True)
    assert load_checkpoint(mixed)["net"]["a"].tolist() == [4, 8]  # the average of the other weights too
    for other in ({"a": torch.ones(3), "count": torch.tensor(9)}, {"b": torch.ones(2), "count": torch.tensor(9)}):
        save_checkpoint({"net": other}, second)
        with pytest.raises(CheckpointError, match="not of the same model.*: (a$|a, b$)"):
            strip_checkpoint(first, mixed, mix=second)
