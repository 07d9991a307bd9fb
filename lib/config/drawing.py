"""Settings of the drawn (synthesized) data set ``IMAGES``: the keys ``DATA.DRAW.*`` of an experiment."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from lib.config.section import Conflicts, Interval, NonNegative, Section, Share

Size = Annotated[float, Interval(0.01, 1)]


@dataclass(frozen=True)
class DrawSettings(Section):
    """Probabilities (shares) and magnitudes of the drawn data; spreads are standard deviations unless stated."""

    # The target
    VIEW: Share = 0.3  # nothing is pasted, and the target is a region of the image in two views
    CUTOUT: Share = 0.5  # a pasted target is a cut-out with alpha, if there are any
    SEGMENT: Share = 0.4  # a region is a segment of uniform color (else a random shape over a salient box)
    SAME_PICTURE: Share = 0.2  # a pasted region is from the background image (then upside down)
    HARMONISE: Share = 0.3  # a pasted object partly takes on the mean color of the background
    RECTANGLE: Share = 0.0  # a region is a rectangle anywhere in the image
    SUB_BOX: Share = 0.0  # the target is only a rectangular part of the pasted or annotated object
    LOOSE: NonNegative = 0.0  # log of the ratio of box to object size, the same in all frames of a pair
    MIN_SIZE: Size = 0.06  # bounds of the target's sqrt(w h) as a fraction of that of the frame
    MAX_SIZE: Size = 0.32

    # Deformation of the target between two frames
    SCALE: NonNegative = 0.2  # log of size
    ASPECT: NonNegative = 0.1  # log of width over height
    ROTATION: NonNegative = 10.0  # degrees
    TILT: NonNegative = 0.1  # perspective, relative change of scale over the target
    BEND: NonNegative = 0.012  # non-rigid displacement over the target's size (three waves in each direction)
    HARD: Share = 0.15  # all of these are multiplied by HARD_FACTOR
    HARD_FACTOR: NonNegative = 2.2
    TURN: Share = 0.0  # the target, annotated or drawn, is rotated by any angle

    # Motion
    PLACEMENT: Share = 1.0  # distance of the target's start from the middle of the frame: 0 none, 1 anywhere
    MOTION: NonNegative = 0.8  # displacement of the target over its size
    JUMP: Share = 0.3  # a jump to anywhere in the frame
    BORDER: Share = 0.25  # the target may cross the border of the frame
    CAMERA_ZOOM: Annotated[float, Interval(1)] = 1.25  # upper bound of image size over frame size
    CAMERA_SHIFT: NonNegative = 0.08  # pan, as a fraction of the frame
    CAMERA_SCALE: NonNegative = 0.08  # these three as SCALE, ROTATION and TILT, for the whole background
    CAMERA_ROTATION: NonNegative = 3.0
    CAMERA_TILT: NonNegative = 0.04
    NEW_BACKGROUND: Share = 0.08  # the search frame has another background

    # Other objects
    DISTRACTORS: tuple[Share, ...] = (0.3, 0.35, 0.25, 0.1)  # 0, 1, 2, ... objects like the target
    DISTRACTOR_BELOW: Share = 0.7  # one is behind it
    OCCLUDER: Share = 0.25  # an object is in front of the target
    OCCLUDER_TEMPLATE: Share = 0.25  # of those, in the template too
    EXIT: Share = 0.0  # of drawn sequences: the target leaves the frame for a while
    MIN_VISIBLE: Share = 0.4  # least visible fraction of the target; otherwise the pair is drawn again
    MIN_VISIBLE_TEMPLATE: Share = 0.75

    # Camera and light
    GAIN: NonNegative = 0.12  # log
    GAMMA: NonNegative = 0.12  # log
    WHITE: NonNegative = 0.04  # log gain per channel
    HUE: NonNegative = 5.0  # degrees
    SATURATION: NonNegative = 0.12  # log
    VIDEO_TONE: NonNegative = 1.0  # magnitude of the tone of all frames of a video, relative to changes between frames
    OBJECT_GAIN: NonNegative = 0.08  # log gain of a single pasted object between frames
    SHADE: Share = 0.3  # a smooth shadow or light
    SHADE_DEPTH: NonNegative = 0.2  # its log
    MOTION_BLUR: Share = 0.15
    DEFOCUS: Share = 0.15
    NOISE: Share = 0.35
    JPEG: Share = 0.2
    LOW_RESOLUTION: Share = 0.15
    GRAY: Share = 0.04  # of the whole video
    DARK: Share = 0.0  # a dark video (20 % to 60 % of the brightness)
    FADE: Share = 0.0  # low contrast
    BLUR_LENGTH: Annotated[float, Interval(2.4)] = 9.0  # upper bound, in crop pixels
    NOISE_LEVEL: Annotated[float, Interval(1)] = 10.0  # upper bound, in gray levels
    JPEG_QUALITY: Annotated[int, Interval(1, 95)] = 25  # the least
    LOW_FACTOR: Annotated[float, Interval(1.2)] = 2.5  # upper bound
    OBJECT_BLUR: Share = 0.08  # motion blur of the target alone

    def conflicts(self) -> Conflicts:
        if not math.isclose(sum(self.DISTRACTORS), 1, abs_tol=1e-6):
            yield "DISTRACTORS", "hold probabilities that sum to 1"
        if self.MIN_SIZE > self.MAX_SIZE and "MIN_SIZE" in self.given:
            yield "MIN_SIZE", f"be at most DATA.DRAW.MAX_SIZE = {self.MAX_SIZE}"
        elif self.MIN_SIZE > self.MAX_SIZE:
            yield "MAX_SIZE", f"be at least DATA.DRAW.MIN_SIZE = {self.MIN_SIZE}"
