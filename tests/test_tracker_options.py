"""The options ``TEST.*`` of the tracker: what each does to boxes, and that none does anything when it is off."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from lib.config.ostrack import config_hash, load_config
from lib.models.ostrack import build_ostrack
from lib.test.tracker import Tracker
from lib.test.tracker.options import smooth_size
from lib.utils.checkpoint import save_checkpoint
from lib.utils.crop import sample_target
from lib.utils.errors import CheckpointError, ConfigError, DataError
from lib.utils.windows import hann2d
from tests.conftest import load_script
from tests.golden.fixtures import clip_frame, fill_state_dict
from tests.test_vis_recorder import watched_views

TINY = "vitt_256_ce_images"
GRID = 16
BOX = [190.0, 190.0, 20.0, 20.0]


class BrightCells:
    """A network whose score of a cell is its greatest brightness; the target is as wide and high as ``size`` says.

    Args:
        size: width and height as fractions of the search region.
    """

    device = torch.device("cpu")

    def __init__(self, size: tuple[float, float] = (0.25, 0.25)) -> None:
        self.size = torch.tensor(size).view(1, 2, 1, 1)

    def embed_template(self, crops: Tensor) -> Tensor:
        return crops.float()

    def run(self, template: Tensor, crops: Tensor, mask: Tensor | None) -> dict[str, Tensor]:
        count, grid = len(crops), crops.shape[1] // 16
        cells = crops[..., 0].unflatten(1, (grid, 16)).unflatten(3, (grid, 16))
        return {
            "score_map": cells.amax((2, 4))[:, None].float() / 255,
            "size_map": self.size.expand(count, 2, grid, grid),
            "offset_map": torch.full((count, 2, grid, grid), 0.5),
        }


def tracker_with(*overrides: str, size: tuple[float, float] = (0.25, 0.25)) -> Tracker:
    return Tracker(load_config(TINY, list(overrides)), BrightCells(size))


def real_tracker(*overrides: str) -> Tracker:
    """The smallest model, with weights that give each frame another box."""
    cfg = load_config(TINY, list(overrides))
    model = build_ostrack(cfg)
    state = fill_state_dict(model.state_dict())
    state["box_head.conv5_size.bias"].fill_(-1.1)
    model.load_state_dict(state)
    return Tracker(cfg, model)


def picture(*spots: tuple[int, int, int]) -> np.ndarray:
    """Black, with a square of 3 x 3 pixels of some brightness around each centre ``x, y``."""
    image = np.zeros((400, 400, 3), np.uint8)
    for x, y, level in spots:
        image[y - 1 : y + 2, x - 1 : x + 2] = level
    return image


def centre(box: list[float]) -> np.ndarray:
    return np.array([box[0] + box[2] / 2, box[1] + box[3] / 2])


def test_options_that_are_off_change_no_bit() -> None:
    neutral = ("WINDOW_POWER=1", "MIN_SIZE=10", "SIZE_SMOOTHING=0", "HOLD.SCORE=0", "HOLD.GROWTH=1.5", "HOLD.LIMIT=3")
    plain, off = real_tracker(), real_tracker(*(f"TEST.{text}" for text in neutral))
    assert torch.equal(plain.window, hann2d(GRID))
    runs = []
    for tracker in (plain, off):
        tracker.initialize(clip_frame(0)[0], {"init_bbox": clip_frame(0)[1]})
        runs.append([tracker.track(clip_frame(t)[0]) for t in range(1, 5)])
    assert runs[0] == runs[1]
    assert len({tuple(found["target_bbox"]) for found in runs[0]}) == 4
    assert "HOLD" not in load_config("vitb_256_mae_ce_32x4_ep300").TEST  # the published experiments know none of them


def test_their_setting_is_part_of_what_results_are_tied_to() -> None:
    hashes = {config_hash(load_config(TINY, texts)) for texts in ([], ["TEST.HOLD.SCORE=0.3"])}
    assert len(hashes) == 2


@pytest.mark.parametrize(("power", "found"), [(1, "near"), (0.25, "near"), (0.1, "far"), (0, "far")])
def test_the_window_weighs_distance_against_score(power: float, found: str) -> None:
    # The window of the far cell is 0.28 of that of the near one, and 0.28 ^ 0.25 < 200 / 240 < 0.28 ^ 0.1.
    image = picture((202, 202, 200), (227, 202, 240))
    tracker = tracker_with(f"TEST.WINDOW_POWER={power}")
    step = tracker.step([image], [tracker.start(image, BOX)])
    expected = {"near": (202.5, 202.5, 200), "far": (227.5, 202.5, 240)}[found]
    np.testing.assert_allclose(centre(step.boxes[0]), expected[:2], atol=2.5)  # half a cell
    assert step.scores[0] == pytest.approx(expected[2] / 255)  # the network's, without the window


def test_sizes_are_mixed_about_the_centre() -> None:
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
    np.testing.assert_allclose([*centre(box), *box[2:]], [202.5, 202.5, width, 20], atol=1e-4)
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
    np.testing.assert_allclose([*centre(box), *box[2:]], [202.5, 197.5, 20, 20], atol=1e-4)


def test_a_box_is_held_while_the_score_is_low() -> None:
    tracker = tracker_with("TEST.HOLD.SCORE=0.5", "TEST.HOLD.GROWTH=1.5", "TEST.HOLD.LIMIT=2")
    low, high = picture((215, 202, 120)), picture((215, 202, 140))
    target = tracker.start(high, BOX)
    reaches = []
    for _ in range(3):
        step = tracker.step([low], [target])
        assert step.boxes == [BOX] == [target.box]
        assert step.scores == [pytest.approx(120 / 255)]
        reaches.append(target.reach)
    assert reaches == [1.5, 2.0, 2.0]
    step = tracker.step([high], [target])  # a search region of 160 pixels: a cell is 10
    np.testing.assert_allclose(centre(step.boxes[0]), (215, 202), atol=6)
    np.testing.assert_allclose(step.boxes[0][2:], 40, atol=1e-4)
    assert step.scores == [pytest.approx(140 / 255)]
    assert target.reach == 1


def test_a_growing_region_finds_what_left_it() -> None:
    start, away = picture((200, 200, 250)), picture((260, 200, 250))  # 60 pixels on; the region ends at 40
    lost = {}
    for growth in (1.0, 1.2):
        tracker = tracker_with("TEST.HOLD.SCORE=0.5", f"TEST.HOLD.GROWTH={growth}", "TEST.HOLD.LIMIT=2")
        target = tracker.start(start, BOX)
        steps = [tracker.step([away], [target]) for _ in range(6)]
        lost[growth] = [step.scores[0] < 0.5 for step in steps]
        if growth > 1:
            np.testing.assert_allclose(centre(steps[-1].boxes[0]), (260, 200), atol=5)
    assert lost[1.0] == [True] * 6
    assert lost[1.2] == [True] * 3 + [False] * 3  # 40 x 1.2 ^ 3 > 60


@pytest.mark.parametrize("options", [(), ("TEST.HOLD.SCORE=0.5",)])
def test_boxes_that_are_no_numbers_are_not_passed_on(options: tuple[str, ...]) -> None:
    tracker = tracker_with(*options, size=(math.nan, 0.25))
    target = tracker.start(picture((200, 200, 250)), BOX)
    with pytest.raises(CheckpointError, match=r"the box \[.*nan.* with score 0\.98.*float32"):
        tracker.step([picture((200, 200, 250))], [target])
    assert target.box == BOX


def test_targets_of_a_batch_are_held_each_for_itself() -> None:
    options = ("TEST.HOLD.SCORE=0.5", "TEST.HOLD.GROWTH=1.3", "TEST.SIZE_SMOOTHING=1", "TEST.WINDOW_POWER=0.5")
    seen = picture((200, 200, 250)), picture((208, 195, 230))
    hidden = picture((200, 200, 250)), picture((200, 200, 60))
    videos = [[*seen, seen[0]], [*hidden, seen[1]], [hidden[0], seen[1], hidden[1]]]

    def follow(chosen: list[list[np.ndarray]]) -> list[list[Any]]:
        tracker = tracker_with(*options)
        targets = [tracker.start(video[0], BOX) for video in chosen]
        found = []
        for images in list(zip(*chosen, strict=True))[1:]:
            step = tracker.step(images, targets)
            found.append([[*box, score, target.reach] for box, score, target in zip(*step[:2], targets, strict=True)])
        return [list(one) for one in zip(*found, strict=True)]

    together = follow(videos)
    assert together == [follow([video])[0] for video in videos]
    assert [[row[-1] for row in one] for one in together] == [[1, 1], [1.3, 1], [1, 1.3]]


def test_a_failing_step_leaves_box_and_reach() -> None:
    tracker = tracker_with("TEST.HOLD.SCORE=0.5", "TEST.HOLD.GROWTH=1.5")
    image = picture((215, 202, 60))
    targets = [tracker.start(image, BOX), tracker.start(image, BOX)]
    with pytest.raises(DataError, match="RGB uint8"):
        tracker.step([image, image[..., 0]], targets)
    assert [(target.box, target.reach) for target in targets] == [(BOX, 1.0)] * 2


@pytest.mark.parametrize(
    ("text", "must"),
    [
        ("WINDOW_POWER=-0.1", "WINDOW_POWER is -0.1; it must be 0 or more"),
        ("SIZE_SMOOTHING=1.1", "SIZE_SMOOTHING is 1.1; it must lie from 0 to 1"),
        ("HOLD.SCORE=-0.2", "HOLD.SCORE is -0.2; it must lie from 0 to 1"),
        ("HOLD.GROWTH=0.9", "HOLD.GROWTH is 0.9; it must be 1 or more"),
        ("HOLD.LIMIT=0.5", "HOLD.LIMIT is 0.5; it must be 1 or more"),
        ("HOLD.SCORE=.nan", "HOLD.SCORE is nan; it must be finite"),
        ("HOLD=0.3", "TEST.HOLD must be a section"),
        ("HOLD.SCORES=0.3", "unknown key TEST.HOLD.SCORES; the nearest known key is TEST.HOLD.SCORE"),
    ],
)
def test_wrong_values_are_named(text: str, must: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(TINY, [f"TEST.{text}"])
    assert must in str(caught.value)


def test_a_corner_head_takes_no_window() -> None:
    load_config(TINY, ["MODEL.HEAD.TYPE=CORNER", "TEST.WINDOW_POWER=1"])
    with pytest.raises(ConfigError, match=r"TEST\.WINDOW_POWER is 0\.5.*corner head"):
        load_config(TINY, ["MODEL.HEAD.TYPE=CORNER", "TEST.WINDOW_POWER=0.5"])


def test_what_is_shown_is_the_region_that_was_searched() -> None:
    tracker = real_tracker("TEST.HOLD.SCORE=1", "TEST.HOLD.GROWTH=1.5", "TEST.HOLD.LIMIT=2")
    views = watched_views(tracker)
    for view, reach in zip(views[1:], (1.0, 1.5, 2.0), strict=False):
        expected, _, _ = sample_target(view.image, clip_frame(0)[1], 4 * reach, 256)
        assert np.array_equal(view.search, expected)


def test_the_ablation_compares_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("first", "second"):  # the target stays where it is
        for t in range(4):
            (tmp_path / "data" / name).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / "data" / name / f"{t}.png"), clip_frame(t)[0][..., ::-1])
        row = ",".join(map(str, clip_frame(0)[1]))
        (tmp_path / "data" / name / "groundtruth.txt").write_text(f"{row}\n" * 4)
    tracker = real_tracker()
    save_checkpoint({"net": tracker.network.model.state_dict()}, tmp_path / "weights.pth")
    script = load_script("ablate_options", "benchmarks")
    common = [f"folder:{tmp_path / 'data'}", "--config", TINY, "--checkpoint", str(tmp_path / "weights.pth")]
    settings = ["--setting", "TEST.HOLD.SCORE=0", "--setting", "TEST.HOLD.SCORE=1 TEST.HOLD.GROWTH=2"]
    script.main([*common, *settings, "--save_dir", str(tmp_path / "out"), "--device", "cpu"])
    lines = capsys.readouterr().out.splitlines()
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    header, plain, same, held = table
    assert {len(row) for row in table} == {len(header)}
    assert [row[0] for row in table[1:]] == ["as published", "`TEST.HOLD.SCORE=0`", f"`{settings[3]}`"]
    assert same[1:4] == plain[1:4] and same[4:6] == ["+0.00", "+0.00..+0.00"]
    assert held[1:4] == ["95.24", "100.00", "100.00"]  # a held box is right here; 20 of 21 thresholds are below 1
    gained = float(held[1]) - float(plain[1])
    assert gained > 5 and float(held[4]) == pytest.approx(gained, abs=0.011) and held[7] == "2, 0"
    assert all(float(row[-1]) > 0 for row in table[1:])
