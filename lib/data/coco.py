"""COCO (Lin et al., ECCV 2014) in its official layout: every object is a sequence of one frame."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from lib.data.annotations import decode_text
from lib.data.base import boxes_outside, valid_boxes
from lib.data.layouts import Plan
from lib.data.storage import Storage
from lib.data.tracks import FrameKind, TrackTable, literal, texts
from lib.utils.errors import DataError

ANNOTATION = "annotations/instances_train2017.json"
IMAGES = "images/train2017"


def plan_coco(storage: Storage) -> Plan:
    """``annotations/instances_train2017.json`` and ``images/train2017/``; crowds are left out.

    Objects whose box lies wholly outside of its picture count as invisible. Those of any size count, as in published
    training: its least side of 50 pixels marks smaller ones as invisible, but nothing asks that of still images.
    """
    return Plan([ANNOTATION], lambda: read_coco(storage))


def picture_size(picture: Mapping[str, Any]) -> tuple[float, float]:
    """Return width and height of a picture by its entry in a COCO annotation file; NaN where it names none."""
    return picture.get("width") or math.nan, picture.get("height") or math.nan


def read_coco(storage: Storage) -> TrackTable:
    """Return the table of the annotation file, in its order; sequences are called ``IMAGE_ANNOTATION``.

    Raises:
        DataError: the file is missing, or not of COCO's form.
    """
    path = storage.path(ANNOTATION)
    try:
        content = json.loads(decode_text(storage.read(ANNOTATION), path))
        pictures = {image["id"]: image for image in content["images"]}
        items = [item for item in content["annotations"] if not item.get("iscrowd", 0)]
        bbox = np.array([item["bbox"] for item in items], np.float64).reshape(-1, 4)
        images = [pictures[item["image_id"]]["file_name"] for item in items]
        sizes = np.array([picture_size(pictures[item["image_id"]]) for item in items], np.float64).reshape(-1, 2)
        names = texts(f"{file.rpartition('.')[0]}_{item['id']}" for file, item in zip(images, items, strict=True))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is not a COCO annotation file: {type(error).__name__} {error}") from error
    if not items:
        raise DataError(f"{path} has no annotation that is not of a crowd")
    valid = valid_boxes(bbox) & ~boxes_outside(bbox, sizes)
    return TrackTable(
        names=names,
        keys=texts(literal(f"{IMAGES}/{file}") for file in images),
        kinds=np.full(len(items), FrameKind.NUMBERED, np.uint8),
        firsts=np.zeros(len(items), np.int64),
        starts=np.arange(len(items) + 1),
        bbox=bbox,
        visible=valid,
        valid=valid,
        files=texts([]),
    )
