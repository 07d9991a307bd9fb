"""Miniature training data sets in the official folder layouts: small real JPEGs of a textured box that moves.

Every writer takes the folder that the setting of the data set names, and returns the boxes it wrote by sequence name,
``xywh`` float64 (N, 4) as they stand in the annotation.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np

from lib.data.image_io import write_image
from lib.data.video_io import VideoWriter
from lib.train.admin.environment import EnvironmentSettings
from lib.utils.paths import PROJECT_DIR

Boxes = dict[str, np.ndarray]

FRAMES = 24  # more than the 20 that the sampler asks for
SIZE = (96, 72)
COCO_SIZE = (200, 160)  # boxes of COCO count from 50 pixels a side


def moving_boxes(count: int, size: tuple[int, int] = SIZE, seed: int = 0) -> np.ndarray:
    """Boxes of a third of the picture's sides that move on a line inside the picture; whole pixels, (count, 4)."""
    rng = np.random.default_rng(seed)
    side = np.array(size) // 3
    start, end = (rng.uniform(2, np.array(size) - side - 2) for _ in range(2))
    corners = np.linspace(start, end, count).round()
    return np.hstack((corners, np.tile(side, (count, 1)))).astype(np.float64)


def draw(box: np.ndarray, size: tuple[int, int] = SIZE, seed: int = 0) -> np.ndarray:
    """A smooth dark background with a bright chequered box, RGB uint8 (H, W, 3); ``seed`` chooses the textures."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(20, 110, (6, 8, 3), dtype=np.uint8)
    image = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    colors = rng.integers(150, 256, (2, 3), dtype=np.uint8)
    x, y, w, h = (int(value) for value in box)
    rows, columns = np.mgrid[0:h, 0:w] // 6
    image[y : y + h, x : x + w] = colors[(rows + columns) % 2]
    return image


def write_frames(paths: Iterable[Path], boxes: np.ndarray, size: tuple[int, int] = SIZE, seed: int = 0) -> None:
    """One picture per box."""
    for path, box in zip(paths, boxes, strict=True):
        write_image(path, draw(box, size, seed))


def write_rows(path: Path, rows: np.ndarray, form: str = "%g", separator: str = ",") -> None:
    """A table of numbers as text; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, rows, fmt=form, delimiter=separator)


def write_lasot(
    root: Path,
    names: Iterable[str] = ("airplane/airplane-2", "basketball/basketball-2", "zebra/zebra-1"),
    frames: int = FRAMES,
) -> Boxes:
    """``CLASS/CLASS-N/{img/%08d.jpg, groundtruth.txt, full_occlusion.txt, out_of_view.txt}``.

    Frame 3 is occluded and frame 5 out of view, with an empty box.
    """
    written = {}
    for seed, name in enumerate(names):
        folder = root / name
        boxes = moving_boxes(frames, seed=seed)
        write_frames([folder / "img" / f"{t + 1:08d}.jpg" for t in range(frames)], boxes, seed=seed)
        boxes[5] = 0
        write_rows(folder / "groundtruth.txt", boxes, "%d")
        for file, hidden in (("full_occlusion.txt", 3), ("out_of_view.txt", 5)):
            (folder / file).write_text(",".join(str(int(t == hidden)) for t in range(frames)))
        written[name] = boxes
    return written


def write_got10k(root: Path, count: int = 6, frames: int = FRAMES, start: str = "GOT-10k_Train_") -> Boxes:
    """``list.txt`` and ``SEQ/{%08d.jpg, groundtruth.txt, absence.label, cover.label, meta_info.ini}``.

    ``root`` is the folder ``train`` or ``val``. Frame 4 is absent and frame 6 covered.
    """
    written = {}
    for seed in range(count):
        folder = root / f"{start}{seed + 1:06d}"
        boxes = moving_boxes(frames, seed=seed)
        write_frames([folder / f"{t + 1:08d}.jpg" for t in range(frames)], boxes, seed=seed)
        write_rows(folder / "groundtruth.txt", boxes, "%.4f")
        (folder / "absence.label").write_text("".join(f"{int(t == 4)}\n" for t in range(frames)))
        (folder / "cover.label").write_text("".join(f"{0 if t == 6 else 8}\n" for t in range(frames)))
        (folder / "meta_info.ini").write_text("[METAINFO]\nobject_class: box\n")
        written[folder.name] = boxes
    (root / "list.txt").write_text("\n".join(written) + "\n")
    return written


