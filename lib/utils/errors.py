"""Errors that a user can fix, and how commands print them."""

from __future__ import annotations

import difflib
import errno
import logging
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import entry_points
from pathlib import Path

_SHIPPED = Path(__file__).resolve().parents[1] / "shipped"  # of an installed package, see lib/utils/paths.py


class OSTrackError(Exception):
    """Base class of errors whose message explains the cause and the fix."""


class ConfigError(OSTrackError):
    """An experiment file, a key or a value that cannot be used."""


class CheckpointError(OSTrackError):
    """A weight file that is missing, damaged or made for another model."""


class DataError(OSTrackError):
    """An image, annotation, video or result file that is missing or damaged."""


class BusyError(DataError):
    """A file that another process is writing."""


class ImageError(DataError):
    """A missing or damaged image or frame. Training replaces it by another sample, within limits."""


class WorkerError(OSTrackError):
    """A process that loads data has died."""


# Permanent errors of the system; others, such as those of a network file system, may be temporary.
_LASTING = (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)


def may_pass(error: OSTrackError) -> bool:
    """Return whether a retry may succeed: a temporary system error, or a file that another process is writing."""
    cause = error.__cause__
    return isinstance(error, BusyError) or (isinstance(cause, OSError) and not isinstance(cause, _LASTING))


def listed(names: Sequence[str], most: int = 12, between: str = ", ") -> str:
    """Join at most ``most`` names for a message, followed by the number of the others; ``between`` may be a newline."""
    more = f"{between.removeprefix(',')}and {len(names) - most} more" if len(names) > most else ""
    return between.join(names[:most]) + more


def suggestion(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return ``did you mean NEAREST?`` for the known name most similar to ``name``, else ``otherwise``."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]}?" if near else otherwise


def _first_time() -> Callable[[logging.LogRecord], bool]:
    """Return a logging filter that drops warnings whose text was logged before."""
    seen: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        repeated = record.levelno == logging.WARNING and text in seen
        seen.add(text)
        return not repeated

    return is_new


def in_names_of_installation(text: str) -> str:
    """Replace the names of commands and path settings files in a message by those of this installation.

    In an installed package ``python tracking/test.py`` is ``ostrack-test``; there, and with ``OSTRACK_HOME``, the files
    with path settings are ``local_train.py`` and ``local_test.py``.
    """
    installed = _SHIPPED.is_dir()
    if installed or os.environ.get("OSTRACK_HOME"):
        text = text.replace("lib/train/admin/local.py", "local_train.py")
        text = text.replace("lib/test/evaluation/local.py", "local_test.py")
    if installed:
        found = entry_points(group="console_scripts")
        commands = {command.attr: command.name for command in found if command.module == "tracking.commands"}
        script = re.compile(r"(?:python )?\btracking/(\w+)\.py")
        text = script.sub(lambda match: commands.get(match[1], match[0]), text)
    return text


def run_cli(main: Callable[[], int | None]) -> None:
    """Run ``main`` as a script and exit with its status, or 0 for None.

    An :class:`OSTrackError`, or a system error on a file or folder, is printed as one line and gives status 1. Ctrl-C
    gives 130, and a closed output pipe, such as by ``head``, 141, as for shell tools. Any other exception, a bug, is
    raised with its traceback. Warnings with the same text are printed once.
    """
    handler = logging.StreamHandler()
    handler.addFilter(_first_time())
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[handler])
    try:
        status = main()
        sys.stdout.flush()
    except OSTrackError as error:
        print(in_names_of_installation(f"error: {error}"), file=sys.stderr)
        status = 1
    except BrokenPipeError:
        if not _reader_is_gone():
            raise
        status = 141
    except OSError as error:
        if error.filename is None and error.errno != errno.ENOSPC:
            raise
        print(f"error: {error.filename or 'a file could not be written'}: {error.strerror}", file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        status = 130
    sys.exit(status or 0)


def _reader_is_gone() -> bool:
    """Return whether the standard output is the broken pipe; if so, discard all further output."""
    try:
        print(flush=True)  # what could not be written before is discarded
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False
