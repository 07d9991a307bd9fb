"""A real browser for tests: Chromium without a window, driven over a pipe by the DevTools protocol.

Nothing but the standard library is needed. Clicks, movements and keys are those of a user: they go through the
browser's own input, at a place on the screen.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import itertools
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-extensions --hide-scrollbars --remote-debugging-pipe"
)
_KEYS = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "Enter": 13, "Tab": 9, " ": 32}  # as pages know them


class Browser:
    """One page in a browser of its own, with an empty profile; a context manager that ends the browser.

    Attributes:
        errors: messages of uncaught exceptions, console errors and refused loads so far.
        requests: addresses that the page asked for, other than ``data:``.
    """

    def __init__(self, width: int = 1200, height: int = 900, timeout: float = 120.0, flags: str = "") -> None:
        if CHROMIUM is None:
            raise RuntimeError("no Chromium was found: apt-get install chromium")
        self.timeout = timeout
        self._flags = [*_FLAGS.split(), *flags.split()]
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._events: list[str] = []
        self._numbers = itertools.count(1)
        self._session: str | None = None
        self._received = b""
        self._size = width, height
        self._folder = tempfile.TemporaryDirectory(prefix="browser_", ignore_cleanup_errors=True)

    def __enter__(self) -> Browser:
        self._start()
        try:
            target = self.send("Target.createTarget", url="about:blank")["targetId"]
            self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                self.send(f"{domain}.enable")
            self.resize(*self._size)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._to)
        os.close(self._from)
        os.killpg(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        self._folder.cleanup()

    def _start(self) -> None:
        """Run Chromium, which reads commands from its file descriptor 3 and answers on 4."""
        pipes = [os.pipe(), os.pipe()]
        # Away from 3 and 4, so that neither is overwritten before it is put in place.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for pipe in pipes for end in pipe]
        for end in itertools.chain(*pipes):
            os.close(end)
        their_in, self._to, self._from, their_out = ends
        log = os.path.join(self._folder.name, "log.txt")
        actions = [
            (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
            (os.POSIX_SPAWN_DUP2, their_in, 3),
            (os.POSIX_SPAWN_DUP2, their_out, 4),
        ]
        command = [CHROMIUM, *self._flags, f"--user-data-dir={self._folder.name}/profile", "about:blank"]
        self._pid = os.posix_spawn(CHROMIUM, command, os.environ, file_actions=actions, setpgroup=0)
        os.close(their_in)
        os.close(their_out)

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the DevTools protocol, and its answer. Raises RuntimeError: it failed."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._to, data) :]
        deadline = time.monotonic() + self.timeout
        while (answer := self._receive(deadline, method)).get("id") != number:
            self._note(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def _receive(self, deadline: float, waiting_for: str) -> dict[str, Any]:
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._from], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError(f"the browser did not answer {waiting_for} within {self.timeout:g} seconds")
            data = os.read(self._from, 1 << 20)
            if not data:
                log = Path(self._folder.name, "log.txt").read_text(errors="replace")
                raise RuntimeError(f"the browser ended during {waiting_for}:\n{log[-2000:]}")
            self._received += data
        message, _, self._received = self._received.partition(b"\0")
        return json.loads(message)

    def _note(self, message: dict[str, Any]) -> None:
        """Keep what an event tells."""
        method, told = message.get("method", ""), message.get("params", {})
        self._events.append(method)
        if method == "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "assert"):
            self.errors.append(" ".join(str(one.get("value", one.get("description"))) for one in told["args"]))
        elif method == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.errors.append(told["entry"]["text"])
        elif method == "Network.requestWillBeSent" and not told["request"]["url"].startswith("data:"):
            self.requests.append(told["request"]["url"])

    def open(self, url: str | Path) -> None:
        """Load a page, a path or an address, and wait until it is there."""
        self._events.clear()
        answer = self.send("Page.navigate", url=url.resolve().as_uri() if isinstance(url, Path) else url)
        if "errorText" in answer:
            raise RuntimeError(f"{url}: {answer['errorText']}")
        deadline = time.monotonic() + self.timeout
        while "Page.loadEventFired" not in self._events:
            self._note(self._receive(deadline, f"the loading of {url}"))

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression, a promise awaited. Raises RuntimeError: it threw."""
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"].get("description", "exception"))
        return answer["result"].get("value")

    def texts(self, selector: str) -> list[str]:
        """What is to be read in each element that is shown, white space as one space."""
        found = f"[...document.querySelectorAll({json.dumps(selector)})].filter((e) => e.getClientRects().length)"
        return self.evaluate(f"{found}.map((e) => e.textContent.trim().replace(/\\s+/g, ' '))")

    def move(self, selector: str, across: float = 0.5, down: float = 0.5) -> tuple[float, float]:
        """Scroll to an element and move the mouse to a place in it, as fractions of its sides; returns the pixel."""
        place = self.evaluate(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "if (!e) return null; e.scrollIntoView({block: 'center', behavior: 'instant'});"
            "const r = e.getBoundingClientRect(); return [r.x, r.y, r.width, r.height]; })()"
        )
        if place is None or not place[2]:
            raise RuntimeError(f"there is no {selector} to be seen")
        x, y = place[0] + across * place[2], place[1] + down * place[3]
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        return x, y

    def click(self, selector: str) -> None:
        """Click into the middle of an element."""
        x, y = self.move(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def drag(self, selector: str, start: tuple[float, float], end: tuple[float, float], touch: bool = False) -> None:
        """Draw with the mouse, or a finger, from a place in an element to another, as fractions of its sides."""
        ends = list(zip(start, end, strict=True))
        places = [self.move(selector, *(a + (b - a) * part for a, b in ends)) for part in (0, 0.5, 1)]
        if touch:
            for kind, place in zip(("touchStart", "touchMove", "touchMove"), places, strict=True):
                self.send("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": place[0], "y": place[1]}])
            self.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
            return
        for kind, (x, y) in zip(("mousePressed", "mouseMoved", "mouseMoved"), places, strict=True):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)
        self.send("Input.dispatchMouseEvent", type="mouseReleased", x=x, y=y, button="left", clickCount=1)

    def choose(self, selector: str, files: Sequence[Path]) -> None:
        """Choose files in a file input."""
        found = self.send("Runtime.evaluate", expression=f"document.querySelector({json.dumps(selector)})")["result"]
        self.send("DOM.setFileInputFiles", files=[str(file.resolve()) for file in files], objectId=found["objectId"])

    def wait(self, script: str) -> Any:
        """Wait until a JavaScript expression is true, and return its value. Raises TimeoutError."""
        deadline = time.monotonic() + self.timeout
        while not (value := self.evaluate(script)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{script} did not become true; errors: {self.errors}")
            time.sleep(0.05)
        return value

    def type(self, selector: str, text: str) -> None:
        """Click into a field and type."""
        self.click(selector)
        self.send("Input.insertText", text=text)

    def press(self, key: str, shift: bool = False) -> None:
        """Press and release a key: ``ArrowRight``, ``Enter`` ..."""
        number, modifiers = _KEYS.get(key) or ord(key.upper()), 8 if shift else 0
        typed = {"text": {"Enter": "\r"}.get(key, key)} if key in ("Enter", " ") else {}
        for kind in ("keyDown", "keyUp"):
            event = {"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": number, "modifiers": modifiers}
            self.send("Input.dispatchKeyEvent", **event, **typed)
            typed = {}

    def resize(self, width: int, height: int, scale: float = 1.0) -> None:
        """The size of the window in CSS pixels, and how many pixels of the screen are one of them."""
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=False
        )

    def emulate(self, media: str = "", **features: str) -> None:
        """Show the page in a medium (``print``), or with features: ``prefers_color_scheme="dark"``."""
        pairs = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.send("Emulation.setEmulatedMedia", media=media, features=pairs)

    def cpu_seconds(self) -> float:
        """Time that all processes of the browser have computed so far."""
        ticks = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                fields = stat.read_text().rpartition(")")[2].split()
                ticks += (int(fields[2]) == self._pid) * (int(fields[11]) + int(fields[12]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def screenshot(self, path: Path, whole: bool = False) -> Path:
        """A PNG of what is to be seen, or of the ``whole`` page."""
        answer = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))
        return path
