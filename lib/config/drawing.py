"""How much of everything is drawn in the data set ``IMAGES``: the keys ``DATA.DRAW.*`` of an experiment."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, get_type_hints

# What a value may be: from the first number to the second.
Amount = Annotated[float, (0, math.inf)]
Share = Annotated[float, (0, 1)]
Size = Annotated[float, (0.01, 1)]


@dataclass(frozen=True)
class DrawSettings:
    """Probabilities and magnitudes of the drawn data. Spreads are standard deviations, unless said otherwise.

    The type of each says what an experiment may set it to; drawing itself checks nothing.

    What the target is:
        VIEW: probability that nothing is pasted: the target is a region of the picture, seen in two views.
        CUTOUT: probability that a pasted target is a cut-out with alpha, when there are cut-outs.
        SEGMENT: probability that a region is a colour-connected segment (else a random shape over a salient place).
        SAME_PICTURE: probability that a pasted region comes from the background picture itself (then upside down).
        HARMONISE: probability that a pasted thing takes on the mean colour of the background in part.
        RECTANGLE: probability that a region is a rectangle anywhere in the picture, whatever it shows.
        SUB_BOX: probability that the target is but a rectangular part of the thing that is pasted or annotated.
        LOOSE: log of the sides of the box over those of what it is drawn around, the same in all frames of a pair.
        MIN_SIZE, MAX_SIZE: bounds of the target's ``sqrt(w h)`` as a fraction of that of the frame.

    How the target changes between two frames (deformation):
        SCALE, ASPECT: log of size and of width over height.
        ROTATION: degrees.
        TILT: perspective, relative change of scale over the target.
        BEND: non-rigid displacement over the target's size (three waves in each direction).
        HARD, HARD_FACTOR: probability that all of these are multiplied, and by what.

    How things move:
        PLACEMENT: how far from the middle of the frame the target may start: 0 not at all, 1 anywhere.
        MOTION: target's way in units of its size. JUMP: probability of a new place anywhere in the frame.
        BORDER: probability that its way may lead over the border of the frame.
        CAMERA_ZOOM: upper bound of picture over frame. CAMERA_SHIFT: pan, as a fraction of the frame.
        CAMERA_SCALE, CAMERA_ROTATION (degrees), CAMERA_TILT: likewise for the whole background.
        NEW_BACKGROUND: probability that the search frame has another background.

    What else is there:
        DISTRACTORS: probabilities of 0, 1, 2, ... things that look like the target. DISTRACTOR_BELOW: that one is
            behind the target, not in front of it.
        OCCLUDER: probability of a thing in front of the target. OCCLUDER_TEMPLATE: of those, in the template too.
        MIN_VISIBLE, MIN_VISIBLE_TEMPLATE: least fraction of the target that must be seen, else the pair is redrawn.

    What camera and light do:
        GAIN, GAMMA: log of brightness and contrast curve. WHITE: log gain per channel. HUE (degrees), SATURATION (log).
        VIDEO_TONE: factor of the tones that all frames of a video share, over those that differ between its frames.
        OBJECT_GAIN: log gain of a single pasted thing between frames.
        SHADE: probability of a smooth shadow or light; SHADE_DEPTH: its log.
        MOTION_BLUR, DEFOCUS, NOISE, JPEG, LOW_RESOLUTION, GREY: probabilities of each (grey: of the whole video).
        DARK, FADE: probabilities of a video in the dark (a fifth to three fifths of its light), or of low contrast.
        BLUR_LENGTH (crop pixels), NOISE_LEVEL (grey levels), JPEG_QUALITY, LOW_FACTOR: upper bound, or least quality.
        OBJECT_BLUR: probability of motion blur of the target alone.
    """

    VIEW: Share = 0.3
    CUTOUT: Share = 0.5
    SEGMENT: Share = 0.4
    SAME_PICTURE: Share = 0.2
    HARMONISE: Share = 0.3
    RECTANGLE: Share = 0.0
    SUB_BOX: Share = 0.0
    LOOSE: Amount = 0.0
    MIN_SIZE: Size = 0.06
    MAX_SIZE: Size = 0.32

    SCALE: Amount = 0.2
    ASPECT: Amount = 0.1
    ROTATION: Amount = 10.0
    TILT: Amount = 0.1
    BEND: Amount = 0.012
    HARD: Share = 0.15
    HARD_FACTOR: Amount = 2.2

    PLACEMENT: Share = 1.0
    MOTION: Amount = 0.8
    JUMP: Share = 0.3
    BORDER: Share = 0.25
    CAMERA_ZOOM: Annotated[float, (1, math.inf)] = 1.25
    CAMERA_SHIFT: Amount = 0.08
    CAMERA_SCALE: Amount = 0.08
    CAMERA_ROTATION: Amount = 3.0
    CAMERA_TILT: Amount = 0.04
    NEW_BACKGROUND: Share = 0.08

    DISTRACTORS: Annotated[tuple[float, ...], (0, 1)] = (0.3, 0.35, 0.25, 0.1)
    DISTRACTOR_BELOW: Share = 0.7
    OCCLUDER: Share = 0.25
    OCCLUDER_TEMPLATE: Share = 0.25
    MIN_VISIBLE: Share = 0.4
    MIN_VISIBLE_TEMPLATE: Share = 0.75

    GAIN: Amount = 0.12
    GAMMA: Amount = 0.12
    WHITE: Amount = 0.04
    HUE: Amount = 5.0
    SATURATION: Amount = 0.12
    VIDEO_TONE: Amount = 1.0
    OBJECT_GAIN: Amount = 0.08
    SHADE: Share = 0.3
    SHADE_DEPTH: Amount = 0.2
    MOTION_BLUR: Share = 0.15
    DEFOCUS: Share = 0.15
    NOISE: Share = 0.35
    JPEG: Share = 0.2
    LOW_RESOLUTION: Share = 0.15
    GREY: Share = 0.04
    DARK: Share = 0.0
    FADE: Share = 0.0
    BLUR_LENGTH: Annotated[float, (2.4, math.inf)] = 9.0
    NOISE_LEVEL: Annotated[float, (1, math.inf)] = 10.0
    JPEG_QUALITY: Annotated[int, (1, 95)] = 25
    LOW_FACTOR: Annotated[float, (1.2, math.inf)] = 2.5
    OBJECT_BLUR: Share = 0.08


def draw_keys() -> dict[str, Any]:
    """The settings with their defaults as keys of an experiment: tuples as lists."""
    defaults = {field.name: field.default for field in fields(DrawSettings)}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in defaults.items()}


def draw_settings(section: Mapping[str, Any]) -> DrawSettings:
    """The settings that the section ``DATA.DRAW`` of an experiment asks for; the defaults of what it does not set."""
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in section.items()}
    return DrawSettings(**values)


def impossible_draws(section: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each key of the section ``DATA.DRAW`` with which nothing can be drawn, and what its value must do instead."""
    kinds = get_type_hints(DrawSettings, include_extras=True)
    for key, value in section.items():
        low, high = kinds[key].__metadata__[0]
        verb, values = ("hold values", value) if isinstance(value, list) else ("be", [value])
        if not all(low <= one <= high for one in values):
            yield key, f"{verb} from {low} to {high}" if high < math.inf else f"{verb} {low} or more"
    asked = draw_settings(section)
    if not math.isclose(sum(asked.DISTRACTORS), 1, abs_tol=1e-6):
        yield "DISTRACTORS", "hold probabilities that sum to 1"
    if asked.MIN_SIZE > asked.MAX_SIZE and "MIN_SIZE" in section:
        yield "MIN_SIZE", f"be at most DATA.DRAW.MAX_SIZE = {asked.MAX_SIZE}"
    elif asked.MIN_SIZE > asked.MAX_SIZE:
        yield "MAX_SIZE", f"be at least DATA.DRAW.MIN_SIZE = {asked.MIN_SIZE}"
