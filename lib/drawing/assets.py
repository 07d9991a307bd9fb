"""The objects of a scene: a background, a target, distractors that look like it, and an occluder.

They are parts of images, drawn, varied and cut out as sprites, or cut-outs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from lib.config.drawing import DrawSettings
from lib.drawing.outlines import box_of, draw_part_outline, draw_rectangle, fill, random_outline, rectangle_outline
from lib.drawing.photometric import Look, draw_video_look
from lib.drawing.pictures import Cutout, Picture, load_cutouts, load_pictures, make_picture
from lib.drawing.textures import procedural_textures
from lib.drawing.warp import Sprite

T = TypeVar("T")

_PAD = 3  # margin around a sprite in pixels, so that its edge is never cut off
_MIN_SIDE = 6
_SOFT = 0.4  # share of the sprites whose edge is soft
_WHOLE = np.array(((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)))
_MOST_OF_FRAME = 0.9  # most that a pasted target may fill of the frame's width or height


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

    ``pixels``, the square root of the area of the part's box in the frame, limits the sprite's resolution, so that it
    is not sharper than its surroundings. The mean color ``backdrop``, unless None, is blended in partly.
    """
    height, width = part.picture.image.shape[:2]
    low = np.clip(np.floor(part.outline.min(0)).astype(int), 0, (width - 2, height - 2))
    high = np.clip(np.ceil(part.outline.max(0)).astype(int), low + 2, (width, height))
    sides = (high - low).astype(np.float64)
    inner = np.maximum(np.round(sides * min(pixels / np.sqrt(sides.prod()), 1.0)), _MIN_SIDE).astype(int)
    image = part.picture.image[low[1] : high[1], low[0] : high[0]]
    image = cv2.resize(image, inner.tolist(), interpolation=cv2.INTER_AREA)
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
    return Sprite(cv2.resize(sprite.image, size.tolist(), interpolation=cv2.INTER_AREA), sprite.outline)


@dataclass(frozen=True)
class SceneObject:
    """A sprite, with width and height of its whole image in a frame, in pixels, before deformation."""

    sprite: Sprite
    size: np.ndarray

    @property
    def body(self) -> np.ndarray:
        """Width and height of the box of its outline, in pixels of the frame."""
        return np.ptp(self.sprite.outline, axis=0) * self.size


@dataclass(frozen=True)
class SceneSpec:
    """The objects of a pair or a sequence."""

    frame_size: tuple[int, int]  # width and height
    background: SceneObject
    other_background: SceneObject  # may replace it
    target: SceneObject  # unless painted it is a part of the background, with the same image and size
    painted: bool
    distractors: list[SceneObject]
    occluder: SceneObject | None
    look: Look  # image effects shared by all frames
    source: str  # the files of background and target
    settings: DrawSettings


@dataclass(frozen=True)
class AssetLibrary:
    """Source material of scenes: at least one image, and cut-outs if there are any."""

    pictures: Sequence[Picture]
    cutouts: Sequence[Cutout]
    settings: DrawSettings


def load_assets(
    image_dirs: Sequence[str | Path], cutout_dirs: Sequence[str | Path], settings: DrawSettings | None = None
) -> AssetLibrary:
    """Load the images and cut-outs of folders and their sub-folders into memory; no image folders give textures.

    Raises:
        DataError: a folder is missing, or has no usable image.
    """
    cutouts = load_cutouts(cutout_dirs)
    if image_dirs:
        pictures = load_pictures(image_dirs)
    else:
        textures = enumerate(procedural_textures())
        pictures = [make_picture(image, f"procedural texture {index}", index) for index, image in textures]
    return AssetLibrary(pictures, cutouts, settings or DrawSettings())


def _scenery(image: np.ndarray, frame_size: tuple[int, int]) -> SceneObject:
    """Make a background, at its own size or enlarged to cover the frame."""
    height, width = image.shape[:2]
    cover = max(1.0, frame_size[0] / width, frame_size[1] / height)
    return SceneObject(Sprite(image, _WHOLE), np.array((width, height)) * cover)


def _sized(sprite: Sprite, pixels: float) -> SceneObject:
    return SceneObject(sprite, scaled(sprite, pixels))


def _draw_distractor(
    rng: np.random.Generator, assets: AssetLibrary, target: SceneObject, part: Part | None, backdrop: np.ndarray | None
) -> SceneObject:
    """Draw an object like the target, which is ``part`` of an image or a cut-out (None), but never the same."""
    pixels = np.sqrt(target.body.prod()) * np.exp(rng.normal(0, 0.2))
    kind = rng.random()
    if part is None and kind < 0.6:
        return _sized(shrunk(pick(rng, assets.cutouts).sprite, pixels), pixels)
    if part is None:
        other = same_shape(rng, target.sprite.outline, pick(rng, assets.pictures))
    elif kind < 0.4:
        other = neighbor(rng, part)
    elif kind < 0.6:
        other = same_texture(rng, part)
    elif kind < 0.8:
        other = same_shape(rng, part.outline, pick(rng, assets.pictures))
    else:
        other = draw_part(rng, part.picture, assets.settings)
    return _sized(cut(rng, other, pixels, backdrop), pixels)


def _draw_target(
    rng: np.random.Generator, assets: AssetLibrary, scenery: Picture, span: float, backdrop: np.ndarray | None
) -> tuple[SceneObject, Part | None, str]:
    """Draw a target to paste; also return its part of an image (None: a cut-out) and its file."""
    settings = assets.settings
    least, most = settings.MIN_SIZE * span, settings.MAX_SIZE * span
    if assets.cutouts and rng.random() < settings.CUTOUT:
        cutout, pixels = pick(rng, assets.cutouts), float(np.exp(rng.uniform(np.log(least), np.log(most))))
        return _sized(shrunk(cutout.sprite, pixels), pixels), None, cutout.source
    picture = scenery if rng.random() < settings.SAME_PICTURE else pick(rng, assets.pictures)
    part = draw_part(rng, picture, settings)
    own = np.sqrt(box_of(part.outline)[2:].prod())
    pixels = float(np.clip(own * np.exp(rng.uniform(-0.8, 0.1)), least, most))
    return _sized(cut(rng, part, pixels, backdrop), pixels), part, picture.source


def draw_scene_spec(
    rng: np.random.Generator, assets: AssetLibrary, frame_size: tuple[int, int] | None = None
) -> SceneSpec:
    """Draw the objects of a scene; a ``frame_size`` (width, height) of None is derived from the background image."""
    settings = assets.settings
    scenery, other = pick(rng, assets.pictures), pick(rng, assets.pictures)
    height, width = scenery.image.shape[:2]
    zoom = rng.uniform(1, settings.CAMERA_ZOOM)
    size = frame_size or (max(int(width / zoom), 1), max(int(height / zoom), 1))
    backdrop = scenery.image[::16, ::16].reshape(-1, 3).mean(0) if rng.random() < settings.HARMONISE else None
    painted = rng.random() >= settings.VIEW
    background = _scenery(scenery.image, size)
    part: Part | None
    if painted:
        target, part, file = _draw_target(rng, assets, scenery, np.sqrt(size[0] * size[1]), backdrop)
        if settings.SUB_BOX and rng.random() < settings.SUB_BOX:
            sprite = target.sprite
            target = replace(target, sprite=Sprite(sprite.image, draw_part_outline(rng, sprite.outline)))
        target = SceneObject(
            target.sprite, target.size * min((_MOST_OF_FRAME * np.array(size) / target.body).min(), 1.0)
        )
        source = f"{file} over {scenery.source}"
        if file == scenery.source:  # turn it upside down, so that it does not show the target a second time
            background = _scenery(np.ascontiguousarray(scenery.image[::-1]), size)
    else:
        part = draw_part(rng, scenery, settings)
        target = SceneObject(Sprite(scenery.image, part.outline / (width, height) - 0.5), background.size)
        source = f"part of {scenery.source}"
    number = int(np.searchsorted(np.cumsum(settings.DISTRACTORS), rng.random() * sum(settings.DISTRACTORS)))
    distractors = [_draw_distractor(rng, assets, target, part, backdrop) for _ in range(number)]
    occluder = None
    if rng.random() < settings.OCCLUDER:
        pixels = np.sqrt(target.body.prod()) * np.exp(rng.uniform(np.log(0.45), np.log(1.1)))
        part = draw_part(rng, pick(rng, assets.pictures), settings)
        occluder = _sized(cut(rng, part, pixels, backdrop), pixels)
    backgrounds = background, _scenery(other.image, size)
    look = draw_video_look(rng, settings)
    return SceneSpec(size, *backgrounds, target, painted, distractors, occluder, look, source, settings)
