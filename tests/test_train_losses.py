"""Losses and target maps against the published values."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lib.models.layers.score_map import focal_loss, gaussian_maps
from lib.train.losses import giou_loss, l1_loss

GEOMETRY = np.load(Path(__file__).parent / "golden" / "geometry.npz")


@pytest.mark.parametrize(("key", "size"), [("heat_256_16", 16), ("heat_384_16", 24)])
def test_gaussian_maps_match_the_published_ones(key, size):
    boxes = torch.from_numpy(GEOMETRY["heat_boxes_xywh"])
    np.testing.assert_allclose(gaussian_maps(boxes, size).numpy(), GEOMETRY[key], atol=1e-4)


def test_gaussian_of_a_degenerate_box_is_one_cell():
    maps = gaussian_maps(torch.tensor([[0.5, 0.25, 0.0, 0.0]]), 16)
    assert maps[0, 4, 8] == 1
    assert maps.sum() == 1


def test_gaussian_outside_of_the_map_is_empty_and_needs_no_positive():
    maps = gaussian_maps(torch.tensor([[1.5, 0.5, 0.01, 0.01]]), 16)
    assert maps.sum() == 0
    score = torch.full((1, 16, 16), 0.1)
    assert focal_loss(score, maps).item() == pytest.approx(-256 * 0.01 * np.log(0.9), rel=1e-4)


def test_focal_loss_matches_the_published_value():
    score = torch.from_numpy(GEOMETRY["focal_pred"]).float()
    target = torch.from_numpy(GEOMETRY["heat_256_16"])[:, None]
    assert focal_loss(score, target).item() == pytest.approx(float(GEOMETRY["focal_loss"]), rel=1e-4)


def test_giou_loss_matches_the_published_values():
    a, b = torch.from_numpy(GEOMETRY["giou_a"]), torch.from_numpy(GEOMETRY["giou_b"])
    loss, iou = giou_loss(a, b)
    assert loss.item() == pytest.approx(1 - GEOMETRY["giou"].mean(), abs=1e-4)
    np.testing.assert_allclose(iou.numpy(), GEOMETRY["iou"], atol=1e-4)


def test_corners_in_the_wrong_order_give_a_finite_loss_of_no_overlap():
    loss, iou = giou_loss(torch.tensor([[0.8, 0.8, 0.2, 0.2]]), torch.tensor([[0.1, 0.1, 0.9, 0.9]]))
    assert iou.item() == 0
    assert 1 <= loss.item() <= 2


def test_boxes_without_area_give_a_finite_loss_and_gradient():
    """A target that leaves its region has a clamped box without area; a predicted pair of corners may be a point."""
    boxes = torch.tensor([[0.6, 0.6, 0.6, 0.6], [0.2, 0.2, 0.4, 0.4]], requires_grad=True)
    truth = torch.tensor([[0.6, 0.6, 0.6, 0.6], [0.2, 0.2, 0.4, 0.4]])
    loss, iou = giou_loss(boxes, truth, torch.tensor([0.0, 1.0]))
    loss.backward()
    assert iou.tolist() == [0, 1] and loss.item() == 0 and boxes.grad.isfinite().all()


def test_l1_is_the_mean_over_coordinates():
    loss = l1_loss(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([[0.0, 0.2, 1.0, 0.6]]))
    assert loss.item() == pytest.approx(0.15)
