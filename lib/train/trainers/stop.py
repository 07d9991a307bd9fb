"""Stopping in good order when the machine is needed for something else."""

from __future__ import annotations

import signal
import threading


class Preempted(Exception):
    """The run was asked to stop by SIGTERM, and has saved what the same command goes on from."""


class StopRequest:
    """While entered, SIGTERM no longer ends the process: it sets ``requested``."""

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> StopRequest:
        # Python takes signals in the main thread only; elsewhere SIGTERM keeps its meaning.
        self._handled = threading.current_thread() is threading.main_thread()
        if self._handled:
            self._before = signal.signal(signal.SIGTERM, self._request)
        return self

    def __exit__(self, *error: object) -> None:
        if self._handled:
            signal.signal(signal.SIGTERM, self._before)

    def _request(self, number: int, frame: object) -> None:
        self.requested = True
