"""Atomic writes of files, and errors of writing."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from lib.utils.errors import DataError


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


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise DataError if something cannot be written, as on a full disk; it names the file or, if unknown, ``path``."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{error.filename or path} cannot be written: {error.strerror}") from error
