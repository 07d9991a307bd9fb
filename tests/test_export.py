"""Exported networks: files that give what torch gives, trackers that run them, and what is said when they cannot."""

import json
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.config import config_hash
from lib.models.layers.head import HEADS
from lib.models.ostrack.elimination import template_mask
from lib.test import export
from lib.test.evaluation.results import differences, file_hash, provenance_path
from lib.test.export.exporting import ExportOptions, _in_batches, open_network
from lib.test.export.formats import FORMATS, Opened, tensors
from lib.test.export.graph import network_hash, noise_inputs
from lib.test.export.int8 import SmoothedLinear, smooth
from lib.test.export.opset import halve_weights, lower
from lib.test.tracker import Tracker, build_tracker
from lib.test.tracker.backends import FORMAT_OF, ExportedNetwork, exported_network
from lib.test.tracker.build import choose_precision
from lib.utils.errors import CheckpointError, ConfigError, OSTrackError
from tests.conftest import REPOSITORY, load_script
from tests.factories import SMALL, TINY, drawn_model, drawn_weights, run_command, spread_scores, write_clip
from tests.golden.fixtures import clip_frame
from tests.test_docs import DOCS, examples

for package in ("onnx", "onnxscript", "onnxruntime", "openvino"):
    pytest.importorskip(package)

NAMES = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")  # of the linear layers of a block
ONE_BLOCK = ("MODEL.BACKBONE.DEPTH=1", "MODEL.BACKBONE.CE_LOC=[]", "MODEL.BACKBONE.CE_KEEP_RATIO=[]")
GT_BOX, CORNER = "MODEL.BACKBONE.CE_TEMPLATE_RANGE=GT_BOX", "MODEL.HEAD.TYPE=CORNER"


def case(*overrides):
    return drawn_model(TINY, [*SMALL, *overrides])


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A folder of exported files that the tests of this file share, as the runs of a user do."""
    return tmp_path_factory.mktemp("exports")


@torch.no_grad()
def by_torch(cfg, model, inputs):
    """The plain model's outputs for inputs of the graph."""
    mean, std = (torch.tensor(list(values))[:, None, None] for values in (cfg.DATA.MEAN, cfg.DATA.STD))
    crops = [(torch.from_numpy(inputs[name]).movedim(3, 1) / 255 - mean) / std for name in ("template", "search")]
    batch = len(inputs["search"])
    mask = torch.from_numpy(inputs["mask"]) if "mask" in inputs else template_mask(cfg, 64, batch, "cpu")
    return model(*crops, ce_template_mask=mask)


@pytest.mark.end_to_end
@pytest.mark.parametrize(
    ("format", "overrides", "batch"),
    [("torch", (), 1), ("onnx", (), 1), ("openvino", (), 1), ("onnx", (GT_BOX, CORNER), 2), ("torch", (GT_BOX,), 2)],
)
def test_a_file_gives_what_the_plain_model_gives(format, overrides, batch, tmp_path):
    cfg, model = case(*overrides)
    path = tmp_path / f"new/network{FORMATS[format].suffix}"
    written = export.export_network(
        cfg, model, format, path, ExportOptions(batch=batch), origin={"checkpoint": "w.pth"}
    )
    assert written.path == path and written.mean <= written.largest <= 1e-3
    opened = open_network(format, path, network_hash(cfg, model), "float32", batch)
    inputs = noise_inputs(cfg, batch)
    inputs["search"] = np.flip(inputs["search"], 1).copy()  # not those that the export compared
    found, expected = opened.run(inputs), by_torch(cfg, model, inputs)
    names = ["pred_boxes", "corner_map"] if CORNER in overrides else ["score_map", "size_map", "offset_map"]
    for name, value in zip(names, found, strict=True):
        np.testing.assert_allclose(value, expected[name].numpy(), atol=1e-3, err_msg=name)
    record = opened.record
    assert (record["experiment"], record["config_hash"], record["checkpoint"]) == (TINY, config_hash(cfg), "w.pth")
    assert (record["template_size"], record["search_size"], record["batch"]) == ("64", "128", str(batch))
    assert [file.suffix for file in sorted(path.parent.iterdir())] == (
        [".bin", ".xml"] if format == "openvino" else [FORMATS[format].suffix]
    )


