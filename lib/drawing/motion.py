"""The frames of a pair, flat objects in front of a background: a first template frame, and random changes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from lib.config.drawing import DrawSettings
from lib.drawing.assets import SceneObject, SceneSpec
from lib.drawing.outlines import box_of, clip_outline, inner_points
from lib.drawing.photometric import Look, apply_look, draw_look, line_kernel, tone_table
from lib.drawing.warp import BEND_SIZE, Placed, Pose, Sprite, from_frame, paint, paint_background, project, to_frame

CHANGES = 5 + BEND_SIZE[0] * BEND_SIZE[1]  # number of parameters of a deformation


@dataclass(frozen=True)
class Frame:
    """One frame before it is drawn; its size is width and height in pixels.

    Unless ``painted`` the target is a part of the background, and only its outline counts. Other objects are ``below``
    and ``above`` it, from back to front.
    """

    size: tuple[int, int]
    background: Placed
    target: Placed
    painted: bool
    below: Sequence[Placed]
    above: Sequence[Placed]
    look: Look

    @cached_property
    def target_outline(self) -> np.ndarray:
        """The outline of the target, including hidden parts, in pixels of the frame."""
        return to_frame(self.target.pose, self.target.sprite.outline)

    @cached_property
    def target_box(self) -> np.ndarray | None:
        """The tight ``xywh`` box of the target's outline inside the frame; None if it is outside."""
        outline = clip_outline(self.target_outline, *self.size)
        return box_of(outline) if len(outline) else None

    def visible_fraction(self) -> float:
        """Return the fraction of the target that is inside the frame and not covered."""
        outline = self.target_outline
        if not self.above and outline.min() >= 0 and (outline <= self.size).all():
            return 1.0
        points = inner_points(outline)
        seen = np.all((points >= 0) & (points <= self.size), axis=1)
        for thing in self.above:
            image = thing.sprite.image
            size = np.array((image.shape[1], image.shape[0]))
            pixels = np.floor((from_frame(thing.pose, points) + 0.5) * size).astype(int)
            hits = np.all((pixels >= 0) & (pixels < size), axis=1)
            x, y = pixels[hits].T
            seen[hits] &= image[y, x, 3] <= 127
        return float(seen.mean())

    def draw(self, canvas_matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Render the scene, also outside the frame, as RGB uint8; arguments as of :func:`paint_background`."""
        canvas = paint_background(self.background, canvas_matrix, size)
        for thing in (*self.below, *((self.target,) if self.painted else ()), *self.above):
            paint(canvas, thing, canvas_matrix)
        return apply_look(canvas, self.look)


@dataclass(frozen=True)
class Start:
    """Poses in the first frame, and the factor for all later deformations."""

    strength: float
    camera: Pose
    target: Pose
    distractors: list[Pose]


def deformation_spread(settings: DrawSettings) -> np.ndarray:
    """Return the standard deviations of a target's deformation: log scale, log aspect, radians, tilt (2), bend (12)."""
    pose = (settings.SCALE, settings.ASPECT, np.deg2rad(settings.ROTATION), settings.TILT, settings.TILT)
    return np.array((*pose, *(settings.BEND,) * (CHANGES - 5)))


def draw_turn(rng: np.random.Generator, settings: DrawSettings) -> float:
    """Draw an additional rotation of the target in radians: any angle with probability ``TURN``, else 0."""
    return rng.uniform(-np.pi, np.pi) if settings.TURN and rng.random() < settings.TURN else 0.0


def camera_spread(settings: DrawSettings) -> np.ndarray:
    """Return the standard deviations of the background's deformation; it keeps its aspect and does not bend."""
    turn = np.deg2rad(settings.CAMERA_ROTATION)
    pose = (settings.CAMERA_SCALE, 0.0, turn, settings.CAMERA_TILT, settings.CAMERA_TILT)
    return np.array((*pose, *(0.0,) * (CHANGES - 5)))


def deformed(pose: Pose, change: np.ndarray, center: np.ndarray) -> Pose:
    """Return the pose after a deformation (``CHANGES`` numbers, see :func:`deformation_spread`), at a new center."""
    stretch = np.exp(change[0] + 0.5 * change[1] * np.array((1, -1)))
    return Pose(
        center,
        pose.size * stretch,
        pose.angle + change[2],
        np.clip(pose.tilt + change[3:5], -0.6, 0.6),
        np.clip(pose.bend + change[5:].reshape(BEND_SIZE), -0.05, 0.05),
    )


def calm(settings: DrawSettings) -> DrawSettings:
    """Return settings with which every pair is usable: a slightly changed pasted target in the middle of the frame."""
    off = ("VIEW", "ASPECT", "TILT", "BEND", "HARD", "TURN", "PLACEMENT", "MOTION", "JUMP", "OCCLUDER")
    easy: dict[str, Any] = {"MIN_SIZE": 0.3, "MAX_SIZE": 0.4, "SCALE": 0.05, "ROTATION": 3.0, "DISTRACTORS": (1.0,)}
    return replace(settings, **easy | dict.fromkeys(off, 0.0))


def body_center(sprite: Sprite, pose: Pose) -> np.ndarray:
    """Return the center of the box of a sprite's outline in the frame, without its bend."""
    outline = project(pose.matrix(), sprite.outline)
    return 0.5 * (outline.min(0) + outline.max(0))


def _direction(rng: np.random.Generator) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi)
    return np.array((np.cos(angle), np.sin(angle)))


