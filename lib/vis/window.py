"""A window on the user's screen, by OpenCV."""

from __future__ import annotations

import os
import subprocess
import sys

import cv2
import numpy as np

from lib.utils.errors import ConfigError
from lib.vis.draw import draw_box

QUIT = ord("q")
_LARGEST = (1280, 720)  # of the window in pixels; the user can enlarge it
_TAKE, _LEAVE = (10, 13, ord(" ")), (27, QUIT)


def display_problem() -> str | None:
    """Say why no window can be opened here; None when one can.

    OpenCV ends the whole process when it cannot reach the display, so a process of its own tries first.
    """
    if not cv2.currentUIFramework():
        return "this OpenCV has no windows (opencv-python-headless); opencv-python has"
    display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if sys.platform.startswith("linux") and not display:
        return "there is no display"
    attempt = "import cv2; cv2.namedWindow('display'); cv2.destroyAllWindows()"
    try:
        tried = subprocess.run([sys.executable, "-c", attempt], capture_output=True, timeout=60)
    except subprocess.TimeoutExpired:
        return "the display does not answer"
    return f"the display {display} cannot be opened" if tried.returncode else None


class DrawnBox:
    """A box that is drawn with the left mouse button held down, from any corner to the opposite one."""

    def __init__(self) -> None:
        self.start: tuple[int, int] | None = None
        self.end: tuple[int, int] | None = None
        self._held = False

    def on_mouse(self, event: int, x: int, y: int, *_: object) -> None:
        """What OpenCV calls when the mouse does something at ``x``, ``y`` of the picture."""
        if event == cv2.EVENT_LBUTTONDOWN:
            self.start, self._held = (x, y), True
        if self._held:
            self.end = (x, y)
        if event == cv2.EVENT_LBUTTONUP:
            self._held = False

    @property
    def box(self) -> list[float] | None:
        """The box, ``xywh`` in pixels of the picture; None before it has an area."""
        if self.start is None or self.end is None:
            return None
        (left, right), (top, bottom) = (sorted(pair) for pair in zip(self.start, self.end, strict=True))
        area = (right - left) * (bottom - top)
        return [float(left), float(top), float(right - left), float(bottom - top)] if area else None


class CvWindow:
    """A window that shows pictures and takes keys; use it in a ``with`` block. Raises ConfigError: no display."""

    def __init__(self, title: str) -> None:
        if problem := display_problem():
            raise ConfigError(f"no window can be opened: {problem}")
        self.title, self._opened = title, False

    def show(self, image: np.ndarray, wait: bool = False) -> int:
        """Show an RGB picture; return the code of the key that was pressed, or -1. ``wait`` waits for one.

        Closing the window counts as the key q.
        """
        self._draw(image)
        key = cv2.waitKey(1)
        while wait and key < 0 and not self._closed():
            key = cv2.waitKey(50)
        return QUIT if self._closed() else key

    def select(self, image: np.ndarray, number: int, total: int) -> list[float] | None:
        """Let the user draw a box with the mouse: ``xywh`` in pixels of the picture.

        Enter or the space bar takes the box; Esc, q or closing the window gives None. Drawing again replaces the box.
        """
        drawn = DrawnBox()
        self._draw(image)
        if self._closed():
            return None
        cv2.setMouseCallback(self.title, drawn.on_mouse)
        cv2.setWindowTitle(self.title, f"draw the box of target {number} of {total}, then Enter (Esc leaves)")
        taken = None
        while taken is None and not self._closed():
            self._draw(draw_box(image, drawn.box) if drawn.box else image)
            key = cv2.waitKey(20)
            if key in _LEAVE:
                break
            taken = drawn.box if key in _TAKE else None
        if not self._closed():
            cv2.setMouseCallback(self.title, lambda *_: None)
            cv2.setWindowTitle(self.title, self.title)
        return taken

    def _draw(self, image: np.ndarray) -> None:
        if self._closed():
            return
        if not self._opened:
            cv2.namedWindow(self.title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
            height, width = image.shape[:2]
            scale = min(1.0, *(most / size for most, size in zip(_LARGEST, (width, height), strict=True)))
            cv2.resizeWindow(self.title, round(width * scale), round(height * scale))
            self._opened = True
        cv2.imshow(self.title, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))

    def _closed(self) -> bool:
        """Whether the user has closed the window."""
        try:
            return self._opened and cv2.getWindowProperty(self.title, cv2.WND_PROP_VISIBLE) < 1
        except cv2.error:  # with Qt, when the last window is gone
            return True

    def __enter__(self) -> CvWindow:
        return self

    def __exit__(self, *_: object) -> None:
        if self._opened and not self._closed():
            cv2.destroyAllWindows()
