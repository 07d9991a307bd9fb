"""A tracker's side of a TraX conversation (version 4, which knows of several targets)."""

from __future__ import annotations

import base64
import binascii
import contextlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.data.annotations import region_box as box_around
from lib.data.image_io import SequenceDecoder, read_file
from lib.test.evaluation.protocol import BatchTracker
from lib.test.vot.trax import Connection, Message, TraxError
from lib.utils.errors import OSTrackError

_MASK = "mask:"


@dataclass
class _Target:
    known: Any  # what the tracker knows of it
    as_mask: bool

    def state(self, box: Sequence[float], confidence: float) -> Message:
        return Message("state", (box_region(box, self.as_mask),), {"confidence": f"{confidence:.6f}"})


def serve(connection: Connection, tracker: BatchTracker, name: str) -> None:
    """Introduce the tracker as ``name``, then track what is asked for until the other side says quit.

    A target that is given as a mask is answered by masks, full rectangles; any other by rectangles. Before an exception
    leaves this function, its reason is sent to the other side.

    Raises:
        TraxError: the other side broke the protocol, or has gone.
        DataError: an image is missing or damaged, or a target lies outside of it.
    """
    capabilities = {
        "trax.version": "4",
        "trax.name": name,
        "trax.family": name.partition(" ")[0],
        "trax.image": "path;memory;buffer;",
        "trax.region": "rectangle;polygon;mask;",
        "trax.channels": "color;",
        "trax.multiobject": "1",
    }
    connection.send(Message("hello", properties=capabilities))
    try:
        _converse(connection, tracker)
    except Exception as error:
        reason = str(error) if isinstance(error, OSTrackError) else f"{type(error).__name__}: {error}"
        with contextlib.suppress(TraxError):
            connection.send(Message("quit", properties={"trax.reason": reason}))
        raise


def _converse(connection: Connection, tracker: BatchTracker) -> None:
    """Answer messages until ``quit``.

    ``initialize`` announces a target of the frame that follows or, without a region, ends all targets. A ``frame`` is
    answered by one state for each target, in the order in which they were announced.
    """
    targets: list[_Target] = []
    decode = SequenceDecoder()
    announced: list[str] = []
    while (message := connection.receive()).kind != "quit":
        count = len(message.arguments)
        if message.kind == "initialize" and count == 0:
            targets, announced, decode = [], [], SequenceDecoder()
        elif message.kind == "initialize" and count == 1:
            announced.append(message.arguments[0])
        elif message.kind == "frame" and count == 1 and (targets or announced):
            image, states = load_image(message.arguments[0], decode), []
            if targets:
                step = tracker.step([image] * len(targets), [target.known for target in targets])
                each = zip(targets, step.boxes, step.confidence, strict=True)
                states = [target.state(box, score) for target, box, score in each]
            for region in announced:
                box = region_box(region)
                targets.append(_Target(tracker.start(image, box), is_mask(region)))
                states.append(targets[-1].state(box, 1.0))
            announced = []
            for state in states:
                connection.send(state)
        else:
            raise TraxError(f"TraX message {message.kind!r} with {count} arguments has no meaning here")


def is_mask(region: str) -> bool:
    """Return whether a region is a mask, not a rectangle or polygon."""
    return region.startswith(_MASK)


def region_box(region: str) -> list[float]:
    """Return the ``xywh`` box of a region in pixels: that of a rectangle, or what just holds a polygon or mask.

    Raises TraxError: it is no rectangle ``x,y,w,h``, polygon ``x1,y1,...,xn,yn`` (n > 2) or mask
    ``mask:x,y,w,h,runs``, or holds nothing.
    """
    try:
        box = box_around(region.replace(_MASK, "m", 1) if is_mask(region) else region)
        if not np.isfinite(box).all():
            raise ValueError("it holds nothing, or is not finite")
    except (ValueError, OverflowError) as error:
        raise TraxError(f"the region {region[:80]!r} cannot be tracked: {error}") from error
    return box.tolist()


def box_region(box: Sequence[float], as_mask: bool) -> str:
    """Return an ``xywh`` pixel box as a rectangle, or as the mask of the pixels in it (one at least).

    Raises TraxError: the box is not finite, which TraX would take for an absent target.
    """
    if not all(map(math.isfinite, box)):
        raise TraxError(f"the tracker gave the box x, y, w, h = {list(box)}; are its weights whole?")
    x, y, w, h = box
    if not as_mask:
        return ",".join(f"{value:.4f}" for value in (x, y, w, h))
    left, top = round(x), round(y)
    width, height = max(1, round(x + w) - left), max(1, round(y + h) - top)
    return f"{_MASK}{left},{top},{width},{height},0,{width * height}"


def load_image(uri: str, decode: SequenceDecoder) -> np.ndarray:
    """Load an image as RGB uint8 (H, W, 3) from its path (``file://PATH``), file (``data:TYPE;BASE64``) or pixels
    (``image:WIDTH;HEIGHT;rgb|gray8;BASE64``).

    ``decode`` decodes the files of one sequence. The toolkit, too, turns them as their EXIF orientation says.

    Raises:
        DataError: the file is missing or damaged.
        TraxError: the image comes in another form, or damaged.
    """
    scheme, _, rest = uri.partition(":")
    if scheme == "file":
        path = rest.removeprefix("//")  # as the reference implementation: no percent-decoding
        return decode(read_file(path), path)
    if scheme == "data":
        return decode(_base64(re.split("[;,]", rest)[-1]), "in a TraX message")
    if scheme == "image":
        return _pixels(rest)
    if "://" in uri:
        raise TraxError(f"images by {scheme} are not supported, only files and data: {uri[:120]}")
    return decode(read_file(uri), uri)  # the old form, a bare path


def _pixels(text: str) -> np.ndarray:
    try:
        width, height, kind, data = text.split(";")
        channels = {"rgb": 3, "gray8": 1}[kind]
        pixels = np.frombuffer(_base64(data), np.uint8).reshape(int(height), int(width), channels)
    except (ValueError, KeyError) as error:
        raise TraxError(f"not the pixels of an rgb or gray8 image: 'image:{text[:40]}...' ({error})") from error
    return np.repeat(pixels, 3 // channels, axis=2)


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise TraxError(f"an image in a TraX message is damaged: {error}") from error
