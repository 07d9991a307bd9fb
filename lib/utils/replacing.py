"""Atomic writes of files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path, suffix: str = ".tmp") -> Iterator[Path]:
    """Yield a path to write to, ``path`` with ``suffix``, which is renamed to ``path`` at the end; create its folder.

    After an error the temporary file is removed, and an earlier file ``path`` is unchanged.

    Raises:
        OSError: the folder cannot be created, or the file cannot be renamed.
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