def _size(thing: SceneObject) -> float:
    return float(np.sqrt(thing.body.prod()))


def object_tone(rng: np.random.Generator, settings: DrawSettings) -> np.ndarray:
    """Draw a small change of an object's brightness and color, as a lookup table."""
    gain, *white = rng.standard_normal(4)
    return tone_table(np.concatenate((settings.OBJECT_GAIN * (gain + 0.4 * np.array(white)), np.zeros(3))))


def _surround(rng: np.random.Generator, scene: SceneSpec, center: np.ndarray) -> list[Pose]:
    """Draw the poses of the distractors around the target."""
    spread = 0.7 * deformation_spread(scene.settings)
    return [
        deformed(
            Pose(center, thing.size),
            rng.standard_normal(CHANGES) * spread,
            center + _direction(rng) * _size(scene.target) * rng.uniform(0.9, 2.2),
        )
        for thing in scene.distractors
    ]


def draw_start(rng: np.random.Generator, scene: SceneSpec) -> Start:
    """Draw all poses of the first template frame."""
    settings = scene.settings
    strength = settings.HARD_FACTOR if rng.random() < settings.HARD else 1.0
    size = np.array(scene.frame_size, np.float64)
    camera = Pose(0.5 * size + rng.uniform(-0.5, 0.5, 2) * (scene.background.size - size), scene.background.size)
    target = camera
    if scene.painted:
        room = np.maximum(size - 0.8 * scene.target.body, 0)
        center = 0.5 * size + settings.PLACEMENT * rng.uniform(-0.5, 0.5, 2) * room
        change = rng.standard_normal(CHANGES) * deformation_spread(settings) * (0.5 * strength)
        target = deformed(Pose(center, scene.target.size), change, center)
    return Start(strength, camera, target, _surround(rng, scene, body_center(scene.target.sprite, target)))


def _next_center(
    rng: np.random.Generator, scene: SceneSpec, center: np.ndarray, shift: np.ndarray, jump: float
) -> np.ndarray:
    """Draw the target's next center: ``center`` plus ``shift``, or anywhere; rarely outside the frame."""
    size = np.array(scene.frame_size, np.float64)
    margin = np.minimum(0.5 * scene.target.body, 0.5 * size) * (rng.random() >= scene.settings.BORDER)
    if rng.random() < jump:
        return margin + rng.random(2) * (size - 2 * margin)
    return np.clip(center + shift, margin, size - margin)