def test_the_onnx_file_says_what_it_takes(tmp_path):
    import onnx

    cfg, model = case(GT_BOX, "MODEL.BACKBONE.DEPTH=2")
    export.export_network(cfg, model, "onnx", tmp_path / "n.onnx", ExportOptions(batch=2))
    graph = onnx.load(tmp_path / "n.onnx").graph
    shapes = {
        item.name: [size.dim_value for size in item.type.tensor_type.shape.dim]
        for item in [*graph.input, *graph.output]
    }
    assert shapes == {"template": [2, 64, 64, 3], "search": [2, 128, 128, 3], "mask": [2, 16],
                      "score_map": [2, 1, 8, 8], "size_map": [2, 2, 8, 8], "offset_map": [2, 2, 8, 8]}  # fmt: skip


def test_weights_in_half_precision_are_computed_with_in_float32():
    import onnx
    import onnxruntime

    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(32, 64)).astype(np.float32), rng.normal(size=64).astype(np.float32)
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "weight"], ["product"]),
        onnx.helper.make_node("Add", ["product", "bias"], ["y"]),
    ]
    shapes = (("x", [3, 32]), ("y", [3, 64]))
    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in shapes)
    stored = [onnx.numpy_helper.from_array(value, name) for value, name in ((weight, "weight"), (bias, "bias"))]
    graph = onnx.helper.make_graph(nodes, "linear", [x], [y], stored)
    opsets = [onnx.helper.make_opsetid("", 20)]
    model = halve_weights(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10))
    onnx.checker.check_model(model, full_check=True)
    sizes = {tensor.name: len(onnx.numpy_helper.to_array(tensor).tobytes()) for tensor in model.graph.initializer}
    assert sizes == {"weight_half": 2 * 32 * 64, "bias": 4 * 64}
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    inputs = rng.normal(size=(3, 32)).astype(np.float32)
    expected = inputs @ weight.astype(np.float16).astype(np.float32) + bias
    np.testing.assert_allclose(session.run(None, {"x": inputs})[0], expected, atol=1e-5)
    assert np.abs(expected - (inputs @ weight + bias)).max() > 1e-4


@pytest.mark.end_to_end
@pytest.mark.parametrize(
    ("opset", "overrides", "absent", "present"),
    [(13, (GT_BOX, CORNER), {"Gelu", "LayerNormalization"}, {"Erf"}),
     (16, ("MODEL.HEAD.TYPE=MLP", "MODEL.HEAD.CORRELATION=true"), {"Gelu", "LayerNormalization"}, {"Erf"}),
     (17, (), {"Gelu"}, {"Erf", "LayerNormalization"}), (20, (), {"Erf"}, {"Gelu", "LayerNormalization"})],
)  # fmt: skip
def test_the_same_boxes_in_every_opset(opset, overrides, absent, present, tmp_path):
    import onnx

    cfg, model = case(*overrides)
    path = tmp_path / "n.onnx"
    export.export_network(cfg, model, "onnx", path, ExportOptions(opset=opset))
    file = onnx.load(path)
    onnx.checker.check_model(file, full_check=True)
    assert [(entry.domain, entry.version) for entry in file.opset_import] == [("", opset)]
    assert file.ir_version == {13: 7, 16: 8, 17: 8, 20: 9}[opset]
    nodes = file.graph.node
    kinds = {node.op_type for node in nodes}
    assert not kinds & absent and kinds >= present
    inputs = {item.name for item in file.graph.input}
    assert {node.op_type for node in nodes if inputs & set(node.input)} == {"Cast"}  # as TensorRT wants bytes and flags
    assert str(REPOSITORY).encode() not in path.read_bytes()
    opened = FORMATS["onnx"].open(path)
    assert opened.record["opset"] == str(opset)
    tracker = Tracker(cfg, ExportedNetwork(opened.run, HEADS[cfg.MODEL.HEAD.TYPE].outputs))
    np.testing.assert_allclose(track(tracker, 1), track(Tracker(cfg, model), 1), atol=0.01)


