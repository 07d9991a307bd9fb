"""Atomic writes of files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path, suffix: str = ".tmp") -> Iterator[Path]:
    """Yield a path to write to, ``path`` with ``suffix``, which is renamed to ``path`` at the end; make its folder.

    After an error it is removed, and an earlier file ``path`` is untouched.

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
