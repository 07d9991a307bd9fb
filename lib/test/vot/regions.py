"""Regions and images as TraX writes them."""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Sequence

import numpy as np

from lib.data import regions
from lib.data.image_io import SequenceDecoder, read_file
from lib.test.vot.trax import TraxError

_MASK = "mask:"


def is_mask(region: str) -> bool:
    """Return whether a region is a mask, not a rectangle or polygon."""
    return region.startswith(_MASK)


def region_box(region: str) -> list[float]:
    """Return the ``xywh`` box of a region in pixels: that of a rectangle, or what just holds a polygon or mask.

    Raises:
        TraxError: the region is no rectangle ``x,y,w,h``, polygon ``x1,y1,...,xn,yn`` (n > 2) or mask
            ``mask:x,y,w,h,runs``, or holds nothing.
    """
    try:
        box = regions.region_box(region.replace(_MASK, "m", 1) if is_mask(region) else region)
        if not np.isfinite(box).all():
            raise ValueError("it holds nothing, or is not finite")
    except (ValueError, OverflowError) as error:
        raise TraxError(f"the region {region[:80]!r} cannot be tracked: {error}") from error
    return box.tolist()


def box_region(box: Sequence[float], as_mask: bool) -> str:
    """Return an ``xywh`` pixel box as a rectangle, or as the mask of the pixels in it (one at least).

    Raises:
        TraxError: the box is not finite; TraX would take that for an absent target.
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

    Args:
        decode: decodes the files of one sequence. The toolkit, too, turns them as their EXIF orientation says.

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
