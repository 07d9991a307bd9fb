"""Augmentation of annotated frames: other extents of the target, warped still pictures, and the looks of poor video.

How much of each is set by ``DATA.DRAW``, as for drawn pairs, so that every kind of data shows the same range of
conditions; ``DATA.AUGMENT`` is the share of annotated pairs that are augmented.
"""

from __future__ import annotations

import cv2
import numpy as np

from lib.config.drawing import DrawSettings
from lib.train.data.drawing.photometric import Look, apply_look, draw_look
from lib.train.data.pair import Crop, CropSpec, jitter_box


def warp_crop(
    frame: np.ndarray, box: np.ndarray, spec: CropSpec, rng: np.random.Generator, settings: DrawSettings
) -> Crop:
    """Take one crop around the jittered ``box`` of a still picture, turned and stretched at random.

    The new box is that of the ellipse inside of the old one, which is nearer to an object's than that of its corners.

    Args:
        frame: RGB uint8 (H, W, 3).
        box: ``xywh`` in pixels, float64 (4,).
    """
    angle = np.deg2rad(settings.ROTATION) * rng.standard_normal()
    stretch = np.exp(0.5 * settings.ASPECT * rng.standard_normal() * np.array((1, -1)))
    around = jitter_box(box, spec, rng)
    scale = spec.size / (spec.factor * np.sqrt(around[2:].prod()))
    cos, sin = np.cos(angle), np.sin(angle)
    linear = scale * stretch[:, None] * np.array(((cos, -sin), (sin, cos)))
    middle = around[:2] + 0.5 * around[2:]
    shift = 0.5 * spec.size - linear @ middle
    # OpenCV counts from the centers of pixels, boxes from their edges.
    matrix = np.column_stack((linear, shift + linear @ (0.5, 0.5) - 0.5))
    image = cv2.warpAffine(frame, matrix, (spec.size, spec.size))
    inside = cv2.warpAffine(np.full(frame.shape[:2], 255, np.uint8), matrix, (spec.size, spec.size))
    center = linear @ (box[:2] + 0.5 * box[2:]) + shift
    size = np.sqrt((linear**2) @ box[2:] ** 2)
    fractions = np.concatenate((center - 0.5 * size, size)) / spec.size
    return Crop(image, fractions.astype(np.float32), inside < 255)


def degrade(crop: Crop, rng: np.random.Generator, settings: DrawSettings, video: Look) -> Crop:
    """Show a crop as a frame of a video with the look ``video``; padding stays black."""
    image = apply_look(crop.image.copy(), draw_look(rng, settings, video))
    image[crop.padding] = 0
    return Crop(image, crop.box, crop.padding)
