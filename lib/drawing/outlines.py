"""Extents of a target: outlines, closed polygons ``(N, 2)`` in edge coordinates, and what a box encloses of them."""

from __future__ import annotations

import cv2
import numpy as np

from lib.config.drawing import DrawSettings

POINTS = 64  # number of points of a random outline
_ANGLES = np.linspace(0, 2 * np.pi, POINTS, endpoint=False)
_CIRCLE = np.stack((np.cos(_ANGLES), np.sin(_ANGLES)), axis=1)
_PART_SIDES = (0.3, 0.85)  # least and largest side of a part, as a fraction of the box
_CANDIDATES = 4


def _blob(rng: np.random.Generator) -> np.ndarray:
    """Draw a circle whose radius has random harmonics."""
    radius = np.ones(POINTS)
    for k in range(2, 6):
        radius += rng.normal(0, 0.35 / k) * np.cos(k * _ANGLES + rng.uniform(0, 2 * np.pi))
    return _CIRCLE * np.maximum(radius, 0.3)[:, None]


def _superellipse(rng: np.random.Generator) -> np.ndarray:
    """Draw a shape between a rounded diamond, an ellipse and a rounded rectangle."""
    power = rng.uniform(0.35, 1.3)
    points = np.sign(_CIRCLE) * np.abs(_CIRCLE) ** power
    return points * (1, np.exp(rng.normal(0, 0.4)))


def _polygon(rng: np.random.Generator) -> np.ndarray:
    """Draw a star-shaped polygon of four to nine corners."""
    corners = int(rng.integers(4, 10))
    angles = (np.arange(corners) + rng.uniform(-0.3, 0.3, corners)) * 2 * np.pi / corners
    radius = rng.uniform(0.6, 1, corners)
    return resample(np.stack((np.cos(angles), np.sin(angles)), axis=1) * radius[:, None])


def _ellipses(rng: np.random.Generator) -> np.ndarray:
    """Draw the union of two to four connected ellipses."""
    mask = np.zeros((96, 96), np.uint8)
    center = np.array((48.0, 48.0))
    for _ in range(int(rng.integers(2, 5))):
        axes = rng.uniform(6, 20, 2)
        angle = rng.uniform(0, 180)
        cv2.ellipse(mask, (tuple(center), tuple(2 * axes), angle), 255, -1)
        center = np.clip(center + rng.normal(0, 12, 2), 20, 76)
    return largest_outline(mask)


_SHAPES = (_blob, _superellipse, _polygon, _ellipses)


def random_outline(rng: np.random.Generator) -> np.ndarray:
    """Draw a rotated shape that fills the unit square; ``(N, 2)`` in [0, 1]."""
    outline = _SHAPES[int(rng.integers(len(_SHAPES)))](rng)
    angle = rng.uniform(0, 2 * np.pi)
    cos, sin = np.cos(angle), np.sin(angle)
    outline = outline @ np.array(((cos, sin), (-sin, cos)))
    low, high = outline.min(0), outline.max(0)
    return (outline - low) / (high - low)


def resample(outline: np.ndarray, points: int = POINTS) -> np.ndarray:
    """Resample an outline with ``points`` points at equal distances."""
    closed = np.concatenate((outline, outline[:1]))
    length = np.concatenate(([0.0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))))
    at = np.linspace(0, length[-1], points, endpoint=False)
    return np.stack((np.interp(at, length, closed[:, 0]), np.interp(at, length, closed[:, 1])), axis=1)


def largest_outline(mask: np.ndarray) -> np.ndarray:
    """Return the outline of the largest connected part of a mask (H, W) uint8; ``(0, 2)`` for an empty mask."""
    padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    contours, _ = cv2.findContours(padded, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return np.zeros((0, 2))
    contour = max(contours, key=len)[:, 0].astype(np.float64)  # through the centers of the outermost pixels
    middle = 0.5 * (contour.min(0) + contour.max(0))
    size = contour.max(0) - contour.min(0)
    grown = middle + (contour - middle) * (size + 1) / np.maximum(size, 1)  # to their outer edges
    return grown - 0.5  # one pixel of border, half a pixel from centers to edges


def fill(outline: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return the antialiased mask (height, width) uint8 of an outline."""
    oversampling = 4
    mask = np.zeros((height * oversampling, width * oversampling), np.uint8)
    # OpenCV fills every pixel that the outline touches: half a pixel more on each side, minus the offset of its centers
    points = np.round((outline * oversampling - 0.5) * 16).astype(np.int32)
    cv2.fillPoly(mask, [points], 255, cv2.LINE_8, 4)
    return cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA)


def clip_outline(outline: np.ndarray, width: float, height: float) -> np.ndarray:
    """Clip an outline to ``[0, width] x [0, height]`` (Sutherland-Hodgman); it may have no point left."""
    for axis, bound, sign in ((0, 0.0, 1.0), (0, width, -1.0), (1, 0.0, 1.0), (1, height, -1.0)):
        inward = sign * (outline[:, axis] - bound)
        if len(inward) == 0 or inward.min() >= 0:
            continue
        following, next_inward = np.roll(outline, -1, axis=0), np.roll(inward, -1)
        crosses = (inward >= 0) != (next_inward >= 0)
        share = np.divide(inward, inward - next_inward, out=np.zeros_like(inward), where=crosses)
        crossing = outline + share[:, None] * (following - outline)
        keep = np.stack((inward >= 0, crosses), axis=1)
        outline = np.stack((outline, crossing), axis=1)[keep]
    return outline


def box_of(outline: np.ndarray) -> np.ndarray:
    """Return the tight ``xywh`` box of an outline of at least one point."""
    low, high = outline.min(0), outline.max(0)
    return np.concatenate((low, high - low))


def inner_points(outline: np.ndarray, number: int = 64) -> np.ndarray:
    """Return about ``number`` points spread evenly over the inside of an outline, ``(M, 2)`` with M >= 1."""
    grid = 24
    x, y, w, h = box_of(outline)
    unit = (outline - (x, y)) / (w, h) * grid
    rows, columns = np.nonzero(fill(unit, grid, grid) > 127)
    if len(rows) == 0:
        return outline[:1]
    step = max(len(rows) // number, 1)
    inside = np.stack((columns[::step], rows[::step]), axis=1) + 0.5
    return (x, y) + inside / grid * (w, h)


def draw_loosening(rng: np.random.Generator, settings: DrawSettings) -> np.ndarray:
    """Draw the deviation of a box from its object in size and center; see :func:`loosen`."""
    return rng.standard_normal(4) * settings.LOOSE * (0.3, 0.3, 1, 1) if settings.LOOSE else np.zeros(4)


def loosen(box: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Shift the center of an ``xywh`` box by ``change[:2]`` widths and heights, and scale it by ``exp(change[2:])``."""
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
