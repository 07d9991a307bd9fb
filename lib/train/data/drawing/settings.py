"""How much of everything is drawn."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DrawSettings:
    """Probabilities and magnitudes of the drawn data. Spreads are standard deviations, unless said otherwise.

    What the target is:
        view: probability that nothing is pasted: the target is a region of the picture, seen in two views.
        cutout: probability that a pasted target is a cut-out with alpha, when there are cut-outs.
        segment: probability that a region is a colour-connected segment (else a random shape over a salient place).
        same_picture: probability that a pasted region comes from the background picture itself (then upside down).
        harmonise: probability that a pasted thing takes on the mean colour of the background in part.
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
        blur_length (crop pixels), noise_level (grey levels), jpeg_quality, low_factor: upper bound, or least quality.
        object_blur: probability of motion blur of the target alone.
    """

    view: float = 0.3
    cutout: float = 0.5
    segment: float = 0.4
    same_picture: float = 0.2
    harmonise: float = 0.3
    min_size: float = 0.06
    max_size: float = 0.32

    scale: float = 0.2
    aspect: float = 0.1
    rotation: float = 10.0
    tilt: float = 0.1
    bend: float = 0.012
    hard: float = 0.15
    hard_factor: float = 2.2

    placement: float = 1.0
    motion: float = 0.8
    jump: float = 0.3
    border: float = 0.25
    camera_zoom: float = 1.25
    camera_shift: float = 0.08
    camera_scale: float = 0.08
    camera_rotation: float = 3.0
    camera_tilt: float = 0.04
    new_background: float = 0.08

    distractors: tuple[float, ...] = (0.3, 0.35, 0.25, 0.1)
    distractor_below: float = 0.7
    occluder: float = 0.25
    occluder_template: float = 0.25
    min_visible: float = 0.4
    min_visible_template: float = 0.75

    gain: float = 0.12
    gamma: float = 0.12
    white: float = 0.04
    hue: float = 5.0
    saturation: float = 0.12
    video_tone: float = 1.0
    object_gain: float = 0.08
    shade: float = 0.3
    shade_depth: float = 0.2
    motion_blur: float = 0.15
    defocus: float = 0.15
    noise: float = 0.35
    jpeg: float = 0.2
    low_resolution: float = 0.15
    grey: float = 0.04
    blur_length: float = 9.0
    noise_level: float = 10.0
    jpeg_quality: int = 25
    low_factor: float = 2.5
    object_blur: float = 0.08
