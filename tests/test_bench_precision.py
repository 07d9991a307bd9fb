"""The comparison of precisions from the same state: who leads, what is measured, what is told."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from benchmarks import bench_precision, variants
from benchmarks.variants import VARIANTS
from lib.config import load_config
from lib.config.ostrack import OSTrackConfig
from lib.data.sequence import Annotations, Sequence
from lib.test.evaluation.protocol import TrackResult
from lib.utils.errors import ConfigError

FRAMES = 6
BOX = [10.0, 10.0, 20.0, 20.0]


@dataclass
class Target:
    box: list[float]


class Drifting:
    """Moves its box by ``speed`` pixels to the right in every step, and notes where it began."""

    cfg = load_config(OSTrackConfig, "vitt_256_ce_images", ["TEST.SEARCH_FACTOR=4", "TEST.SEARCH_SIZE=128"])

    def __init__(self, speed: float) -> None:
        self.speed, self.began = speed, []

    def start(self, image, box):
        return Target(list(box))

    def step(self, images, targets):
        for target in targets:
            self.began.append(list(target.box))
            target.box = [target.box[0] + self.speed, *target.box[1:]]
        return TrackResult([list(target.box) for target in targets], [1.0] * len(targets))


def sequence(name="a", annotated=FRAMES):
    boxes = np.array([[10.0 + t, 10, 20, 20] for t in range(FRAMES)])
    frames = [np.full((60, 80, 3), t, np.uint8) for t in range(FRAMES)]
    return Sequence(name, "folder", frames, lambda: Annotations(boxes[:annotated]))


def test_all_look_where_the_leader_stands():
    leader, other = Drifting(1), Drifting(3)
    found = bench_precision.follow(leader, {"other": other}, sequence(), 5)
    np.testing.assert_array_equal(found.leading[:, 0], [10, 11, 12, 13, 14])
    np.testing.assert_array_equal(found.others["other"][:, 0], [10, 13, 14, 15, 16])
    np.testing.assert_array_equal(found.distances("other"), [2, 2, 2, 2])
    np.testing.assert_array_equal(found.scales, [128 / 80] * 4)  # the box is 20 pixels wide and high
    assert other.began == leader.began and len(leader.began) == 4


def test_frames_must_be_annotated():
    with pytest.raises(ConfigError, match="a is annotated in 2 of 6 frames"):
        bench_precision.follow(Drifting(1), {}, sequence(annotated=2), 10**9)


def test_the_table(monkeypatch, capsys):
    speeds = {"torch float32": 1.0, "torch bf16": 1.4, "openvino int8": 3.0}
    built = []

    def tracker(config, checkpoint, device, precision, *, backend, compiled, overrides):
        built.append((f"{backend} {precision}", config, overrides, str(checkpoint), device.type))
        if backend == "onnxruntime":
            raise ConfigError("onnxruntime is not installed")
        return Drifting(speeds[f"{backend} {precision}"])

    monkeypatch.setattr(variants, "build_tracker", tracker)
    monkeypatch.setattr(variants, "export_experiment", lambda *arguments: None)
    monkeypatch.setattr(bench_precision, "get_dataset", lambda name: [sequence("a"), sequence("b")])
    arguments = ["x", "folder:F", "TEST.SIZE_SMOOTHING=0.5", "--checkpoint", "w.pth", "--device", "cpu", "--variants",
                 "torch bf16", "torch fp16", "openvino int8", "onnxruntime int8"]  # fmt: skip
    monkeypatch.setattr("sys.argv", arguments)
    bench_precision.main()
    assert built[0] == ("torch bf16", "vits_256_ce_images", ["TEST.SIZE_SMOOTHING=0.5"], "w.pth", "cpu")
    assert [name for name, *_ in built] == ["torch bf16", "openvino int8", "onnxruntime int8", "torch float32"]
    fp16, onnx, title, head, bf16, int8 = capsys.readouterr().out.splitlines()
    assert fp16.split()[2:] == ["for", "CUDA", "only"] and "not installed" in onnx
    assert title == "vits_256_ce_images, folder:F: 2 sequences; float32 has AUC 95.24"  # above 20 of 21 thresholds
    # Five of six frames are 0.4 px off: IoU 19.6 / 20.4 = 0.96. The interval has no width: both sequences are the same.
    assert bf16.split() == [*"torch bf16 0.400 0.40 0.4 100.0 % 0.0 % 95.24 +0.00 +0.00..+0.00".split()]
    # 2 px off: IoU 18 / 22 = 0.82, above 17 of 21 thresholds, five frames of six.
    auc = 100 * (20 + 5 * 17) / 6 / 21
    assert int8.split()[:8] == ["openvino", "int8", "2.000", "2.00", "2.0", "0.0", "%", "0.0"]
    assert float(int8.split()[9]) == pytest.approx(auc, abs=0.006)
    assert float(int8.split()[10]) == pytest.approx(auc - 100 * 20 / 21, abs=0.006)


def test_frames_without_the_target_are_scored_as_in_the_analysis():
    boxes = sequence().ground_truth.copy()
    boxes[2] = np.nan
    absent = Sequence("a", "folder", [], lambda: Annotations(boxes))
    expected = 100 * (FRAMES - 1) / FRAMES * 20 / 21  # missed by every tracker
    assert bench_precision.area(sequence().ground_truth, absent) == pytest.approx(expected)


def test_one_frame_is_nothing_to_compare(monkeypatch):
    monkeypatch.setattr("sys.argv", ["x", "images_val", "--frames", "1"])
    with pytest.raises(ConfigError, match="at least 2"):
        bench_precision.main()


def test_variants_are_those_of_the_benchmark():
    assert bench_precision.LEADER in VARIANTS and bench_precision.LEADER.backend == "torch"
    assert {"torch bf16", "openvino int8", "cudagraph fp16"} <= set(bench_precision.REDUCED)
    assert all(variant.precision != "float32" for variant in bench_precision.REDUCED.values())