def test_a_graph_in_an_older_opset_computes_the_same():
    import onnxruntime
    from onnx import TensorProto, helper

    def number(name, values):
        return helper.make_tensor(name, TensorProto.INT64, [len(values)], values)

    nodes = [
        helper.make_node("Split", ["x"], ["a", "b"], axis=1, num_outputs=2),
        helper.make_node("ReduceL2", ["a", "last"], ["length"], keepdims=1, noop_with_empty_axes=0),
        helper.make_node("ReduceMax", ["b", "last"], ["top"], keepdims=1),
        helper.make_node("ReduceSum", ["b", "last"], ["sum"], keepdims=1),
        helper.make_node("Concat", ["length", "top", "sum"], ["three"], axis=1),
        helper.make_node("Reshape", ["three", "flat"], ["row"], allowzero=0),
        helper.make_node("ScatterElements", ["row", "place", "new"], ["y"], axis=0, reduction="none"),
    ]
    floats = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("x", [1, 4]), ("y", [3]))
    ]
    new = helper.make_tensor("new", TensorProto.FLOAT, [1], [7.0])
    numbers = [number("last", [1]), number("flat", [3]), number("place", [0]), number("unused", [0])]
    graph = helper.make_graph(nodes, "g", floats[:1], floats[1:], [*numbers, new])
    x = np.array([[3, 4, 5, 6]], np.float32)
    for opset in (18, 17, 15, 13):
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
        lower(model, opset)
        assert model.opset_import[0].version == opset
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        assert session.run(None, {"x": x})[0].tolist() == [7, 6, 11]
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.graph.node[1].op_type = "Gelu"
    with pytest.raises(OSTrackError, match="cannot be written in opset 17: .*Gelu"):
        lower(model, 17)


def track(tracker, count):
    """Boxes of ``count`` targets, which start at different places, in four frames of the drawn clip."""
    image, box = clip_frame(0)
    targets = [tracker.start(image, [box[0] + 8 * i, *box[1:]]) for i in range(count)]
    return np.array([tracker.step([clip_frame(t)[0]] * count, targets).boxes for t in range(1, 5)])


@pytest.mark.end_to_end
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("overrides", [(), (GT_BOX,)], ids=["fixed", "gt_box"])
def test_a_backend_gives_the_boxes_of_torch(backend, overrides, kept):
    cfg, model = case(*overrides)
    tracker = Tracker(cfg, exported_network(cfg, model, backend, "float32", kept))
    expected = track(Tracker(cfg, model), 2)
    assert np.ptp(expected, axis=0).max() > 1  # something moves
    np.testing.assert_allclose(track(tracker, 2), expected, atol=0.01)
    np.testing.assert_allclose(track(tracker, 1)[:, 0], expected[:, 0], atol=0.01)


@pytest.mark.end_to_end
@pytest.mark.parametrize(
    "overrides",
    [(), ("DATA.SEARCH.SIZE=160", "TEST.SEARCH_FACTOR=3.2", "TEST.TEMPLATE_FACTOR=1.7",
          "TEST.MIN_SIZE=45"), ("MODEL.BACKBONE.TOKEN_TYPES=true", "TEST.SIZE_SMOOTHING=1"),
     ("TEST.SEARCH_SIZE=160", "TEST.SEARCH_FACTOR=5.0"), ("TEST.DISTRACTOR_WEIGHT=0.1",)],
)  # fmt: skip
def test_the_recipe_of_the_docs_gives_the_boxes_of_the_tracker(overrides, tmp_path):
    (text,) = examples(DOCS / "export.md", "python recipe")
    namespace = {}
    exec(text, namespace)
    cfg, model = case(*overrides)
    model.backbone.set_search_size(cfg.TEST.SEARCH_SIZE)
    if cfg.TEST.DISTRACTOR_WEIGHT < 1:
        spread_scores(model)
    export.export_network(cfg, model, "onnx", tmp_path / "n.onnx", ExportOptions(opset=17))
    theirs, ours = namespace["ExportedTracker"](tmp_path / "n.onnx"), Tracker(cfg, model)
    image, box = clip_frame(0)
    theirs.initialize(image, box)
    target, seen = ours.start(image, box), 0
    for t in range(1, 6):
        image = clip_frame(t)[0][: 100 if t == 4 else None]  # the square reaches over the border
        found, score = theirs.track(image)
        expected = ours.step([image], [target])
        np.testing.assert_allclose(found, expected.boxes[0], atol=0.01)
        assert score == pytest.approx(expected.scores[0], abs=1e-4)
        seen += len(target.distractors)
        if ours.remembers:
            np.testing.assert_allclose(theirs.distractors, target.distractors, atol=0.01)
    assert (seen > 5) == ours.remembers


