"""Where everything stands in the frames of a pair: a first template frame, and frames that depart from it at random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lib.config.drawing import DrawSettings
from lib.drawing.assets import SceneObject, SceneSpec
from lib.drawing.photometric import Tone, draw_look, line_kernel, tone_table
from lib.drawing.scene import Frame, Placed
from lib.drawing.warp import BEND_SIZE, Pose, Sprite, project

CHANGES = 5 + BEND_SIZE[0] * BEND_SIZE[1]  # numbers of a deformation


@dataclass(frozen=True)
class Start:
    """Where things stand in the first frame, and the factor of all deformations that follow."""

    strength: float
    camera: Pose
    target: Pose
    distractors: list[Pose]


def deformation_spread(settings: DrawSettings) -> np.ndarray:
    """Standard deviations of a target's deformation: log scale, log aspect, radians, tilt (2), bend (12)."""
    pose = (settings.SCALE, settings.ASPECT, np.deg2rad(settings.ROTATION), settings.TILT, settings.TILT)
    return np.array((*pose, *(settings.BEND,) * (CHANGES - 5)))


def camera_spread(settings: DrawSettings) -> np.ndarray:
    """Likewise for the whole background, which keeps its aspect and does not bend."""
    turn = np.deg2rad(settings.CAMERA_ROTATION)
    pose = (settings.CAMERA_SCALE, 0.0, turn, settings.CAMERA_TILT, settings.CAMERA_TILT)
    return np.array((*pose, *(0.0,) * (CHANGES - 5)))


def deformed(pose: Pose, change: np.ndarray, center: np.ndarray) -> Pose:
    """The pose after a deformation (``CHANGES`` numbers, see :func:`deformation_spread`), at a new center."""
    stretch = np.exp(change[0] + 0.5 * change[1] * np.array((1, -1)))
    return Pose(
        center,
        pose.size * stretch,
        pose.angle + change[2],
        np.clip(pose.tilt + change[3:5], -0.6, 0.6),
        np.clip(pose.bend + change[5:].reshape(BEND_SIZE), -0.05, 0.05),
    )


def calm(settings: DrawSettings) -> DrawSettings:
    """Settings with which every pair can be used: a pasted target, little changed, in the middle of the frame."""
    return replace(
        settings,
        VIEW=0.0,
        MIN_SIZE=0.3,
        MAX_SIZE=0.4,
        SCALE=0.05,
        ASPECT=0.0,
        ROTATION=3.0,
        TILT=0.0,
        BEND=0.0,
        HARD=0.0,
        PLACEMENT=0.0,
        MOTION=0.0,
        JUMP=0.0,
        OCCLUDER=0.0,
        DISTRACTORS=(1.0,),
    )


def body_center(sprite: Sprite, pose: Pose) -> np.ndarray:
    """Center of the box around a sprite's outline in the frame, its bend left aside."""
    outline = project(pose.matrix(), sprite.outline)
    return 0.5 * (outline.min(0) + outline.max(0))


def _direction(rng: np.random.Generator) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi)
    return np.array((np.cos(angle), np.sin(angle)))


def _size(actor: SceneObject) -> float:
    return float(np.sqrt(actor.body.prod()))


def object_tone(rng: np.random.Generator, settings: DrawSettings) -> np.ndarray:
    """Table of a small change of one thing's brightness and color."""
    gain, *white = rng.standard_normal(4)
    return tone_table(Tone(settings.OBJECT_GAIN * (gain + 0.4 * np.array(white)), 0.0, 0.0, 0.0))


def _surround(rng: np.random.Generator, cast: SceneSpec, center: np.ndarray, settings: DrawSettings) -> list[Pose]:
    """Poses of the distractors around the target."""
    spread = 0.7 * deformation_spread(settings)
    return [
        deformed(
            Pose(center, actor.size),
            rng.standard_normal(CHANGES) * spread,
            center + _direction(rng) * _size(cast.target) * rng.uniform(0.9, 2.2),
        )
        for actor in cast.distractors
    ]


def draw_start(rng: np.random.Generator, cast: SceneSpec, settings: DrawSettings) -> Start:
    """Place everything for the first template frame."""
    strength = settings.HARD_FACTOR if rng.random() < settings.HARD else 1.0
    size = np.array(cast.frame_size, np.float64)
    camera = Pose(0.5 * size + rng.uniform(-0.5, 0.5, 2) * (cast.background.size - size), cast.background.size)
    if cast.painted:
        room = np.maximum(size - 0.8 * cast.target.body, 0)
        center = 0.5 * size + settings.PLACEMENT * rng.uniform(-0.5, 0.5, 2) * room
        change = rng.standard_normal(CHANGES) * deformation_spread(settings) * (0.5 * strength)
        target = deformed(Pose(center, cast.target.size), change, center)
    else:
        target = camera
    return Start(strength, camera, target, _surround(rng, cast, body_center(cast.target.sprite, target), settings))


