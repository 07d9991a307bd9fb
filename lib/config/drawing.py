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
        view: probability that nothing is pasted: the target is a region of the picture, seen in two views.
        cutout: probability that a pasted target is a cut-out with alpha, when there are cut-outs.
        segment: probability that a region is a colour-connected segment (else a random shape over a salient place).
        same_picture: probability that a pasted region comes from the background picture itself (then upside down).
        harmonise: probability that a pasted thing takes on the mean colour of the background in part.
        rectangle: probability that a region is a rectangle anywhere in the picture, whatever it shows.
        sub_box: probability that the target is but a rectangular part of the thing that is pasted or annotated.
        loose: log of the sides of the box over those of what it is drawn around, the same in all frames of a pair.
        min_size, max_size: bounds of the target's ``sqrt(w h)`` as a fraction of that of the frame.

    How the target changes between two frames (deformation):
        scale, aspect: log of size and of width over height.
        rotation: degrees.
        tilt: perspective, relative change of scale over the target.
        bend: non-rigid displacement over the target's size (three waves in each direction).
        hard, hard_factor: probability that all of these are multiplied, and by what.

    How things move:
        placement: how far from the middle of the frame the target may start: 0 not at all, 1 anywhere.
        motion: target's way in units of its size. jump: probability of a new place anywhere in the frame.
        border: probability that its way may lead over the border of the frame.
        camera_zoom: upper bound of picture over frame. camera_shift: pan, as a fraction of the frame.
        camera_scale, camera_rotation (degrees), camera_tilt: likewise for the whole background.
        new_background: probability that the search frame has another background.

    What else is there:
        distractors: probabilities of 0, 1, 2, ... things that look like the target. distractor_below: that one is
            behind the target, not in front of it.
        occluder: probability of a thing in front of the target. occluder_template: of those, in the template too.
        min_visible, min_visible_template: least fraction of the target that must be seen, else the pair is redrawn.

    What camera and light do:
        gain, gamma: log of brightness and contrast curve. white: log gain per channel. hue (degrees), saturation (log).
        video_tone: factor of the tones that all frames of a video share, over those that differ between its frames.
        object_gain: log gain of a single pasted thing between frames.
        shade: probability of a smooth shadow or light; shade_depth: its log.
        motion_blur, defocus, noise, jpeg, low_resolution, grey: probabilities of each (grey: of the whole video).
        dark, fade: probabilities of a video in the dark (a fifth to three fifths of the light), and of low contrast.
        blur_length (crop pixels), noise_level (grey levels), jpeg_quality, low_factor: upper bound, or least quality.
        object_blur: probability of motion blur of the target alone.
    """

    view: Share = 0.3
    cutout: Share = 0.5
    segment: Share = 0.4
    same_picture: Share = 0.2
    harmonise: Share = 0.3
    rectangle: Share = 0.0
    sub_box: Share = 0.0
    loose: Amount = 0.0
    min_size: Size = 0.06
    max_size: Size = 0.32

    scale: Amount = 0.2
    aspect: Amount = 0.1
    rotation: Amount = 10.0
    tilt: Amount = 0.1
    bend: Amount = 0.012
    hard: Share = 0.15
    hard_factor: Amount = 2.2

    placement: Share = 1.0
    motion: Amount = 0.8
    jump: Share = 0.3
    border: Share = 0.25
    camera_zoom: Annotated[float, (1, math.inf)] = 1.25
    camera_shift: Amount = 0.08
    camera_scale: Amount = 0.08
    camera_rotation: Amount = 3.0
    camera_tilt: Amount = 0.04
    new_background: Share = 0.08

    distractors: Annotated[tuple[float, ...], (0, 1)] = (0.3, 0.35, 0.25, 0.1)
    distractor_below: Share = 0.7
    occluder: Share = 0.25
    occluder_template: Share = 0.25
    min_visible: Share = 0.4
    min_visible_template: Share = 0.75

    gain: Amount = 0.12
    gamma: Amount = 0.12
    white: Amount = 0.04
    hue: Amount = 5.0
    saturation: Amount = 0.12
    video_tone: Amount = 1.0
    object_gain: Amount = 0.08
    shade: Share = 0.3
    shade_depth: Amount = 0.2
    motion_blur: Share = 0.15
    defocus: Share = 0.15
    noise: Share = 0.35
    jpeg: Share = 0.2
    low_resolution: Share = 0.15
    grey: Share = 0.04
    dark: Share = 0.0
    fade: Share = 0.0
    blur_length: Annotated[float, (2.4, math.inf)] = 9.0
    noise_level: Annotated[float, (1, math.inf)] = 10.0
    jpeg_quality: Annotated[int, (1, 95)] = 25
    low_factor: Annotated[float, (1.2, math.inf)] = 2.5
    object_blur: Share = 0.08


def draw_keys() -> dict[str, Any]:
    """The settings with their defaults as keys of an experiment: names in capitals, tuples as lists."""
    defaults = {field.name.upper(): field.default for field in fields(DrawSettings)}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in defaults.items()}


def draw_settings(section: Mapping[str, Any]) -> DrawSettings:
    """The settings that the section ``DATA.DRAW`` of an experiment asks for; the defaults of what it does not set."""
    values: dict[str, Any] = {
        key.lower(): tuple(value) if isinstance(value, list) else value for key, value in section.items()
    }
    return DrawSettings(**values)


def impossible_draws(section: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each key of the section ``DATA.DRAW`` with which nothing can be drawn, and what its value must do instead."""
    kinds = get_type_hints(DrawSettings, include_extras=True)
    for key, value in section.items():
        low, high = kinds[key.lower()].__metadata__[0]
        verb, values = ("hold values", value) if isinstance(value, list) else ("be", [value])
        if not all(low <= one <= high for one in values):
            yield key, f"{verb} from {low} to {high}" if high < math.inf else f"{verb} {low} or more"
    asked = draw_settings(section)
    if not math.isclose(sum(asked.distractors), 1, abs_tol=1e-6):
        yield "DISTRACTORS", "hold probabilities that sum to 1"
    if asked.min_size > asked.max_size and "MIN_SIZE" in section:
        yield "MIN_SIZE", f"be at most DATA.DRAW.MAX_SIZE = {asked.max_size}"
    elif asked.min_size > asked.max_size:
        yield "MAX_SIZE", f"be at least DATA.DRAW.MIN_SIZE = {asked.min_size}"
