"""Where a tracker is seen at work when nobody says where."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

from lib.vis.recorder import record_pictures
from lib.vis.views import Screen
from lib.vis.visdom_client import NoVisdomError, visdom_screen

logger = logging.getLogger(__name__)


def visdom_or_pictures(server: str, port: int, folder: Path) -> Screen:
    """A visdom server's windows; where no server answers, pictures in ``folder``, which is told in a line."""
    try:
        return visdom_screen(server, port)
    except NoVisdomError as error:
        logger.warning("%s; the pictures go to %s", error, folder)
        return partial(record_pictures, folder)
