"""The objects of a scene: a background, a target, distractors that look like it, and an occluder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lib.config.drawing import DrawSettings
from lib.drawing.extents import draw_part_outline
from lib.drawing.outlines import box_of
from lib.drawing.patches import Part, cut, draw_part, neighbor, pick, same_shape, same_texture, scaled, shrunk
from lib.drawing.photometric import Look, draw_video_look
from lib.drawing.pictures import Cutout, Picture, load_cutouts, load_pictures, make_picture
from lib.drawing.textures import procedural_textures
from lib.drawing.warp import Sprite

_WHOLE = np.array(((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)))
_MOST_OF_FRAME = 0.9  # most that a pasted target may fill of the frame's width or height


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
    """The objects of a pair or a sequence.

    Attributes:
        frame_size: width and height of the frames.
        background, other_background: the background image, and one that may replace it.
        target: unless ``painted`` it is a part of the background, with the same image and size.
        occluder: an object that covers the target, if any.
        look: image effects shared by all frames.
        source: the files of background and target.
    """

    frame_size: tuple[int, int]
    background: SceneObject
    other_background: SceneObject
    target: SceneObject
    painted: bool
    distractors: list[SceneObject]
    occluder: SceneObject | None
    look: Look
    source: str
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
    """Load the images and cut-outs of folders and their sub-folders into memory.

    Without image folders procedural textures are generated.

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


def _paste(rng: np.random.Generator, part: Part, pixels: float, backdrop: np.ndarray | None) -> SceneObject:
    sprite = cut(rng, part, pixels, backdrop)
    return SceneObject(sprite, scaled(sprite, pixels))


def _paste_cutout(cutout: Cutout, pixels: float) -> SceneObject:
    sprite = shrunk(cutout.sprite, pixels)
    return SceneObject(sprite, scaled(sprite, pixels))


def _draw_distractor(
    rng: np.random.Generator, assets: AssetLibrary, target: SceneObject, part: Part | None, backdrop: np.ndarray | None
) -> SceneObject:
    """Draw an object like the target, which is ``part`` of an image or a cut-out (None), but never the same."""
    pixels = np.sqrt(target.body.prod()) * np.exp(rng.normal(0, 0.2))
    kind = rng.random()
    if part is None and kind < 0.6:
        return _paste_cutout(pick(rng, assets.cutouts), pixels)
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
    return _paste(rng, other, pixels, backdrop)


def _draw_target(
    rng: np.random.Generator, assets: AssetLibrary, scenery: Picture, span: float, backdrop: np.ndarray | None
) -> tuple[SceneObject, Part | None, str]:
    """Draw a target to paste; also return its part of an image (None: a cut-out) and its file."""
    settings = assets.settings
    least, most = settings.MIN_SIZE * span, settings.MAX_SIZE * span
    if assets.cutouts and rng.random() < settings.CUTOUT:
        cutout = pick(rng, assets.cutouts)
        return _paste_cutout(cutout, np.exp(rng.uniform(np.log(least), np.log(most)))), None, cutout.source
    picture = scenery if rng.random() < settings.SAME_PICTURE else pick(rng, assets.pictures)
    part = draw_part(rng, picture, settings)
    own = np.sqrt(box_of(part.outline)[2:].prod())
    pixels = float(np.clip(own * np.exp(rng.uniform(-0.8, 0.1)), least, most))
    return _paste(rng, part, pixels, backdrop), part, picture.source


def draw_scene_spec(
    rng: np.random.Generator, assets: AssetLibrary, frame_size: tuple[int, int] | None = None
) -> SceneSpec:
    """Draw the objects of a scene.

    Args:
        frame_size: width and height of the frames; None = derived from the background image.
    """
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
        occluder = _paste(rng, draw_part(rng, pick(rng, assets.pictures), settings), pixels, backdrop)
    backgrounds = background, _scenery(other.image, size)
    look = draw_video_look(rng, settings)
    return SceneSpec(size, *backgrounds, target, painted, distractors, occluder, look, source, settings)
