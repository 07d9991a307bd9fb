"""Stopping in good order when the machine is needed for something else."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 5.0  # seconds that a process goes on waiting for data after SIGTERM


class Preempted(Exception):
    """The run was asked to stop by SIGTERM, and has saved what the same command goes on from.

    Attributes:
        together: all processes stop at the same step. Otherwise this one alone stops, since its data do not come; then
            nothing is saved, and the last checkpoint counts.
    """

    def __init__(self, message: str, together: bool = True):
        super().__init__(message)
        self.together = together


class NoDataError(BaseException):
    """SIGTERM came while the process waits for data, and the data do not come.

    Like KeyboardInterrupt it is raised wherever the process is, so nothing that expects errors may catch it.
    """


class StopRequest:
    """While entered, SIGTERM no longer ends the process: it sets ``requested``."""

    def __init__(self) -> None:
        self.requested = False
        self._handled = self._waiting = False

    def __enter__(self) -> StopRequest:
        # Python takes signals in the main thread only; elsewhere SIGTERM keeps its meaning.
        self._handled = threading.current_thread() is threading.main_thread()
        if self._handled:
            self._before = {
                signal.SIGTERM: signal.signal(signal.SIGTERM, self._request),
                signal.SIGALRM: signal.signal(signal.SIGALRM, self._give_up),
            }
        return self

    def __exit__(self, *error: object) -> None:
        if self._handled:
            for number, handler in self._before.items():
                signal.signal(number, handler)

    @contextmanager
    def waiting_for_data(self) -> Iterator[None]:
        """Let what runs inside last for :data:`PATIENCE` seconds at most once SIGTERM has come.

        Raises:
            NoDataError: it would have lasted longer.
        """
        self._waiting = self._handled
        try:
            if self.requested:
                self._start_clock()
            yield
        finally:
            self._waiting = False
            if self._handled:
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
