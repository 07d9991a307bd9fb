"""Training data in few bytes, to take them to another machine: what training sees of each picture, and no more.

Of a video a square around the target in some frames, no finer than a crop shows it, as an animated AVIF; of a picture
with boxes the surroundings of one of them; of a picture for ``IMAGES`` all of it, but smaller. Everything lies in zip
files, each a random share of the whole, so that training can begin with some of them. :func:`unpack` makes folders for
``FOLDER``, ``PICTURES`` and ``IMAGES`` of them.
"""

from __future__ import annotations

import itertools
import json
import logging
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from lib.data.image_io import decode_image, read_image, shrink, write_image
from lib.data.tracks import AnnotatedDataset, TrackDataset
from lib.utils.cpu import cpu_count
from lib.utils.crop import CropWindow, crop_window
from lib.utils.errors import ConfigError, DataError
from lib.utils.replacing import replacing

logger = logging.getLogger(__name__)

VIDEO, PICTURES, PHOTOS, CUTOUTS = "video", "pictures", "photos", "cutouts"
_INDEX = "index.json"
_SPEED = 8  # of the AVIF encoder, 0 to 10; slower ones save a quarter and take five times as long
_JPEG_QUALITY = 92


@dataclass(frozen=True)
class PackSpec:
    """How much is packed, and how finely."""

    frames: int = 64  # most frames of a sequence, evenly spaced
    side: int = 336  # pixels of the square around the target, and of the longest side of other pictures
    factor: float = 6.4  # side of the square around the target over the square root of the area of its box
    quality: int = 50  # of AVIF, 0 to 100

    @property
    def avif(self) -> list[int]:
        """Options of OpenCV's AVIF encoder."""
        return [cv2.IMWRITE_AVIF_QUALITY, self.quality, cv2.IMWRITE_AVIF_SPEED, _SPEED]


@dataclass(frozen=True)
class Packed:
    """A file of a part, and what the index says of it: boxes ``xywh`` in its pixels."""

    name: str
    data: bytes
    boxes: list[list[float]] = field(default_factory=list)
    shown: list[list[int]] = field(default_factory=list)


class View(NamedTuple):
    """The part of a frame inside a square around a target, the target's ``xywh`` in it, and the square in the frame."""

    image: np.ndarray
    box: np.ndarray
    window: CropWindow


def surroundings(frame: np.ndarray, box: np.ndarray, factor: float) -> View:
    """Cut out the part of a frame, RGB uint8 (H, W, 3), inside the square around a box.

    ``box`` is ``xywh`` in pixels, float64 (4,), with area and not outside of the frame; ``factor`` is the side of the
    square over the square root of its area.
    """
    center = np.clip(box[:2] + 0.5 * box[2:], 0, frame.shape[1::-1])
    window = crop_window((*center - 0.5 * box[2:], *box[2:]), factor)
    left, top = max(window.x, 0), max(window.y, 0)
    image = frame[top : window.y + window.side, left : window.x + window.side]
    return View(image, box - (left, top, 0, 0), window)


def _shrunk(view: View, ratio: float) -> tuple[np.ndarray, np.ndarray]:
    """Return picture and box of a view, shrunk where ``ratio`` is below 1."""
    old = np.array(view.image.shape[1::-1])
    new = np.maximum(np.round(old * min(ratio, 1.0)), 1).astype(int)
    image = cv2.resize(view.image, new.tolist(), interpolation=cv2.INTER_AREA) if ratio < 1 else view.image
    return image, view.box * np.tile(new / old, 2)


def pack_sequence(dataset: AnnotatedDataset, index: int, name: str, spec: PackSpec) -> Packed:
    """Pack frames of a sequence, from the first that shows the target; where it is hidden, around its last box.

    Raises ImageError: a frame cannot be read.
    """
    info = dataset.sequence(index)
    seen = np.flatnonzero(info.visible)
    count = min(spec.frames, len(info.visible) - int(seen[0]))
    chosen = np.linspace(seen[0], len(info.visible) - 1, count).round().astype(int).tolist()
    frames, boxes, shown = [], [], []
    for t in chosen:
        last = int(seen[np.searchsorted(seen, t, side="right") - 1])
        view = surroundings(dataset.frame(index, t), info.bbox[last], spec.factor)
        ratio = min(spec.side / view.window.side, 1.0)
        image, box = _shrunk(view, ratio)
        height, width = image.shape[:2]
        left = min(round(max(-view.window.x, 0) * ratio), spec.side - width)
        top = min(round(max(-view.window.y, 0) * ratio), spec.side - height)
        canvas = np.zeros((spec.side, spec.side, 3), np.uint8)
        canvas[top : top + height, left : left + width] = image
        frames.append(cv2.cvtColor(canvas, cv2.COLOR_RGB2BGR))
        boxes.append(np.round(box, 2).tolist() if info.visible[t] else [])
        shown.append([left, top, width, height])
    return Packed(f"{VIDEO}/{name}.avif", _encode_frames(frames, spec), boxes, shown)


