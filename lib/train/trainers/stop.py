"""Stop a run on SIGTERM."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PATIENCE = 5.0  # seconds that a process still waits for data after SIGTERM


class Preempted(Exception):
    """SIGTERM stopped the run after saving a checkpoint from which the same command resumes.

    If not ``together``, at the same step as all ranks, only this rank stops, because it gets no data; nothing is saved,
    and the run resumes from the last checkpoint.
    """

    def __init__(self, message: str, together: bool = True):
        super().__init__(message)
        self.together = together


class NoDataError(BaseException):
    """After SIGTERM no data came. Not an ``Exception``: it may be raised anywhere, and handlers must not catch it."""


class StopRequest:
    """While entered, SIGTERM sets ``requested`` instead of ending the process."""

    def __init__(self) -> None:
        self.requested = self._waiting = False
        self._before: dict[int, Any] = {}  # handlers that are replaced; empty outside of the main thread

    def __enter__(self) -> StopRequest:
        # Python handles signals in the main thread only; elsewhere SIGTERM keeps its meaning.
        if threading.current_thread() is threading.main_thread():
            handlers = {signal.SIGTERM: self._request, signal.SIGALRM: self._give_up}
            self._before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def waiting_for_data(self) -> Iterator[None]:
        """Limit the body to :data:`PATIENCE` seconds after SIGTERM. Raises NoDataError: the limit is reached."""
        self._waiting = bool(self._before)
        try:
            if self.requested:
                self._start_clock()
            yield
        finally:
            if self._waiting:
                self._waiting = False
                signal.setitimer(signal.ITIMER_REAL, 0)

    def _request(self, number: int, frame: object) -> None:
        if not self.requested:
            self.requested = True
            self._start_clock()

    def _start_clock(self) -> None:
        if self._waiting:
            signal.setitimer(signal.ITIMER_REAL, PATIENCE)

    def _give_up(self, number: int, frame: object) -> None:
        if self._waiting:
            self._waiting = False
            raise NoDataError
