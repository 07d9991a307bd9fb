"""End a process together with the one that started it."""

from __future__ import annotations

import os
import threading
import time

_CHECK_SECONDS = 1.0


def end_with(parent: int) -> None:
    """End this process within a second after ``parent``, the process that started it, has ended in whatever way.

    A thread looks for it, so that a process ends too that is waiting for a file or for another process.
    """
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_CHECK_SECONDS)
    os._exit(1)
