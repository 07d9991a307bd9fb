"""Effects of light, lens, sensor and compression on uint8 crops."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import cv2
import numpy as np

from lib.config.drawing import DrawSettings
from lib.data.crops import to_grayscale

_LEVELS = np.arange(256, dtype=np.float64)[:, None] / 255
_HUE_AXES = np.array(((0.299, 0.587, 0.114), (0.596, -0.274, -0.322), (0.211, -0.523, 0.312)))  # RGB to YIQ
_HUE_AXES_INVERSE = np.linalg.inv(_HUE_AXES)
_SHADE_GRID = 3
_DARKNESS = (0.5, 1.6)  # minus log gain
_FADE = (0.3, 0.75)
_NOISE_SIDE, _NOISE_SIGMA = 512, 32.0


# A color change, (6,): log gains of R, G and B, log of gamma, log of saturation, and the shift of hue in radians.
Tone = np.ndarray


@dataclass(frozen=True)
class Look:
    """Image effects on one frame; None or 0 = off."""

    tone: Tone
    gray: bool = False
    shade: np.ndarray | None = None  # (3, 3) float32 log gains, interpolated over the image
    blur: np.ndarray | None = None  # kernel
    defocus: float = 0.0  # sigma of the blur in pixels
    low_factor: float = 0.0  # factor by which the image is downsampled before it is upsampled again
    noise: float = 0.0  # standard deviation in gray levels
    noise_offset: tuple[int, int] = (0, 0)  # origin in the noise bank
    jpeg: int = 0  # quality
    fade: float = 0.0  # loss of contrast: fraction by which all levels move to the middle one


def draw_tone(rng: np.random.Generator, settings: DrawSettings) -> Tone:
    """Draw a color change."""
    gain, gamma, saturation, hue, *white = rng.standard_normal(7)
    gains = gain * settings.GAIN + np.array(white) * settings.WHITE
    others = gamma * settings.GAMMA, saturation * settings.SATURATION, np.deg2rad(hue * settings.HUE)
    return np.array((*gains, *others))


def line_kernel(length: float, angle: float) -> np.ndarray:
    """Return the antialiased kernel of linear motion blur over ``length`` pixels; odd side, sum 1."""
    radius = int(np.ceil(length / 2))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    along = np.abs(x * np.cos(angle) + y * np.sin(angle))
    across = np.abs(y * np.cos(angle) - x * np.sin(angle))
    kernel = np.clip(length / 2 + 0.5 - along, 0, 1) * np.clip(1 - across, 0, 1)
    return (kernel / kernel.sum()).astype(np.float32)


def draw_noise_offset(rng: np.random.Generator) -> tuple[int, int]:
    """Draw an origin in the noise bank."""
    top, left = rng.integers(0, _NOISE_SIDE, 2)
    return int(top), int(left)


def draw_look(rng: np.random.Generator, settings: DrawSettings, video: Look) -> Look:
    """Draw the look of one frame of a video with the look ``video``."""
    probabilities = (settings.SHADE, settings.MOTION_BLUR, settings.DEFOCUS, settings.NOISE)
    shade, motion, defocus, noise = rng.random(4) < probabilities
    own: dict = {"tone": video.tone + draw_tone(rng, settings)}
    if shade:
        own["shade"] = rng.normal(0, settings.SHADE_DEPTH, (_SHADE_GRID, _SHADE_GRID)).astype(np.float32)
    if motion:
        own["blur"] = line_kernel(rng.uniform(2, settings.BLUR_LENGTH), rng.uniform(0, np.pi))
    elif defocus:
        own["defocus"] = rng.uniform(0.6, settings.BLUR_LENGTH / 4)
    if noise:
        own["noise"] = rng.uniform(1, settings.NOISE_LEVEL)
        own["noise_offset"] = draw_noise_offset(rng)
    return replace(video, **own)


def draw_video_look(rng: np.random.Generator, settings: DrawSettings) -> Look:
    """Draw the effects that all frames of a video share: tone, grayscale, compression, resolution and contrast."""
    gray, jpeg, low = rng.random(3) < (settings.GRAY, settings.JPEG, settings.LOW_RESOLUTION)
    tone = draw_tone(rng, settings) * settings.VIDEO_TONE
    if settings.DARK and rng.random() < settings.DARK:
        tone[:3] -= rng.uniform(*_DARKNESS)
    fade = rng.uniform(*_FADE) if settings.FADE and rng.random() < settings.FADE else 0.0
    return Look(
        tone,
        gray=bool(gray),
        jpeg=int(rng.integers(settings.JPEG_QUALITY, 96)) if jpeg else 0,
        low_factor=rng.uniform(1.2, settings.LOW_FACTOR) if low else 0.0,
        fade=fade,
    )


def tone_table(tone: Tone, fade: float = 0.0) -> np.ndarray:
    """Return gain and gamma of a tone, and a loss of contrast, as a lookup table (1, 256, 3) uint8 for ``cv2.LUT``."""
    table = _LEVELS ** np.exp(tone[3]) * np.exp(tone[:3])
    table = np.clip(table, 0, 1) * (1 - fade) + 0.5 * fade
    return (np.clip(table, 0, 1) * 255 + 0.5).astype(np.uint8)[None]


def _color_matrix(tone: Tone) -> np.ndarray:
    saturation, cos, sin = np.exp(tone[4]), np.cos(tone[5]), np.sin(tone[5])
    turn = np.array(((1, 0, 0), (0, cos * saturation, -sin * saturation), (0, sin * saturation, cos * saturation)))
    return (_HUE_AXES_INVERSE @ turn @ _HUE_AXES).astype(np.float32)


@cache
def _noise_bank(copies: int) -> np.ndarray:
    """Make sensor-like noise around 128, uint8 (side, side, 3), periodic; side = ``copies`` x ``_NOISE_SIDE``."""
    rng = np.random.default_rng(0)
    shape = (_NOISE_SIDE, _NOISE_SIDE)
    noise = rng.standard_normal((*shape, 1)) + 0.6 * rng.standard_normal((*shape, 3))
    noise += 0.7 * cv2.GaussianBlur(rng.standard_normal((*shape, 3)), (0, 0), 0.7)
    bank = np.clip(128 + noise / noise.std() * _NOISE_SIGMA, 0, 255).astype(np.uint8)
    return np.tile(bank, (copies, copies, 1))


def apply_look(image: np.ndarray, look: Look) -> np.ndarray:
    """Apply a look to an RGB uint8 image, which may be overwritten."""
    height, width = image.shape[:2]
    if look.shade is not None:
        field = (np.exp(look.shade) * 128).clip(0, 255).astype(np.uint8)
        field = cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC)
        image = cv2.multiply(image, cv2.merge((field, field, field)), scale=1 / 128)
    if look.blur is not None:
        image = cv2.filter2D(image, -1, look.blur)
    if look.defocus:
        image = cv2.GaussianBlur(image, (0, 0), look.defocus)
    if look.gray:
        image = to_grayscale(image)
    elif look.tone[4:].any():
        image = cv2.transform(image, _color_matrix(look.tone))
    image = cv2.LUT(image, tone_table(look.tone, look.fade))
    if look.low_factor > 1:
        size = (max(round(width / look.low_factor), 1), max(round(height / look.low_factor), 1))
        image = cv2.resize(cv2.resize(image, size, interpolation=cv2.INTER_AREA), (width, height))
    if look.noise:
        strength = look.noise / _NOISE_SIGMA
        top, left = look.noise_offset
        bank = _noise_bank(1 + -(-max(height, width) // _NOISE_SIDE))
        noise = bank[top : top + height, left : left + width]
        image = cv2.addWeighted(image, 1, noise, strength, -128 * strength)
    if look.jpeg:
        _, data = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, look.jpeg))
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))  # encoded and decoded with the same channel order
    return image
