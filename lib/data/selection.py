"""Parts of a data set, chosen by the names of its sequences or folders: ``FOLDER[cars_*,bikes]``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from lib.utils.errors import DataError


def split_selection(name: str) -> tuple[str, tuple[str, ...]]:
    """``FOLDER[a_*, b]`` as ``FOLDER`` and its patterns; a name without brackets has none."""
    match = re.fullmatch(r"(\w+)\[(.*)]", name)
    if match is None:
        return name, ()
    return match[1], tuple(part.strip() for part in match[2].split(","))


def selected(names: Sequence[str], patterns: Sequence[str], what: str) -> list[str]:
    """The names that match a shell pattern (``*``, ``?``, ``[abc]``), in their order; all, where there is none.

    Args:
        what: the data set, for errors.

    Raises:
        DataError: a pattern matches no name.
    """
    if not patterns:
        return list(names)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            listed = ", ".join(sorted(names)[:5])
            raise DataError(f"{what}[{pattern}] matches none of the {len(names)} names, such as {listed}")
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
