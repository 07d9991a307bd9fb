"""The picture of training samples, pixel by pixel where it matters."""

import numpy as np
import pytest
import torch

from lib.vis.samples import MAX_SAMPLES, TILE, sample_sheet
from tests.small_training import small_batch, small_config

GREEN, ORANGE, WHITE = (60, 200, 90), (255, 170, 0), (255, 255, 255)
GAP = 4


@pytest.fixture
def cfg():
    return small_config()


def gray_batch(count, cfg):
    """Crops that are of one gray before normalization, and a box in the middle."""
    batch = small_batch(count)
    value = (0.6 - torch.tensor(cfg.DATA.MEAN)) / torch.tensor(cfg.DATA.STD)
    for kind in ("template", "search"):
        batch[f"{kind}_images"] = value[:, None, None].expand(batch[f"{kind}_images"].shape)
    batch["search_anno"] = torch.tensor([0.25, 0.5, 0.5, 0.25]).expand(1, count, 4)
    return batch


def output_for(count):
    score = torch.full((count, 1, 4, 4), 1e-4)
    score[:, 0, 3, 1] = 0.9
    return {"pred_boxes": torch.tensor([0.5, 0.75, 0.25, 0.25]).expand(count, 1, 4).clone(), "score_map": score}


def tile(sheet, row, column):
    pitch = TILE + GAP
    return sheet[GAP + row * pitch :, GAP + column * pitch :][:TILE, :TILE]


def painted(picture, color):
    rows, columns = np.nonzero((picture == color).all(axis=-1))
    return rows, columns


def test_boxes_and_score_lie_where_they_are(cfg):
    batch, output = gray_batch(1, cfg), output_for(1)
    before = output["pred_boxes"].clone()
    sheet = sample_sheet(batch, output, cfg)
    assert sheet.shape == (TILE + 2 * GAP, 3 * (TILE + GAP) + GAP, 3) and sheet.dtype == np.uint8
    template, search, score = (tile(sheet, 0, column) for column in range(3))
    np.testing.assert_array_equal(template[200:, 200:], 153)  # 0.6 of 255
    assert template[100:150, 100:150].std() == 0
    rows, columns = painted(template, GREEN)
    assert (columns.min(), columns.max(), rows.max()) == (62, 193, 193)  # a frame of two pixels around 64..192
    rows, columns = painted(search, GREEN)
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (62, 193, 126, 193)
    rows, columns = painted(search, ORANGE)
    assert (columns.min(), rows.max()) == (94, 225)  # around 96..160 and 160..224
    rows, columns = painted(score, WHITE)
    assert (columns.min(), rows.max()) == (62, 255)  # the cell of row 3, column 1; the frame stays inside the tile
    assert score[210, 96, 0] > score[210, 96, 2] and score[32, 200, 2] > score[32, 200, 0]  # red there, blue elsewhere
    assert torch.equal(output["pred_boxes"], before)


def test_a_search_region_without_the_target_has_no_true_box(cfg):
    batch = {**gray_batch(2, cfg), "label": torch.tensor([0.0, 1.0])}
    sheet = sample_sheet(batch, output_for(2), cfg)
    assert not len(painted(tile(sheet, 0, 1), GREEN)[0])
    assert len(painted(tile(sheet, 0, 4), GREEN)[0])


def test_sheet_holds_two_samples_a_row_and_eight_at_most(cfg):
    sheet = sample_sheet(gray_batch(11, cfg), output_for(11), cfg)
    assert MAX_SAMPLES == 8
    assert sheet.shape == (4 * (TILE + GAP) + GAP, 6 * (TILE + GAP) + GAP, 3)


def test_a_head_without_score_map_has_two_pictures(cfg):
    output = output_for(1)
    del output["score_map"]
    assert sample_sheet(gray_batch(1, cfg), output, cfg).shape[1] == 2 * (TILE + GAP) + GAP
