"""Procedural textures, for training and tests without data."""

from __future__ import annotations

import cv2
import numpy as np


def _colors(rng: np.random.Generator, number: int) -> np.ndarray:
    """Draw colors (number, 3) float32 of similar hue with one outlier."""
    base = rng.uniform(30, 225, 3)
    colors = base + rng.normal(0, 45, (number, 1)) + rng.normal(0, 20, (number, 3))
    colors[rng.integers(number)] = rng.uniform(0, 255, 3)
    return np.clip(colors, 0, 255).astype(np.float32)


def _noise(rng: np.random.Generator, size: int, coarsest: int, octaves: int) -> np.ndarray:
    """Draw smooth multi-octave noise (size, size) float32, mean 0, spread about 1."""
    total = np.zeros((size, size), np.float32)
    for octave in range(octaves):
        cells = min(coarsest * 2**octave, size)
        grid = rng.standard_normal((cells, cells)).astype(np.float32)
        total += cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC) * 0.65**octave
    return (total - total.mean()) / (total.std() + 1e-6)


def _clouds(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw noise in the colors of a palette."""
    colors = _colors(rng, 5)
    level = np.clip((_noise(rng, size, int(rng.integers(2, 7)), 5) * 0.25 + 0.5) * 255, 0, 255).astype(np.uint8)
    steps = np.linspace(0, 4, 256)
    palette = np.stack([np.interp(steps, np.arange(5), colors[:, c]) for c in range(3)], axis=1)
    return palette[level].astype(np.float32)


def _stripes(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw wavy stripes or checks, sharp or soft."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    angle, period = rng.uniform(0, np.pi), rng.uniform(8, 50)
    wave = _noise(rng, size, 3, 2) * rng.uniform(0, 1)
    level = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period + wave)
    if rng.random() < 0.5:
        level *= np.sin((y * np.cos(angle) - x * np.sin(angle)) * 2 * np.pi / (period * rng.uniform(0.5, 2)) + wave)
    level = np.clip(level * rng.uniform(1, 8), -1, 1)[..., None] * 0.5 + 0.5
    first, second = _colors(rng, 2)
    return first * level + second * (1 - level)


def _mosaic(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw Voronoi cells in a few colors, each with a gradient."""
    cells = int(rng.integers(20, 150))
    seeds = np.full((size, size), 255, np.uint8)
    seeds[rng.integers(0, size, cells), rng.integers(0, size, cells)] = 0
    distance, labels = cv2.distanceTransformWithLabels(
        seeds, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    colors = _colors(rng, 6)[rng.integers(0, 6, labels.max() + 1)]
    return colors[labels] - distance[..., None] * np.float32(rng.uniform(-1, 2))


def _collage(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw polygons, discs and rings over clouds."""
    canvas = _clouds(rng, size)
    for color in _colors(rng, int(rng.integers(15, 50))):
        center, radius = rng.uniform(0, size, 2), size * np.exp(rng.uniform(-4, -1.6))
        ink = tuple(map(float, color))
        if rng.random() < 0.5:
            points = center + rng.uniform(-radius, radius, (int(rng.integers(3, 7)), 2))
            cv2.fillConvexPoly(canvas, cv2.convexHull(points.astype(np.int32)), ink)
        else:
            thickness = -1 if rng.random() < 0.6 else int(rng.integers(1, 6))
            axes = (radius, radius * rng.uniform(0.4, 1))
            cv2.ellipse(canvas, (tuple(center), axes, rng.uniform(0, 180)), ink, thickness)
    return canvas


def _strokes(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw letters and lines over a soft gradient."""
    first, second = _colors(rng, 2)
    slope = np.linspace(0, 1, size, dtype=np.float32)
    ramp = np.add.outer(slope * rng.uniform(-1, 1), slope * rng.uniform(-1, 1))[..., None]
    canvas = np.clip(first + (second - first) * ramp, 0, 255).astype(np.uint8)
    for color in _colors(rng, int(rng.integers(12, 35))):
        ink, thickness = tuple(map(float, color)), int(rng.integers(1, 5))
        x, y = (int(v) for v in rng.integers(-20, size, 2))
        if rng.random() < 0.6:
            text = "".join(chr(code) for code in rng.integers(48, 91, int(rng.integers(2, 8))))
            cv2.putText(canvas, text, (x, y), int(rng.integers(0, 5)), rng.uniform(0.5, 2.5), ink, thickness)
        else:
            points = (x, y) + np.cumsum(rng.normal(0, size / 14, (int(rng.integers(4, 12)), 2)), axis=0)
            cv2.polylines(canvas, [points.astype(np.int32)], False, ink, thickness)
    return canvas.astype(np.float32)


_FAMILIES = (_clouds, _stripes, _mosaic, _collage, _strokes)


def procedural_textures(number: int = 64, size: int = 320, seed: int = 0) -> list[np.ndarray]:
    """Draw ``number`` RGB uint8 images (size, size, 3), the same for the same seed.

    The kinds of texture alternate; every other image shows a second one through cloud-shaped holes. All have slight
    noise, so that no region is uniform.
    """
    pictures = []
    for index in range(number):
        rng = np.random.default_rng((seed, index))
        picture = _FAMILIES[index % len(_FAMILIES)](rng, size)
        if index % 2:
            holes = np.clip(_noise(rng, size, 3, 3) * 3, 0, 1)[..., None]
            picture = picture * holes + _FAMILIES[int(rng.integers(len(_FAMILIES)))](rng, size) * (1 - holes)
        picture += (_noise(rng, size, size // 4, 2) * rng.uniform(1, 8))[..., None]
        pictures.append(np.clip(picture, 0, 255).astype(np.uint8))
    return pictures