def draw_next(rng: np.random.Generator, scene: SceneSpec, start: Start) -> tuple[Placed, Pose]:
    """Draw the background, and the target's pose, of a frame after the first."""
    settings, size = scene.settings, np.array(scene.frame_size, np.float64)
    change = rng.standard_normal(CHANGES) * deformation_spread(settings) * start.strength
    change[2] += draw_turn(rng, settings)
    pan = rng.standard_normal(2) * settings.CAMERA_SHIFT * np.sqrt(size.prod())
    before = body_center(scene.target.sprite, start.target)
    if scene.painted:
        shift = rng.standard_normal(2) * settings.MOTION * _size(scene.target)
        target = deformed(start.target, change, _next_center(rng, scene, before, shift, settings.JUMP))
        turn = rng.standard_normal(CHANGES) * camera_spread(settings)
        camera = deformed(start.camera, turn, start.camera.center + pan)
        if rng.random() < settings.NEW_BACKGROUND:
            other = scene.other_background
            return Placed(other.sprite, replace(camera, size=other.size)), target
        return Placed(scene.background.sprite, camera), target
    change[5:] = 0  # a background does not bend
    camera = deformed(start.camera, change, start.camera.center)
    after = _next_center(rng, scene, before, pan, jump=0.0)
    camera = replace(camera, center=camera.center + after - body_center(scene.target.sprite, camera))
    return Placed(scene.background.sprite, camera), camera


def _draw_occluder(rng: np.random.Generator, scene: SceneSpec, occluder: SceneObject, target: np.ndarray) -> Placed:
    """Draw the occluder over a part of the target, whose center is given."""
    distance = 0.5 * (_size(scene.target) + _size(occluder)) * rng.uniform(0.35, 1)
    center = target + _direction(rng) * distance
    change = rng.standard_normal(CHANGES) * deformation_spread(scene.settings)
    return Placed(
        occluder.sprite, deformed(Pose(center, occluder.size), change, center), object_tone(rng, scene.settings)
    )


def draw_frame(rng: np.random.Generator, scene: SceneSpec, start: Start, *, first: bool, search: bool) -> Frame:
    """Draw one frame of a pair; if it is not the ``first`` one, changed. A ``search`` frame always has the occluder."""
    settings, sprite = scene.settings, scene.target.sprite
    background, target, distractors = Placed(scene.background.sprite, start.camera), start.target, start.distractors
    if not first:
        background, target = draw_next(rng, scene, start)
        distractors = _surround(rng, scene, body_center(sprite, target))
    below: list[Placed] = []
    above: list[Placed] = []
    for thing, pose in zip(scene.distractors, distractors, strict=True):
        layer = below if rng.random() < settings.DISTRACTOR_BELOW else above
        layer.append(Placed(thing.sprite, pose, object_tone(rng, settings)))
    if scene.occluder and (search or rng.random() < settings.OCCLUDER_TEMPLATE):
        above.append(_draw_occluder(rng, scene, scene.occluder, body_center(sprite, target)))
    blur = None
    if rng.random() < settings.OBJECT_BLUR:
        blur = line_kernel(rng.uniform(2, settings.BLUR_LENGTH), rng.uniform(0, np.pi))
    placed = Placed(sprite, target, object_tone(rng, settings), blur)
    look = draw_look(rng, settings, scene.look)
    return Frame(scene.frame_size, background, placed, scene.painted, below, above, look)


def draw_frames(rng: np.random.Generator, scene: SceneSpec, templates: int, searches: int) -> Sequence[Frame]:
    """Draw all frames of a pair, templates first."""
    start = draw_start(rng, scene)
    return [
        draw_frame(rng, scene, start, first=index == 0, search=index >= templates)
        for index in range(templates + searches)
    ]
