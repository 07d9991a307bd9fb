"""NanoTrack V2 and V3 by onnxruntime: the small trackers that people run on CPUs today, for the tables of results.

V2 is what OpenCV's ``TrackerNano`` runs. Their published ONNX files (https://github.com/HonglinChu/SiamTrackers, Apache
2.0) are not part of this project: put ``nanotrack_v3_backbone.onnx`` and ``nanotrack_v3_head.onnx`` into
``pretrained_models/nanotrack``, or into the folder that the environment variable ``NANOTRACK_DIR`` names, and run it as
a tracker of one's own (docs/api.md)::

    python tracking/test.py benchmarks.nanotrack v3 --dataset folder:PATH --device cpu

The steps are those of SiamBAN (Chen et al., CVPR 2020), which NanoTrack's code builds upon.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lib.utils.errors import CheckpointError, ConfigError
from lib.utils.paths import PRETRAINED_DIR

_TEMPLATE, _SEARCH, _STRIDE = 127, 255, 16  # pixels
_CONTEXT = 0.5  # of the mean side, added to both sides of the box
_MIN_SIDE = 10.0  # pixels


@dataclass(frozen=True)
class Settings:
    """Published settings of a version."""

    cells: int  # of the score map, along each side
    window: float  # weight of the Hann window
    penalty: float  # how strongly changes of size and aspect count against a cell
    rate: float  # share of the new size that is taken over at full score


SETTINGS = {"v2": Settings(16, 0.490, 0.150, 0.385), "v3": Settings(15, 0.455, 0.138, 0.348)}


@dataclass(frozen=True)
class Parameters:
    """Parameters of the tracker; results are tied to the file ``checkpoint``."""

    settings: Settings
    backbone: str
    checkpoint: str


def parameters(config: str) -> Parameters:
    """Return the parameters of ``v2`` or ``v3``.

    Raises ConfigError: there is no such version; CheckpointError: its files are missing.
    """
    if config not in SETTINGS:
        raise ConfigError(f"NanoTrack {config!r} is unknown; choose one of {', '.join(SETTINGS)}")
    folder = Path(os.environ.get("NANOTRACK_DIR") or PRETRAINED_DIR / "nanotrack")
    files = [folder / f"nanotrack_{config}_{part}.onnx" for part in ("backbone", "head")]
    for file in files:
        if not file.is_file():
            raise CheckpointError(f"there is no {file}: put NanoTrack's ONNX files there, or set NANOTRACK_DIR")
    return Parameters(SETTINGS[config], *map(str, files))


def get_tracker_class() -> type[NanoTrack]:
    """Return the class that ``tracking/test.py`` builds."""
    return NanoTrack


class NanoTrack:
    """The tracker, for RGB frames, on one thread. Raises ConfigError: another device than the CPU."""

    def __init__(self, found: Parameters, device: str = "cpu") -> None:
        if device != "cpu":
            raise ConfigError("NanoTrack runs on the CPU here: use --device cpu")
        self.settings = found.settings
        self._backbone = _session(found.backbone, any_size=True)
        self._head = _session(found.checkpoint)
        axis = (np.arange(self.settings.cells) - self.settings.cells // 2) * _STRIDE
        self._x, self._y = (grid.ravel().astype(np.float32) for grid in np.meshgrid(axis, axis))
        hann = np.hanning(self.settings.cells)
        self._hann = np.outer(hann, hann).ravel()

    def initialize(self, image: np.ndarray, info: dict[str, Any]) -> None:
        """Take the target at ``info["init_bbox"]``, x, y, w, h in pixels."""
        x, y, w, h = (float(value) for value in info["init_bbox"])
        self.center, self.size = np.array([x + (w - 1) / 2, y + (h - 1) / 2]), np.array([w, h])
        self._mean = image.mean((0, 1))[::-1]
        self._template = self._features(image, round(self._side()), _TEMPLATE)

    def track(self, image: np.ndarray) -> dict[str, Any]:
        """Find the target in the next frame: ``target_bbox`` and ``best_score``."""
        settings, side = self.settings, self._side()
        scale = _TEMPLATE / side
        features = self._features(image, round(side * _SEARCH / _TEMPLATE), _SEARCH)
        logits, reach = self._head.run(None, {"input1": self._template, "input2": features})
        background, target = logits[0].reshape(2, -1)
        left, top, right, bottom = reach[0].reshape(4, -1)
        score = 1 / (1 + np.exp(background - target))
        corners = np.stack((self._x - left, self._y - top)), np.stack((self._x + right, self._y + bottom))
        sizes = np.maximum(corners[1] - corners[0], 1e-3)
        aspect = (self.size[0] / self.size[1]) / (sizes[0] / sizes[1])
        change = _worse(_padded(sizes) / _padded(self.size * scale)) * _worse(aspect)
        penalty = np.exp(-(change - 1) * settings.penalty)
        best = int(np.argmax(penalty * score * (1 - settings.window) + self._hann * settings.window))
        rate = penalty[best] * score[best] * settings.rate
        bounds = np.array(image.shape[1::-1])
        self.center = np.clip(self.center + (corners[0] + corners[1])[:, best] / 2 / scale, 0, bounds)
        self.size = np.clip(self.size * (1 - rate) + sizes[:, best] / scale * rate, _MIN_SIDE, bounds)
        return {"target_bbox": [*(self.center - self.size / 2), *self.size], "best_score": float(score[best])}

    def _side(self) -> float:
        """Side of the square around the target that becomes the template."""
        return float(np.sqrt(np.prod(self.size + _CONTEXT * self.size.sum())))

    def _features(self, image: np.ndarray, side: int, size: int) -> np.ndarray:
        """Features of a square of ``side`` pixels around the target, resized to ``size``, the mean color outside."""
        x0, y0 = (int(np.floor(value - (side + 1) / 2 + 0.5)) for value in self.center)
        height, width = image.shape[:2]
        left, top, right, bottom = (max(0, v) for v in (-x0, -y0, x0 + side - width, y0 + side - height))
        part = image[max(0, y0) : max(0, y0 + side), max(0, x0) : max(0, x0 + side), ::-1]
        if part.size == 0:
            part = np.full((side, side, 3), self._mean, np.uint8)
        elif left or top or right or bottom:
            part = cv2.copyMakeBorder(part, top, bottom, left, right, cv2.BORDER_CONSTANT, value=tuple(self._mean))
        crop = cv2.resize(np.ascontiguousarray(part), (size, size))
        return self._backbone.run(None, {"input": crop.transpose(2, 0, 1)[None].astype(np.float32)})[0]


def _padded(size: np.ndarray) -> np.ndarray:
    """Side of the square of a box (2, ...) with its context."""
    width, height = size
    context = (width + height) / 2
    return np.sqrt((width + context) * (height + context))


def _worse(ratio: np.ndarray) -> np.ndarray:
    return np.maximum(ratio, 1 / ratio)


def _session(path: str, any_size: bool = False) -> Any:
    """Return an ONNX file, ready to run on one thread; ``any_size`` frees the size of its image."""
    import onnx
    import onnxruntime

    model = onnx.load(path)
    for value in (*model.graph.input, *model.graph.output) if any_size else ():
        for axis, name in ((2, "height"), (3, "width")):
            value.type.tensor_type.shape.dim[axis].dim_param = name
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
