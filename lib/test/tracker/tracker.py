"""The tracker of every family: crop around the last box, run the model, decode the box, map it to the image.

The methods ``initialize`` and ``track`` are what most users need::

    tracker = Tracker.from_pretrained("vits_192")
    tracker.initialize(first_image, {"init_bbox": [x, y, w, h]})
    box = tracker.track(next_image)["target_bbox"]

``start`` and ``step`` do the same for many targets, of different videos, in one batch; a step consists of
``crop_search``, ``predict`` and ``decode``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lib.config import ExperimentConfig
from lib.models.family import family_of, head_of
from lib.models.layers.head import Maps
from lib.models.state import State, join_states, split_state
from lib.test.evaluation.protocol import TrackResult
from lib.test.tracker import distractors
from lib.test.tracker.networks import ModelNetwork, Network
from lib.utils.box_ops import clip_box
from lib.utils.crop import box_from_crop, box_to_crop, crop_window
from lib.utils.device_crop import cut_crops
from lib.utils.errors import CheckpointError, ConfigError, DataError
from lib.utils.windows import hann2d


@dataclass
class Target:
    """State of one target: the model's state, its last box, and what looked like it there.

    Attributes:
        state: the model's state, batch size 1.
        box: last ``xywh`` box in pixels of the image.
        distractors: places (N, 2) of the distractors of the last frame, see :mod:`lib.test.tracker.distractors`.
    """

    state: State
    box: list[float]
    distractors: np.ndarray = field(default_factory=lambda: distractors.NONE, kw_only=True)


@dataclass
class SearchResult:
    """Result of searching one region for a target.

    Attributes:
        box: ``xywh`` in pixels of the image.
        score: in (0, 1).
        state: the entries of the state that have changed.
        presence: the probability that the target is present; NaN if the model does not predict it.
        distractors: see :class:`Target`.
        whole: the box touches no border of the image, so that its size is that of the whole target.
    """

    box: list[float]
    score: float
    state: State
    presence: float = math.nan
    distractors: np.ndarray = field(default_factory=lambda: distractors.NONE)
    whole: bool = True


class Tracker:
    """Tracks targets through RGB images with a given model.

    Args:
        cfg: the experiment.
        network: runs the model; a trained ``nn.Module`` is run in the family's plain form.
        checkpoint: path of the weights, for messages.

    Raises:
        ConfigError: distractors are to be remembered, and the head has no score map to see them in.
    """

    def __init__(self, cfg: ExperimentConfig, network: Network | nn.Module, checkpoint: str | None = None):
        self.cfg, self.family = cfg, family_of(cfg)
        self.network: Network = (
            ModelNetwork(self.family.plain(cfg, network)) if isinstance(network, nn.Module) else network
        )
        self.checkpoint = checkpoint
        self.device = self.network.device
        self.head = head_of(cfg)
        self.remembers = cfg.TEST.DISTRACTOR_WEIGHT < 1
        if self.remembers and "score_map" not in self.head.outputs:
            head = f"a {cfg.MODEL.HEAD.TYPE} head has no score for each cell"
            raise ConfigError(f"TEST.DISTRACTOR_WEIGHT is {cfg.TEST.DISTRACTOR_WEIGHT}; it must be 1: {head}")
        self.window = hann2d(cfg.TEST.SEARCH_SIZE // cfg.MODEL.BACKBONE.STRIDE).to(self.device)
        # The network predicts sizes as fractions of a search region as large as in training.
        self.size_scale = cfg.DATA.SEARCH.SIZE / cfg.TEST.SEARCH_SIZE
        self._target: Target | None = None

    @classmethod
    def from_pretrained(cls, name: str | Path, **options: Any) -> Tracker:
        """Build a tracker from a folder of a model hub, a name on the hub, or a shipped experiment.

        See :func:`lib.test.hub.load_pretrained` for the arguments. The tracker has the class of its family.
        """
        from lib.test.hub import load_pretrained  # it imports this module

        return load_pretrained(name, **options)

    def initialize(self, image: np.ndarray, info: Mapping[str, Any]) -> None:
        """Initialize the target in the first frame.

        Args:
            image: RGB uint8 (H, W, 3).
            info: ``{"init_bbox": [x, y, w, h]}`` in pixels.

        Raises:
            DataError: ``info`` is not of that form, the image is not RGB uint8, or the box has no area inside it.
        """
        if not isinstance(info, Mapping) or "init_bbox" not in info:
            what = f"a dict with {list(info)}" if isinstance(info, Mapping) else f"a {type(info).__name__}"
            raise DataError(f'initialize(image, info) takes info = {{"init_bbox": [x, y, w, h]}} in pixels, not {what}')
        self._target = self.start(image, info["init_bbox"])

    def track(self, image: np.ndarray, info: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Find the target in the next frame.

        Args:
            image: RGB uint8 (H, W, 3).
            info: ignored; accepted because PyTracking-style scripts pass it.

        Returns:
            ``target_bbox``, ``[x, y, w, h]`` in pixels; ``best_score`` in (0, 1), the score of the chosen cell; and
            ``presence``, the probability that the target is visible, if the tracker predicts it.
        """
        if self._target is None:
            raise RuntimeError("call initialize() before track()")
        step = self.step([image], [self._target])
        found: dict[str, Any] = {"target_bbox": step.boxes[0], "best_score": step.scores[0]}
        return found | ({"presence": step.presence[0]} if step.presence else {})

    def step(self, images: Sequence[np.ndarray], targets: Sequence[Target]) -> TrackResult:
        """Find each target in its next image, all in one batch. If this raises, no target has changed.

        The images may have different sizes. Boxes are those of a target tracked alone, up to rounding in the model.
        ``targets`` may be empty.
        """
        found, crop, network = self.find(images, targets)
        for target, one in zip(targets, found, strict=True):
            self.keep(target, one)
        presence = [one.presence for one in found if not math.isnan(one.presence)]
        return TrackResult([list(one.box) for one in found], [one.score for one in found], crop, network, presence)

    def find(self, images: Sequence[np.ndarray], targets: Sequence[Target]) -> tuple[list[SearchResult], float, float]:
        """Search for each target in its next image, without changing its state.

        Returns:
            The result of each; the seconds of cropping, and of the model.
        """
        return self.search(images, targets, [target.box for target in targets])

    def keep(self, target: Target, found: SearchResult) -> None:
        """Write the result of a search into ``target``; entries that its state does not have are outputs alone."""
        known = {name: value for name, value in found.state.items() if name in target.state}
        target.box, target.state, target.distractors = found.box, {**target.state, **known}, found.distractors

    def search(
        self, images: Sequence[np.ndarray], targets: Sequence[Target], around: Sequence[Sequence[float]]
    ) -> tuple[list[SearchResult], float, float]:
        """Search for each target in the region around an ``xywh`` box of its image; returns as :meth:`find`."""
        if len(images) != len(targets):
            raise DataError(f"{len(images)} images for {len(targets)} targets: each target is found in its own image")
        if not targets:
            return [], 0.0, 0.0
        start = time.perf_counter()
        search, factors = self.crop_search(images, around)
        cropped = time.perf_counter()
        maps, changed = self.predict(join_states([target.state for target in targets]), search)
        cells = self.cells(maps, around, factors)
        rows = self.read(maps, self.windows(targets, cells)).tolist()  # waits for the device
        predicted = time.perf_counter()
        found = []
        states = split_state(changed, len(targets))
        for (*row, score), center, factor, image, state in zip(rows, around, factors, images, states, strict=True):
            box = self.decode(row, score, center, factor, image.shape)
            presence = float(state["presence"]) if "presence" in state else math.nan
            found.append(SearchResult(box, score, state, presence, whole=_is_whole(box, image.shape)))
        if self.remembers:
            peaks = distractors.peak_scores(maps["score_map"]).flatten(1).float().cpu().numpy()
            for one, target, scores, places in zip(found, targets, peaks, cells, strict=True):
                one.distractors = distractors.find(scores, places, one.box, one.score, target.distractors)
        return found, cropped - start, predicted - cropped

    @torch.inference_mode()
    def start(self, image: np.ndarray, box: Sequence[float]) -> Target:
        """Crop the template around the first ``xywh`` box."""
        _check_image(image)
        box = _checked_box(box, image.shape)
        return self.new_target(self.first_state(image, box), box)

    def new_target(self, state: State, box: list[float]) -> Target:
        """Return a target with the given first state, which the network has not prepared yet."""
        return Target(self.network.prepare(state), box)

    def first_state(self, image: np.ndarray, box: Sequence[float]) -> State:
        """Return the state of a target at its first ``xywh`` box, before the network prepares it."""
        test = self.cfg.TEST
        window = crop_window(box, test.TEMPLATE_FACTOR)
        crop = cut_crops([image], [window], test.TEMPLATE_SIZE, self.device)
        around = torch.tensor(box, dtype=torch.float32)
        inside = box_to_crop(around, around, test.TEMPLATE_SIZE / window.side, test.TEMPLATE_SIZE)[None]
        return self.family.initial_state(self.cfg, crop, inside.to(self.device))

    def crop_search(self, images: Sequence[np.ndarray], boxes: Sequence[Sequence[float]]) -> tuple[Tensor, list[float]]:
        """Return the search regions around ``xywh`` boxes, one per image, and their resize factors.

        The regions are uint8 (B, H, W, 3) on the network's device.
        """
        test = self.cfg.TEST
        for image in images:
            _check_image(image)
        windows = [crop_window(box, test.SEARCH_FACTOR) for box in boxes]
        crops = cut_crops(images, windows, test.SEARCH_SIZE, self.device)
        return crops, [test.SEARCH_SIZE / window.side for window in windows]

    def cells(self, maps: Maps, around: Sequence[Sequence[float]], factors: Sequence[float]) -> list[np.ndarray]:
        """Return the places of the cells of each search region, (S * S, 2), in image pixels.

        A place is the center of the box that the cell predicts. The list is empty if distractors are not remembered.

        Args:
            maps: the head's outputs.
            around: the ``xywh`` boxes that the regions were cropped around.
            factors: their resize factors.
        """
        if not self.remembers:
            return []
        centers = self.head.centers(maps).movedim(1, 2).cpu().numpy()
        sides = [self.cfg.TEST.SEARCH_SIZE / factor for factor in factors]
        return [
            (region - 0.5) * side + distractors.center_of(box)
            for region, box, side in zip(centers, around, sides, strict=True)
        ]

    def windows(self, targets: Sequence[Target], cells: Sequence[np.ndarray]) -> Tensor:
        """Return the windows (B or 1, 1, S, S) of search regions: the Hann window, less where distractors were.

        Args:
            cells: see :meth:`cells`.
        """
        if not any(len(target.distractors) for target in targets):
            return self.window
        weight = self.cfg.TEST.DISTRACTOR_WEIGHT
        weights = [
            distractors.cell_weights(places, target.box, target.distractors, weight)
            for target, places in zip(targets, cells, strict=True)
        ]
        return self.window * torch.from_numpy(np.stack(weights)).to(self.window).view(-1, *self.window.shape[1:])

    @torch.inference_mode()
    def predict(self, state: State, search: Tensor) -> tuple[Maps, State]:
        """Run the network on the states and search regions of a batch of targets.

        Returns:
            The head's outputs, which last until the next run; and the state's changed entries.
        """
        outputs, changed = self.network.run(state, search)
        return outputs, {name: value.clone() for name, value in changed.items()}

    @torch.inference_mode()
    def read(self, maps: Maps, window: Tensor | None = None) -> Tensor:
        """Return the boxes, ``cxcywh`` as fractions of the search region, and scores, (B, 5), of the head's outputs.

        Args:
            window: see :meth:`windows`; None = the Hann window.
        """
        boxes, scores = self.head.decode(maps, self.window if window is None else window, self.size_scale)
        return torch.cat((boxes, scores[:, None]), dim=1)

    def decode(
        self,
        box: Sequence[float],
        score: float,
        around: Sequence[float],
        resize_factor: float,
        image_shape: Sequence[int],
    ) -> list[float]:
        """Map a predicted box to the image, smooth its size and clip it.

        Args:
            around: the ``xywh`` box that the search region was cropped around.

        Raises:
            CheckpointError: box or score are not finite, which clipping would hide.
        """
        if not all(map(math.isfinite, (*box, score))):
            reason = f"the weights ({self.checkpoint}) hold NaN, or the precision is too low for them; try float32"
            raise CheckpointError(f"the network gave the box {list(box)} with score {score}: {reason}")
        test = self.cfg.TEST
        pixels = box_from_crop(box, around, resize_factor, test.SEARCH_SIZE)
        pixels = smooth_size(pixels, around, test.SIZE_SMOOTHING * (1 - score))
        return self.clipped(pixels, image_shape)

    def clipped(self, box: Sequence[float], image_shape: Sequence[int]) -> list[float]:
        """Return a ``xywh`` box clipped to the image, with sides of at least ``TEST.MIN_SIZE``."""
        height, width = image_shape[:2]
        return clip_box(box, height, width, margin=min(self.cfg.TEST.MIN_SIZE, height, width))


def smooth_size(box: Sequence[float], last: Sequence[float], keep: float) -> list[float]:
    """Blend width and height of an ``xywh`` box with those of ``last``, of weight ``keep``, keeping the center."""
    if keep == 0:
        return list(box)
    x, y, w, h = box
    width, height = (keep * before + (1 - keep) * now for before, now in zip(last[2:], (w, h), strict=True))
    return [x + 0.5 * (w - width), y + 0.5 * (h - height), width, height]


def _check_image(image: np.ndarray) -> None:
    right = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    if not right or not image.size:
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


def _is_whole(box: Sequence[float], image_shape: Sequence[int]) -> bool:
    """Return whether an ``xywh`` box keeps a pixel from every border of the image."""
    (height, width), (x, y, w, h) = image_shape[:2], box
    return min(x, y, width - x - w, height - y - h) >= 1
