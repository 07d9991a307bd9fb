"""One frame: flat objects in front of a background, with camera effects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lib.drawing.outlines import box_of, clip_outline, inner_points
from lib.drawing.photometric import Look, apply_look
from lib.drawing.warp import Pose, Sprite, from_frame, paint, paint_background, to_frame


@dataclass(frozen=True)
class Placed:
    """A sprite in a frame, with a color lookup table and its own motion blur (canvas pixels), if any."""

    sprite: Sprite
    pose: Pose
    tone: np.ndarray | None = None
    blur: np.ndarray | None = None


@dataclass(frozen=True)
class Frame:
    """One frame before it is drawn.

    Attributes:
        size: width and height in pixels.
        target: unless ``painted`` it is a part of the background, and only its outline counts.
        below, above: other objects, behind and in front of the target, from back to front.
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
        """Render the scene, also outside the frame, as RGB uint8 on a canvas of ``size`` (width, height).

        Args:
            canvas_matrix: homography from pixels of the frame to pixels of the canvas.
        """
        canvas = paint_background(self.background.sprite, self.background.pose, canvas_matrix, size)
        for thing in (*self.below, *((self.target,) if self.painted else ()), *self.above):
            paint(canvas, thing.sprite, thing.pose, canvas_matrix, thing.tone, thing.blur)
        return apply_look(canvas, self.look)
