"""The benchmark command: its plain reference is the same tracker, its figures are right, a lost ratio is noticed."""

from __future__ import annotations

import copy
import json
import sys
from contextlib import ExitStack

import numpy as np
import pytest
import torch

from benchmarks import bench, bench_data, compare, opencv_trackers, published, report, variants
from benchmarks.bench import measure_pass
from benchmarks.bench_data import Drawn
from lib.config import load_config
from lib.config.ostrack import OSTrackConfig
from lib.data.image_io import read_image
from lib.models.layers.candidate_elimination import box_mask
from lib.models.ostrack import build_ostrack
from lib.test.evaluation.writer import FrameTime
from lib.test.export import ExportOptions
from lib.test.spec import TrackerSpec
from lib.test.tracker import Tracker
from lib.utils.errors import ConfigError, DataError
from tests.miniature import draw, moving_boxes

SMALL = (
    "MODEL.BACKBONE.DEPTH=3",
    "MODEL.BACKBONE.CE_LOC=[0, 1]",
    "MODEL.BACKBONE.CE_KEEP_RATIO=[0.7, 0.7]",
    "MODEL.HEAD.NUM_CHANNELS=16",
)


def small_model(*overrides):
    torch.manual_seed(0)
    model = build_ostrack(load_config(OSTrackConfig, "vitt_256_ce_images", [*SMALL, *overrides])).eval()
    with torch.no_grad():  # so that attention is not nearly uniform, and batch norm does something
        for name, parameter in model.named_parameters():
            if "attn.qkv" in name:
                parameter.mul_(5)
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
    return model


@pytest.fixture
def scene(tmp_path):
    """Drawn frames of 200 x 160 pixels and a small model with random weights."""
    textures = [np.random.default_rng(i).integers(0, 255, (40, 50, 3), np.uint8) for i in range(5)]
    data = Drawn(tmp_path / "frames", (200, 160), textures, 90)
    weights = variants.random_weights("vitt_256_ce_images", SMALL, tmp_path / "weights.pth")
    return variants.Scene(data, "vitt_256_ce_images", SMALL, weights, torch.device("cpu"))


# The published way


def test_published_steps_make_the_samples_of_the_loader():
    """Which the benchmark checks before it measures."""
    textures = [np.random.default_rng(i).integers(0, 255, (40, 50, 3), np.uint8) for i in range(5)]
    row = bench_data.measure("200x160", textures, 90, pairs=1, rounds=1)
    assert row.split()[0] == "200x160" and row.count("/s") == 2


