"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path, suffix: str = ".tmp") -> Iterator[Path]:
    """Yield ``path`` with ``suffix`` at its end, to write to; that file is renamed to ``path`` in the end.

    Where writing fails, nothing of it stays, and an earlier file ``path`` is untouched. Its folder is made.

    Raises:
        OSError: the folder cannot be made, or the file not be renamed.
    """
    unfinished = path.with_name(path.name + suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield unfinished
        os.replace(unfinished, path)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise
