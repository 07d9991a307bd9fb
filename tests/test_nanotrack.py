"""NanoTrack's steps around its network, which is a stand-in here."""

import numpy as np
import pytest

from benchmarks import nanotrack
from lib.utils.errors import CheckpointError, ConfigError


class Backbone:
    """Hands the crop on as it is."""

    def __init__(self):
        self.crops = []

    def run(self, _, inputs):
        self.crops.append(inputs["input"])
        return [inputs["input"]]


class Head:
    """Sees the target at one cell, as large as it was, or twice as large."""

    def __init__(self, cells, scale=1.0):
        self.cells, self.scale, self.cell = cells, scale, (0, 0)

    def run(self, _, inputs):
        logits = np.zeros((1, 2, self.cells, self.cells), np.float32)
        logits[0, 0] = 9
        logits[0, :, self.cell[0], self.cell[1]] = (0, 9)
        reach = np.full((1, 4, self.cells, self.cells), self.scale * 127 / 4, np.float32)
        return [logits, reach]


@pytest.fixture
def tracker(monkeypatch):
    parts = [Backbone(), Head(15)]
    monkeypatch.setattr(nanotrack, "_session", lambda path, any_size=False: parts[0 if any_size else 1])
    return nanotrack.NanoTrack(nanotrack.Parameters(nanotrack.SETTINGS["v3"], "b", "h")), *parts


def test_the_target_follows_the_best_cell(tracker):
    nano, backbone, head = tracker
    image = np.random.default_rng(0).integers(0, 255, (200, 300, 3), np.uint8)
    nano.initialize(image, {"init_bbox": [130, 80, 40, 40]})
    assert backbone.crops[0].shape == (1, 3, 127, 127)  # a square of 80 pixels
    head.cell = (7, 7)
    found = nano.track(image)
    np.testing.assert_allclose(found["target_bbox"], [129.5, 79.5, 40, 40], atol=1e-5)
    assert found["best_score"] == pytest.approx(1 / (1 + np.exp(-9)), rel=1e-4)
    head.cell = (7, 9)  # two cells of 16 pixels to the right, 80 / 127 image pixels each
    box = nano.track(image)["target_bbox"]
    np.testing.assert_allclose(box, [129.5 + 32 * 80 / 127, 79.5, 40, 40], atol=1e-4)
    assert backbone.crops[-1].shape == (1, 3, 255, 255)


def test_the_size_changes_slowly_and_stays_inside(tracker):
    nano, _, head = tracker
    image = np.zeros((120, 150, 3), np.uint8)
    nano.initialize(image, {"init_bbox": [50, 40, 40, 40]})
    head.cell, head.scale = (7, 7), 2.0
    widths = [nano.track(image)["target_bbox"][2] for _ in range(40)]
    assert 40 < widths[0] < 40 * (1 + 0.348) and widths == sorted(widths) and widths[-1] == 150


def test_outside_of_the_picture_is_its_mean(tracker):
    nano, backbone, _ = tracker
    image = np.full((60, 60, 3), (200, 100, 50), np.uint8)
    nano.initialize(image, {"init_bbox": [-10, -10, 20, 20]})
    np.testing.assert_allclose(backbone.crops[0][0, :, 5, 5], [50, 100, 200])  # BGR


def test_what_is_missing_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("NANOTRACK_DIR", str(tmp_path))
    with pytest.raises(ConfigError, match="NanoTrack 'v4' is unknown; choose one of v2, v3"):
        nanotrack.parameters("v4")
    with pytest.raises(CheckpointError, match="nanotrack_v2_backbone.onnx.*NANOTRACK_DIR"):
        nanotrack.parameters("v2")
    for part in ("backbone", "head"):
        (tmp_path / f"nanotrack_v2_{part}.onnx").touch()
    assert nanotrack.parameters("v2").settings.cells == 16
