"""Pictures of what is trained from: samples, with what the network makes of them, cut-outs, and labeled sequences."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from lib.data.annotations import parse_boxes
from lib.data.image_io import read_image
from lib.utils.box_ops import box_cxcywh_to_xyxy, box_xywh_to_xyxy, paired_iou
from lib.vis.draw import PREDICTION, TRUTH, Color, captioned, contact_sheet, draw_box, fitted, write_sheets

if TYPE_CHECKING:
    from torch import Tensor

    from lib.config import ExperimentConfig

MAX_SAMPLES = 8
TILE = 256  # side in pixels
_SAMPLES_PER_ROW = 2
_PEAK: Color = (255, 255, 255)
_BEHIND: Color = (255, 0, 255)  # what is cut off: no object has this color
_CUTOUT_TILE, _CUTOUT_COLUMNS, _CUTOUT_ROWS = 120, 14, 10
_MOMENTS = 3  # pictures of a sequence: the first, the last, and those between
_MOMENT_TILE = (150, 200)  # height and width of each, in pixels
_LABEL_COLUMNS, _LABEL_ROWS = 3, 12


def sample_sheet(batch: Mapping[str, Any], output: Mapping[str, Tensor], cfg: ExperimentConfig) -> np.ndarray:
    """Draw the first samples of a batch, two to a row, each as (last) template, (last) search region and score map.

    The template shows the true box (green) with the name of the data set, the search region the true and the predicted
    box (orange) with their IoU, the score map (from blue, 0, to red, 1, over the search region) its highest score. A
    search region whose ``label`` is 0 has no true box; a head without score map no third picture.

    ``batch`` is as the loader gives it, with tensors stacked on dimension 1, on any device; ``output`` of the network
    for it, see :meth:`lib.train.actors.Actor.forward`; ``cfg`` tells how images were normalized. Returns RGB
    uint8, at most four rows of tiles 256 pixels wide.
    """
    templates, searches = _pictures(batch["template_images"][-1], cfg), _pictures(batch["search_images"][-1], cfg)
    template_boxes, search_boxes = _values(batch["template_anno"][-1]), _values(batch["search_anno"][-1])
    count = batch["search_images"].shape[1]
    last = {name: output[name][-count:][:MAX_SAMPLES] for name in ("pred_boxes", "score_map") if name in output}
    predicted = box_cxcywh_to_xyxy(last["pred_boxes"][:, 0].detach().float().cpu())
    truth = box_xywh_to_xyxy(batch["search_anno"][-1][:MAX_SAMPLES].cpu()).clamp(0, 1)
    overlaps = paired_iou(predicted, truth)[0].tolist()
    predicted[:, 2:] -= predicted[:, :2]  # xywh from here
    labels = _values(batch["label"].reshape(-1)[-count:]) if "label" in batch else np.ones(len(predicted))
    names = batch.get("dataset", ["target"] * len(predicted))
    tiles = []
    for i, search in enumerate(searches):
        tiles.append(_boxed(templates[i], template_boxes[i], TRUTH, names[i]))
        seen, text = search, "not shown"
        if labels[i] > 0:
            seen, text = _boxed(search, search_boxes[i], TRUTH), f"IoU {overlaps[i]:.2f}"
        tiles.append(_boxed(seen, predicted[i].numpy(), PREDICTION, text))
        if "score_map" in last:
            tiles.append(_scored(search, _values(last["score_map"][i, 0])))
    columns = len(tiles) // len(searches) * min(_SAMPLES_PER_ROW, len(searches))
    return contact_sheet(tiles, columns, TILE)


def cutout_sheets(folder: Path, sheet: Path) -> list[Path]:
    """Draw the PNG files with alpha of a folder on magenta, see :func:`write_sheets`."""

    def tile(path: Path) -> np.ndarray:
        image = read_image(path, alpha=True)
        object_alone = np.where(image[..., 3:] > 0, image[..., :3], np.array(_BEHIND, np.uint8))
        return fitted(object_alone, _CUTOUT_TILE, _CUTOUT_TILE)

    return write_sheets(sheet, sorted(folder.glob("*.png")), tile, _CUTOUT_COLUMNS, _CUTOUT_ROWS, _CUTOUT_TILE)


def label_sheets(out: Path, sheet: Path) -> list[Path]:
    """Draw the sequences that ``label_videos`` of ``lib/test/labeling`` wrote to ``out``, see :func:`write_sheets`.

    Raises DataError: there is no sequence, or its files are damaged.
    """
    folders = sorted(path.parent for path in out.glob("pseudo_*/groundtruth.txt"))
    return write_sheets(sheet, folders, _moments, _LABEL_COLUMNS, _LABEL_ROWS, _MOMENTS * _MOMENT_TILE[1])


def _moments(folder: Path) -> np.ndarray:
    """Draw some frames of a sequence with their boxes, side by side under its name and class."""
    text = (folder / "groundtruth.txt").read_text()
    boxes, files = parse_boxes(text, str(folder)), sorted((folder / "img").iterdir())
    meta = json.loads((folder / "meta.json").read_text())
    chosen = np.linspace(0, len(boxes) - 1, _MOMENTS).round().astype(int)
    tiles = [fitted(draw_box(read_image(files[i]), boxes[i]), *_MOMENT_TILE) for i in chosen]
    name = folder.name.removeprefix("pseudo_")
    return captioned(np.concatenate(tiles, axis=1), f"{meta['class']} {len(boxes)} {meta['agreement']:.2f} {name}")


def _values(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()


def _pictures(images: Tensor, cfg: ExperimentConfig) -> list[np.ndarray]:
    """The first normalized images (B, 3, H, W) as RGB uint8 tiles."""
    pixels = _values(images[:MAX_SAMPLES]).transpose(0, 2, 3, 1) * np.asarray(cfg.DATA.STD) + np.asarray(cfg.DATA.MEAN)
    pixels = (pixels * 255).round().clip(0, 255).astype(np.uint8)
    return [cv2.resize(picture, (TILE, TILE), interpolation=cv2.INTER_CUBIC) for picture in pixels]


def _boxed(tile: np.ndarray, box: np.ndarray, color: Color, label: str | None = None) -> np.ndarray:
    """Return the tile with a box, ``xywh`` in fractions of it."""
    return draw_box(tile, (box * TILE).tolist(), color, label, thickness=2)


def _scored(tile: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Return the tile under a score map (S, S) in [0, 1], with a frame around the best cell."""
    heat = cv2.applyColorMap((score * 255).round().astype(np.uint8), cv2.COLORMAP_JET)
    heat = cv2.resize(cv2.cvtColor(heat, cv2.COLOR_BGR2RGB), (TILE, TILE), interpolation=cv2.INTER_NEAREST)
    row, column = np.unravel_index(score.argmax(), score.shape)
    cell = np.array([column, row, 1, 1]) / len(score)
    return _boxed(cv2.addWeighted(tile, 0.5, heat, 0.5, 0), cell, _PEAK, f"score {score.max():.2f}")
