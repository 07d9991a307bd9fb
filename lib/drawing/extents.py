"""Extents of a target: which part of an object its box encloses, and how tightly."""

from __future__ import annotations

import numpy as np

from lib.config.drawing import DrawSettings
from lib.drawing.outlines import box_of, inner_points, resample

_PART_SIDES = (0.3, 0.85)  # least and largest side of a part, as a fraction of the box
_CANDIDATES = 4


def draw_loosening(rng: np.random.Generator, settings: DrawSettings) -> np.ndarray:
    """Draw the deviation of a box from its object in size and center; see :func:`loosen`."""
    return rng.standard_normal(4) * settings.LOOSE * (0.3, 0.3, 1, 1)


def loosen(box: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Change the extent of an ``xywh`` box, relative to its size.

    Args:
        change: (4,), shift of the center in widths and heights, and logarithms of the factors of width and height.
    """
    size = box[2:] * np.exp(change[2:])
    return np.concatenate((box[:2] + (0.5 + change[:2]) * box[2:] - 0.5 * size, size))


def draw_part_box(rng: np.random.Generator, box: np.ndarray) -> np.ndarray:
    """Draw an ``xywh`` box inside ``box``."""
    size = box[2:] * rng.uniform(*_PART_SIDES, 2)
    return np.concatenate((box[:2] + rng.random(2) * (box[2:] - size), size))


def draw_rectangle(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Draw an ``xywh`` box anywhere in an image (H, W, 3): of four, the one with the most varied content."""
    height, width = image.shape[:2]
    side = min(height, width) * np.exp(rng.uniform(np.log(0.06), np.log(0.5), _CANDIDATES))
    aspect = np.exp(rng.normal(0, 0.45, _CANDIDATES) / 2)
    sizes = np.clip(np.stack((side * aspect, side / aspect), axis=1), 4, np.array((width, height)) * 0.9)
    corners = rng.random((_CANDIDATES, 2)) * ((width, height) - sizes)
    boxes = np.concatenate((corners, sizes), axis=1)

    def variation(box: np.ndarray) -> float:
        (left, top), (right, bottom) = box[:2].astype(int), np.ceil(box[:2] + box[2:]).astype(int)
        step = max(1, int(box[2:].min() // 12))
        return float(image[top:bottom:step, left:right:step].std(axis=(0, 1)).sum())

    return boxes[int(np.argmax([variation(box) for box in boxes]))]


def rectangle_outline(box: np.ndarray) -> np.ndarray:
    """Return the outline (N, 2) of an ``xywh`` box."""
    return resample(box[:2] + np.array(((0, 0), (1, 0), (1, 1), (0, 1))) * box[2:])


def draw_part_outline(rng: np.random.Generator, outline: np.ndarray) -> np.ndarray:
    """Draw a rectangle within the box of an outline (N, 2), with its center inside the outline."""
    whole = box_of(outline)
    part = draw_part_box(rng, whole)
    points = inner_points(outline)
    corner = points[int(rng.integers(len(points)))] - 0.5 * part[2:]
    corner = np.clip(corner, whole[:2], whole[:2] + whole[2:] - part[2:])
    return rectangle_outline(np.concatenate((corner, part[2:])))
