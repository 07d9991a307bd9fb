"""Devices: which are there, what is said of others, and a tracker on a GPU that is pretended."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lib.test.evaluation.runner import choose_devices
from lib.test.profiling import profile
from lib.test.spec import TrackerSpec
from lib.test.tracker import build_tracker
from lib.test.tracker.build import choose_precision
from lib.train.run_training import pick_device
from lib.utils.devices import checked_device, gpu_count
from lib.utils.errors import ConfigError
from tests.factories import SMALL, TINY, drawn_weights, run_program, track_clip
from tests.pretended_gpu import GPU, pretended_gpu


@pytest.fixture
def gpus(monkeypatch):
    """Sets how many GPUs of each kind there seem to be; none of those that are not named."""

    def put(cuda=0, mps=0, xpu=0):
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: bool(mps))
        for kind, count in ((torch.cuda, cuda), (torch.xpu, xpu)):
            monkeypatch.setattr(kind, "is_available", lambda count=count: count > 0)
            monkeypatch.setattr(kind, "device_count", lambda count=count: count)

    put()
    return put


def test_auto_is_cuda_or_the_cpu_and_the_others_are_had_by_name(gpus):
    assert checked_device("auto") == checked_device("cpu") == torch.device("cpu")
    gpus(mps=1, xpu=2)
    assert (gpu_count("cuda"), gpu_count("mps"), gpu_count("xpu")) == (0, 1, 2)
    assert checked_device("auto") == torch.device("cpu")
    assert choose_devices("mps", None) == ["mps"] and choose_devices("xpu:1", 4) == ["xpu:1"]
    gpus(cuda=3)
    assert checked_device("auto") == torch.device("cuda") and choose_devices("cuda:2", None) == ["cuda:2"]


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("mps", "device mps was asked for, but PyTorch sees no MPS device; use device cpu"),
        ("xpu:1", "device xpu:1 was asked for, but PyTorch sees no XPU device; use device cpu"),
        ("cuda", "device cuda was asked for, but PyTorch sees no CUDA device; use device cpu"),
        ("gpu", r"device 'gpu' is unknown; choose auto, cpu, cuda, cuda:N, mps \(Apple\) or xpu \(Intel\)"),
        ("meta", "device 'meta' is unknown"),
        ("", "device '' is unknown"),
    ],
)
def test_what_cannot_be_had_is_one_line_everywhere(gpus, monkeypatch, capsys, tmp_path, device, message):
    for build in (
        checked_device,
        lambda name: build_tracker(TINY, device=name),
        lambda name: profile(TrackerSpec(TINY, device=name)),
    ):
        with pytest.raises(ConfigError, match=message):
            build(device)
    assert run_program(monkeypatch, "test", ["ostrack", TINY, "--dataset", "otb", "--device", device]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "device" in error


def test_numbers_beyond_the_last_and_training_elsewhere_are_refused(gpus):
    gpus(cuda=2, mps=1, xpu=1)
    with pytest.raises(ConfigError, match="device cuda:2 was asked for, but PyTorch numbers them from 0 to 1"):
        checked_device("cuda:2")
    for device in ("mps", "xpu"):
        with pytest.raises(ConfigError, match=f"--device {device}: training runs on cpu and cuda"):
            pick_device(device)


def test_precisions_of_other_gpus(monkeypatch):
    assert choose_precision("auto", "mps", "torch") == choose_precision("auto", "xpu", "torch") == "float32"
    assert choose_precision("fp16", "mps", "torch") == "fp16"
    for newer in (True, False):
        monkeypatch.setattr(torch.backends.mps, "is_macos_or_newer", lambda *_, newer=newer: newer)
        if newer:
            assert choose_precision("bf16", "mps", "plain") == "bf16"
        else:
            with pytest.raises(ConfigError, match="bf16 from macOS 14 on"):
                choose_precision("bf16", "mps", "torch")
    with pytest.raises(ConfigError, match="backend openvino runs on the CPU"):
        choose_precision("float32", "mps", "openvino")


@pytest.mark.parametrize(
    ("backend", "override"),
    [("torch", "TEST.EPOCH=1"), ("plain", "TEST.EPOCH=1"), ("torch", "MODEL.BACKBONE.CE_TEMPLATE_RANGE=GT_BOX"),
     ("torch", "MODEL.HEAD.TYPE=CORNER"), ("torch", "MODEL.HEAD.TYPE=MLP")],
)  # fmt: skip
def test_a_tracker_on_apples_gpu_gives_the_boxes_of_the_cpu(backend, override, tmp_path):
    overrides = [*SMALL, override]
    drawn_weights(tmp_path / "w.pth", TINY, overrides)
    options = {"backend": backend, "overrides": overrides}
    expected = track_clip(build_tracker(TINY, tmp_path / "w.pth", **options), 3)
    with pretended_gpu():
        tracker = build_tracker(TINY, tmp_path / "w.pth", "mps", **options)
        assert tracker.device == GPU and tracker.window.device == GPU
        found = track_clip(tracker, 3)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours["target_bbox"], theirs["target_bbox"], atol=1e-3)
        assert ours["best_score"] == pytest.approx(theirs["best_score"], abs=1e-5)


def test_the_pretence_refuses_what_a_gpu_does():
    with pretended_gpu():
        there, here = torch.ones(1, 4, 2, 2).to(GPU), torch.ones(1, 4, 2, 2)
        assert there.device == (there + 1).device == GPU and there.cpu().device == here.device
        assert (there * 2).sum().tolist() == 32
        for wrong in (
            lambda: there + here,
            lambda: torch.ones(1, dtype=torch.float64).to(GPU),
            lambda: there.double(),
            lambda: there.numpy(),
            lambda: here.to(GPU, non_blocking=True),
            lambda: F.conv2d(there.to(memory_format=torch.channels_last)[:, :2], torch.ones(1, 2, 1, 1, device=GPU)),
        ):
            with pytest.raises(AssertionError):
                wrong()
