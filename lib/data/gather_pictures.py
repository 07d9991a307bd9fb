"""Pictures out of clones of public repositories: those with boxes in COCO's form, and photographs without."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from lib.data.gather_table import option_values
from lib.data.image_io import decode_image, is_turned, read_file, shrink, write_image
from lib.data.label_forms import FORMS, SHARES, Labeled, read_photos
from lib.utils.errors import DataError, ImageError, suggestion

log = logging.getLogger(__name__)

MOST_PIXELS = 640  # of the longer side of a stored picture
LEAST_PIXELS = 8  # of the shorter side of a box in a stored picture
MOST_SHARE = 0.95  # of a picture that a box may cover
_JPEG_QUALITY = 90
_OTHER_SHAPE = 0.03  # relative difference of shape at which labels are of another version of the picture


@dataclass(frozen=True)
class _Options:
    """Where a repository keeps a set.

    Attributes:
        images: folders of pictures; ``photos`` takes what is below them too.
        labels: for each of them the folder of its label files (``voc``, ``yolo``) or the file of its labels (``coco``,
            ``csv``); by default label files lie beside the pictures.
        names: the classes of ``yolo`` by their number; by default they are called by it.
        drop: classes to leave out.
        most: pictures to take, evenly spaced in the order of their names.
    """

    images: Sequence[str]
    labels: Sequence[str] = ()
    names: Sequence[str] = ()
    drop: Sequence[str] = ()
    most: int = 1500


def gather(name: str, form: str, options: Mapping[str, Any], clones: Sequence[Path], out: Path) -> tuple[int, int]:
    """Make the set ``name``; an earlier one is replaced.

    It becomes ``out/pictures/NAME``, of ``images/*.jpg`` and ``annotations.json`` in COCO's form, or, of the form
    ``photos``, ``out/photos/NAME/*.jpg``. Pictures have at most ``MOST_PIXELS`` a side. Left out are boxes smaller or
    larger than is worth learning, pictures without any, damaged ones, copies, and those whose labels say another shape.
    Roboflow writes altered versions of a picture as ``NAME.rf.HASH.jpg``: one of them is taken.

    Args:
        form: one of ``FORMS``.
        options: the other keys of the set's row, see :class:`_Options`.
        clones: the working tree of the set's repository.

    Returns:
        the numbers of pictures and boxes.

    Raises:
        DataError: an option is unknown or missing, a folder or label file is missing or damaged, or nothing is found.
    """
    chosen = _options(name, options)
    read = FORMS[form]
    labels = chosen.labels or chosen.images
    if len(labels) != len(chosen.images):
        raise DataError(f"{name}: {len(chosen.images)} images but {len(labels)} labels; give one for each")
    folder = out / ("photos" if read is read_photos else "pictures") / name
    shutil.rmtree(folder, ignore_errors=True)
    items: dict[str, Labeled] = {}
    for images, place in zip(chosen.images, labels, strict=True):
        for item in read(clones[0] / images, clones[0] / place, chosen.names):
            if item.boxes or read is read_photos:
                items[_source(item.path)] = item
    names = sorted(items)
    count = min(chosen.most, len(names))
    spread = [items[names[index * len(names) // count]] for index in range(count)]
    found = _photos(folder, spread) if read is read_photos else _with_boxes(folder, spread, chosen.drop)
    if not found[0]:
        raise DataError(
            f"{name}: no usable picture in {', '.join(str(clones[0] / images) for images in chosen.images)}"
        )
    return found


def _options(name: str, options: Mapping[str, Any]) -> _Options:
    known = [field.name for field in fields(_Options)]
    for key in options:
        if key not in known:
            raise DataError(f"{name}: unknown key {key}; {suggestion(key, known, 'known are ' + ', '.join(known))}")
    if "images" not in options:
        raise DataError(f"{name}: the key images is missing")
    return _Options(**option_values(_Options, name, options))


def _source(path: Path) -> str:
    """The same for all versions of a picture."""
    return path.name.split(".rf.")[0] if ".rf." in path.name else str(path)


def _photos(folder: Path, items: Sequence[Labeled]) -> tuple[int, int]:
    images = _different(items)
    count = 0
    for count, (_, image) in enumerate(images, 1):
        write_image(folder / f"{count:06d}.jpg", shrink(image, MOST_PIXELS), _JPEG_QUALITY)
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
        write_image(folder / "images" / pictures[-1]["file_name"], image, _JPEG_QUALITY)
        for label, shares in boxes:
            category = classes.setdefault(label, len(classes) + 1)
            box = [round(float(value), 1) for value in shares * (width, height, width, height)]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number, "category_id": category, "bbox": box, "iscrowd": 0}
            )
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
