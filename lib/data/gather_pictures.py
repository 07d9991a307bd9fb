"""Pictures out of clones of public repositories: those with boxes in COCO's form, and photographs without.

Labels are read as people publish them: Pascal VOC, YOLO, COCO and tables of boxes.
"""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from lib.data.gather_table import parse_options
from lib.data.image_io import decode_image, is_turned, read_file, shrink, write_image
from lib.utils.errors import DataError, ImageError

log = logging.getLogger(__name__)

MOST_PIXELS = 640  # of the longer side of a stored picture
LEAST_PIXELS = 8  # of the shorter side of a box in a stored picture
MOST_SHARE = 0.95  # of a picture that a box may cover
JPEG_QUALITY = 90
_OTHER_SHAPE = 0.03  # relative difference of shape at which labels are of another version of the picture
SHARES = (1.0, 1.0)  # the size of a picture in whose shares boxes are given
_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")

_Box = tuple[str, tuple[float, float, float, float]]  # the class, and ``xywh``
_Parsed = tuple[list[_Box], tuple[float, float]]  # of a picture: boxes and size, see Labeled


@dataclass(frozen=True)
class Labeled:
    """A picture and its boxes, in units of ``size``: what the labels call its width and height, 0 where they do not."""

    path: Path
    boxes: list[_Box]
    size: tuple[float, float]


def files_in(folder: Path, suffixes: Collection[str] = _SUFFIXES, below: bool = True) -> list[Path]:
    """Return the files with these suffixes in a folder, or ``below`` it too. Raises DataError: there is no folder."""
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder")
    return sorted(path for path in folder.glob("**/*" if below else "*") if path.suffix.lower() in suffixes)


def _read_photos(images: Path, labels: Path, names: Sequence[str]) -> Iterator[Labeled]:
    return (Labeled(path, [], SHARES) for path in files_in(images))


def _each_file(
    images: Path, labels: Path, suffix: str, kind: str, parse: Callable[[bytes], _Parsed]
) -> Iterator[Labeled]:
    """The pictures that have a label file of their own, which ``parse`` reads; damaged ones are left out."""
    for picture in files_in(images, below=False):
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
    boxes: list[_Box] = []
    for item in root.iter("object"):
        x, y, right, bottom = (float(item.findtext(f"bndbox/{side}") or "") for side in _CORNERS)
        boxes.append(((item.findtext("name") or "").strip(), (x - 1, y - 1, right - x + 1, bottom - y + 1)))
    return boxes, size


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
                x, y, right, bottom = (float(line[side]) for side in _CORNERS)
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
    "photos": _read_photos,
}


@dataclass(frozen=True)
class _Options:
    """Where a repository keeps a set."""

    images: Sequence[str]  # folders of pictures; ``photos`` takes what is below them too
    # For each of them the folder of its label files (``voc``, ``yolo``) or the file of its labels (``coco``, ``csv``);
    # by default label files lie beside the pictures.
    labels: Sequence[str] = ()
    names: Sequence[str] = ()  # the classes of ``yolo`` by their number; by default they are called by it
    drop: Sequence[str] = ()  # classes to leave out
    most: int = 1500  # pictures to take, evenly spaced in the order of their names


