"""End a process together with the one that started it."""

from __future__ import annotations

import os
import threading
import time

_CHECK_SECONDS = 1.0


def end_with(parent: int) -> None:
    """Start a thread that ends this process within a second after ``parent``, the process that started it.

    It works even while this process waits for a file or another process.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_CHECK_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