def pack_object(dataset: AnnotatedDataset, index: int, name: str, spec: PackSpec) -> Packed:
    """Pack an object of still pictures, ``name`` with the folder of its set. Raises ImageError: it cannot be read."""
    view = surroundings(dataset.frame(index, 0), dataset.sequence(index).bbox[0], spec.factor)
    image, box = _shrunk(view, spec.side / max(view.image.shape[:2]))
    return Packed(f"{PICTURES}/{name}.avif", _encode(image, spec), [np.round(box, 2).tolist()])


def pack_photo(number: int, path: Path, spec: PackSpec) -> Packed:
    """Pack a picture for ``IMAGES``. Raises DataError: it cannot be read."""
    return Packed(f"{PHOTOS}/{number:06d}.avif", _encode(shrink(read_image(path), spec.side), spec))


def pack_cutout(number: int, path: Path, spec: PackSpec) -> Packed:
    """Pack a cut-out, with its alpha, for ``IMAGES``. Raises DataError: it cannot be read."""
    image = cv2.cvtColor(shrink(read_image(path, alpha=True), spec.side // 2), cv2.COLOR_RGBA2BGRA)
    data = _encoded(*cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, spec.quality]))
    return Packed(f"{CUTOUTS}/{number:06d}.webp", data)


def _require_avif() -> None:
    if not (hasattr(cv2, "imencodeanimation") and cv2.haveImageWriter("x.avif")):
        raise ConfigError(f"OpenCV {cv2.__version__} has no AVIF; pip install -U opencv-python (4.12 or newer)")


def _encode(image: np.ndarray, spec: PackSpec) -> bytes:
    return _encoded(*cv2.imencode(".avif", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), spec.avif))


def _encode_frames(frames: Sequence[np.ndarray], spec: PackSpec) -> bytes:
    animation = cv2.Animation()
    animation.frames, animation.durations = frames, [40] * len(frames)
    return _encoded(*cv2.imencodeanimation(".avif", animation, spec.avif))


def _encoded(done: bool, data: np.ndarray) -> bytes:
    """Return the bytes of what OpenCV's encoders return."""
    assert done
    return data.tobytes()


Job = Callable[[], Packed]
_held: list[Job] = []  # of a worker process


def jobs_of(
    dataset: TrackDataset, rng: np.random.Generator, most: int, spec: PackSpec, sources: dict[str, str]
) -> dict[str, Job]:
    """Return, by name, what packs all sequences of video, or at most ``most`` objects of pictures.

    The names are those of the sequences, for video without the folders above them: experiments select by them. Of
    several sequences with one name the later ones get a number, with a warning; ``sources`` is what each name stands
    for in the sets before, and the names of this one are added.
    """
    usable = [index for index in range(len(dataset)) if dataset.sequence(index).visible.any()]
    if not dataset.is_video:
        usable = rng.permutation(usable)[:most].tolist()
    run = pack_sequence if dataset.is_video else pack_object
    jobs: dict[str, Job] = {}
    for index in usable:
        folder, _, own = dataset.sequence_name(index).rpartition("/")
        if not dataset.is_video:
            own = f"{Path(folder).name or dataset.name}/{own}"
        source = f"{dataset.storage.path(dataset.frame_file(index, 0))} {dataset.sequence_name(index)}"
        names = itertools.chain([own], (f"{own}_{number}" for number in itertools.count(2)))
        name = next(name for name in names if sources.setdefault(name, source) == source)
        if name != own:
            logger.warning("%s: another sequence is called %s, so this one is packed as %s", source, own, name)
        jobs[name] = partial(run, dataset, index, name, spec)
    return jobs


def pack(jobs: Sequence[Job], folder: Path, sizes: Iterable[int], rng: np.random.Generator) -> Iterator[Path]:
    """Pack in random order into ``folder/part_N.zip`` of at most ``sizes`` bytes each, and yield each part when it is
    full.

    What cannot be read is left out with a warning. Raises ConfigError: OpenCV cannot write AVIF, or ``folder`` holds
    parts, which would be taken for some of these; DataError: something is larger than a part.
    """
    _require_avif()
    if found := sorted(folder.glob("part_*.zip")):
        raise ConfigError(f"{found[0]} is there already: delete the parts in {folder}, or choose another folder")
    order = [jobs[index] for index in rng.permutation(len(jobs))]
    with ProcessPoolExecutor(cpu_count(), initializer=_hold, initargs=(order,)) as pool:
        results = tqdm(pool.map(_run, range(len(order)), chunksize=4), "packing", len(order), unit="file")
        packed = _packed(results)
        waiting = next(packed, None)
        for number, size in enumerate(sizes, 1):
            if waiting is None:
                return
            path = folder / f"part_{number}.zip"
            with replacing(path) as unfinished:
                waiting = _write_part(unfinished, waiting, packed, size)
            yield path


def _hold(jobs: list[Job]) -> None:
    cv2.setNumThreads(0)
    _held[:] = jobs