def write_trackingnet(root: Path, sets: Iterable[int] = range(12), per_set: int = 1, frames: int = FRAMES) -> Boxes:
    """``TRAIN_N/{anno/SEQ.txt, frames/SEQ/%d.jpg}``, frames from 0; named ``TRAIN_N/SEQ``."""
    written = {}
    for number in sets:
        for seed in range(per_set):
            folder, name = root / f"TRAIN_{number}", f"video{number}_{seed}"
            boxes = moving_boxes(frames, seed=100 * number + seed)
            write_frames([folder / "frames" / name / f"{t}.jpg" for t in range(frames)], boxes, seed=seed)
            write_rows(folder / "anno" / f"{name}.txt", boxes, "%.1f")
            written[f"TRAIN_{number}/{name}"] = boxes
    return written


def write_coco(root: Path, images: int = 4) -> Boxes:
    """``annotations/instances_train2017.json`` and ``images/train2017/%012d.jpg``.

    Each image has a large object, one of fewer than 50 pixels a side, and a crowd. The large and small ones are
    returned, named ``IMAGE_ANNOTATION``.
    """
    written, image_rows, annotation_rows = {}, [], []
    for number in range(1, images + 1):
        box = moving_boxes(1, COCO_SIZE, seed=number)[0]
        file_name = f"{number:012d}.jpg"
        write_image(root / "images" / "train2017" / file_name, draw(box, COCO_SIZE, seed=number))
        image_rows.append({"id": number, "file_name": file_name, "width": COCO_SIZE[0], "height": COCO_SIZE[1]})
        small = np.array([1.5, 2.5, 30.25, 60])
        for place, (bbox, crowd) in enumerate(((box, 0), (small, 0), (box, 1))):
            identity = 10 * number + place
            annotation_rows.append(
                {"id": identity, "image_id": number, "category_id": 1, "iscrowd": crowd, "bbox": bbox.tolist()}
            )
            if not crowd:
                written[f"{number:012d}_{identity}"] = bbox[None]
    path = root / "annotations" / "instances_train2017.json"
    path.parent.mkdir(parents=True)
    categories = [{"id": 1, "name": "box"}]
    path.write_text(json.dumps({"images": image_rows, "annotations": annotation_rows, "categories": categories}))
    return written


def write_vid(root: Path, videos: int = 2, frames: int = FRAMES + 4) -> Boxes:
    """ImageNet VID: ``Annotations/VID/train/SET/VIDEO/%06d.xml`` and ``Data/VID/train/SET/VIDEO/%06d.JPEG`` from 0.

    Track 0 of each video is there from frame 0 and occluded in frame 2; track 1 begins in frame 2, has a gap at frame
    ``frames - 1`` and so ends before it. Tracks are named ``SET/VIDEO/TRACK``.
    """
    written = {}
    for seed in range(videos):
        place = Path("VID", "train", "ILSVRC2015_VID_train_0000", f"ILSVRC2015_train_{seed:08d}")
        boxes = moving_boxes(frames, seed=seed)
        pictures = [root / "Data" / place / f"{t:06d}.JPEG" for t in range(frames)]
        for path, box in zip(pictures, boxes, strict=True):
            write_image(path, draw(box, seed=seed))
        (root / "Annotations" / place).mkdir(parents=True)
        for t, box in enumerate(boxes):
            tracks = {0: box} | ({1: box + 1} if 2 <= t < frames - 1 else {})
            xml = _vid_xml(tracks, occluded=t == 2)
            (root / "Annotations" / place / f"{t:06d}.xml").write_text(xml)
        name = f"{place.parent.name}/{place.name}"
        written |= {f"{name}/0": boxes, f"{name}/1": boxes[2 : frames - 1] + 1}
    return written