@pytest.mark.parametrize("rows", [None, slice(0, 3), torch.tensor([[1], [4]])])
def test_plain_attention_is_the_same_attention(rows):
    fused = small_model().backbone.blocks[0].attn
    plain = copy.deepcopy(fused)
    plain.__class__ = published.PlainAttention
    x = torch.randn(2, 7, 192)
    for a, b in zip(fused(x, rows), plain(x, rows), strict=True):
        if b is None:
            assert a is None and rows is None
        else:
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("override", ["MODEL.HEAD.CORRELATION=true", "MODEL.BACKBONE.SEP_SEG=true"])
@torch.inference_mode()
def test_published_forward_is_the_plain_model(override, masked):
    model = small_model("MODEL.HEAD.CORRELATION=false", override)
    torch.manual_seed(1)
    template, search = torch.randn(2, 3, 128, 128), torch.randn(2, 3, 256, 256)
    mask = box_mask(torch.tensor([[0.3, 0.4, 0.25, 0.2]] * 2), 128, 8) if masked else None
    expected = model(template, search, ce_template_mask=mask)
    assert [places.shape[1] for places in expected["removed_indexes_s"]] == [76, 54]
    published.use_plain_attention(model)
    found = published.published_forward(model, template, search, mask)
    for name in ("score_map", "size_map", "offset_map", "backbone_feat"):
        torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-5, msg=name)
    for a, b in zip(found["removed_indexes_s"], expected["removed_indexes_s"], strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("kind", ["CTR_POINT", "ALL", "GT_BOX"])
def test_published_tracker_gives_the_same_boxes(kind, tmp_path):
    cfg = load_config(OSTrackConfig, "vitt_256_ce_images", [*SMALL, f"MODEL.BACKBONE.CE_TEMPLATE_RANGE={kind}"])
    model = small_model()
    torch.save({"net": model.state_dict()}, tmp_path / "weights.pth")
    plain, reference = Tracker(cfg, model), published.PublishedTracker(
        cfg, tmp_path / "weights.pth", torch.device("cpu")
    )  # fmt: skip
    boxes = moving_boxes(4)
    images = [draw(box) for box in boxes]
    ours, theirs = (tracker.start(images[0], boxes[0]) for tracker in (plain, reference))
    for image, box in zip(images[1:], boxes, strict=False):
        ours.box = theirs.box = box.tolist()
        step, expected = reference.step([image], [theirs]), plain.step([image], [ours])
        np.testing.assert_allclose(step.boxes, expected.boxes, atol=1e-3)
        np.testing.assert_allclose(step.scores, expected.scores, atol=1e-5)
        assert step.network > 0 and step.crop > 0


def test_published_tracker_refuses_heads_that_it_does_not_know(tmp_path):
    cfg = load_config(OSTrackConfig, "vitt_256_ce_images", ["MODEL.HEAD.TYPE=MLP", "MODEL.HEAD.CORRELATION=false"])
    with pytest.raises(ConfigError, match="CENTER head alone, not with MLP"):
        published.PublishedTracker(cfg, tmp_path / "none.pth", torch.device("cpu"))


# Variants and turns


class Counting:
    """A runner that writes down when it ran."""

    def __init__(self, name, log):
        self.name, self.log = name, log

    def run(self, number):
        self.log.append(f"{self.name}{number}")
        return FrameTime(0.0, float(len(self.log)), 0.0, 0.0)


def test_variants_take_turns_on_the_same_frames_and_first_ones_do_not_count():
    log = []
    found = variants.interleave({name: Counting(name, log) for name in "ab"}, variants.Turns(2, 1))
    assert log == ["a1", "a2", "b1", "b2", "a3", "a4", "b3", "b4", "a5", "a6", "b5", "b6"]
    assert [frame.tracker for frame in found["a"]] == [6, 10]
    assert [frame.tracker for frame in found["b"]] == [8, 12]


def test_turns_go_round_the_frames():
    log = []
    variants.interleave({"a": Counting("a", log)}, variants.Turns(3, 7))
    assert log[22:26] == ["a23", "a1", "a2", "a3"]


@pytest.mark.parametrize(("variant", "targets"), [(variants.PUBLISHED, 1), (variants.Variant("ours", "torch"), 3)])
def test_a_way_looks_around_the_true_boxes_and_divides_by_its_targets(scene, variant, targets, monkeypatch):
    with ExitStack() as stack:
        runner = variants.build_runner(variant, scene, 3, None, stack)
    assert len(runner.targets) == targets
    seen = []
    whole = runner.tracker.step

    def step(images, around):
        seen.extend((image.copy(), list(target.box)) for image, target in zip(images, around, strict=True))
        return whole(images, around)._replace(crop=0.3, network=0.6)

    monkeypatch.setattr(runner.tracker, "step", step)
    frame = runner.run(5)
    for i, (image, box) in enumerate(seen):
        assert box == scene.data.boxes[i][4].tolist()
        np.testing.assert_array_equal(image, read_image(scene.data.path(i, 5)))
    assert frame.crop == pytest.approx(0.3 / targets) and frame.network == pytest.approx(0.6 / targets)
    assert frame.decode > 0 and frame.tracker > 0


def test_what_cannot_be_had_says_so(scene, tmp_path):
    with ExitStack() as stack:
        with pytest.raises(ConfigError, match="for CUDA only"):
            variants.build_runner(variants.Variant("graphs", "torch", cuda=True), scene, 1, None, stack)
        if not hasattr(opencv_trackers.cv2, "TrackerCSRT"):
            with pytest.raises(ConfigError, match="not installed: OpenCV .* has no CSRT; run: pip install"):
                variants.build_runner(variants.VARIANTS[-1], scene, 1, None, stack)


def test_what_is_not_installed_has_a_row_that_says_so(scene, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    chosen = [variants.PUBLISHED, *(variants.Variant(name, "openvino", name) for name in ("float32", "int8"))]
    rows = bench.measure(scene, chosen, ("model", 1), variants.Turns(1, 1), {}, None)
    assert rows[0].missing is None and rows[0].total_speed == 1
    assert all("openvino is not installed" in row.missing for row in rows[1:])


def test_int8_is_calibrated_before_its_tracker_is_built(scene, monkeypatch):
    calls = []
    monkeypatch.setattr(variants, "export_experiment", lambda *args: calls.append(args))
    monkeypatch.setattr(variants, "build_tracker", lambda *args, **options: calls.append((args, options)))
    scene.tracker(variants.Variant("a", "onnxruntime", "int8"))
    scene.tracker(variants.Variant("b", "onnxruntime"))
    spec = TrackerSpec(scene.config, checkpoint=scene.checkpoint, overrides=tuple(scene.overrides))
    assert calls[0] == (spec, "onnx", ExportOptions("int8"))
    assert [args[:4] for args, _ in calls[1:]] == [
        (scene.config, scene.checkpoint, scene.device, precision) for precision in ("int8", "float32")
    ]


FAKE_OPENCV = """
import numpy
__version__ = "0"
def setNumThreads(count): pass
def imread(path): return numpy.zeros((2, 2, 3), numpy.uint8)
class TrackerCSRT:
    @classmethod
    def create(cls): return cls()
    def init(self, image, box): assert all(type(value) is int for value in box)
    def update(self, image): return True, (0, 0, 1, 1)
"""


def test_opencv_is_timed_in_a_process_with_an_opencv_of_its_own(scene, tmp_path):
    (tmp_path / "contrib").mkdir()
    (tmp_path / "contrib/cv2.py").write_text(FAKE_OPENCV)
    runner = variants.OpenCVRunner("CSRT", scene, tmp_path / "contrib")
    frames = [runner.run(number) for number in (1, 2, 1)]
    runner.close()
    assert runner.process.returncode == 0
    for frame in frames:
        assert frame.decode > 0 and frame.tracker > 0 and np.isnan(frame.network)


def test_opencv_tracker_keeps_its_box_when_it_loses_the_target(monkeypatch):
    answers = iter([(True, (3, 4, 5, 6)), (False, (0, 0, 0, 0))])

    class Fake:
        def init(self, image, box):
            self.first = image[0, 0].tolist(), box

        def update(self, image):
            return next(answers)

    monkeypatch.setattr(opencv_trackers, "create", lambda kind: Fake())
    tracker = opencv_trackers.get_tracker_class()(opencv_trackers.parameters("KCF"), device="cpu")
    image = np.full((8, 8, 3), (1, 2, 3), np.uint8)
    tracker.initialize(image, {"init_bbox": [0.6, 1.2, 0.2, 3.4]})
    assert tracker.tracker.first == ([3, 2, 1], (1, 1, 1, 3))  # blue first, whole pixels
    assert [tracker.track(image)["target_bbox"] for _ in range(2)] == [[3, 4, 5, 6]] * 2
    with pytest.raises(ConfigError, match="choose one of CSRT, KCF"):
        opencv_trackers.parameters("MOSSE")
    with pytest.raises(ConfigError, match="use --device cpu"):
        opencv_trackers.OpenCVTracker("KCF", "cuda")


# Figures


def test_figures_are_medians_percentiles_and_shares_of_the_mean():
    frames = [FrameTime(0.001, total / 1000 - 0.001, 0.002, total / 1000 - 0.004) for total in (10, 20, 30, 40)]
    found = report.figures(frames)
    assert found["total"] == pytest.approx((25, 38.5)) and found["network"] == pytest.approx((21, 34.5))
    assert found["shares"] == pytest.approx({"decode": 0.04, "crop": 0.08, "network": 0.84, "rest": 0.04})
    whole = report.figures([FrameTime(0.005, 0.015)])
    assert "network" not in whole and whole["shares"] == pytest.approx({"decode": 0.25, "rest": 0.75})


def test_rows_have_ratios_and_their_cells_stand_below_the_header():
    row = report.Row("c", "batch", 4, "v", None, (10.0, 12.0), (20.0, 24.0), {"decode": 0.5}, 3.0, 2.0, 0.25)
    assert row.ratios() == {"c, batch 4, v: network": 3.0, "c, batch 4, v: end to end": 2.0}
    assert str(row).split()[3:] == "10.00 12.00 3.00 25% 20.00 24.00 50.0 2.00 50.0% - - -".split()
    assert len(str(row)) == len(report.HEADER)
    missing = report.Row("c", "model", 1, "v", missing="not installed")
    assert missing.ratios() == {} and str(missing).endswith("not installed")


def test_the_limit_is_that_of_operations_or_of_memory(scene):
    rates = {"float32": 1e9, "bf16": 1e15, "copy": 1e9}
    operations = bench.limit_seconds(scene, variants.Variant("a", "torch"), 1, rates)
    cfg = load_config(OSTrackConfig, scene.config, list(SMALL))
    net = build_ostrack(cfg)
    assert operations == pytest.approx(bench.count_flops(cfg, net))
    count = sum(parameter.numel() for parameter in net.parameters())
    assert bench.limit_seconds(scene, variants.Variant("b", "torch", "bf16"), 4, rates) == pytest.approx(
        count / 2 / 1e9
    )
    assert bench.limit_seconds(scene, variants.Variant("c", "torch", "fp16"), 1, rates) is None


def test_a_pass_of_several_sequences(scene, tmp_path):
    rows = measure_pass(
        scene, [variants.PUBLISHED, variants.Variant("ours", "torch")], 2, 1, tmp_path / "out", frames=3
    )
    assert [row.variant for row in rows] == ["published", "ours"]
    assert rows[0].total_speed == 1 and rows[1].total_speed == pytest.approx(rows[0].total[0] / rows[1].total[0])
    results = sorted((tmp_path / "out").rglob("*.txt"))
    assert {len(np.loadtxt(path, ndmin=2)) for path in results if "time" not in path.name} == {3}


def run_script(monkeypatch, main, *arguments):
    monkeypatch.setattr(sys, "argv", ["script.py", *map(str, arguments)])
    return main()


def test_the_command_prints_a_table_and_writes_what_compare_reads(monkeypatch, tmp_path, capsys):
    rates = {"float32": 1e11, "bf16": 1e11, "copy": 1e10}
    monkeypatch.setattr(bench, "measure_roofline", lambda device, repeats: rates)
    monkeypatch.setattr(bench, "QUICK", bench.Plan(variants.Turns(1, 1), variants.Turns(1, 1), 1, (), (), (), ()))
    arguments = ["--quick", "--device", "cpu", "--cpu_threads", 1, "--config", "vitt_256_ce_images", "--size",
                 "160x120", "--variants", "torch float32", "torch fp16", "--json", tmp_path / "run.json"]  # fmt: skip
    run_script(monkeypatch, bench.main, *arguments)
    printed = capsys.readouterr().out
    assert "float32 100, bf16 100 GFLOP/s" in printed and "for CUDA only" in printed
    run = json.loads((tmp_path / "run.json").read_text())
    kind, ratios = compare.run_ratios(run, tmp_path / "run.json")
    assert kind == run["machine"]["kind"] and run["roofline"] == rates
    name = "vitt_256_ce_images, model 1, torch float32: network"
    row = run["rows"][1]
    assert ratios[name] == pytest.approx(run["rows"][0]["network"][0] / row["network"][0])
    assert row["of_limit"] * row["network"][0] == pytest.approx(
        run["rows"][0]["of_limit"] * run["rows"][0]["network"][0]
    )


@pytest.mark.parametrize("arguments", [("--batch", "0"), ("--cpu_threads", "0"), ("--size", "wide", "--quick")])
def test_numbers_that_cannot_be(monkeypatch, arguments):
    monkeypatch.setattr(bench, "measure_roofline", lambda device, repeats: {"copy": 1.0})
    with pytest.raises(ConfigError, match="1 or more|WIDTHxHEIGHT"):
        run_script(monkeypatch, bench.main, "--device", "cpu", *arguments)


# Regression


@pytest.fixture
def run_file(tmp_path):
    """Writes a run with one row that is so many times as fast as the published way."""

    def write(network, total, kind="machine"):
        row = report.Row("c", "model", 1, "v", network_speed=network, total_speed=total)
        run = {"machine": {"kind": kind}, "rows": [vars(row)]}
        (tmp_path / "run.json").write_text(json.dumps(run))
        return tmp_path / "run.json"

    return write


def test_a_ratio_that_has_fallen_is_named(run_file, tmp_path, monkeypatch, capsys):
    known = tmp_path / "known.json"
    update = [run_file(4.0, 3.0), "--file", known, "--tolerance", 0.1, "--update"]
    assert run_script(monkeypatch, compare.main, *update) == 0
    assert run_script(monkeypatch, compare.main, run_file(3.7, 2.75), "--file", known) == 0
    assert "2 ratios compared, 0 have fallen" in capsys.readouterr().out
    assert run_script(monkeypatch, compare.main, run_file(3.5, 2.75), "--file", known) == 1
    assert "FALLEN: c, model 1, v: network: 3.50, was 4.00, may be 3.60" in capsys.readouterr().out
    assert run_script(monkeypatch, compare.main, run_file(None, 3.0), "--file", known) == 0
    assert "not measured: c, model 1, v: network" in capsys.readouterr().out


def test_an_update_keeps_other_machines_and_tolerances(run_file, tmp_path, monkeypatch):
    known = tmp_path / "known.json"
    entry = {"ratio": 1.0, "tolerance": 0.5}
    known.write_text(json.dumps({"other": {"x": entry}, "machine": {"c, model 1, v: network": entry}}))
    assert run_script(monkeypatch, compare.main, run_file(4.0, 3.0), "--file", known, "--update") == 0
    expected = {"c, model 1, v: end to end": {"ratio": 3.0, "tolerance": 0.15},
                "c, model 1, v: network": {"ratio": 4.0, "tolerance": 0.5}}  # fmt: skip
    assert json.loads(known.read_text()) == {"other": {"x": entry}, "machine": expected}


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("[]", "machine", "holds no JSON object"),
        ("{", "machine", "cannot be read"),
        ('{"other": {}}', "machine", r"knows no ratios of machine \(but of: other\)"),
        ('{"machine": {"gone": {"ratio": 1, "tolerance": 0.1}}}', "machine", "none of the 1 ratios"),
    ],
)
def test_files_that_cannot_be_compared(run_file, tmp_path, monkeypatch, text, kind, message):
    (tmp_path / "known.json").write_text(text)
    with pytest.raises(DataError, match=message):
        run_script(monkeypatch, compare.main, run_file(1.0, 1.0, kind), "--file", tmp_path / "known.json")


def test_a_run_of_something_else_is_refused(tmp_path, monkeypatch):
    (tmp_path / "run.json").write_text('{"rows": [{"speed": 1}], "machine": {"kind": "x"}}')
    with pytest.raises(DataError, match="was not written by benchmarks/bench.py"):
        run_script(monkeypatch, compare.main, tmp_path / "run.json")


def test_the_known_ratios_of_the_repository_can_be_read():
    for machine, ratios in compare.read_json(compare.REGRESSION).items():
        assert "threads" in machine or "NVIDIA" in machine
        assert ratios and all(entry["ratio"] > 0 and 0 < entry["tolerance"] < 1 for entry in ratios.values())
