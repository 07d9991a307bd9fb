"""The tracking function for CVAT, driven with cvat-sdk's own types as an agent of cvat-cli does, without a server."""

import importlib.util

import numpy as np
import PIL.Image
import pytest

from tests.conftest import REPOSITORY

FILE = REPOSITORY / "integrations/cvat/tracking_function.py"


@pytest.fixture(scope="module")
def cvataa():
    return pytest.importorskip("cvat_sdk.auto_annotation", reason="cvat-sdk is not installed: pip install cvat-sdk")


def load():
    """The file as a module, as cvat-cli loads it."""
    spec = importlib.util.spec_from_file_location("__cvat_function__", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def frame(left, visible=True):
    """A picture of noise, with a textured square of 40 pixels whose left upper corner is at ``left``, 60."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 90, (200, 260, 3), np.uint8)
    square = np.kron(rng.integers(100, 255, (8, 8, 3), np.uint8), np.ones((5, 5, 1), np.uint8))
    if visible:
        pixels[60:100, left : left + 40] = square
    return PIL.Image.fromarray(pixels)


def test_a_rectangle_is_followed_and_none_where_it_is_lost(cvataa):
    context = type("Context", (cvataa.TrackingFunctionShapeContext,), {"original_shape_type": "rectangle"})()

    function = load().create("vits_192", lost_below=0.3, device="cpu")
    assert isinstance(function.spec, cvataa.TrackingFunctionSpec)
    assert function.spec.supported_shape_types == {"rectangle"}
    shape = cvataa.TrackableShape(type="rectangle", points=[50, 60, 90, 100])
    state = function.init_tracking_state(context, function.preprocess_image(context, frame(50)), shape)
    for left in (53, 56, 59):
        palette = frame(left).quantize(256)  # CVAT hands over whatever the file holds
        found = function.track(context, function.preprocess_image(context, palette), state)
        assert isinstance(found, cvataa.TrackableShape) and found.type == "rectangle"
        np.testing.assert_allclose(found.points, [left, 60, left + 40, 100], atol=6)
    gone = function.preprocess_image(context, frame(0, visible=False))
    assert function.track(context, gone, state) is None
    back = function.track(context, function.preprocess_image(context, frame(59)), state)
    assert abs(back.points[0] - 59) < 6


def test_it_is_short():
    assert len(FILE.read_text().splitlines()) < 80
