"""Parts of images: drawn, varied and cut out as sprites."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import cv2
import numpy as np

from lib.config.drawing import DrawSettings
from lib.drawing.extents import draw_rectangle, rectangle_outline
from lib.drawing.outlines import box_of, fill, random_outline
from lib.drawing.pictures import Picture
from lib.drawing.warp import Sprite

T = TypeVar("T")

_PAD = 3  # margin around a sprite in pixels, so that its edge is never cut off
_MIN_SIDE = 6
_SOFT = 0.4  # share of the sprites whose edge is soft


@dataclass(frozen=True)
class Part:
    """A part of an image, its outline ``(N, 2)`` in pixels of the image."""

    picture: Picture
    outline: np.ndarray


def pick(rng: np.random.Generator, items: Sequence[T]) -> T:
    """Return a random item."""
    return items[int(rng.integers(len(items)))]


def _salient_box(rng: np.random.Generator, picture: Picture) -> np.ndarray:
    """Draw a salient box, more often one of the best."""
    return picture.boxes[int(len(picture.boxes) * rng.random() ** 1.5)].astype(np.float64)


def draw_part(rng: np.random.Generator, picture: Picture, settings: DrawSettings) -> Part:
    """Draw a rectangle anywhere, a segment of the image, or a random shape over a salient box."""
    if settings.RECTANGLE and rng.random() < settings.RECTANGLE:
        return Part(picture, rectangle_outline(draw_rectangle(rng, picture.image)))
    if picture.segments and rng.random() < settings.SEGMENT:
        return Part(picture, pick(rng, picture.segments))
    box = _salient_box(rng, picture)
    return Part(picture, box[:2] + random_outline(rng) * box[2:])


def same_shape(rng: np.random.Generator, outline: np.ndarray, picture: Picture) -> Part:
    """Draw the part of an image with this shape over a salient box."""
    x, y, w, h = box_of(outline)
    box = _salient_box(rng, picture)
    return Part(picture, box[:2] + (outline - (x, y)) / (w, h) * box[2:])


def neighbor(rng: np.random.Generator, part: Part) -> Part:
    """Draw a part of the same image and shape, next to ``part``."""
    x, y, w, h = box_of(part.outline)
    angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.7, 1.4)
    room = np.maximum(np.array(part.picture.image.shape[1::-1]) - (w, h), 0)
    low = np.clip((x + np.cos(angle) * distance * w, y + np.sin(angle) * distance * h), 0, room)
    return Part(part.picture, part.outline - (x, y) + low)


def same_texture(rng: np.random.Generator, part: Part) -> Part:
    """Draw the same box of the image rotated by 180 degrees, in another shape."""
    x, y, w, h = box_of(part.outline)
    height, width = part.picture.image.shape[:2]
    turned = replace(part.picture, image=part.picture.image[::-1, ::-1])
    return Part(turned, (width - x - w, height - y - h) + random_outline(rng) * (w, h))


def cut(rng: np.random.Generator, part: Part, pixels: float, backdrop: np.ndarray | None) -> Sprite:
    """Cut a part out of its image, with a random softness of its edge.

    Args:
        pixels: square root of the area of the part's box in the frame; it limits the sprite's resolution, so that it is
            not sharper than its surroundings.
        backdrop: mean color to blend in partly, or None.
    """
    height, width = part.picture.image.shape[:2]
    low = np.clip(np.floor(part.outline.min(0)).astype(int), 0, (width - 2, height - 2))
    high = np.clip(np.ceil(part.outline.max(0)).astype(int), low + 2, (width, height))
    sides = (high - low).astype(np.float64)
    inner = np.maximum(np.round(sides * min(pixels / np.sqrt(sides.prod()), 1.0)), _MIN_SIDE).astype(int)
    image = cv2.resize(
        part.picture.image[low[1] : high[1], low[0] : high[0]],
        (int(inner[0]), int(inner[1])),
        interpolation=cv2.INTER_AREA,
    )
    image = cv2.copyMakeBorder(image, _PAD, _PAD, _PAD, _PAD, cv2.BORDER_REPLICATE)
    if backdrop is not None:
        mean = np.maximum(image[::4, ::4].reshape(-1, 3).mean(0), 8)
        gain = (np.maximum(backdrop, 8) / mean) ** rng.uniform(0.3, 0.9)
        image = cv2.LUT(image, np.clip(np.arange(256)[:, None] * gain, 0, 255).astype(np.uint8)[None])
    outline = (part.outline - low) * (inner / sides) + _PAD
    alpha = fill(outline, image.shape[1], image.shape[0])
    softness = rng.random()
    if softness < _SOFT:
        most = np.clip(0.02 * np.sqrt(inner.prod()), 0.5, 1.5)
        alpha = cv2.GaussianBlur(alpha, (0, 0), 0.3 + softness / _SOFT * most)
    return Sprite(cv2.merge((*cv2.split(image), alpha)), outline / (image.shape[1], image.shape[0]) - 0.5)


def scaled(sprite: Sprite, pixels: float) -> np.ndarray:
    """Return width and height of the whole sprite for an outline's box of ``pixels`` (square root of area)."""
    size = np.array((sprite.image.shape[1], sprite.image.shape[0]), np.float64)
    return size * (pixels / np.sqrt((np.ptp(sprite.outline, axis=0) * size).prod()))


def shrunk(sprite: Sprite, pixels: float) -> Sprite:
    """Shrink the sprite to its resolution in the frame, where its outline's box has size ``pixels``."""
    size = np.maximum(np.round(scaled(sprite, pixels)), _MIN_SIDE).astype(int)
    if size[0] >= sprite.image.shape[1]:
        return sprite
    return Sprite(cv2.resize(sprite.image, (int(size[0]), int(size[1])), interpolation=cv2.INTER_AREA), sprite.outline)