def gather(name: str, form: str, options: Mapping[str, Any], clones: Sequence[Path], out: Path) -> tuple[int, int]:
    """Make the set ``name`` of a form of :data:`FORMS`; an earlier one is replaced.

    It becomes ``out/pictures/NAME``, of ``images/*.jpg`` and ``annotations.json`` in COCO's form, or, of the form
    ``photos``, ``out/photos/NAME/*.jpg``. Pictures have at most ``MOST_PIXELS`` a side. Left out are boxes smaller or
    larger than is worth learning, pictures without any, damaged ones, copies, and those whose labels say another shape.
    Roboflow writes altered versions of a picture as ``NAME.rf.HASH.jpg``: one of them is taken.

    ``options`` are the other keys of the set's row, see :class:`_Options`; ``clones`` holds the working tree of its
    repository. Returns the numbers of pictures and boxes. Raises DataError: an option is unknown or missing, a folder
    or label file is missing or damaged, or nothing is found.
    """
    chosen = parse_options(_Options, name, options)
    read = FORMS[form]
    labels = chosen.labels or chosen.images
    if len(labels) != len(chosen.images):
        raise DataError(f"{name}: {len(chosen.images)} images but {len(labels)} labels; give one for each")
    folder = out / ("photos" if read is _read_photos else "pictures") / name
    shutil.rmtree(folder, ignore_errors=True)
    items: dict[str, Labeled] = {}
    for images, place in zip(chosen.images, labels, strict=True):
        for item in read(clones[0] / images, clones[0] / place, chosen.names):
            if item.boxes or read is _read_photos:
                # One of all versions that Roboflow writes of a picture.
                key = item.path.name.split(".rf.")[0] if ".rf." in item.path.name else str(item.path)
                items[key] = item
    names = sorted(items)
    count = min(chosen.most, len(names))
    spread = [items[names[index * len(names) // count]] for index in range(count)]
    found = _photos(folder, spread) if read is _read_photos else _with_boxes(folder, spread, chosen.drop)
    if not found[0]:
        places = ", ".join(str(clones[0] / images) for images in chosen.images)
        raise DataError(f"{name}: no usable picture in {places}")
    return found


def _photos(folder: Path, items: Sequence[Labeled]) -> tuple[int, int]:
    count = 0
    for count, (_, image) in enumerate(_different(items), 1):
        write_image(folder / f"{count:06d}.jpg", shrink(image, MOST_PIXELS), JPEG_QUALITY)
    return count, 0


def _with_boxes(folder: Path, items: Sequence[Labeled], drop: Sequence[str]) -> tuple[int, int]:
    pictures: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    classes: dict[str, int] = {}
    for item, image in _different(items):
        if not (boxes := _kept(item, image, drop)):
            continue
        image = shrink(image, MOST_PIXELS)
        height, width = image.shape[:2]
        number = len(pictures) + 1
        pictures.append({"id": number, "file_name": f"{number:06d}.jpg", "width": width, "height": height})
        write_image(folder / "images" / pictures[-1]["file_name"], image, JPEG_QUALITY)
        for label, shares in boxes:
            category = classes.setdefault(label, len(classes) + 1)
            box = [round(float(value), 1) for value in shares * (width, height, width, height)]
            place = {"id": len(annotations) + 1, "image_id": number}
            annotations.append(place | {"category_id": category, "bbox": box, "iscrowd": 0})
    if pictures:
        categories = [{"id": number, "name": label} for label, number in classes.items()]
        content = {"images": pictures, "annotations": annotations, "categories": categories}
        (folder / "annotations.json").write_text(json.dumps(content))
    return len(pictures), len(annotations)


def _different(items: Sequence[Labeled]) -> Iterator[tuple[Labeled, np.ndarray]]:
    """The pictures that can be read, are no copies, and have the shape that their labels say."""
    seen = set()
    for item in items:
        try:
            data = read_file(item.path)
            image = decode_image(data, str(item.path))
        except ImageError as error:
            log.info("left out: %s", error)
            continue
        height, width = image.shape[:2]
        said_width, said_height = (width, height) if item.size == SHARES else item.size
        other = abs(said_width * height - said_height * width) > _OTHER_SHAPE * said_height * width
        turned = is_turned(data, str(item.path))  # the labels may be of the picture as it is stored, or as it is shown
        digest = hashlib.sha256(data).digest()
        if not other and not turned and digest not in seen:
            seen.add(digest)
            yield item, image


def _kept(item: Labeled, image: np.ndarray, drop: Sequence[str]) -> list[tuple[str, np.ndarray]]:
    """Class and box, ``xywh`` in shares of the picture and cut at its sides, of what is worth learning."""
    height, width = image.shape[:2]
    size = np.array(item.size if all(item.size) else (width, height), np.float64)
    least = LEAST_PIXELS * max(1.0, max(height, width) / MOST_PIXELS)
    kept = []
    for label, box in item.boxes:
        start = np.clip(np.array(box[:2]) / size, 0, 1)
        sides = np.clip((np.array(box[:2]) + box[2:]) / size, 0, 1) - start
        if label not in drop and min(sides * (width, height)) >= least and sides.prod() <= MOST_SHARE:
            kept.append((label, np.concatenate((start, sides))))
    return kept
