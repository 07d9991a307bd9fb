"""What the keys ``TEST.*`` do to boxes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from lib.config import load_config
from lib.config.ostrack import OSTrackConfig
from lib.models.state import State
from lib.test.tracker import Tracker
from lib.test.tracker.tracker import smooth_size
from lib.utils.errors import CheckpointError, ConfigError, DataError

TINY = "vitt_256_ce_images"
BOX = [190.0, 190.0, 20.0, 20.0]


class BrightCells:
    """A network whose score of a cell is its greatest brightness; the target is as wide and high as ``size`` says.

    Args:
        size: width and height as fractions of the search region.
    """

    device = torch.device("cpu")

    def __init__(self, size: tuple[float, float] = (0.25, 0.25)) -> None:
        self.size = torch.tensor(size).view(1, 2, 1, 1)

    def prepare(self, state: State) -> State:
        return state

    def run(self, state: State, crops: Tensor) -> tuple[dict[str, Tensor], State]:
        count, grid = len(crops), crops.shape[1] // 16
        cells = crops[..., 0].unflatten(1, (grid, 16)).unflatten(3, (grid, 16))
        outputs = {
            "score_map": cells.amax((2, 4))[:, None].float() / 255,
            "size_map": self.size.expand(count, 2, grid, grid),
            "offset_map": torch.full((count, 2, grid, grid), 0.5),
        }
        return outputs, {}


def tracker_with(*overrides: str, size: tuple[float, float] = (0.25, 0.25)) -> Tracker:
    return Tracker(load_config(OSTrackConfig, TINY, list(overrides)), BrightCells(size))


def picture(*spots: tuple[int, int, int]) -> np.ndarray:
    """Black, with a square of 3 x 3 pixels of some brightness around each center ``x, y``."""
    image = np.zeros((400, 400, 3), np.uint8)
    for x, y, level in spots:
        image[y - 1 : y + 2, x - 1 : x + 2] = level
    return image


def center(box: list[float]) -> np.ndarray:
    return np.array([box[0] + box[2] / 2, box[1] + box[3] / 2])


def test_sizes_are_mixed_about_the_center() -> None:
    box = [10.0, 20.0, 40.0, 20.0]
    assert smooth_size(box, [0, 0, 20, 40], 0.25) == [12.5, 17.5, 35.0, 25.0]
    assert smooth_size(box, [0, 0, 20, 40], 0) == box
    assert smooth_size(box, [0, 0, 20, 40], 1) == [20.0, 10.0, 20.0, 40.0]


@pytest.mark.parametrize(("smoothing", "level", "width"), [(0, 102, 40), (0.5, 102, 34), (1, 102, 28), (1, 255, 40)])
def test_the_less_the_score_the_more_of_the_last_size_stays(smoothing: float, level: int, width: float) -> None:
    tracker = tracker_with(f"TEST.SIZE_SMOOTHING={smoothing}", size=(0.5, 0.25))  # of 80 pixels: 40 x 20
    image = picture((202, 202, level))
    target = tracker.start(image, BOX)
    box = tracker.step([image], [target]).boxes[0]
    np.testing.assert_allclose([*center(box), *box[2:]], [202.5, 202.5, width, 20], atol=1e-4)
    assert target.box == box


@pytest.mark.parametrize(("options", "side"), [((), 10), (("TEST.MIN_SIZE=3",), 4), (("TEST.MIN_SIZE=6.5",), 6.5)])
def test_boxes_are_as_small_as_the_least_size(options: tuple[str, ...], side: float) -> None:
    tracker = tracker_with(*options, size=(0.05, 0.05))  # of 80 pixels: 4 x 4
    image = picture((202, 202, 255))
    box = tracker.step([image], [tracker.start(image, BOX)]).boxes[0]
    np.testing.assert_allclose(box[2:], [side, side], atol=1e-4)
    strip = image[:, 198:206]  # narrower than the least size of old: the box is not pushed out of it
    x, y, w, h = tracker.step([strip], [tracker.start(strip, [2, 190, 6, 20])]).boxes[0]
    assert x >= 0 and y >= 0 and x + w <= 8 and y + h <= 400
    with pytest.raises(ConfigError, match="TEST.MIN_SIZE is 0; it must be 1 or more"):
        tracker_with("TEST.MIN_SIZE=0")


@pytest.mark.parametrize("options", [(), ("TEST.SEARCH_SIZE=192", "TEST.SEARCH_FACTOR=3.0")])
def test_a_smaller_search_region_gives_the_same_box(options: tuple[str, ...]) -> None:
    # Both crops show 0.3125 pixels of the image as one; a quarter of the 256 trained pixels is 20 pixels of the image.
    tracker = tracker_with(*options)
    image = picture((202, 197, 255))
    box = tracker.step([image], [tracker.start(image, BOX)]).boxes[0]
    np.testing.assert_allclose([*center(box), *box[2:]], [202.5, 197.5, 20, 20], atol=1e-4)


def test_boxes_that_are_no_numbers_are_not_passed_on() -> None:
    tracker = tracker_with(size=(math.nan, 0.25))
    target = tracker.start(picture((200, 200, 250)), BOX)
    with pytest.raises(CheckpointError, match=r"the box \[.*nan.* with score 0\.98.*float32"):
        tracker.step([picture((200, 200, 250))], [target])
    assert target.box == BOX


def test_a_failing_step_leaves_the_box() -> None:
    tracker = tracker_with()
    image = picture((215, 202, 60))
    targets = [tracker.start(image, BOX), tracker.start(image, BOX)]
    for wrong in (image[..., 0], image[:0]):  # a picture without rows would leave a box without height
        with pytest.raises(DataError, match="RGB uint8"):
            tracker.step([image, wrong], targets)
        assert [target.box for target in targets] == [BOX] * 2
    with pytest.raises(DataError, match="1 images for 2 targets: each target is found in its own image"):
        tracker.step([image], targets)
    with pytest.raises(DataError, match="1 images for 0 targets"):
        tracker.step([image], [])


def test_a_wrong_value_is_named() -> None:
    with pytest.raises(ConfigError, match=r"TEST\.SIZE_SMOOTHING is 1\.1; it must be from 0 to 1"):
        load_config(OSTrackConfig, TINY, ["TEST.SIZE_SMOOTHING=1.1"])


@pytest.mark.parametrize(
    ("weight", "found"), [(1.0, ["target", "other", "other", "other"]), (0.5, ["target", "target", "target", "other"])]
)
def test_an_object_seen_beside_the_target_does_not_take_over(weight: float, found: list[str]) -> None:
    tracker = tracker_with(f"TEST.DISTRACTOR_WEIGHT={weight}")
    target = tracker.start(picture((202, 202, 255)), BOX)
    # Brightness of target and other object, 255 times their score. In the third frame the other one is more than three
    # times as bright: the target may be lost, so from the next frame on it is no distractor.
    for (level, other), where in zip([(255, 100), (80, 200), (80, 255), (80, 255)], found, strict=True):
        box = tracker.step([picture((202, 202, level), (227, 202, other))], [target]).boxes[0]
        assert abs(center(box)[0] - {"target": 202, "other": 227}[where]) < 6


def test_distractors_of_a_batch_are_those_of_its_targets_alone() -> None:
    tracker = tracker_with("TEST.DISTRACTOR_WEIGHT=0.5")
    videos = [
        [picture((202, 202, level), (227, 202, other)) for level, other in ((255, 100), (80, 200))],
        [picture((207, 202, level)) for level in (255, 200)],
    ]
    alone = []
    for video in videos:
        target = tracker.start(video[0], BOX)
        alone.append([tracker.step([image], [target]).boxes[0] for image in video])
    targets = [tracker.start(video[0], BOX) for video in videos]
    together = [tracker.step(images, targets).boxes for images in zip(*videos, strict=True)]
    assert [list(boxes) for boxes in zip(*together, strict=True)] == alone
    assert [len(target.distractors) > 0 for target in targets] == [True, False]


def test_a_head_without_scores_of_cells_has_no_distractors() -> None:
    with pytest.raises(
        ConfigError, match="TEST.DISTRACTOR_WEIGHT .*must be 1: a CORNER head has no score for each cell"
    ):
        tracker_with("MODEL.HEAD.TYPE=CORNER", "TEST.DISTRACTOR_WEIGHT=0.5")
