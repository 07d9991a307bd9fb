"""The OSTrack tracker: crop around the last box, run the model, read the box, map it back.

The methods ``initialize`` and ``track`` are what most users need::

    tracker = build_tracker("vits_256_ce_images")
    tracker.initialize(first_image, {"init_bbox": [x, y, w, h]})
    box = tracker.track(next_image)["target_bbox"]

``start`` and ``step`` do the same for many targets, of different videos, in one run of the model; ``crop_search``,
``predict`` and ``decode`` are what a step consists of. What the keys ``TEST.*`` can change of it is in
:mod:`lib.test.tracker.options`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib.config.ostrack import Config
from lib.models.layers.head import decode_boxes
from lib.models.ostrack import OSTrack
from lib.models.ostrack.candidate_elimination import template_mask
from lib.test.evaluation.protocol import Step
from lib.test.tracker.networks import Network, PlainNetwork
from lib.test.tracker.options import settle, smooth_size
from lib.utils.box_ops import clip_box
from lib.utils.crop import box_from_crop, box_to_crop, crop_window
from lib.utils.device_crop import cut_crops
from lib.utils.errors import CheckpointError, DataError
from lib.utils.windows import hann2d


@dataclass
class Target:
    """What is known of one target: its first look, and where it was last seen.

    Attributes:
        template: what the network keeps of it, batch dimension 1.
        mask: which template tokens rank the search tokens (see :meth:`OSTrack.forward`).
        box: last ``xywh`` box in pixels of the image.
        reach: side of the next search region, over that of ``TEST.SEARCH_FACTOR``.
    """

    template: Tensor
    mask: Tensor | None
    box: list[float]
    reach: float = 1.0


class Tracker:
    """Tracks one target through RGB images with a model that is given, not built, here.

    Args:
        cfg: the experiment.
        network: runs its model; a model is run as it is, see :class:`PlainNetwork`.
        checkpoint: where the weights came from, for reports.
    """

    def __init__(self, cfg: Config, network: Network | OSTrack, checkpoint: str | None = None):
        self.cfg = cfg
        self.network = PlainNetwork(cfg, network) if isinstance(network, OSTrack) else network
        self.checkpoint = checkpoint
        self.device = self.network.device
        window = hann2d(cfg.TEST.SEARCH_SIZE // cfg.MODEL.BACKBONE.STRIDE)
        self.window = (window**cfg.TEST.WINDOW_POWER).to(self.device)
        # Sizes are told as fractions of a search region as large as in training.
        self.size_scale = cfg.DATA.SEARCH.SIZE / cfg.TEST.SEARCH_SIZE
        self._target: Target | None = None

    def initialize(self, image: np.ndarray, info: Mapping[str, Any]) -> None:
        """Take the target from the first frame.

        Args:
            image: RGB uint8 (H, W, 3).
            info: ``{"init_bbox": [x, y, w, h]}`` in pixels.

        Raises:
            DataError: ``info`` is not of that form, the image is no RGB picture, or the box has no area inside it.
        """
        if not isinstance(info, Mapping) or "init_bbox" not in info:
            what = f"a dict with {list(info)}" if isinstance(info, Mapping) else f"a {type(info).__name__}"
            raise DataError(
                f'initialize(image, info) takes info = {{"init_bbox": [x, y, w, h]}} in pixels, not {what}; '
                "start(image, box) takes a box"
            )
        self._target = self.start(image, info["init_bbox"])

    def track(self, image: np.ndarray, info: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Find the target in the next frame.

        Args:
            image: RGB uint8 (H, W, 3).
            info: taken because scripts of this field hand it over; it is not read.

        Returns:
            ``target_bbox``, ``[x, y, w, h]`` in pixels; ``best_score`` in (0, 1), the score of the chosen cell.
        """
        if self._target is None:
            raise RuntimeError("call initialize() before track()")
        step = self.step([image], [self._target])
        return {"target_bbox": step.boxes[0], "best_score": step.scores[0]}

    def step(self, images: Sequence[np.ndarray], targets: Sequence[Target]) -> Step:
        """Find each target in its next image, all in one run of the model. When this raises, no target has changed.

        The images may be of different sizes. Boxes differ from those of a target tracked alone by rounding in the model
        at most. No targets are no work.
        """
        if not targets:
            return Step([], [], 0.0, 0.0)
        start = time.perf_counter()
        search, resize_factors = self.crop_search(images, targets)
        cropped = time.perf_counter()
        template = torch.cat([target.template for target in targets])
        masks = [target.mask for target in targets if target.mask is not None]
        found = self.predict(template, search, torch.cat(masks) if masks else None).tolist()  # waits for the device
        predicted = time.perf_counter()
        scores = [score for *_, score in found]
        each = zip(found, targets, resize_factors, images, strict=True)
        boxes = [self.decode(box, score, target, factor, image.shape) for (*box, score), target, factor, image in each]
        for box, score, target in zip(boxes, scores, targets, strict=True):
            target.box, target.reach = settle(box, score, target.box, target.reach, self.cfg.TEST.HOLD)
        return Step([list(target.box) for target in targets], scores, cropped - start, predicted - cropped)

    @torch.inference_mode()
    def start(self, image: np.ndarray, box: Sequence[float]) -> Target:
        """Crop the template around the first ``xywh`` box."""
        _check_image(image)
        box = _checked_box(box, image.shape)
        test = self.cfg.TEST
        window = crop_window(box, test.TEMPLATE_FACTOR)
        crop = cut_crops([image], [window], test.TEMPLATE_SIZE, self.device)
        place = torch.tensor(box, dtype=torch.float32)
        inside = box_to_crop(place, place, test.TEMPLATE_SIZE / window.side, test.TEMPLATE_SIZE)
        mask = template_mask(self.cfg, test.TEMPLATE_SIZE, 1, self.device, inside[None])
        return Target(self.network.embed_template(crop), mask, box)

    def crop_search(self, images: Sequence[np.ndarray], targets: Sequence[Target]) -> tuple[Tensor, list[float]]:
        """The search regions around the targets' last boxes, and their crop pixels per image pixel.

        The regions are uint8 (B, H, W, 3) on the network's device.
        """
        test = self.cfg.TEST
        for image in images:
            _check_image(image)
        windows = [crop_window(target.box, test.SEARCH_FACTOR * target.reach) for target in targets]
        crops = cut_crops(images, windows, test.SEARCH_SIZE, self.device)
        return crops, [test.SEARCH_SIZE / window.side for window in windows]

    @torch.inference_mode()
    def predict(self, template: Tensor, search: Tensor, mask: Tensor | None) -> Tensor:
        """Run the network on a batch of targets: templates as it keeps them, search regions, masks as they are kept.

        Returns:
            (B, 5): boxes, ``cxcywh`` as fractions of the search region, and scores.
        """
        out = self.network.run(template, search, mask)
        if "score_map" not in out:
            # Corner head: the geometric mean of the two corners' best probabilities.
            score = out["corner_map"].flatten(2).amax(-1).prod(-1, keepdim=True).sqrt()
            return torch.cat((out["pred_boxes"][:, 0], score), dim=1)
        boxes, cell = decode_boxes(self.window * out["score_map"], self.size_scale * out["size_map"], out["offset_map"])
        return torch.cat((boxes, out["score_map"].flatten(1).gather(1, cell[:, None])), dim=1)

    def decode(
        self, box: Sequence[float], score: float, target: Target, resize_factor: float, image_shape: Sequence[int]
    ) -> list[float]:
        """Carry a predicted box into the image, smooth its size and clip it there.

        Raises:
            CheckpointError: box or score are no finite numbers, which clipping would hide.
        """
        if not all(map(math.isfinite, (*box, score))):
            raise CheckpointError(
                f"the network gave the box {list(box)} with score {score}: the weights ({self.checkpoint}) hold NaN, "
                "or the precision is too low for them; try float32"
            )
        test = self.cfg.TEST
        pixels = box_from_crop(box, target.box, resize_factor, test.SEARCH_SIZE)
        pixels = smooth_size(pixels, target.box, test.SIZE_SMOOTHING * (1 - score))
        height, width = image_shape[:2]
        return clip_box(pixels, height, width, margin=min(test.MIN_SIZE, height, width))


def _check_image(image: np.ndarray) -> None:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        what = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise DataError(f"the tracker takes RGB uint8 images of shape (height, width, 3), not {what}")


def _checked_box(box: Sequence[float], image_shape: Sequence[int]) -> list[float]:
    try:
        values = np.asarray(list(box), float).ravel().tolist()
    except (TypeError, ValueError) as error:
        raise DataError(f"init_bbox {box!r} is not four finite numbers x, y, w, h") from error
    if len(values) != 4 or not np.isfinite(values).all():
        raise DataError(f"init_bbox {values} is not four finite numbers x, y, w, h")
    x, y, w, h = values
    height, width = image_shape[:2]
    if w <= 0 or h <= 0 or x >= width or y >= height or x + w <= 0 or y + h <= 0:
        raise DataError(f"init_bbox x, y, w, h = {values} has no area inside the {width} x {height} image")
    return values
