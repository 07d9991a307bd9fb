"""OpenCV's trackers CSRT and KCF, for the tables of results and for the benchmark.

They are in the package opencv-contrib-python, which cannot stand beside opencv-python: install it into a folder of its
own, ``pip install --no-deps --target FOLDER opencv-contrib-python-headless``, and put that on the path of one command.
To see what they score, run them as trackers of one's own (``lib/test/tracker/custom.py``)::

    PYTHONPATH=FOLDER python tracking/test.py benchmarks.opencv_trackers CSRT --dataset folder:PATH --device cpu

Run as a script, this module serves ``benchmarks/bench.py``: it reads a JSON object of ``kind``, ``threads``, ``files``
and ``boxes`` from the first line of its standard input and answers ``ready``, or what is missing; then it reads numbers
of frames, and answers each with the seconds that it took to decode the frame and to track it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np

from lib.utils.errors import ConfigError, run_cli

KINDS = ("CSRT", "KCF")
INSTALL = "pip install --no-deps --target FOLDER opencv-contrib-python-headless"


def parameters(config: str) -> str:
    """Check the kind of tracker, given to ``tracking/test.py`` as configuration. Raises ConfigError: unknown."""
    if config not in KINDS:
        raise ConfigError(f"OpenCV's tracker {config!r} is unknown; choose one of {', '.join(KINDS)}")
    return config


def get_tracker_class() -> Callable[..., OpenCVTracker]:
    """Return the class that ``tracking/test.py`` builds."""
    return OpenCVTracker


class OpenCVTracker:
    """A tracker of OpenCV for RGB frames. Where it loses its target, the last box stands.

    Raises ConfigError: this OpenCV does not have it.
    """

    def __init__(self, kind: str, device: str = "cpu") -> None:
        self.kind = kind
        if device != "cpu":
            raise ConfigError(f"OpenCV's {kind} runs on the CPU: use --device cpu")
        create(kind)

    def initialize(self, image: np.ndarray, info: dict[str, Any]) -> None:
        """Take the target at ``info["init_bbox"]``, x, y, w, h in pixels."""
        self.box = [float(value) for value in info["init_bbox"]]
        self.tracker = create(self.kind)
        self.tracker.init(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), whole_pixels(self.box))

    def track(self, image: np.ndarray) -> dict[str, Any]:
        """Find the target in the next frame: ``target_bbox``."""
        found, box = self.tracker.update(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        if found:
            self.box = [float(value) for value in box]
        return {"target_bbox": list(self.box)}


def create(kind: str) -> Any:
    """Return a new tracker of OpenCV's. Raises ConfigError: this OpenCV does not have it."""
    if not hasattr(cv2, f"Tracker{kind}"):
        raise ConfigError(f"not installed: OpenCV {cv2.__version__} has no {kind}; run: {INSTALL}")
    return getattr(cv2, f"Tracker{kind}").create()


def whole_pixels(box: list[float]) -> tuple[int, ...]:
    """OpenCV's trackers start from whole pixels, and from a side of one at least."""
    x, y, w, h = (round(value) for value in box)
    return x, y, max(w, 1), max(h, 1)


def main() -> None:
    try:
        scene = json.loads(sys.stdin.readline())
    except ValueError:
        sys.exit("error: this is started by benchmarks/bench.py, which sends it what to track")
    cv2.setNumThreads(scene["threads"])
    try:
        tracker = create(scene["kind"])
    except ConfigError as error:
        print(error)
        return
    print("ready", flush=True)
    for line in sys.stdin:
        number = int(line)
        if number == 1:  # a new run through the frames
            tracker = create(scene["kind"])
            tracker.init(cv2.imread(scene["files"][0]), whole_pixels(scene["boxes"][0]))
        start = time.perf_counter()
        image = cv2.imread(scene["files"][number])
        decoded = time.perf_counter()
        tracker.update(image)
        print(json.dumps([decoded - start, time.perf_counter() - decoded]), flush=True)


if __name__ == "__main__":
    run_cli(main)