def _run(number: int) -> Packed | DataError:
    try:
        return _held[number]()
    except DataError as error:
        return error


def _packed(results: Iterable[Packed | DataError]) -> Iterator[Packed]:
    for result in results:
        if isinstance(result, DataError):
            logger.warning("left out: %s", result)
        else:
            yield result


def _write_part(path: Path, first: Packed, more: Iterator[Packed], size: int) -> Packed | None:
    """Write files until the next would make the part larger than ``size``, and return that one."""
    index: dict[str, dict[str, Any]] = {}
    used = 1000  # of the end of the zip file
    one: Packed | None = first
    with zipfile.ZipFile(path, "w") as part:
        while one is not None:
            entry = {key: value for key, value in (("boxes", one.boxes), ("shown", one.shown)) if value}
            cost = len(one.data) + len(json.dumps(entry)) // 2 + 3 * len(one.name) + 150
            if used + cost > size:
                if not index:
                    raise DataError(f"{one.name} does not fit into a part of {size} bytes: choose a larger one")
                break
            part.writestr(one.name, one.data)
            index[one.name], used, one = entry, used + cost, next(more, None)
        part.writestr(_INDEX, json.dumps(index), zipfile.ZIP_DEFLATED)
    return one


def unpack(parts: Sequence[Path], out: Path) -> dict[str, int]:
    """Write the folders ``video``, ``pictures``, ``photos`` and ``cutouts`` of some parts; return their files' count.

    Raises ConfigError: OpenCV cannot read AVIF; DataError: a file is not a part, or damaged.
    """
    _require_avif()
    counts = dict.fromkeys((VIDEO, PICTURES, PHOTOS, CUTOUTS), 0)
    for path in parts:
        try:
            with zipfile.ZipFile(path) as part:
                index: dict[str, dict[str, Any]] = json.loads(part.read(_INDEX))
                if strange := [name for name in index if ".." in name or PurePosixPath(name).parts[0] not in counts]:
                    raise ValueError(f"unexpected {strange[0]}")
                with ProcessPoolExecutor(cpu_count(), initializer=cv2.setNumThreads, initargs=(0,)) as pool:
                    files = ((name, part.read(name), entry) for name, entry in index.items())
                    sizes = list(pool.map(partial(_unpack, out), files, chunksize=16))
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise DataError(f"{path} is not a whole part of tracking/pack_training_data.py: {error}") from error
        sets: dict[str, list[tuple[str, list[float], tuple[int, int]]]] = {}
        for (name, entry), size in zip(index.items(), sizes, strict=True):
            kind, *folders, _ = PurePosixPath(name).parts
            counts[kind] += 1
            if kind == PICTURES:
                sets.setdefault(folders[0], []).append((PurePosixPath(name).stem, entry["boxes"][0], size))
        for folder, pictures in sets.items():
            _write_annotations(out / PICTURES / folder / "annotations" / f"{path.stem}.json", pictures)
    return counts


def _unpack(out: Path, file: tuple[str, bytes, dict[str, Any]]) -> tuple[int, int]:
    """Write one file as pictures, and return the width and height of the last."""
    name, data, entry = file
    target = out / PurePosixPath(name).with_suffix("")
    if "shown" in entry:
        return _write_frames(data, entry, target)
    if name.startswith(CUTOUTS):
        image = decode_image(data, name, alpha=True)
        write_image(target.with_name(f"{target.name}.png"), image)
    else:
        image = decode_image(data, name)
        folder = target.parent / "images" if name.startswith(PICTURES) else target.parent
        write_image(folder / f"{target.name}.jpg", image, _JPEG_QUALITY)
    return image.shape[1], image.shape[0]


def _write_frames(data: bytes, entry: dict[str, Any], folder: Path) -> tuple[int, int]:
    """Write the frames of a sequence and their boxes, and return the width and height of the last frame."""
    _, animation = cv2.imdecodeanimation(np.frombuffer(data, np.uint8))
    rows = []
    for t, (frame, box, shown) in enumerate(zip(animation.frames, entry["boxes"], entry["shown"], strict=True), 1):
        left, top, width, height = shown
        image = cv2.cvtColor(frame[top : top + height, left : left + width, :3], cv2.COLOR_BGR2RGB)
        write_image(folder / "img" / f"{t:08d}.jpg", image, _JPEG_QUALITY)
        rows.append(",".join(str(value) for value in box or ["nan"] * 4))
    (folder / "groundtruth.txt").write_text("\n".join(rows) + "\n")
    return width, height


def _write_annotations(path: Path, pictures: Sequence[tuple[str, list[float], tuple[int, int]]]) -> None:
    """Write the boxes of pictures, each with its name and its width and height, in COCO's form."""
    images, annotations = [], []
    for number, (name, box, (width, height)) in enumerate(pictures):
        images.append({"id": number, "file_name": f"{name}.jpg", "width": width, "height": height})
        annotations.append({"id": number, "image_id": number, "category_id": 1, "bbox": box})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "object"}]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
