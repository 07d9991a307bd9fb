"""The browser demo as a person uses it, by :mod:`tests.browser`: for its tests, and for ``benchmarks/bench_web.py``."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from lib.test import web
from tests.browser import Browser

CLIP = web.PAGE / "sample/helicopter.mp4"  # 640 x 512
BOX = (74, 244, 137, 92)  # of the helicopter in its first frame
# Chromium without a window has a camera that shows a test picture, and a GPU that the CPU plays.
FLAGS = "--use-fake-device-for-media-stream --enable-unsafe-webgpu --use-webgpu-adapter=swiftshader"
SECONDS = "parseFloat(document.querySelector('#frame').textContent)"  # of the frame that is shown


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder as ``make web`` serves it."""
    with web.open_server(folder, 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://localhost:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def open_page(browser: Browser, address: str) -> None:
    """Open the page, and wait until the network is loaded or cannot be, and the sample clip is shown."""
    browser.open(address)
    browser.wait("(document.documentElement.dataset.ready || !problem.hidden) && hint.textContent.startsWith('Drag')")


def choose(browser: Browser, action: Callable[[], None]) -> None:
    """Do what gives the page new frames, and wait until the first is shown."""
    browser.evaluate("hint.textContent = ''")
    action()
    browser.wait("hint.textContent.startsWith('Drag')")


def draw_box(browser: Browser) -> None:
    """Drag ``BOX`` on the sample clip; tracking begins."""
    x, y, w, h = BOX
    browser.drag("#view", (x / 640, y / 512), ((x + w) / 640, (y + h) / 512))


def set_box(browser: Browser, box: Sequence[float]) -> None:
    """Type a box."""
    for i, value in enumerate(box, 1):
        field = f"#box label:nth-of-type({i}) input"
        browser.evaluate(f"document.querySelector('{field}').value = ''")
        browser.type(field, str(value))
        browser.press("Tab")


def saved_boxes(browser: Browser, folder: Path) -> tuple[str, np.ndarray]:
    """What the button saves into ``folder``: a header, and rows of place, box and score."""
    header, *rows = browser.download("#save", folder).read_text().splitlines()
    return header, np.array([[float(value) for value in row.split(",")] for row in rows])
