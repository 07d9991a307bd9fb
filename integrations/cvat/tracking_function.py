"""A tracking function for CVAT: annotators draw a rectangle, OSTrack follows it. See docs/cvat.md.

cvat-cli function create-native "OSTrack" --function-file integrations/cvat/tracking_function.py
cvat-cli function run-agent ID --function-file integrations/cvat/tracking_function.py -p device=str:auto
"""

from __future__ import annotations

from typing import Any

import cvat_sdk.auto_annotation as cvataa
import numpy as np
import PIL.Image

from lib.test.evaluation.results import LOST_BELOW
from ostrack import Target, Tracker

_SHAPE = "rectangle"


class TrackingFunction:
    """What ``cvat-cli`` calls; the state of a shape is a :class:`Target` of the tracker.

    Args:
        tracker: follows the shapes.
        lost_below: where a shape's score is lower, it is not found: CVAT gets none for that frame.
    """

    spec = cvataa.TrackingFunctionSpec(supported_shape_types=[_SHAPE])

    def __init__(self, tracker: Tracker, lost_below: float) -> None:
        self.tracker, self.lost_below = tracker, lost_below

    def preprocess_image(self, context: cvataa.TrackingFunctionContext, image: PIL.Image.Image) -> np.ndarray:
        """Return the frame as RGB uint8 (H, W, 3)."""
        return np.array(image.convert("RGB"))

    def init_tracking_state(
        self, context: cvataa.TrackingFunctionShapeContext, pp_image: np.ndarray, shape: cvataa.TrackableShape
    ) -> Target:
        """Return the target in a rectangle that an annotator has drawn."""
        left, top, right, bottom = shape.points
        return self.tracker.start(pp_image, [left, top, right - left, bottom - top])

    def track(
        self, context: cvataa.TrackingFunctionShapeContext, pp_image: np.ndarray, state: Target
    ) -> cvataa.TrackableShape | None:
        """Its rectangle in the next frame; None where it is lost. The tracker goes on looking around its last box."""
        found = self.tracker.step([pp_image], [state])
        if found.scores[0] < self.lost_below:
            return None
        x, y, w, h = found.boxes[0]
        return cvataa.TrackableShape(type=_SHAPE, points=[x, y, x + w, y + h])


def create(model: str = "vits_192", lost_below: float = LOST_BELOW, **options: Any) -> TrackingFunction:
    """Make the function, with what ``-p NAME=TYPE:VALUE`` gives.

    Args:
        model: as :meth:`Tracker.from_pretrained` takes it: an experiment that ships, a folder, or a name on the hub.
        lost_below: see :class:`TrackingFunction`.
        options: attributes of :class:`lib.test.spec.TrackerSpec`, such as ``device``, ``precision`` and ``backend``.
    """
    return TrackingFunction(Tracker.from_pretrained(model, **options), lost_below)