def test_what_was_exported_is_used_again_until_something_changes(kept, monkeypatch, caplog):
    cfg, model = case(*ONE_BLOCK)
    made = []
    monkeypatch.setattr(export, "export_network", lambda *args, **named: made.append(args[3]) or write(*args, **named))
    write = export.exporting.export_network
    exported_network(cfg, model, "onnxruntime", "float32", kept)
    made.clear()
    same_network, _ = case(*ONE_BLOCK, "TEST.EPOCH=7", "TRAIN.LR=0.5")
    exported_network(same_network, model, "onnxruntime", "float32", kept)
    assert made == []
    with torch.no_grad():
        next(model.parameters()).add_(1)
    with caplog.at_level("INFO"):
        exported_network(cfg, model, "onnxruntime", "float32", kept)
    assert len(made) == 1 and made[0].is_file() and f"into {made[0]}" in caplog.text


def test_a_file_of_other_weights_is_refused(kept):
    cfg, model = case(*ONE_BLOCK)
    exported_network(cfg, model, "onnxruntime", "float32", kept)
    path = max(kept.glob("*.onnx"), key=lambda path: path.stat().st_mtime)
    other, _ = case(*ONE_BLOCK, "DATA.MEAN=[0.5, 0.5, 0.5]")
    with pytest.raises(CheckpointError, match=f"{path.name} holds another network.*remove it"):
        open_network("onnx", path, network_hash(other, model), "float32")
    with pytest.raises(CheckpointError, match="holds another network"):
        open_network("onnx", path, network_hash(cfg, model), "float32", batch=2)


def test_a_kept_file_belongs_to_the_crops_that_it_was_made_for():
    cfg, model = case()
    changed = ("SEARCH_FACTOR=4.5", "TEMPLATE_FACTOR=3", "MIN_SIZE=2", "SIZE_SMOOTHING=1", "DISTRACTOR_WEIGHT=0.5")
    others = (case(f"TEST.{factor}")[0] for factor in changed)
    hashes = {network_hash(other, model) for other in others}
    assert len(hashes | {network_hash(cfg, model)}) == 6 and network_hash(case()[0], model) not in hashes


@pytest.mark.parametrize("format", ["torch", "onnx", "openvino"])
def test_a_damaged_file_is_told(format, tmp_path):
    path = tmp_path / f"n{FORMATS[format].suffix}"
    path.write_bytes(b"no network")
    with pytest.raises(CheckpointError, match=f"{path.name} cannot be read as {format}"):
        open_network(format, path, "hash", "float32")


def test_a_file_that_is_wrong_is_not_kept(tmp_path, monkeypatch):
    cfg, model = case(*ONE_BLOCK)
    good = FORMATS["torch"]

    def off(path):
        opened = good.open(path)
        return Opened(opened.record, lambda inputs: [output + 0.01 for output in opened.run(inputs)])

    monkeypatch.setitem(FORMATS, "torch", good.__class__(".pt2", good.precisions, good.write, off))
    with pytest.raises(OSTrackError, match="n.pt2 does not give what torch gives: outputs differ by up to 0.01"):
        export.export_network(cfg, model, "torch", tmp_path / "n.pt2")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("format", "name", "options", "message"),
    [
        ("tflite", "n.tflite", {}, "format 'tflite' is unknown; choose one of torch, onnx, openvino"),
        ("onnx", "n.onnx", {"precision": "bf16"}, "format onnx holds float32, fp16, int8, not bf16"),
        ("onnx", "n.onnx", {"batch": 0}, "batch 0"),
        ("onnx", "n.xml", {}, "ends with .onnx"),
        ("openvino", "n.xml", {"opset": 17}, "opset 17: format openvino has no such choice, only onnx has"),
        ("onnx", "n.onnx", {"opset": 12}, "opset 12: 13 is the oldest"),
        ("onnx", "n.onnx", {"precision": "int8"}, "int8 needs pictures to calibrate with"),
    ],
)
def test_what_cannot_be_exported_is_told(format, name, options, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        export.export_network(*case(), format, tmp_path / name, ExportOptions(**options))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError, match="file"):
        export.export_network(*case(), "torch", tmp_path / "file/n.pt2")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("format", ["torch", "onnx", "openvino"])
