"""Still pictures with boxes, of which every object is a sequence of one frame: ``COCO17`` and ``PICTURES``.

COCO is of Lin et al., ECCV 2014; pictures of one's own may be in its form or in that of Pascal VOC.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from lib.data.layouts import Plan
from lib.data.own_folder import selected
from lib.data.storage import Storage, file_text, image_names
from lib.data.tracks import (
    FrameKind,
    LeftOut,
    SequenceInfo,
    Track,
    TrackTable,
    boxes_outside,
    literal,
    texts,
    valid_boxes,
)
from lib.utils.errors import DataError

logger = logging.getLogger(__name__)

ANNOTATION = "annotations/instances_train2017.json"
IMAGES = "images/train2017"
_VOC_ANNOTATIONS, _VOC_IMAGES = "Annotations", "JPEGImages"
_COCO_IMAGES = ("images", "JPEGImages", ".")
_EXPECTED = "annotations.json or annotations/*.json beside images/ (COCO), or Annotations/*.xml and JPEGImages/ (VOC)"


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

    Raises DataError: the file is missing, or not of COCO's form.
    """
    path = storage.path(ANNOTATION)
    try:
        content = json.loads(file_text(storage, ANNOTATION))
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
    keys = texts(literal(f"{IMAGES}/{file}") for file in images)
    kinds, firsts = np.full(len(items), FrameKind.NUMBERED, np.uint8), np.zeros(len(items), np.int64)
    return TrackTable(names, keys, kinds, firsts, np.arange(len(items) + 1), bbox, valid, valid, files=texts([]))


def plan_pictures(storage: Storage, roots: Sequence[str], patterns: Sequence[str] = ()) -> Plan:
    """Folders of pictures with boxes, or folders of such folders (``roots``), whose names match; keys are absolute
    paths.

    Raises DataError: a folder is missing, or holds no annotation; no name matches a pattern, see :func:`selected`.
    """
    found = dict(one for root in roots for one in _annotated(Path(root).resolve()))
    names = set(selected([folder.name for folder in found], patterns, "PICTURES"))
    chosen = [(folder, files) for folder, files in found.items() if folder.name in names]
    # The folders of the pictures too, since those that are missing are left out.
    files = [str(path) for folder, paths in chosen for path in (*paths, *(folder / name for name in _COCO_IMAGES))]
    return Plan(files, lambda: TrackTable.join(track for one in chosen for track in _read(storage, *one)))


def _annotated(root: Path) -> list[tuple[Path, list[Path]]]:
    """Return the folders of one form or the other at ``root`` or below it, each with its annotation files."""
    if not root.is_dir():
        raise DataError(f"{root}: there is no such folder")
    folders = [root] if _annotation_files(root) else sorted(path for path in root.iterdir() if path.is_dir())
    found = [(folder, files) for folder in folders if (files := _annotation_files(folder))]
    for folder in sorted({*folders} - {folder for folder, _ in found}):
        logger.warning("%s is left out: expected %s", folder, _EXPECTED)
    if not found:
        raise DataError(f"{root}: no pictures with boxes; expected {_EXPECTED}")
    return found


def _annotation_files(folder: Path) -> list[Path]:
    single = folder / "annotations.json"
    if single.is_file():
        return [single]
    return sorted((folder / "annotations").glob("*.json")) or sorted((folder / _VOC_ANNOTATIONS).glob("*.xml"))


def _read(storage: Storage, folder: Path, files: Sequence[Path]) -> list[Track | LeftOut]:
    read: Callable[[Path, str], list[_Picture]] = _read_voc if files[0].suffix == ".xml" else _read_coco
    images = {Path(name).stem: name for name in image_names(storage, str(folder / _VOC_IMAGES))}
    tracks: list[Track | LeftOut] = []
    missing = 0
    for path in files:
        for image, boxes, size in read(path, file_text(storage, str(path))):
            key = _image_key(storage, folder, image, images)
            missing += key is None
            for number, box in enumerate(boxes if key else ()):
                valid = valid_boxes(box[None]) & ~boxes_outside(box[None], np.array(size, np.float64))
                info = SequenceInfo(box[None], valid, valid)
                tracks.append(Track(f"{folder.name}/{Path(image).stem}_{number}", info, literal(str(key))))
    if not tracks:
        raise DataError(f"{folder}: no picture of its annotation is there; expected {_EXPECTED}")
    if missing:
        tracks.append(LeftOut(f"{folder}: {missing} pictures of its annotation are missing, and left out"))
    return tracks


def _image_key(storage: Storage, folder: Path, image: str, by_stem: dict[str, str]) -> str | None:
    """Return the key of a picture by the name that its annotation gives; VOC's may lack or change the suffix."""
    for part in _COCO_IMAGES:
        if storage.exists(key := str(folder / part / image)):
            return key
    name = by_stem.get(Path(image).stem)
    return None if name is None else str(folder / _VOC_IMAGES / name)


# The file name of a picture, its boxes (N, 4), ``xywh``, and its width and height, NaN where they are not known.
_Picture = tuple[str, np.ndarray, tuple[float, float]]


def _read_coco(path: Path, text: str) -> list[_Picture]:
    """Return the pictures of a file; crowds are left out."""
    try:
        content = json.loads(text)
        boxes: dict[object, list[list[float]]] = {picture["id"]: [] for picture in content["images"]}
        for item in content["annotations"]:
            if not item.get("iscrowd", 0):
                boxes[item["image_id"]].append(item["bbox"])
        tables = {number: np.array(rows, np.float64).reshape(-1, 4) for number, rows in boxes.items()}
        return [(str(one["file_name"]), tables[one["id"]], picture_size(one)) for one in content["images"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is not a COCO annotation file: {type(error).__name__} {error}") from error


def _read_voc(path: Path, text: str) -> list[_Picture]:
    """Return the one picture of a file; VOC counts pixels from 1, both ends included."""
    try:
        root = ElementTree.fromstring(text)
        sides = ("xmin", "ymin", "xmax", "ymax")
        corners = [[float(box.findtext(side, "")) for side in sides] for box in root.iter("bndbox")]
        width, height = (float(root.findtext(f"size/{side}") or 0) or math.nan for side in ("width", "height"))
    except (ElementTree.ParseError, ValueError) as error:
        raise DataError(f"{path} is not a Pascal VOC annotation file: {error}") from error
    table = np.array(corners, np.float64).reshape(-1, 4)
    boxes = np.concatenate((table[:, :2] - 1, table[:, 2:] - table[:, :2] + 1), axis=1)
    return [(path.stem, boxes, (width, height))]
