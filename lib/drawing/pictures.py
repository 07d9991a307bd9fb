"""Source images in memory, with regions that could be objects."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from lib.data.image_io import read_image, shrink
from lib.drawing.outlines import box_of, largest_outline, resample
from lib.drawing.warp import Sprite
from lib.utils.errors import DataError

logger = logging.getLogger(__name__)

MAX_SIDE = 480
MAX_CUTOUT_SIDE = 256
MIN_SIDE = 64
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
_REDUCTION = 4  # segments and salient boxes are found in the image downsampled by this factor

T = TypeVar("T")


@dataclass(frozen=True)
class Picture:
    """A source image in memory."""

    image: np.ndarray  # RGB uint8 (h, w, 3), longest side at most MAX_SIDE
    segments: list[np.ndarray]  # outlines (N, 2), in pixels, of connected regions of about one color
    boxes: np.ndarray  # (M, 4) float32 xywh, in pixels, of regions with more detail than their surroundings
    source: str  # its path, or a description


@dataclass(frozen=True)
class Cutout:
    """An object with alpha, and its path."""

    sprite: Sprite
    source: str


def _find_segments(small: np.ndarray, rng: np.random.Generator, attempts: int = 24, most: int = 6) -> list[np.ndarray]:
    """Return the outlines of flood-filled regions of a small image that are compact and of medium size."""
    height, width = small.shape[:2]
    smooth = cv2.medianBlur(small, 5)
    segments: list[np.ndarray] = []
    boxes: list[np.ndarray] = []
    for _ in range(attempts):
        seed = (int(rng.integers(width)), int(rng.integers(height)))
        tolerance = rng.uniform(0.7, 5)
        mask = np.zeros((height + 2, width + 2), np.uint8)
        flags = 8 | (255 << 8) | cv2.FLOODFILL_MASK_ONLY
        if rng.random() < 0.7:  # compare with the seed: comparing with the neighbor crosses edges more often
            flags |= cv2.FLOODFILL_FIXED_RANGE
            tolerance *= 6
        area, _, _, (x, y, w, h) = cv2.floodFill(smooth, mask, seed, 0, (tolerance,) * 3, (tolerance,) * 3, flags)
        if not 0.006 <= area / (height * width) <= 0.2 or min(w, h) < 6:
            continue
        at_border = (x == 0) + (y == 0) + (x + w == width) + (y + h == height)
        if max(w, h) > 0.6 * min(width, height) or at_border > 1:  # sky, floor, wall
            continue
        mask = cv2.morphologyEx(mask[1:-1, 1:-1], cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
        outline = largest_outline(mask)
        if cv2.contourArea(outline.astype(np.float32)) < 0.45 * w * h:
            continue
        box = box_of(outline)
        if any(np.abs(box - other).max() < 0.15 * np.sqrt(box[2] * box[3]) for other in boxes):
            continue
        boxes.append(box)
        segments.append(resample(outline))
        if len(segments) == most:
            break
    return segments


def _find_boxes(small: np.ndarray, rng: np.random.Generator, attempts: int = 200, most: int = 12) -> np.ndarray:
    """Return boxes ``(M, 4)`` of a small image with more corners inside than in a ring around them, best first."""
    height, width = small.shape[:2]
    corners = cv2.cornerMinEigenVal(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), blockSize=3, ksize=3)
    energy = np.sqrt(np.maximum(corners, 0))
    summed = cv2.integral(energy)
    size = min(height, width) * np.exp(rng.uniform(np.log(0.1), np.log(0.45), attempts))
    aspect = np.exp(rng.normal(0, 0.35, attempts))
    sides = np.stack((size * np.sqrt(aspect), size / np.sqrt(aspect)), axis=1)
    sides = np.clip(sides, 5, np.array((width, height)) * 0.9)
    low = rng.random((attempts, 2)) * ((width, height) - sides)

    def total(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        (x1, y1), (x2, y2) = low.astype(int).T, high.astype(int).T
        return summed[y2, x2] - summed[y1, x2] - summed[y2, x1] + summed[y1, x1], (x2 - x1) * (y2 - y1)

    inner, inner_area = total(low, low + sides)
    outer, outer_area = total(np.maximum(low - 0.25 * sides, 0), np.minimum(low + 1.25 * sides, (width, height)))
    ring = (outer - inner) / np.maximum(outer_area - inner_area, 1)
    density = inner / np.maximum(inner_area, 1)
    best = np.argsort(-density / (ring + energy.mean() + 1e-6), kind="stable")[:most]
    return np.concatenate((low, sides), axis=1)[best].astype(np.float32)


def make_picture(image: np.ndarray, source: str, seed: int) -> Picture:
    """Shrink an RGB image to ``MAX_SIDE`` and find its segments and salient boxes, with random ``seed``."""
    rng = np.random.default_rng((seed, *image.shape[:2]))
    image = np.ascontiguousarray(shrink(image, MAX_SIDE))
    height, width = image.shape[:2]
    small = cv2.resize(image, (width // _REDUCTION, height // _REDUCTION), interpolation=cv2.INTER_AREA)
    back = np.array((width, height)) / (width // _REDUCTION, height // _REDUCTION)
    segments = [outline * back for outline in _find_segments(small, rng)]
    boxes = _find_boxes(small, rng) * np.tile(back, 2).astype(np.float32)
    return Picture(image, segments, boxes, source)


def _read_picture(path: Path) -> Picture:
    image = read_image(path)
    if min(image.shape[:2]) < MIN_SIDE:
        raise DataError(f"image {path} is only {image.shape[1]} x {image.shape[0]} pixels: at least {MIN_SIDE} needed")
    return make_picture(image, str(path), seed=0)


def _read_cutout(path: Path) -> Cutout:
    """Read the largest connected part of an image with alpha."""
    image = shrink(read_image(path, alpha=True), MAX_CUTOUT_SIDE)
    outline = largest_outline((image[..., 3] > 127).astype(np.uint8))
    if len(outline) < 3 or box_of(outline)[2:].min() < 12:
        raise DataError(f"cut-out {path} shows less than 12 pixels of an object")
    return Cutout(cutout_sprite(image, outline), str(path))


def cutout_sprite(image: np.ndarray, outline: np.ndarray) -> Sprite:
    """Cut the part of an RGBA image (h, w, 4) inside an outline as a sprite, with a margin of 3 pixels."""
    height, width = image.shape[:2]
    keep = np.zeros((height, width), np.uint8)
    cv2.fillPoly(keep, [np.round(outline - 0.5).astype(np.int32)], 255)
    image = image.copy()
    image[..., 3] = np.minimum(image[..., 3], cv2.dilate(keep, np.ones((3, 3), np.uint8)))
    low = np.maximum(np.floor(outline.min(0)).astype(int) - 1, 0)
    high = np.minimum(np.ceil(outline.max(0)).astype(int) + 1, (width, height))
    pad = 3
    image = cv2.copyMakeBorder(image[low[1] : high[1], low[0] : high[0]], pad, pad, pad, pad, cv2.BORDER_REPLICATE)
    for edge in (image[:pad], image[-pad:], image[:, :pad], image[:, -pad:]):
        edge[..., 3] = 0
    return Sprite(image, (outline - low + pad) / (image.shape[1], image.shape[0]) - 0.5)


def list_pictures(folders: Sequence[str | Path]) -> list[Path]:
    """List the images in folders and their sub-folders, by folder and path. Raises DataError: a folder is missing."""
    paths = []
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise DataError(f"picture folder {folder} does not exist: correct the path or create the folder")
        paths += sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    return paths


def _load(folders: Sequence[str | Path], read: Callable[[Path], T], what: str) -> list[T]:
    """Read every image of the folders, in order; log and leave out unusable ones."""

    def attempt(path: Path) -> T | DataError:
        try:
            return read(path)
        except DataError as error:
            return error

    if not folders:
        return []
    paths = list_pictures(folders)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(attempt, paths))
    good = [result for result in results if not isinstance(result, DataError)]
    for error in (result for result in results if isinstance(result, DataError)):
        logger.warning("skipped: %s", error)
    logger.info("%d %ss loaded, %d skipped", len(good), what, len(results) - len(good))
    if not good:
        raise DataError(f"no usable {what} in {', '.join(map(str, folders))} ({len(paths)} files tried)")
    return good


def load_pictures(folders: Sequence[str | Path]) -> list[Picture]:
    """Decode all images of folders into memory. Raises DataError: a folder is missing, or none of them can be used."""
    return _load(folders, _read_picture, "picture")


def load_cutouts(folders: Sequence[str | Path]) -> list[Cutout]:
    """Decode all cut-outs (images with alpha) of folders into memory; errors as of :func:`load_pictures`."""
    return _load(folders, _read_cutout, "cut-out")