def test_a_full_disk_is_told(format, tmp_path):
    graph = torch.nn.Linear(64, 64)
    graph.outputs = ("y",)
    path = tmp_path / f"n{FORMATS[format].suffix}"
    path.with_suffix(".bin" if format == "openvino" else path.suffix).symlink_to("/dev/full")
    with pytest.raises((OSError, OSTrackError), match="No space left|n.xml .*is the disk full"):
        inputs = {"input": np.ones((1, 64), np.float32)}
        FORMATS[format].write(graph, inputs, path, {"precision": "float32"}, [])


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_missing_package_is_told(backend, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, backend, None)
    with pytest.raises(OSTrackError, match=f"{backend} is not installed .*; run: pip install onnx onnxscript"):
        exported_network(*case(), backend, "float32", tmp_path)


def test_samples_are_joined_into_batches():
    samples = [{"search": np.full((1, 2), i)} for i in range(3)]
    assert [batch["search"][:, 0].tolist() for batch in _in_batches(samples, 2)] == [[0, 1], [2, 0]]
    assert _in_batches([], 2) == []


def test_precisions(monkeypatch):
    for fast, expected in ((True, "bf16"), (False, "float32")):
        monkeypatch.setattr("lib.test.tracker.build.fast_bf16", lambda fast=fast: fast)
        assert choose_precision("auto", "cpu", "torch") == choose_precision("auto", "cpu", "openvino") == expected
        assert choose_precision("auto", "cpu", "onnxruntime") == "float32"
    assert choose_precision("int8", "cpu", "openvino") == "int8"
    with pytest.raises(ConfigError, match="backend torch knows no precision 'int8'; choose auto, float32, bf16, fp16"):
        choose_precision("int8", "cpu", "torch")
    with pytest.raises(ConfigError, match="backend 'tensorrt' is unknown; choose one of torch, plain"):
        choose_precision("auto", "cpu", "tensorrt")
    with pytest.raises(ConfigError, match="backend openvino runs on the CPU: use --device cpu"):
        choose_precision("auto", "cuda:0", "openvino")


def test_a_backend_is_not_compiled(tmp_path):
    path = tmp_path / "w.pth"
    drawn_weights(path, TINY, SMALL)
    with pytest.raises(ConfigError, match="backend openvino is not compiled"):
        build_tracker(TINY, path, backend="openvino", compiled=True, overrides=SMALL, save_dir=tmp_path)


