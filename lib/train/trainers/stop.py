"""Stop a run on SIGTERM."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 5.0  # seconds that a process still waits for data after SIGTERM


class Preempted(Exception):
    """SIGTERM stopped the run after saving a checkpoint from which the same command resumes.

    Attributes:
        together: all ranks stop at the same step. Otherwise only this rank stops, because it gets no data; nothing is
            saved, and the run resumes from the last checkpoint.
    """

    def __init__(self, message: str, together: bool = True):
        super().__init__(message)
        self.together = together


class NoDataError(BaseException):
    """After SIGTERM, the process waited in vain for data.

    Not an ``Exception``: like KeyboardInterrupt it may be raised anywhere, and error handlers must not catch it.
    """


class StopRequest:
    """While entered, SIGTERM sets ``requested`` instead of ending the process."""

    def __init__(self) -> None:
        self.requested = False
        self._handled = self._waiting = False

    def __enter__(self) -> StopRequest:
        # Python handles signals in the main thread only; elsewhere SIGTERM keeps its meaning.
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
        """Limit the body to :data:`PATIENCE` seconds after SIGTERM.

        Raises:
            NoDataError: the limit is reached.
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
