"""Objects in a frame that are worth following: what a detector sees, or what moves. Images are RGB uint8 (H, W, 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from lib.data.annotations import read_spec
from lib.utils.errors import CheckpointError, ConfigError, suggestion

_STRIDES = (8, 16, 32)  # of YOLOX's three grids, in pixels
_PADDING = 114  # gray level around a frame that fills the detector's square only in part
_LEAST_SCORE, _SAME_OBJECT = 0.25, 0.45  # of a detection; IoU above which the lower score of a class is dropped
_MIN_AREA, _MAX_AREA = 0.001, 0.5  # of the frame
_MIN_SIDE = 10  # pixels
MOVING = "moving"  # class of what was found by its motion
_CORNERS, _MIN_CORNERS = 300, 12  # points that tell the camera's motion: how many are looked for, and needed
_BORDER = 8  # pixels at each side in which differences come from the alignment
_DIFFERENCE = 25  # levels of a color


@dataclass(frozen=True)
class Candidate:
    """An object in a frame."""

    box: tuple[float, float, float, float]  # x, y, w, h in pixels
    name: str
    score: float = 1.0  # in (0, 1]


class Detector:
    """A detector of the YOLOX form, run by OpenCV on the CPU.

    The ONNX file ``path`` takes an image (1, 3, S, S), S = ``size``, BGR in 0 to 255, and gives (1, N, 5 + classes):
    for each cell of the grids of strides 8, 16 and 32 the center from the cell's corner in cells, the logarithm of
    width and height in cells, and the probabilities of an object and of each class.

    Raises CheckpointError: the file cannot be read, or is not of this form.
    """

    def __init__(self, path: str | Path, size: int = 416) -> None:
        self.path, self.size = Path(path), size
        if not self.path.is_file():
            raise CheckpointError(f"there is no detector {path}: give the ONNX file of a YOLOX")
        try:
            self._net = cv2.dnn.readNetFromONNX(str(path))
        except cv2.error as error:
            raise CheckpointError(f"{path} is not an ONNX file that OpenCV can run: {error.err}") from error
        sides = [size // stride for stride in _STRIDES]
        self._cells = np.concatenate([np.indices((n, n))[::-1].reshape(2, -1).T for n in sides]).astype(np.float32)
        self._strides = np.repeat(np.array(_STRIDES, np.float32), np.square(sides))[:, None]
        coco, count = read_spec("coco_classes.txt"), self._run(np.zeros((size, size, 3), np.uint8), 1.0).shape[1] - 5
        self.names = coco if count == len(coco) else [f"class {number}" for number in range(count)]

    def __call__(self, image: np.ndarray) -> list[Candidate]:
        """Detect objects in a frame, best first; an object appears once for each class."""
        scale = self.size / max(image.shape[:2])
        output = self._run(image, scale)
        numbers = output[:, 5:].argmax(1)
        scores = output[:, 4] * output[np.arange(len(output)), 5 + numbers]
        good = scores >= _LEAST_SCORE
        centers = (output[good, :2] + self._cells[good]) * self._strides[good] / scale
        sizes = np.exp(output[good, 2:4]) * self._strides[good] / scale
        boxes = np.concatenate((centers - sizes / 2, sizes), axis=1)
        scores, numbers = scores[good], numbers[good]
        kept = cv2.dnn.NMSBoxesBatched(boxes.tolist(), scores.tolist(), numbers.tolist(), _LEAST_SCORE, _SAME_OBJECT)
        found = [Candidate(_inside(boxes[i], image), self.names[numbers[i]], float(scores[i])) for i in kept]
        return sorted(found, key=lambda one: -one.score)

    def _run(self, image: np.ndarray, scale: float) -> np.ndarray:
        height, width = (max(1, round(side * scale)) for side in image.shape[:2])
        square = np.full((self.size, self.size, 3), _PADDING, np.uint8)
        square[:height, :width] = cv2.resize(image[..., ::-1], (width, height))
        expected = f"expected an output of (1, {len(self._cells)}, 5 + classes) for images of {self.size} pixels"
        try:
            self._net.setInput(square.transpose(2, 0, 1)[None].astype(np.float32))
            output = self._net.forward()
        except cv2.error as error:
            raise CheckpointError(f"detector {self.path} cannot be run, {expected}: {error.err}") from error
        if output.ndim != 3 or output.shape[1] != len(self._cells) or output.shape[2] < 6:
            raise CheckpointError(f"detector {self.path}: {expected}, found {output.shape}; set --detector_size")
        return output[0]


def check_classes(classes: Sequence[str], known: Sequence[str]) -> None:
    """Raises ConfigError: a class is none that the detector knows."""
    for name in classes:
        if name not in known:
            raise ConfigError(f"class {name!r} is unknown to the detector; {suggestion(name, known, 'see its list')}")


def worth_following(box: Sequence[float], image: np.ndarray) -> bool:
    """Return whether a box is neither tiny nor most of the frame."""
    share = box[2] * box[3] / (image.shape[0] * image.shape[1])
    return min(box[2:]) >= _MIN_SIDE and _MIN_AREA <= share <= _MAX_AREA


def moving_regions(before: np.ndarray, image: np.ndarray, after: np.ndarray) -> list[Candidate]:
    """Regions of ``image`` that move against the background, largest first.

    A pixel moves where it differs from both other frames, once these are aligned by the motion of the camera. A frame
    that cannot be aligned (too few corners) gives none.
    """
    moving = np.full(image.shape[:2], True)
    for other in (before, after):
        difference = _difference(other, image)
        if difference is None:
            return []
        moving &= difference > _DIFFERENCE
    side = max(3, round(max(moving.shape) / 40)) | 1  # joins the edges of one object, which differ first
    opened = cv2.morphologyEx(moving.astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    closed = cv2.morphologyEx(opened, cv2.MORPH_CLOSE, np.ones((side, side), np.uint8))
    _, _, stats, _ = cv2.connectedComponentsWithStats(closed)
    found = sorted(stats[1:].tolist(), key=lambda row: -row[cv2.CC_STAT_AREA])
    full = (row for row in found if row[cv2.CC_STAT_AREA] >= 0.3 * row[2] * row[3])  # not a rim, nor scattered noise
    return [Candidate(_inside(row[:4], image), MOVING) for row in full]


def _difference(other: np.ndarray, image: np.ndarray) -> np.ndarray | None:
    """Return how much ``image`` (H, W) differs from ``other`` after alignment, in the color that differs most.

    None where that is not possible.
    """
    grays = [cv2.cvtColor(one, cv2.COLOR_RGB2GRAY) for one in (other, image)]
    points = cv2.goodFeaturesToTrack(grays[0], _CORNERS, 0.001, max(grays[0].shape) / 40)  # spread over the frame
    if points is None or len(points) < _MIN_CORNERS:
        return None
    found, status, _ = cv2.calcOpticalFlowPyrLK(*grays, points, None)  # type: ignore[call-overload]
    good = status.ravel() == 1
    motion = cv2.estimateAffinePartial2D(points[good], found[good])[0] if good.sum() >= _MIN_CORNERS else None
    if motion is None:
        return None
    size = image.shape[1], image.shape[0]
    moved, known = (cv2.warpAffine(one, motion, size) for one in (other, np.full_like(grays[0], 255)))
    difference = cv2.absdiff(*(cv2.GaussianBlur(one, (5, 5), 0) for one in (image, moved))).max(axis=2)
    known[:_BORDER], known[-_BORDER:], known[:, :_BORDER], known[:, -_BORDER:] = 0, 0, 0, 0
    difference[cv2.erode(known, np.ones((5, 5), np.uint8)) < 255] = 0
    return difference


def _inside(box: Sequence[float] | np.ndarray, image: np.ndarray) -> tuple[float, float, float, float]:
    """Return the part of a box that lies in the image."""
    x1, y1 = max(0.0, float(box[0])), max(0.0, float(box[1]))
    x2, y2 = min(image.shape[1], float(box[0] + box[2])), min(image.shape[0], float(box[1] + box[3]))
    return x1, y1, max(0.0, x2 - x1), max(0.0, y2 - y1)
