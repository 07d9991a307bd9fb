"""A real browser for tests and pictures: Chromium without a window, driven by Playwright."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from playwright.sync_api import ConsoleMessage, Request, sync_playwright
from playwright.sync_api import TimeoutError as PageTimeoutError

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
# Without these Chromium asks for addresses of its maker.
_FLAGS = "--disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"


class Browser:
    """A page in a browser of its own, with an empty profile; a context manager that ends the browser.

    Attributes:
        page: what Playwright offers beside the methods here.
        errors: messages of uncaught exceptions, console errors and refused loads so far.
        requests: addresses that the page asked for, other than ``data:``.
    """

    def __init__(self, width: int = 1200, height: int = 900, timeout: float = 120.0, flags: str = "") -> None:
        if CHROMIUM is None:
            raise RuntimeError("no Chromium was found: apt-get install chromium")
        self._size, self._timeout, self._flags = (width, height), 1000 * timeout, [*_FLAGS.split(), *flags.split()]
        self.errors: list[str] = []
        self.requests: list[str] = []

    def __enter__(self) -> Browser:
        self._playwright = sync_playwright().start()
        try:
            self._browser = self._playwright.chromium.launch(executable_path=CHROMIUM, args=self._flags)
            context = self._browser.new_context(has_touch=True)
            context.set_default_timeout(self._timeout)
            self.page = context.new_page()
            self._session = context.new_cdp_session(self.page)
        except BaseException:
            self._playwright.stop()
            raise
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._note_console)
        self.page.on("request", self._note_request)
        self.resize(*self._size)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._browser.close()
        self._playwright.stop()

    def _note_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "assert"):
            self.errors.append(message.text)

    def _note_request(self, request: Request) -> None:
        if not request.url.startswith("data:"):
            self.requests.append(request.url)

    def open(self, url: str | Path) -> None:
        """Load a page, a path or an address, and wait until it is there."""
        self.page.goto(url.resolve().as_uri() if isinstance(url, Path) else url)

    def evaluate(self, script: str) -> Any:
        """Return the value of a JavaScript expression, a promise awaited."""
        return self.page.evaluate(script)

    def wait(self, script: str) -> Any:
        """Wait until a JavaScript expression is true, and return its value.

        Raises:
            TimeoutError: it does not become true; what the page shows, and its errors, are told.
        """
        try:
            return self.page.wait_for_function(script).json_value()
        except PageTimeoutError as error:
            shown = " ".join(self.page.inner_text("body").split())
            raise TimeoutError(f"{script} stays false; errors: {self.errors}; the page shows: {shown}") from error

    def texts(self, selector: str) -> list[str]:
        """Return what is to be read in each element that is shown, white space as one space."""
        found = f"[...document.querySelectorAll({json.dumps(selector)})].filter((e) => e.getClientRects().length)"
        return self.evaluate(f"{found}.map((e) => e.textContent.trim().replace(/\\s+/g, ' '))")

    def move(self, selector: str, across: float = 0.5, down: float = 0.5) -> tuple[float, float]:
        """Scroll to an element and move the mouse to a point in it, as fractions of its sides; return the pixel."""
        self.page.eval_on_selector(selector, "(e) => e.scrollIntoView({block: 'center', behavior: 'instant'})")
        box = self.page.locator(selector).first.bounding_box()
        if box is None:
            raise RuntimeError(f"there is no {selector} to be seen")
        x, y = box["x"] + across * box["width"], box["y"] + down * box["height"]
        self.page.mouse.move(x, y)
        return x, y

    def click(self, selector: str) -> None:
        """Click into the middle of an element."""
        self.page.mouse.click(*self.move(selector))

    def drag(self, selector: str, start: tuple[float, float], end: tuple[float, float], touch: bool = False) -> None:
        """Draw with the mouse, or a finger, from a point in an element to another, as fractions of its sides."""
        points = [
            self.move(selector, *(a + (b - a) * part for a, b in zip(start, end, strict=True))) for part in (0, 0.5, 1)
        ]
        if touch:
            for kind, (x, y) in zip(("touchStart", "touchMove", "touchMove"), points, strict=True):
                self.send("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x, "y": y}])
            self.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
            return
        self.page.mouse.move(*points[0])
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*point)
        self.page.mouse.up()

    def choose(self, selector: str, files: Sequence[Path]) -> None:
        """Choose files in a file input."""
        self.page.set_input_files(selector, files)

    def type(self, selector: str, text: str) -> None:
        """Click into a field and type."""
        self.click(selector)
        self.page.keyboard.insert_text(text)

    def press(self, key: str) -> None:
        """Press and release a key: ``ArrowRight``, ``Shift+ArrowRight``, ``Enter``, ``Space`` ..."""
        self.page.keyboard.press(key)

    def download(self, selector: str, folder: Path) -> Path:
        """Click an element that saves a file, and put it into ``folder`` under the name that the page gives it."""
        with self.page.expect_download() as started:
            self.click(selector)
        path = folder / started.value.suggested_filename
        started.value.save_as(path)
        return path

    def resize(self, width: int, height: int) -> None:
        """Set the size of the window, in CSS pixels."""
        self.page.set_viewport_size({"width": width, "height": height})

    def screenshot(self, path: Path, whole: bool = False) -> Path:
        """Write a picture of what is to be seen, or of the ``whole`` page."""
        self.page.screenshot(path=path, full_page=whole)
        return path

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command of the DevTools protocol to the page; return its answer."""
        return self._session.send(method, parameters)

    def cpu_seconds(self) -> float:
        """Return the time that all processes of the browser have computed so far."""
        session = self._browser.new_browser_cdp_session()
        return sum(process["cpuTime"] for process in session.send("SystemInfo.getProcessInfo")["processInfo"])
