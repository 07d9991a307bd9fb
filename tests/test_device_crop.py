"""Crops that are resized by tensors have the bytes of OpenCV's, wherever the window lies."""

import cv2
import numpy as np
import pytest
import torch

from lib.test.tracker import Tracker
from lib.utils.crop import CropWindow, cut_window
from lib.utils.device_crop import cut_crops, resize_on_device
from tests.factories import SMALL, TINY, drawn_model, track_clip

CPU = torch.device("cpu")


def drawn_windows(rng, images):
    """Windows about everywhere: inside, over every border, outside."""
    return [
        CropWindow(
            int(rng.integers(-150, image.shape[1] + 20)),
            int(rng.integers(-150, image.shape[0] + 20)),
            int(rng.integers(1, 500)),
        )
        for image in images
    ]


@pytest.mark.parametrize("size", [64, 128, 192, 256])
def test_bytes_are_those_of_opencv(size):
    rng = np.random.default_rng(size)
    for count in (1, 1, 2, 3, 5, 8) * 2:
        images = [rng.integers(0, 256, (*rng.integers(20, 300, 2), 3), np.uint8) for _ in range(count)]
        windows = drawn_windows(rng, images)
        expected = [
            cv2.resize(cut_window(image, window)[0], (size, size))
            for image, window in zip(images, windows, strict=True)
        ]
        found = resize_on_device(images, windows, size, CPU)
        assert found.dtype == torch.uint8 and found.shape == (count, size, size, 3)
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(cut_crops(images, windows, size, CPU), expected)


@pytest.mark.parametrize("side", [64, 128, 256, 512])
def test_simple_scales_too(side):
    """OpenCV takes other ways for the same size and for the half."""
    image = np.random.default_rng(0).integers(0, 256, (600, 600, 3), np.uint8)
    window = CropWindow(7, 11, side)
    expected = cv2.resize(image[11 : 11 + side, 7 : 7 + side], (128, 128))
    np.testing.assert_array_equal(resize_on_device([image], [window], 128, CPU)[0], expected)


def test_a_window_outside_of_its_image_is_zero_and_moves_no_other():
    rng = np.random.default_rng(0)
    images = [rng.integers(1, 256, (40, 50, 3), np.uint8) for _ in range(3)]
    windows = [CropWindow(0, 0, 30), CropWindow(500, 0, 30), CropWindow(5, 5, 30)]
    found = resize_on_device(images, windows, 32, CPU)
    assert not found[1].any()
    for i in (0, 2):
        np.testing.assert_array_equal(found[i], resize_on_device(images[i : i + 1], windows[i : i + 1], 32, CPU)[0])
    assert not resize_on_device(images[1:2], windows[1:2], 32, CPU).any()


def test_a_tracker_that_crops_so_gives_the_same_boxes(monkeypatch):
    expected = track_clip(Tracker(*drawn_model(TINY, SMALL)), 4)
    calls = []

    def instead(*arguments):
        calls.append(arguments)
        return resize_on_device(*arguments)

    monkeypatch.setattr("lib.test.tracker.tracker.cut_crops", instead)
    assert track_clip(Tracker(*drawn_model(TINY, SMALL)), 4) == expected
    assert len(calls) == 4
