"""The errors that a user can mend, and how the command line shows them."""

from __future__ import annotations

import difflib
import errno
import logging
import sys
from collections.abc import Callable, Iterable, Sequence


class OSTrackError(Exception):
    """Base of every error whose message tells the user what is wrong and what to do about it."""


class ConfigError(OSTrackError):
    """An experiment file, a key or a value that cannot be used."""


class CheckpointError(OSTrackError):
    """A weight file that is missing, damaged or made for another model."""


class DataError(OSTrackError):
    """An image, annotation, video or result file that is missing or damaged."""


class BusyError(DataError):
    """A file that another process is writing."""


class ImageError(DataError):
    """One picture or frame that is missing or damaged. Training replaces it by another sample, within limits."""


class WorkerError(OSTrackError):
    """A process that loads data has died."""


# What the system says of a file that is as it is; anything else, as of a network file system, may pass.
_LASTING = (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)


def may_pass(error: OSTrackError) -> bool:
    """Whether the same may succeed at a second try: the system had a hiccup, or another process was in the way."""
    cause = error.__cause__
    return isinstance(error, BusyError) or (isinstance(cause, OSError) and not isinstance(cause, _LASTING))


def listed(names: Sequence[str], most: int = 12, between: str = ", ") -> str:
    """Names to print: of many the first ones, and how many more there are. ``between`` may begin a new line."""
    more = f"{between.removeprefix(',')}and {len(names) - most} more" if len(names) > most else ""
    return between.join(names[:most]) + more


def suggestion(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """``did you mean NEAREST?`` for the known name that is most like ``name``; ``otherwise`` where none is like it."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]}?" if near else otherwise


def _first_time() -> Callable[[logging.LogRecord], bool]:
    """A filter that lets warnings pass whose text has not passed before, and all other messages."""
    seen: set[str] = set()

    def passes(record: logging.LogRecord) -> bool:
        if record.levelno != logging.WARNING:
            return True
        text = record.getMessage()
        new = text not in seen
        seen.add(text)
        return new

    return passes


def run_cli(main: Callable[[], int | None]) -> None:
    """Run ``main`` as a script and leave the process with its exit status.

    ``main`` returns an exit status, or ``None`` for success. An :class:`OSTrackError`, or the system's refusal of a
    file or folder, is printed as one line and gives status 1; Ctrl-C gives the customary 130; any other exception keeps
    its traceback, because it is a fault of ours. A warning is shown once, however often it is given.
    """
    shown = logging.StreamHandler()
    shown.addFilter(_first_time())
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[shown])
    try:
        status = main()
    except OSTrackError as error:
        print(f"error: {error}", file=sys.stderr)
        status = 1
    except OSError as error:
        if error.filename is None and error.errno != errno.ENOSPC:
            raise
        print(f"error: {error.filename or 'a file could not be written'}: {error.strerror}", file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        status = 130
    sys.exit(status or 0)
