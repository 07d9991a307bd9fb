"""Decode frames in a thread while the current one is tracked."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Generator, Iterable
from typing import TypeVar

T = TypeVar("T")

_END = object()
_GRACE_SECONDS = 5.0


def read_ahead(items: Iterable[T], depth: int = 4) -> Generator[tuple[T, float], None, None]:
    """Yield ``items`` in order, each with the seconds that fetching it took.

    A thread fetches up to ``depth`` of them ahead. An exception raised by ``items`` is raised here when its turn comes.
    When the consumer stops early, the thread ends, or is abandoned if reading hangs.
    """
    ready: queue.Queue = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: object, seconds: float, error: BaseException | None = None) -> bool:
        while not stopped.is_set():
            try:
                ready.put((item, seconds, error), timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def fetch() -> None:
        try:
            start = time.perf_counter()
            for item in items:
                if not put(item, time.perf_counter() - start):
                    return
                start = time.perf_counter()
            put(_END, 0.0)
        except BaseException as error:  # passed to the consumer, which raises it
            put(_END, 0.0, error)

    thread = threading.Thread(target=fetch, name="read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, seconds, error = ready.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item, seconds
    finally:
        stopped.set()
        thread.join(_GRACE_SECONDS)
