"""Cutting objects out of pictures with masks, as foreground objects for ``IMAGES``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lib.utils.coco_rle import decode_rle
from lib.utils.errors import DataError
from lib.utils.image_io import read_image, write_image

_MIN_SIDE = 40  # pixels, square root of the mask's area: smaller objects are a blur when enlarged
_MIN_FILL = 0.2  # of the mask's bounding box; less is a scatter of pieces


def cut_out_coco(annotations: Path, images: Path, out: Path) -> int:
    """Write every instance of a COCO annotation file that is large and whole enough as a PNG with alpha.

    Args:
        annotations: ``instances_*.json`` with run-length masks (polygons are skipped).
        images: the folder of its pictures.
        out: folder for ``IMAGE_ANNOTATION.png``.

    Returns:
        The number of files written.

    Raises:
        DataError: a file is missing or damaged.
    """
    try:
        content = json.loads(annotations.read_text())
        names = {image["id"]: image["file_name"] for image in content["images"]}
        instances = sorted(content["annotations"], key=lambda item: (item["image_id"], item["id"]))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{annotations} is not a readable COCO annotation file: {error}") from error
    written = 0
    for item in tqdm(instances, desc="cut-outs"):
        code = item["segmentation"]
        if item["iscrowd"] or not isinstance(code, dict):
            continue
        mask = decode_rle(code["size"], code["counts"])
        box = _whole_object(mask)
        if box is None:
            continue
        image = read_image(images / names[item["image_id"]])
        cutout = np.dstack((image, mask.astype(np.uint8) * 255))[box]
        write_image(out / f"{Path(names[item['image_id']]).stem}_{item['id']}.png", cutout)
        written += 1
    return written


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
