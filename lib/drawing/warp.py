"""Poses of flat objects in a frame, and painting them onto a canvas."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

BEND_WAVES = 2 * np.pi * 0.8 * np.array(((1.0, 0.0), (0.0, 1.0), (0.7, 0.7)), np.float32)
BEND_SIZE = (2 * len(BEND_WAVES), 2)  # a sine and a cosine of each wave, in x and in y


@dataclass
class Sprite:
    """A flat object: uint8 image (h, w, 4) RGB with alpha, or (h, w, 3) for a background.

    The outline ``(N, 2)`` of its visible part is in units of the image: [-0.5, 0.5] from edge to edge.
    """

    image: np.ndarray
    outline: np.ndarray
    _halves: list[np.ndarray] = field(default_factory=list, repr=False)

    def level(self, scale: float) -> np.ndarray:
        """Return the image for rendering at ``scale``, halved as often as needed to avoid aliasing."""
        image, halvings = self.image, 0
        while scale < 0.6 and min(image.shape[:2]) >= 8:
            if halvings == len(self._halves):
                size = (image.shape[1] // 2, image.shape[0] // 2)
                self._halves.append(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
            image = self._halves[halvings]
            halvings, scale = halvings + 1, scale * 2
        return image


@dataclass(frozen=True)
class Pose:
    """Pose of a sprite in a frame."""

    center: np.ndarray  # of the image, in pixels of the frame
    size: np.ndarray  # width and height of the whole image in the frame, before rotation
    angle: float = 0.0  # radians
    tilt: np.ndarray = field(default_factory=lambda: np.zeros(2))  # relative change of depth over width and height
    bend: np.ndarray = field(default_factory=lambda: np.zeros(BEND_SIZE))  # of the waves, in units of the image

    def matrix(self) -> np.ndarray:
        """Return the homography from units of the image to pixels of the frame."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        (x, y), (w, h), (tx, ty) = self.center, self.size, self.tilt
        return np.array(
            (  # rotated, stretched and moved, after the tilt (1, 0, 0), (0, 1, 0), (tx, ty, 1)
                (cos * w + x * tx, -sin * h + x * ty, x),
                (sin * w + y * tx, cos * h + y * ty, y),
                (tx, ty, 1.0),
            )
        )


@dataclass(frozen=True)
class Placed:
    """A sprite in a frame."""

    sprite: Sprite
    pose: Pose
    tone: np.ndarray | None = None  # color lookup table (1, 256, 3) uint8
    blur: np.ndarray | None = None  # kernel of its own motion blur, at the scale of the canvas


