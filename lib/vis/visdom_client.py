"""Showing a tracker at work in the browser, through a visdom server (https://github.com/fossasia/visdom).

The windows have the published names: ``Tracking`` (the frame), ``search_region``, ``template``, ``score_map`` and
``score_map_hann``; ``masked_search_LAYER`` and ``attention_LAYER`` stand for one layer each, ``scores`` shows the score
over time, ``Help`` the keys and the state. The pictures are PNG, the maps heat maps whose values can be read. visdom
itself is imported only when a server is asked for.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lib.utils.errors import DataError, OSTrackError
from lib.vis.draw import blank, score_strip
from lib.vis.recorder import record_pictures
from lib.vis.views import LeaveSequence, Screen, View, captions, frame_picture, panels

logger = logging.getLogger(__name__)

ENVIRONMENT = "ostrack"  # of the windows on the server, apart from others
FRAME, SCORES, HELP = "Tracking", "scores", "Help"
_FRAME_SIDE = 640  # the frame is shown at most so wide, and a panel at most so
_PANEL_SIDE = 256
_PLOT = {"title": "", "margin": {"l": 20, "r": 10, "t": 30, "b": 20}}  # no title, it stands in the bar: room for tools
_MAP_SIZE = _PANEL_SIDE, _PANEL_SIDE + 56  # height and width of a heat map with the scale beside it
_BAR = 14  # what the bar over a window takes from its height
_STRIP_SIZE = (_FRAME_SIDE, 80)
_ANSWER_SECONDS = 20.0  # after so long without an answer the server counts as gone
_ALIVE_SECONDS = 1.0  # how often a pause looks whether the server is still there
_JPEG_QUALITY = 90
_KEYS = "Click on a window, then: space pauses and goes on, right arrow shows one more frame, n the next sequence."


class NoVisdomError(OSTrackError):
    """There is no visdom server, or no visdom."""


class Keys:
    """What the user has asked for with the keys; visdom reports them from a thread of its own."""

    def __init__(self) -> None:
        self.paused = False
        self._steps, self._leaving = 0, False
        self._changed = threading.Condition()

    def handle(self, event: dict[str, Any]) -> None:
        """Take an event of visdom: a key that was pressed on a window."""
        if event.get("event_type") != "KeyPress":
            return
        with self._changed:
            if event["key"] == " ":
                self.paused, self._steps = not self.paused, 0
            elif event["key"] == "ArrowRight" and self.paused:
                self._steps += 1
            elif event["key"] == "n":
                self._leaving = True
            self._changed.notify_all()

    def wait(self, seconds: float) -> bool:
        """Wait until the next frame is wanted, no longer than ``seconds``; whether it is.

        Raises LeaveSequence: the next sequence is wanted.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._leaving or self._steps or not self.paused, seconds)
            if self._leaving:
                self._leaving = False
                raise LeaveSequence
            wanted = not self.paused or self._steps > 0
            self._steps = max(0, self._steps - 1)
            return wanted


def visdom_screen(server: str = "http://localhost", port: int = 8097) -> Screen:
    """Connect to a visdom server, empty our windows there and give a screen that shows views in them.

    Raises NoVisdomError: visdom is not installed, or no server answers; the message says what to do.
    """
    try:
        from visdom import Visdom
    except ImportError as error:
        raise NoVisdomError(f"visdom cannot be imported ({error}): pip install visdom") from error

    class Client(Visdom):
        """Waits for the server's answers for a limited time only."""

        session: Any

        def _handle_post(self, url: str, data: Any = None) -> str:
            return self.session.post(url, data=data or {}, timeout=_ANSWER_SECONDS).text

    for name in ("visdom", "websocket"):  # they report each attempt to connect; what matters is reported here
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        client: Any = Client(server=server, port=port, env=ENVIRONMENT, raise_exceptions=True)
    except (ConnectionError, ValueError, AssertionError) as error:
        raise NoVisdomError(f"no visdom server at {server}:{port} (start one: python -m visdom.server)") from error
    if not client.socket_alive:
        client.use_socket = False  # ends its thread
        raise NoVisdomError(f"the visdom server at {server}:{port} takes no keys: is it one?")
    client.close(win=None, env=ENVIRONMENT)
    print(f"Showing the tracker at {client.server}:{port}/env/{ENVIRONMENT}")
    print(_KEYS)
    return VisdomScreen(client)


class VisdomScreen:
    """A :data:`Screen` of a connected client; see :func:`visdom_screen`."""

    def __init__(self, client: Any) -> None:
        self.client, self.keys = client, Keys()
        self._windows: set[str] = set()
        self._window(HELP)
        self.client.text(f"<p>{_KEYS}</p>", win=HELP, opts={"title": HELP, "width": _FRAME_SIDE, "height": 90})

    @contextmanager
    def __call__(self, sequence: str, total: int) -> Iterator[Any]:
        scores: list[float] = []

        def show(view: View) -> None:
            scores.append(view.score)
            try:
                self._send(sequence, total, view, scores)
                while not self.keys.wait(_ALIVE_SECONDS):  # the request fails when the server is gone
                    self.client.get_window_data(HELP, ENVIRONMENT)
            except ConnectionError as error:
                raise DataError(f"the visdom server at {self.client.server}:{self.client.port} is gone") from error

        yield show

    def _send(self, sequence: str, total: int, view: View, scores: list[float]) -> None:
        title, score = captions(view, sequence, total)
        frame = frame_picture(view, _FRAME_SIDE, _FRAME_SIDE)
        self._picture(FRAME, title, frame, _FRAME_SIDE, jpgquality=_JPEG_QUALITY)
        self._picture(SCORES, score, score_strip(scores, total, *_STRIP_SIZE), _STRIP_SIZE[0])
        for name, panel in panels(view).items():
            if name not in view.maps:
                self._picture(name, panel.title, panel.picture, _PANEL_SIDE)
            elif view.search is None:  # as large as the heat map to come: windows keep their size
                self._picture(name, panel.title, blank(*_MAP_SIZE), _MAP_SIZE[1])
            else:
                self._heat_map(name, panel.title, view.maps[name])

    def _window(self, name: str) -> None:
        """Listen to the keys of a window that is new."""
        if name not in self._windows:
            self._windows.add(name)
            self.client.register_event_handler(self.keys.handle, name)

    def _picture(self, name: str, title: str, image: np.ndarray, side: int, **options: Any) -> None:
        self._window(name)
        height, width = image.shape[:2]
        size = {"width": side, "height": round(height * (side / width)) + _BAR}
        self.client.image(image.transpose(2, 0, 1), win=name, opts={"title": title, **size, **options})

    def _heat_map(self, name: str, title: str, values: np.ndarray) -> None:
        self._window(name)
        highest = 1.0 if name.startswith("score") else float(values.max())
        look = {"xmin": 0.0, "xmax": highest, "width": _MAP_SIZE[1], "height": _MAP_SIZE[0] + _BAR}
        options = {"title": title, "layoutopts": {"plotly": _PLOT}, **look}
        self.client.heatmap(np.flipud(values), win=name, opts=options)  # row 0 is the lowest in a heat map


def visdom_or_pictures(server: str, port: int, folder: Path) -> Screen:
    """Return a visdom server's windows; where no server answers, pictures in ``folder``, with a warning."""
    try:
        return visdom_screen(server, port)
    except NoVisdomError as error:
        logger.warning("%s; the pictures go to %s", error, folder)
        return partial(record_pictures, folder)
