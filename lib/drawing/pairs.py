"""The data set ``IMAGES``: training pairs drawn (synthesized) from unlabeled images or procedural textures."""

from __future__ import annotations

import numpy as np
import torch

from lib.data.crops import Crop, CropPair, CropSpec, PairSpec, augment_crop, jitter_box
from lib.drawing.assets import AssetLibrary, draw_scene_spec
from lib.drawing.motion import Frame, calm, draw_frames
from lib.drawing.outlines import draw_loosening, loosen
from lib.utils.crop import box_to_crop, crop_window

_TRIES = 20
_LEAST_BOX = 8  # least square root of a target's area, in pixels of the frame
_LEAST_SIDE = 3


class ImagesDataset:
    """Pairs drawn from images and cut-outs in memory, which forked workers share. Equal generators give equal pairs."""

    name = "IMAGES"
    single = False

    def __init__(self, assets: AssetLibrary) -> None:
        self.assets = assets

    def __len__(self) -> int:
        return len(self.assets.pictures) + len(self.assets.cutouts)

    def draw_pair(self, rng: np.random.Generator, spec: PairSpec, positive: bool = True) -> CropPair:
        """Draw a pair; a negative one has no search crops, see :class:`lib.train.data.samples.AnnotatedPairs`."""
        pair = self.draw_plain(rng, spec.template, spec.search)
        pair.template = [augment_crop(crop, spec.joint) for crop in pair.template]
        pair.search = [augment_crop(crop, spec.joint) for crop in pair.search] if positive else []
        return pair

    def draw_search(self, rng: np.random.Generator, spec: PairSpec, besides: int | None = None) -> CropPair:
        """Draw the search crops of another pair."""
        pair = self.draw_pair(rng, spec)
        pair.template = []
        return pair

    def draw_plain(self, rng: np.random.Generator, template: CropSpec, search: CropSpec) -> CropPair:
        """Draw one target in ``template.number`` template frames and ``search.number`` search frames.

        A pair whose target is too small or hardly visible is discarded; after 20 of them an easy pair is drawn that is
        always usable.
        """
        settings = self.assets.settings
        least = [settings.MIN_VISIBLE_TEMPLATE] * template.number + [settings.MIN_VISIBLE] * search.number
        for attempt in range(_TRIES + 1):
            assets = self.assets if attempt < _TRIES else AssetLibrary(self.assets.pictures, [], calm(settings))
            scene = draw_scene_spec(rng, assets)
            frames = draw_frames(rng, scene, template.number, search.number)
            if all(map(_usable, frames, least)):
                break
        specs = [template] * template.number + [search] * search.number
        change = draw_loosening(rng, settings)
        crops = [_jittered_crop(rng, frame, spec, change) for frame, spec in zip(frames, specs, strict=True)]
        return CropPair(crops[: template.number], crops[template.number :], self.name, scene.source)


def _usable(frame: Frame, least_visible: float) -> bool:
    """Return whether the target is large enough and visible enough."""
    box = frame.target_box
    if box is None or np.sqrt(box[2:].prod()) < _LEAST_BOX or box[2:].min() < _LEAST_SIDE:
        return False
    return frame.visible_fraction() >= least_visible


def _jittered_crop(rng: np.random.Generator, frame: Frame, spec: CropSpec, change: np.ndarray) -> Crop:
    """Draw the crop around the target's jittered box, changed by :func:`loosen`; unjittered if it had only padding."""
    assert frame.target_box is not None  # otherwise the pair was discarded
    box = loosen(frame.target_box, change)
    crop = crop_frame(frame, box, jitter_box(box, spec, rng), spec)
    return crop_frame(frame, box, box, spec) if crop.padding.all() else crop


def crop_frame(frame: Frame, box: np.ndarray, around: np.ndarray, spec: CropSpec) -> Crop:
    """Draw the crop of the target ``box`` that ``lib.utils.crop.sample_target`` would take around another box."""
    window = crop_window(around, spec.factor)
    ratio = spec.size / window.side
    middle = (np.arange(spec.size) + 0.5) / ratio - 0.5
    inside = [
        (middle + low >= 0) & (middle + low <= side - 2)  # the last pixel counts as padding: see cut_window
        for low, side in zip((window.x, window.y), frame.size, strict=True)
    ]
    image = np.zeros((spec.size, spec.size, 3), np.uint8)
    (left, width), (top, height) = ((int(np.argmax(seen)), int(seen.sum())) for seen in inside)
    if width and height:
        canvas_matrix = np.array(
            ((ratio, 0, -window.x * ratio - left), (0, ratio, -window.y * ratio - top), (0, 0, 1.0))
        )
        image[top : top + height, left : left + width] = frame.draw(canvas_matrix, (width, height))
    fractions = box_to_crop(torch.from_numpy(box), torch.from_numpy(around), ratio, spec.size)
    padding = ~(inside[1][:, None] & inside[0][None, :])
    return Crop(image, fractions.numpy().astype(np.float32), padding)