@pytest.mark.parametrize(
    ("stored", "now", "told"),
    [(None, "torch", []), ("plain", "torch", []), ("torch", "plain", []), ("openvino", "openvino", []),
     ("torch", "openvino", ["backend 'torch', now 'openvino'"]), (None, "openvino", ["backend None, now 'openvino'"])],
)  # fmt: skip
def test_results_of_backends_are_not_mixed(stored, now, told, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("1\t2\t3\t4\n")
    record = {"result_sha256": file_hash(path)} | ({} if stored is None else {"backend": stored})
    provenance_path(path).write_text(json.dumps(record))
    assert differences(path, {"backend": now}) == told


@pytest.mark.end_to_end
def test_int8_is_made_by_the_script_and_found_by_the_backends(tmp_path, monkeypatch, capsys):
    cfg, model = case()
    path = drawn_weights(tmp_path / "weights.pth", TINY, SMALL)
    options = {"overrides": SMALL, "save_dir": tmp_path, "precision": "int8"}
    with pytest.raises(ConfigError, match=r"tracking/export.py --format openvino --precision int8, with the same"):
        build_tracker(TINY, path, backend="openvino", **options)
    command = ["--config", TINY, "--checkpoint", path, "--precision", "int8", "--save_dir", tmp_path, *SMALL]
    for format in FORMAT_OF.values():
        run_command(monkeypatch, "export", [*command, "--format", format])
    text = capsys.readouterr().out
    assert len(re.findall(r"wrote .*/exports/vitt_256_ce_images_int8_\w+\.(?:onnx|xml)\n", text)) == 2
    given = f"--checkpoint {path} --save_dir {tmp_path} {shlex.join(SMALL)}"
    assert f"--backend openvino --precision int8 {given}\n" in text
    load_script("export").main()
    assert re.search(r"int8_\w+.xml is there already, of the same weights", capsys.readouterr().out)
    expected = track(Tracker(cfg, model), 1)
    for backend in FORMAT_OF:
        tracker = build_tracker(TINY, path, backend=backend, **options)
        error = np.abs(track(tracker, 1)[0] - expected[0]).max()
        assert 0 < error < 20, backend  # weights are random: only the first step is comparable, and only roughly
    import onnx

    (file,) = (tmp_path / "exports").glob("*.onnx")
    nodes = [node.op_type for node in onnx.load(file).graph.node]
    assert nodes.count("QuantizeLinear") == 3 * 4 and "Conv" in nodes  # inputs of four layers in three blocks
    sizes = {path.suffix: path.stat().st_size for path in (tmp_path / "exports").iterdir()}
    assert sizes[".onnx"] < 0.6 * sum(value.numel() * 4 for value in model.state_dict().values())


@torch.no_grad()
def test_smoothing_changes_nothing_but_the_spread_between_channels():
    cfg, model = case(GT_BOX)
    block = model.backbone.blocks[0]
    block.norm2.weight[5] *= 100  # a channel far larger than the others, and one that is always zero
    block.norm2.weight[7], block.norm2.bias[7] = 0, 0
    samples = [noise_inputs(cfg, 2) for _ in range(2)]
    samples[1]["search"] = samples[1]["search"] // 4
    graph = export.graph.NetworkGraph(cfg, model)
    expected = [graph(**tensors(inputs)) for inputs in samples]
    smooth(graph, samples)
    seen = {}
    modules = graph.network.encoder.blocks.named_modules()
    layers = {name: module for name, module in modules if isinstance(module, SmoothedLinear)}
    assert sorted(layers) == sorted(f"{i}.{name}" for i in range(3) for name in NAMES)
    for layer in layers.values():
        layer.linear.register_forward_pre_hook(
            lambda linear, inputs: seen.setdefault(linear, []).append(inputs[0].abs().amax((0, 1)))
        )
    for inputs, outputs in zip(samples, expected, strict=True):
        for found, value in zip(graph(**tensors(inputs)), outputs, strict=True):
            torch.testing.assert_close(found, value, rtol=1e-4, atol=1e-4)
    for layer in layers.values():  # with a half of the spread each, inputs and weights are as large as each other
        largest = torch.stack(seen[layer.linear]).amax(0)
        used = largest > 0
        torch.testing.assert_close(largest[used], layer.linear.weight.abs().amax(0)[used], rtol=1e-3, atol=1e-6)
    assert int((~(torch.stack(seen[layers["0.mlp.fc1"].linear]).amax(0) > 0)).sum()) == 1


def test_the_script_checks_before_it_calibrates(tmp_path, monkeypatch):
    path = drawn_weights(tmp_path / "weights.pth", TINY, SMALL)
    for rest in (["--format", "torch"], ["--batch", "2"]):
        with pytest.raises(ConfigError, match="--out is needed"):
            run_command(monkeypatch, "export", ["--config", TINY, "--checkpoint", path, *rest, *SMALL])


def test_the_command_of_the_evaluation_runs_a_backend(tmp_path, monkeypatch, capsys):
    small = (*SMALL, *ONE_BLOCK)
    path = drawn_weights(tmp_path / "weights.pth", TINY, small)
    write_clip(tmp_path / "videos/clip", 3)
    command = ["ostrack", TINY, "--dataset", f"folder:{tmp_path}/videos", "--save_dir", tmp_path, "--checkpoint", path,
               "--device", "cpu", *small]  # fmt: skip
    boxes, folder = {}, tmp_path / f"test/tracking_results/ostrack/{TINY}"
    for backend in ("torch", "openvino"):
        assert run_command(monkeypatch, "test", [*command, "--backend", backend, "--fresh"]) == 0
        (result,) = folder.glob("folder_videos_*/clip.txt")
        boxes[backend] = np.loadtxt(result)
        assert json.loads(result.with_suffix(".json").read_text())["backend"] == backend
    np.testing.assert_allclose(boxes["openvino"], boxes["torch"], atol=0.01)
    with pytest.raises(OSTrackError, match="backend 'openvino', now 'onnxruntime'"):
        run_command(monkeypatch, "test", [*command, "--backend", "onnxruntime"])


def test_a_network_keeps_the_crops_of_templates_and_carries_what_the_file_changes():
    crops = torch.arange(48, dtype=torch.uint8).reshape(1, 4, 4, 3)
    network = ExportedNetwork(lambda inputs: [inputs["search"] + 1, inputs["memory"] + 2], ["map"], ["memory"])
    state = network.prepare({"template": crops, "memory": torch.tensor([[3.0]])})
    assert state["template"] is crops
    outputs, changed = network.run(state, crops)
    assert torch.equal(outputs["map"], crops + 1) and outputs.keys() == {"map"}
    assert changed == {"memory": torch.tensor([[5.0]])}
