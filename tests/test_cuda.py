"""What holds on a GPU, for machines that have one; all else in this folder runs on any machine."""

import numpy as np
import pytest
import torch

from lib.test.tracker import Tracker
from lib.test.tracker.build import build_network
from lib.utils.device_crop import cut_crops
from tests.factories import TINY, drawn_model, track_clip
from tests.golden.fixtures import clip_frame
from tests.test_device_crop import CPU, drawn_windows

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

NAMES = [TINY, "vitb_256_mae_ce_32x4_ep300"]


def boxes(name, folder, device, precision="float32", backend="torch", compiled=False):
    """Boxes and scores of six frames of the clip, (5, 5)."""
    cfg, model = drawn_model(name)
    network = build_network(cfg, model, torch.device(device), precision, backend, compiled, folder=folder)
    return np.array([[*found["target_bbox"], found["best_score"]] for found in track_clip(Tracker(cfg, network), 6)])


def test_crops_have_the_bytes_of_the_cpu():
    rng = np.random.default_rng(0)
    for count in (1, 4, 16):
        images = [rng.integers(0, 256, (*rng.integers(100, 600, 2), 3), np.uint8) for _ in range(count)]
        windows = drawn_windows(rng, images)
        found = cut_crops(images, windows, 256, torch.device("cuda"))
        assert found.is_cuda
        assert found.cpu().equal(cut_crops(images, windows, 256, CPU))


@pytest.mark.parametrize("backend", ["plain", "torch", "cudagraph"])
@pytest.mark.parametrize("name", NAMES)
def test_float32_gives_the_boxes_of_the_cpu(name, backend, tmp_path):
    expected = boxes(name, tmp_path, "cpu")
    np.testing.assert_allclose(boxes(name, tmp_path, "cuda", backend=backend), expected, atol=2e-3)


@pytest.mark.parametrize("precision", ["float32", "bf16", "fp16"])
@pytest.mark.parametrize("name", NAMES)
def test_a_recording_gives_what_it_recorded(name, precision, tmp_path):
    expected = boxes(name, tmp_path, "cuda", precision)
    np.testing.assert_allclose(boxes(name, tmp_path, "cuda", precision, "cudagraph"), expected, atol=1e-4)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_near(precision, tmp_path):
    """In the first step, from the same state; later ones look elsewhere."""
    expected = boxes(TINY, tmp_path, "cuda")
    np.testing.assert_allclose(boxes(TINY, tmp_path, "cuda", precision)[0], expected[0], atol=1)


@pytest.mark.end_to_end
def test_compiled_it_gives_the_same_boxes(tmp_path):
    expected = boxes(TINY, tmp_path, "cuda")
    np.testing.assert_allclose(boxes(TINY, tmp_path, "cuda", compiled=True), expected, atol=2e-3)


@pytest.mark.parametrize("backend", ["torch", "cudagraph"])
def test_a_batch_gives_what_single_targets_give(backend, tmp_path):
    cfg, model = drawn_model(TINY)
    tracker = Tracker(cfg, build_network(cfg, model, torch.device("cuda"), "float32", backend, folder=tmp_path))
    image, box = clip_frame(0)
    near = [box[0] + 3, box[1] - 2, box[2], box[3]]
    alone = [tracker.start(image, start) for start in (box, near)]
    together = [tracker.start(image, start) for start in (box, near)]
    for t in range(1, 4):
        frame = clip_frame(t)[0]
        single = [tracker.step([frame], [target]).boxes[0] for target in alone]
        np.testing.assert_allclose(tracker.step([frame] * 2, together).boxes, single, atol=1e-2)