def project(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Apply a homography to points ``(..., 2)``."""
    mapped = points @ matrix[:, :2].T + matrix[:, 2]
    return mapped[..., :2] / mapped[..., 2:]


def _waves(points: np.ndarray, bend: np.ndarray) -> np.ndarray:
    phase = points @ BEND_WAVES.T
    return np.concatenate((np.sin(phase), np.cos(phase)), axis=-1) @ bend


def to_frame(pose: Pose, points: np.ndarray) -> np.ndarray:
    """Map points ``(N, 2)`` of a sprite, in units of its image, to pixels of the frame."""
    if pose.bend.any():
        bent = points
        for _ in range(4):  # the waves are defined in reverse; each fixed-point step reduces the error to about 0.2
            bent = points - _waves(bent, pose.bend)
        points = bent
    return project(pose.matrix(), points)


def from_frame(pose: Pose, points: np.ndarray) -> np.ndarray:
    """Invert :func:`to_frame`."""
    points = project(np.linalg.inv(pose.matrix()), points)
    return points + _waves(points, pose.bend) if pose.bend.any() else points


def _shift(x: float, y: float) -> np.ndarray:
    return np.array(((1.0, 0.0, x), (0.0, 1.0, y), (0.0, 0.0, 1.0)))


def _image_and_matrix(thing: Placed, canvas_matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the level of the image to draw from, and the homography from its units to the canvas."""
    matrix = canvas_matrix @ thing.pose.matrix()
    (a, b, x), (c, d, y), (p, q, _) = matrix.tolist()
    area = abs((a - x * p) * (d - y * q) - (b - x * q) * (c - y * p))  # scale of areas at the middle of the image
    height, width = thing.sprite.image.shape[:2]
    return thing.sprite.level(math.sqrt(area / (height * width))), matrix


def _units_to_pixels(image: np.ndarray) -> np.ndarray:
    """Return the homography from units of an image to its pixels, counted from their centers."""
    height, width = image.shape[:2]
    return np.array(((width, 0.0, 0.5 * width - 0.5), (0.0, height, 0.5 * height - 0.5), (0.0, 0.0, 1.0)))


def _bent_points(to_image: np.ndarray, bend: np.ndarray, image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return the point of the image for every pixel of a canvas, (height, width, 2), for ``cv2.remap``.

    It is computed at every fourth pixel, from one step outside the canvas on, and interpolated.
    """
    step = 4
    columns = (np.arange(-1, -(-width // step) + 1, dtype=np.float32) + 0.5) * step
    rows = (np.arange(-1, -(-height // step) + 1, dtype=np.float32) + 0.5) * step
    coarse = np.empty((len(rows), len(columns), 2), np.float32)
    coarse[..., 0], coarse[..., 1] = columns, rows[:, None]
    points = project(to_image.astype(np.float32), coarse)
    points += _waves(points, bend.astype(np.float32))
    points = (points + np.float32(0.5)) * np.array((image.shape[1], image.shape[0]), np.float32) - np.float32(0.5)
    fine = cv2.resize(points, None, fx=step, fy=step, interpolation=cv2.INTER_LINEAR)
    return fine[step : step + height, step : step + width]


def paint_background(thing: Placed, canvas_matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Fill a new canvas of ``size`` (width, height) with a sprite, reflected at its borders and without bend.

    ``canvas_matrix`` is the homography from pixels of the frame to pixels of the canvas.
    """
    image, matrix = _image_and_matrix(thing, canvas_matrix)
    to_image = _units_to_pixels(image) @ np.linalg.inv(matrix) @ _shift(0.5, 0.5)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpPerspective(image, to_image, size, flags=flags, borderMode=cv2.BORDER_REFLECT_101)


def paint(canvas: np.ndarray, thing: Placed, canvas_matrix: np.ndarray) -> None:
    """Draw a sprite with alpha over ``canvas`` (H, W, 3) uint8, in place; the matrix as of :func:`paint_background`."""
    pose, blur = thing.pose, thing.blur
    image, matrix = _image_and_matrix(thing, canvas_matrix)
    corners = project(matrix, thing.sprite.outline)
    largest_bend = np.hypot(*np.split(pose.bend, 2)).sum(0).max()  # an upper bound of the displacement by the waves
    margin = 2 + (0 if blur is None else blur.shape[0] // 2) + largest_bend * np.ptp(corners, axis=0).max()
    limit = (canvas.shape[1], canvas.shape[0])
    left, top = (int(v) for v in np.clip(np.floor(corners.min(0) - margin), 0, limit))
    right, bottom = (int(v) for v in np.clip(np.ceil(corners.max(0) + margin), 0, limit))
    if left >= right or top >= bottom:
        return
    to_image = np.linalg.inv(_shift(-left, -top) @ matrix)
    if pose.bend.any():
        points = _bent_points(to_image, pose.bend, image, right - left, bottom - top)
        no_second: Any = None  # OpenCV's stubs do not allow a single map of two channels
        patch = cv2.remap(image, points, no_second, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    else:
        to_image = _units_to_pixels(image) @ to_image @ _shift(0.5, 0.5)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        patch = cv2.warpPerspective(image, to_image, (right - left, bottom - top), flags=flags)
    if blur is not None:
        patch = cv2.filter2D(patch, -1, blur, borderType=cv2.BORDER_REPLICATE)
    color = cv2.cvtColor(patch, cv2.COLOR_RGBA2RGB)
    if thing.tone is not None:
        color = cv2.LUT(color, thing.tone)
    weight = cv2.extractChannel(patch, 3).astype(np.float32) * np.float32(1 / 255)
    region = canvas[top:bottom, left:right]
    region[:] = cv2.blendLinear(color, np.ascontiguousarray(region), weight, 1 - weight)
