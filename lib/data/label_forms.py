"""Labels of pictures as people publish them: Pascal VOC, YOLO, COCO and tables of boxes; and pictures without any."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from lib.utils.errors import DataError

log = logging.getLogger(__name__)

SHARES = (1.0, 1.0)  # the size of a picture in whose shares boxes are given
_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")

_Box = tuple[str, tuple[float, float, float, float]]  # the class, and ``xywh``
_Parsed = tuple[list[_Box], tuple[float, float]]  # of a picture: boxes and size, see Labeled


@dataclass(frozen=True)
class Labeled:
    """A picture and its boxes, in units of ``size``: what the labels call its width and height, 0 where they do not."""

    path: Path
    boxes: list[_Box]
    size: tuple[float, float]


def _pictures(folder: Path, below: bool = False) -> list[Path]:
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder")
    paths = folder.rglob("*") if below else folder.iterdir()
    return sorted(path for path in paths if path.suffix.lower() in _SUFFIXES)


def read_photos(images: Path, labels: Path, names: Sequence[str]) -> Iterator[Labeled]:
    return (Labeled(path, [], SHARES) for path in _pictures(images, below=True))


def _each_file(
    images: Path, labels: Path, suffix: str, kind: str, parse: Callable[[bytes], _Parsed]
) -> Iterator[Labeled]:
    """The pictures that have a label file of their own, which ``parse`` reads; damaged ones are left out."""
    for picture in _pictures(images):
        path = labels / f"{picture.stem}{suffix}"
        if not path.is_file():
            continue
        try:
            boxes, size = parse(path.read_bytes())
        except (ElementTree.ParseError, ValueError) as error:
            log.info("left out: %s is no %s: %s", path, kind, error)
            continue
        yield Labeled(picture, boxes, size)


def _read_voc(images: Path, labels: Path, names: Sequence[str]) -> Iterator[Labeled]:
    """An XML file for a picture; pixels count from 1, both ends included."""
    return _each_file(images, labels, ".xml", "Pascal VOC annotation", _parse_voc)


def _parse_voc(data: bytes) -> _Parsed:
    root = ElementTree.fromstring(data)
    size = float(root.findtext("size/width") or 0), float(root.findtext("size/height") or 0)
    return [_voc_box(item) for item in root.iter("object")], size


def _voc_box(item: ElementTree.Element) -> _Box:
    x, y, right, bottom = (float(item.findtext(f"bndbox/{side}") or "") for side in ("xmin", "ymin", "xmax", "ymax"))
    return (item.findtext("name") or "").strip(), (x - 1, y - 1, right - x + 1, bottom - y + 1)


def _read_yolo(images: Path, labels: Path, names: Sequence[str]) -> Iterator[Labeled]:
    """A text file for a picture: of each object the class, and center and size or the corners of its outline."""

    def parse(data: bytes) -> _Parsed:
        rows = [line.split() for line in data.decode().splitlines() if line.strip()]
        return [_yolo_box(int(float(row[0])), [float(value) for value in row[1:]], names) for row in rows], SHARES

    return _each_file(images, labels, ".txt", "YOLO label file", parse)


def _yolo_box(number: int, values: Sequence[float], names: Sequence[str]) -> _Box:
    label = names[number] if number < len(names) else str(number)
    if len(values) < 6:  # a fifth is a confidence
        x, y, width, height = values[:4]
        return label, (x - width / 2, y - height / 2, width, height)
    xs, ys = values[0::2], values[1::2]
    return label, (min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))


def _read_coco(images: Path, labels: Path, names: Sequence[str]) -> Iterator[Labeled]:
    """A JSON file for all; pictures are looked for by the last part of their names. Crowds are left out."""
    try:
        content = json.loads(labels.read_text())
        classes = {item["id"]: str(item["name"]) for item in content["categories"]}
        sizes = {item["id"]: (float(item["width"]), float(item["height"])) for item in content["images"]}
        files = {item["id"]: images / Path(item["file_name"]).name for item in content["images"]}
        found = {key: Labeled(file, [], sizes[key]) for key, file in files.items()}
        for item in content["annotations"]:
            if not item.get("iscrowd", 0) and item["bbox"]:
                x, y, width, height = map(float, item["bbox"])
                found[item["image_id"]].boxes.append((classes[item["category_id"]], (x, y, width, height)))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{labels} is not a COCO annotation file: {type(error).__name__} {error}") from error
    return (item for item in found.values() if item.path.is_file())


def _read_csv(images: Path, labels: Path, names: Sequence[str]) -> Iterator[Labeled]:
    """A table for all, with a line for each box: filename, width, height, class, xmin, ymin, xmax, ymax."""
    found: dict[str, Labeled] = {}
    try:
        with labels.open(newline="") as file:
            for line in csv.DictReader(file):
                size = float(line["width"]), float(line["height"])
                x, y, right, bottom = (float(line[side]) for side in ("xmin", "ymin", "xmax", "ymax"))
                item = found.setdefault(line["filename"], Labeled(images / line["filename"], [], size))
                item.boxes.append((line["class"], (x, y, right - x, bottom - y)))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{labels} is not a table of boxes: {type(error).__name__} {error}") from error
    return (item for item in found.values() if item.path.is_file())


# Each takes the folder of pictures, the folder or file of labels, and the names of classes that are given as numbers.
FORMS: dict[str, Callable[[Path, Path, Sequence[str]], Iterator[Labeled]]] = {
    "voc": _read_voc,
    "yolo": _read_yolo,
    "coco": _read_coco,
    "csv": _read_csv,
    "photos": read_photos,
}