def _vid_xml(tracks: dict[int, np.ndarray], occluded: bool) -> str:
    root = ElementTree.Element("annotation")
    size = ElementTree.SubElement(root, "size")
    for tag, value in zip(("width", "height"), SIZE, strict=True):
        ElementTree.SubElement(size, tag).text = str(value)
    for track, (x, y, w, h) in tracks.items():
        item = ElementTree.SubElement(root, "object")
        for tag, value in (("trackid", track), ("name", "n02691156"), ("occluded", int(occluded and track == 0))):
            ElementTree.SubElement(item, tag).text = str(value)
        box = ElementTree.SubElement(item, "bndbox")
        for tag, value in (("xmax", x + w), ("xmin", x), ("ymax", y + h), ("ymin", y)):
            ElementTree.SubElement(box, tag).text = str(int(value))
    return ElementTree.tostring(root, encoding="unicode")


def write_tnl2k(
    root: Path, names: Iterable[str] = ("Arrow_video_done", "part_9/INF_box"), frames: int = FRAMES
) -> Boxes:
    """``SEQ/{imgs/*.jpg, groundtruth.txt, language.txt}``; a sequence may lie in a folder of a part. Names of frames
    begin at 54 and bear a letter, as some do."""
    written = {}
    for seed, name in enumerate(names):
        boxes = moving_boxes(frames, seed=seed)
        write_frames([root / name / "imgs" / f"{t + 54}i.jpg" for t in range(frames)], boxes, seed=seed)
        write_rows(root / name / "groundtruth.txt", boxes, "%d")
        (root / name / "language.txt").write_text("the box")
        written[name] = boxes
    return written


def write_vasttrack(
    root: Path, names: Iterable[str] = ("Air Hockey/Air Hockey-1", "Zebra/Zebra-12"), frames: int = FRAMES
) -> Boxes:
    """``CLASS/CLASS-N/{imgs/%05d.jpg, Groundtruth.txt, nlp.txt}``; in frame 7 the target is absent: an empty box."""
    written = {}
    for seed, name in enumerate(names):
        folder = root / name
        boxes = moving_boxes(frames, seed=seed)
        write_frames([folder / "imgs" / f"{t + 1:05d}.jpg" for t in range(frames)], boxes, seed=seed)
        boxes[7] = 0
        write_rows(folder / "Groundtruth.txt", boxes, "%d")
        (folder / "nlp.txt").write_text("the box")
        written[name] = boxes
    return written


def write_folder(root: Path, frames: int = FRAMES) -> Boxes:
    """A folder of one's own: ``pictures`` with frames and flags (frame 2 is absent), ``clip`` with a video."""
    boxes = {name: moving_boxes(frames, seed=seed) for seed, name in enumerate(("clip", "pictures"))}
    write_frames([root / "pictures" / f"img{t}.jpg" for t in range(frames)], boxes["pictures"], seed=1)
    (root / "pictures" / "absence.label").write_text("".join(f"{int(t == 2)}\n" for t in range(frames)))
    with VideoWriter(root / "clip" / "clip.mp4") as video:
        for box in boxes["clip"]:
            video.write(draw(box, seed=0))
    for name, rows in boxes.items():
        write_rows(root / name / "groundtruth.txt", rows, separator="\t")
    return {f"{root.name}/{name}": rows for name, rows in boxes.items()}


def environment(root: Path) -> EnvironmentSettings:
    """Settings in which everything that lies in ``data/`` by default lies in ``root``."""
    data = EnvironmentSettings()
    moved = {
        name: str(root / Path(value).relative_to(PROJECT_DIR / "data"))
        for name, value in vars(data).items()
        if value and Path(value).is_relative_to(PROJECT_DIR / "data")
    }
    return replace(data, folder_dir=str(root / "folder"), **moved)


def write_all(env: EnvironmentSettings) -> dict[str, Boxes]:
    """Every data set where the settings have it; the boxes by the name of the data set."""
    return {
        "LASOT": write_lasot(Path(env.lasot_dir)),
        "GOT10K_train_full": write_got10k(Path(env.got10k_dir)),
        "GOT10K_official_val": write_got10k(Path(env.got10k_val_dir), 2, start="GOT-10k_Val_"),
        "COCO17": write_coco(Path(env.coco_dir)),
        "TRACKINGNET": write_trackingnet(Path(env.trackingnet_dir)),
        "VID": write_vid(Path(env.imagenet_dir)),
        "TNL2K": write_tnl2k(Path(env.tnl2k_dir)),
        "VASTTRACK": write_vasttrack(Path(env.vasttrack_dir)),
        "FOLDER": write_folder(Path(env.folder_dir)),
    }