def _next_center(
    rng: np.random.Generator, cast: SceneSpec, center: np.ndarray, shift: np.ndarray, settings: DrawSettings
) -> np.ndarray:
    """Where the target goes from ``center``: by ``shift``, or anywhere; rarely so far that it leaves the frame."""
    size = np.array(cast.frame_size, np.float64)
    margin = np.minimum(0.5 * cast.target.body, 0.5 * size) * (rng.random() >= settings.BORDER)
    if rng.random() < settings.JUMP:
        return margin + rng.random(2) * (size - 2 * margin)
    return np.clip(center + shift, margin, size - margin)


def draw_next(rng: np.random.Generator, cast: SceneSpec, start: Start, settings: DrawSettings) -> tuple[Placed, Pose]:
    """Background and target's pose in a frame that departs from the first."""
    size = np.array(cast.frame_size, np.float64)
    change = rng.standard_normal(CHANGES) * deformation_spread(settings) * start.strength
    pan = rng.standard_normal(2) * settings.CAMERA_SHIFT * np.sqrt(size.prod())
    before = body_center(cast.target.sprite, start.target)
    if cast.painted:
        way = rng.standard_normal(2) * settings.MOTION * _size(cast.target)
        target = deformed(start.target, change, _next_center(rng, cast, before, way, settings))
        camera = deformed(
            start.camera, rng.standard_normal(CHANGES) * camera_spread(settings), start.camera.center + pan
        )
        if rng.random() < settings.NEW_BACKGROUND:
            other = cast.other_background
            return Placed(other.sprite, replace(camera, size=other.size)), target
        return Placed(cast.background.sprite, camera), target
    change[5:] = 0  # a picture does not bend
    camera = deformed(start.camera, change, start.camera.center)
    after = _next_center(rng, cast, before, pan, replace(settings, JUMP=0.0))
    camera = replace(camera, center=camera.center + after - body_center(cast.target.sprite, camera))
    return Placed(cast.background.sprite, camera), camera


def _draw_occluder(
    rng: np.random.Generator, cast: SceneSpec, occluder: SceneObject, target: np.ndarray, settings: DrawSettings
) -> Placed:
    """The occluder over a part of the target, whose center is given."""
    reach = 0.5 * (_size(cast.target) + _size(occluder)) * rng.uniform(0.35, 1)
    center = target + _direction(rng) * reach
    pose = deformed(Pose(center, occluder.size), rng.standard_normal(CHANGES) * deformation_spread(settings), center)
    return Placed(occluder.sprite, pose, object_tone(rng, settings))


def draw_frame(
    rng: np.random.Generator, cast: SceneSpec, start: Start, settings: DrawSettings, *, first: bool, search: bool
) -> Frame:
    """One frame of a pair.

    Args:
        first: it is the first template frame, from which the others depart.
        search: it is a search frame: what may hide the target is there for sure.
    """
    background, target, distractors = Placed(cast.background.sprite, start.camera), start.target, start.distractors
    if not first:
        background, target = draw_next(rng, cast, start, settings)
        distractors = _surround(rng, cast, body_center(cast.target.sprite, target), settings)
    center = body_center(cast.target.sprite, target)
    below: list[Placed] = []
    above: list[Placed] = []
    for actor, pose in zip(cast.distractors, distractors, strict=True):
        layer = below if rng.random() < settings.DISTRACTOR_BELOW else above
        layer.append(Placed(actor.sprite, pose, object_tone(rng, settings)))
    if cast.occluder and (search or rng.random() < settings.OCCLUDER_TEMPLATE):
        above.append(_draw_occluder(rng, cast, cast.occluder, center, settings))
    blur = None
    if rng.random() < settings.OBJECT_BLUR:
        blur = line_kernel(rng.uniform(2, settings.BLUR_LENGTH), rng.uniform(0, np.pi))
    return Frame(
        cast.frame_size,
        background,
        Placed(cast.target.sprite, target, object_tone(rng, settings), blur),
        cast.painted,
        below,
        above,
        draw_look(rng, settings, cast.look),
    )


def draw_frames(
    rng: np.random.Generator, cast: SceneSpec, templates: int, searches: int, settings: DrawSettings
) -> Sequence[Frame]:
    """All frames of a pair, templates first."""
    start = draw_start(rng, cast, settings)
    return [
        draw_frame(rng, cast, start, settings, first=index == 0, search=index >= templates)
        for index in range(templates + searches)
    ]
