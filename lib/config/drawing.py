"""Settings of the drawn (synthesized) data set ``IMAGES``: the keys ``DATA.DRAW.*`` of an experiment."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from lib.config.section import Conflicts, Interval, NonNegative, Section, Share

Size = Annotated[float, Interval(0.01, 1)]


@dataclass(frozen=True)
class DrawSettings(Section):
    """Probabilities and magnitudes of the drawn data; spreads are standard deviations, unless stated otherwise.

    The target:
        VIEW: probability that nothing is pasted, and the target is a region of the image in two views.
        CUTOUT: probability that a pasted target is a cut-out with alpha, if there are any.
        SEGMENT: probability that a region is a segment of uniform color (else a random shape over a salient box).
        SAME_PICTURE: probability that a pasted region is from the background image (then upside down).
        HARMONISE: probability that a pasted object partly takes on the mean color of the background.
        RECTANGLE: probability that a region is a rectangle anywhere in the image.
        SUB_BOX: probability that the target is only a rectangular part of the pasted or annotated object.
        LOOSE: log of the ratio of box to object size, the same in all frames of a pair.
        MIN_SIZE, MAX_SIZE: bounds of the target's ``sqrt(w h)`` as a fraction of that of the frame.

    Deformation of the target between two frames:
        SCALE, ASPECT: log of size and of width over height.
        ROTATION: degrees.
        TILT: perspective, relative change of scale over the target.
        BEND: non-rigid displacement over the target's size (three waves in each direction).
        HARD, HARD_FACTOR: probability that all of these are multiplied by a factor, and the factor.
        TURN: probability that the target, annotated or drawn, is rotated by any angle.

    Motion:
        PLACEMENT: distance of the target's start from the middle of the frame: 0 none, 1 anywhere.
        MOTION: displacement of the target over its size. JUMP: probability of a jump to anywhere in the frame.
        BORDER: probability that the target may cross the border of the frame.
        CAMERA_ZOOM: upper bound of image size over frame size. CAMERA_SHIFT: pan, as a fraction of the frame.
        CAMERA_SCALE, CAMERA_ROTATION (degrees), CAMERA_TILT: as SCALE, ROTATION, TILT, for the whole background.
        NEW_BACKGROUND: probability that the search frame has another background.

    Other objects:
        DISTRACTORS: probabilities of 0, 1, 2, ... objects like the target. DISTRACTOR_BELOW: that one is behind it.
        OCCLUDER: probability of an object in front of the target. OCCLUDER_TEMPLATE: of those, in the template too.
        EXIT: of drawn sequences, probability that the target leaves the frame for a while.
        MIN_VISIBLE, MIN_VISIBLE_TEMPLATE: least visible fraction of the target; otherwise the pair is drawn again.

    Camera and light:
        GAIN, GAMMA: log of gain and of gamma. WHITE: log gain per channel. HUE (degrees), SATURATION (log).
        VIDEO_TONE: magnitude of the tone shared by all frames of a video, relative to changes between frames.
        OBJECT_GAIN: log gain of a single pasted object between frames.
        SHADE: probability of a smooth shadow or light; SHADE_DEPTH: its log.
        MOTION_BLUR, DEFOCUS, NOISE, JPEG, LOW_RESOLUTION, GRAY: probabilities (GRAY: of the whole video).
        DARK, FADE: probabilities of a dark video (20 % to 60 % of the brightness), and of low contrast.
        BLUR_LENGTH (crop pixels), NOISE_LEVEL (gray levels), JPEG_QUALITY, LOW_FACTOR: upper bound, or least quality.
        OBJECT_BLUR: probability of motion blur of the target alone.
    """

    VIEW: Share = 0.3
    CUTOUT: Share = 0.5
    SEGMENT: Share = 0.4
    SAME_PICTURE: Share = 0.2
    HARMONISE: Share = 0.3
    RECTANGLE: Share = 0.0
    SUB_BOX: Share = 0.0
    LOOSE: NonNegative = 0.0
    MIN_SIZE: Size = 0.06
    MAX_SIZE: Size = 0.32

    SCALE: NonNegative = 0.2
    ASPECT: NonNegative = 0.1
    ROTATION: NonNegative = 10.0
    TILT: NonNegative = 0.1
    BEND: NonNegative = 0.012
    HARD: Share = 0.15
    HARD_FACTOR: NonNegative = 2.2
    TURN: Share = 0.0

    PLACEMENT: Share = 1.0
    MOTION: NonNegative = 0.8
    JUMP: Share = 0.3
    BORDER: Share = 0.25
    CAMERA_ZOOM: Annotated[float, Interval(1)] = 1.25
    CAMERA_SHIFT: NonNegative = 0.08
    CAMERA_SCALE: NonNegative = 0.08
    CAMERA_ROTATION: NonNegative = 3.0
    CAMERA_TILT: NonNegative = 0.04
    NEW_BACKGROUND: Share = 0.08

    DISTRACTORS: tuple[Share, ...] = (0.3, 0.35, 0.25, 0.1)
    DISTRACTOR_BELOW: Share = 0.7
    OCCLUDER: Share = 0.25
    OCCLUDER_TEMPLATE: Share = 0.25
    EXIT: Share = 0.0
    MIN_VISIBLE: Share = 0.4
    MIN_VISIBLE_TEMPLATE: Share = 0.75

    GAIN: NonNegative = 0.12
    GAMMA: NonNegative = 0.12
    WHITE: NonNegative = 0.04
    HUE: NonNegative = 5.0
    SATURATION: NonNegative = 0.12
    VIDEO_TONE: NonNegative = 1.0
    OBJECT_GAIN: NonNegative = 0.08
    SHADE: Share = 0.3
    SHADE_DEPTH: NonNegative = 0.2
    MOTION_BLUR: Share = 0.15
    DEFOCUS: Share = 0.15
    NOISE: Share = 0.35
    JPEG: Share = 0.2
    LOW_RESOLUTION: Share = 0.15
    GRAY: Share = 0.04
    DARK: Share = 0.0
    FADE: Share = 0.0
    BLUR_LENGTH: Annotated[float, Interval(2.4)] = 9.0
    NOISE_LEVEL: Annotated[float, Interval(1)] = 10.0
    JPEG_QUALITY: Annotated[int, Interval(1, 95)] = 25
    LOW_FACTOR: Annotated[float, Interval(1.2)] = 2.5
    OBJECT_BLUR: Share = 0.08

    def conflicts(self) -> Conflicts:
        if not math.isclose(sum(self.DISTRACTORS), 1, abs_tol=1e-6):
            yield "DISTRACTORS", "hold probabilities that sum to 1"
        if self.MIN_SIZE > self.MAX_SIZE and "MIN_SIZE" in self.given:
            yield "MIN_SIZE", f"be at most DATA.DRAW.MAX_SIZE = {self.MAX_SIZE}"
        elif self.MIN_SIZE > self.MAX_SIZE:
            yield "MAX_SIZE", f"be at least DATA.DRAW.MIN_SIZE = {self.MIN_SIZE}"
