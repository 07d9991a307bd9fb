"""Crops and boxes against the published geometry, quirks included."""

import cv2
import numpy as np
import pytest
import torch

from lib.utils.box_ops import clip_box, paired_giou
from lib.utils.crop import box_from_crop, box_to_crop, crop_window, sample_target
from lib.utils.errors import DataError
from lib.utils.windows import hann2d
from tests.golden.fixtures import clip_frame


@pytest.fixture(scope="module")
def geometry(golden):
    return golden("geometry.npz")


def test_the_clip_is_the_one_the_references_were_made_from(geometry):
    assert clip_frame(0)[0].astype(np.int64).sum() == geometry["frame0_sum"]
    assert clip_frame(5)[0].astype(np.int64).sum() == geometry["frame5_sum"]


@pytest.mark.parametrize("case", range(7))
def test_crops_equal_the_published_ones(case, geometry):
    box = geometry[f"crop{case}/box"]
    factor, size = geometry[f"crop{case}/factor_size"]
    image, resize_factor, padding = sample_target(clip_frame(0)[0], box, factor, int(size))
    # Bilinear resizing differs by one gray level between OpenCV releases.
    assert np.abs(image.astype(int) - geometry[f"crop{case}/image"].astype(int)).max() <= 1
    assert resize_factor == pytest.approx(float(geometry[f"crop{case}/resize_factor"]), abs=1e-7)
    expected = np.unpackbits(geometry[f"crop{case}/att_mask"])[: int(size) ** 2].reshape(int(size), int(size))
    assert (padding == expected.astype(bool)).all()
    inside = box_to_crop(torch.tensor([62.0, 75, 44, 30]), torch.tensor(box), resize_factor, int(size))
    np.testing.assert_allclose(inside, geometry[f"crop{case}/box_in_crop"], atol=1e-4)


def test_quirk_a_crop_that_touches_the_border_loses_one_pixel():
    image = np.full((20, 20, 3), 200, np.uint8)
    _, _, padding = sample_target(image, [5, 5, 10, 10], 2.0, 20)  # exactly the whole image
    assert padding[:, -1].all() and padding[-1].all() and not padding[:-1, :-1].any()


def test_quirk_the_crop_center_differs_by_half_a_pixel_between_there_and_back():
    box = torch.tensor([100.0, 60, 30, 40])
    x, y, w, h = box_to_crop(box, box, 2.0, 256).tolist()
    assert (x + w / 2, y + h / 2) == pytest.approx((127.5 / 256, 127.5 / 256))
    back = box_from_crop([x + w / 2, y + h / 2, w, h], box.tolist(), 2.0, 256)
    assert back == pytest.approx([99.75, 59.75, 30, 40])


def test_a_window_outside_of_the_image_is_all_padding():
    image, _, padding = sample_target(np.full((50, 60, 3), 9, np.uint8), [500, 400, 10, 10], 2.0, 32)
    assert padding.all() and not image.any()


@pytest.mark.parametrize(
    "box", [[0, 0, 0, 5], [0, 0, 5, -1], [9, 9, 1e-200, 1e-200], [0, float("nan"), 5, 5], [0, 0, float("inf"), 5]]
)
def test_a_box_without_area_is_refused(box):
    with pytest.raises(DataError, match="must be positive"):
        crop_window(box, 2.0)


def test_a_box_that_memory_cannot_hold_is_refused():
    with pytest.raises(DataError, match="box x, y, w, h = 10.0, 10.0, 12345.0, 12345.0: it is far too large"):
        crop_window([10, 10, 12345, 12345], 4.0)
    with pytest.raises(DataError, match="it is far too large"):
        crop_window([0, 0, 1e200, 1e200], 4.0)
    assert crop_window([10, 10, 8000, 8000], 4.0).side == 32000


@pytest.mark.parametrize("size", [16, 20, 24])
def test_hann_windows(size, geometry):
    np.testing.assert_allclose(hann2d(size), geometry[f"hann{size}"], atol=1e-6)


def test_clip_box(geometry):
    for box, expected in zip(geometry["clip_in"], geometry["clip_out_h240_w320_margin10"], strict=True):
        assert clip_box(box.tolist(), 240, 320, margin=10) == pytest.approx(expected.tolist())


def test_giou(geometry):
    giou, iou = paired_giou(torch.tensor(geometry["giou_a"]), torch.tensor(geometry["giou_b"]))
    np.testing.assert_allclose(giou, geometry["giou"], atol=1e-5)
    np.testing.assert_allclose(iou, geometry["iou"], atol=1e-5)


def test_the_padding_mask_is_that_of_resizing_the_whole_mask():
    rng = np.random.default_rng(0)
    image = np.full((60, 80, 3), 9, np.uint8)
    for _ in range(400):
        box = [*rng.uniform(-30, 70, 2), *rng.uniform(3, 60, 2)]
        factor, size = rng.uniform(1, 4), int(rng.choice([16, 64, 96, 128]))
        window = crop_window(box, factor)
        whole = np.ones((window.side, window.side))
        rows, columns = (np.arange(window.side) + start for start in (window.y, window.x))
        whole[np.ix_((rows >= 0) & (rows < 59), (columns >= 0) & (columns < 79))] = 0
        expected = cv2.resize(whole, (size, size)).astype(bool)
        np.testing.assert_array_equal(sample_target(image, box, factor, size)[2], expected)
