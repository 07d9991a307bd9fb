"""Cutting objects out of pictures with masks, as foreground objects for ``IMAGES``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from lib.data.coco_rle import decode_rle
from lib.data.image_io import read_image, write_image
from lib.utils.errors import DataError

_MIN_SIDE = 40  # pixels, square root of the mask's area: smaller objects are a blur when enlarged
_MIN_FILL = 0.2  # of the mask's bounding box; less is a scatter of pieces


def cut_out_coco(annotations: Path, images: Path, out: Path) -> int:
    """Write every instance of a COCO annotation file that is large and whole enough as a PNG with alpha.

    Args:
        annotations: ``instances_*.json``; masks are polygons, as in the official files, or runs; crowds are left out.
        images: the folder of its pictures.
        out: folder for ``IMAGE_ANNOTATION.png``.

    Returns:
        The number of files written.

    Raises:
        DataError: a file is missing or damaged, or no instance is large and whole enough.
    """
    try:
        content = json.loads(annotations.read_text())
        pictures = {picture["id"]: picture for picture in content["images"]}
        instances = sorted(content["annotations"], key=lambda item: (item["image_id"], item["id"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{annotations} is not a readable COCO annotation file: {error}") from error
    written = 0
    for item in tqdm(instances, desc="cut-outs"):
        try:
            picture = pictures[item["image_id"]]
            path, mask = images / picture["file_name"], None if item.get("iscrowd") else _mask(item, picture)
        except (KeyError, ValueError, TypeError) as error:
            raise DataError(f"{annotations}: annotation {item['id']} is damaged: {error!r}") from error
        box = None if mask is None else _whole_object(mask)
        if mask is None or box is None:
            continue
        image = read_image(path)
        if image.shape[:2] != mask.shape:
            raise DataError(f"{path} has height and width {image.shape[:2]}, its masks in {annotations} {mask.shape}")
        write_image(out / f"{path.stem}_{item['id']}.png", np.dstack((image, mask.astype(np.uint8) * 255))[box])
        written += 1
    if not written:
        raise DataError(f"{annotations}: none of {len(instances)} instances is large and whole enough to be cut out")
    return written


def _mask(item: dict[str, Any], picture: dict[str, Any]) -> np.ndarray:
    """The mask of an instance, bool (height, width), from its polygons or its runs."""
    shape = item["segmentation"]
    if isinstance(shape, dict):
        return decode_rle(shape["size"], shape["counts"])
    mask = np.zeros((picture["height"], picture["width"]), np.uint8)
    for points in shape:
        # In sixteenths of a pixel; COCO counts from a pixel's corner, OpenCV from its centre.
        outline = np.rint((np.reshape(np.asarray(points, np.float64), (-1, 2)) - 0.5) * 16).astype(np.int32)
        cv2.fillPoly(mask, [outline], 1, shift=4)
    return mask.astype(bool)


def _whole_object(mask: np.ndarray) -> tuple[slice, slice] | None:
    """The bounding box of a mask that is large, compact and not cut off by the picture's border."""
    if mask.sum() < _MIN_SIDE**2:
        return None
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    border = mask[0].sum() + mask[-1].sum() + mask[:, 0].sum() + mask[:, -1].sum()
    if mask.sum() < _MIN_FILL * (bottom - top) * (right - left) or border > 0.1 * (bottom - top + right - left):
        return None
    return slice(top, bottom), slice(left, right)
