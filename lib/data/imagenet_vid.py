"""ImageNet VID (Russakovsky et al., IJCV 2015): every track of an object in a video is a sequence."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import numpy as np
from tqdm import tqdm

from lib.data.annotations import decode_text
from lib.data.layouts import Plan
from lib.data.storage import Storage
from lib.data.tracks import SequenceInfo, Track, TrackTable, boxes_outside, literal, valid_boxes
from lib.utils.errors import DataError

ANNOTATIONS = "Annotations/VID/train"
FRAMES = "Data/VID/train"
# What the published loader writes beside the data, and its lmdb holds instead of the XML files.
PUBLISHED_CACHE = "cache.json"

# Boxes x, y, w, h of consecutive frames and, for each, whether the target is occluded.
_Rows = list[tuple[list[float], bool]]


def plan_vid(storage: Storage) -> Plan:
    """``Annotations/VID/train/SET/VIDEO/%06d.xml`` and ``Data/VID/train/SET/VIDEO/%06d.JPEG``.

    A track begins with the first frame that names it and ends before the first that does not; frames in which it is
    occluded count as invisible. Left out are tracks whose first box covers the whole picture. Where there is no XML,
    the published loader's ``cache.json`` is read, which says the same.
    """
    videos = [
        f"{group}/{name}" for group in storage.names(ANNOTATIONS) for name in storage.names(f"{ANNOTATIONS}/{group}")
    ]
    if not videos and storage.exists(PUBLISHED_CACHE):
        return Plan([PUBLISHED_CACHE], lambda: _read_published(storage))
    if not videos:
        raise DataError(f"{storage.path()} has neither {ANNOTATIONS}/SET/VIDEO/*.xml nor {PUBLISHED_CACHE}")
    files = {video: _xml_names(storage, video) for video in videos}
    keys = [f"{ANNOTATIONS}/{video}/{name}" for video, names in files.items() for name in names]
    return Plan(keys, lambda: _read_xml(storage, files))


def _xml_names(storage: Storage, video: str) -> list[str]:
    return [name for name in storage.names(f"{ANNOTATIONS}/{video}") if name.endswith(".xml")]


def _read_xml(storage: Storage, files: dict[str, list[str]]) -> TrackTable:
    tracks: list[Track | None] = []
    for video, names in tqdm(files.items(), desc="annotation", delay=2):
        rows: dict[str, _Rows] = {}
        starts: dict[str, int] = {}
        for name in names:
            t, (objects, size) = _number(name), _read_frame(storage, f"{ANNOTATIONS}/{video}/{name}")
            for track, row in objects.items():
                if starts.setdefault(track, t) + len(rows.setdefault(track, [])) == t:  # no gap so far
                    rows[track].append(row)
        tracks += [_track(f"{video}/{track}", video, starts[track], rows[track], size) for track in rows]
    return TrackTable.join(filter(None, tracks))


def _number(name: str) -> int:
    """Return the number of a frame whose file is called ``NUMBER.xml``."""
    try:
        return int(name.removesuffix(".xml"))
    except ValueError as error:
        raise DataError(
            f"{name} is not the name of a frame's annotation: expected a number, like 000000.xml"
        ) from error


def _read_frame(storage: Storage, key: str) -> tuple[dict[str, tuple[list[float], bool]], tuple[int, int]]:
    """Box and occlusion by track, and the picture's width and height."""
    try:
        root = ElementTree.fromstring(storage.read(key))
        objects: dict[str, tuple[list[float], bool]] = {}
        for item in root.iter("object"):
            x1, y1, x2, y2 = (float(item.findtext(f"bndbox/{tag}", "")) for tag in ("xmin", "ymin", "xmax", "ymax"))
            occluded = item.findtext("occluded") != "0"
            objects.setdefault(item.findtext("trackid", ""), ([x1, y1, x2 - x1, y2 - y1], occluded))
        return objects, (int(root.findtext("size/width", "")), int(root.findtext("size/height", "")))
    except (ElementTree.ParseError, TypeError, ValueError) as error:
        raise DataError(f"{storage.path(key)} is not an annotation of ImageNet VID: {error}") from error


def _track(name: str, video: str, first: int, rows: _Rows, size: tuple[int, int]) -> Track | None:
    bbox = np.array([box for box, _ in rows], np.float64)
    if bbox[0, 2] * bbox[0, 3] >= size[0] * size[1]:
        return None
    valid = valid_boxes(bbox) & ~boxes_outside(bbox, np.array(size, np.float64))
    info = SequenceInfo(bbox, valid & ~np.array([occluded for _, occluded in rows]), valid)
    return Track(name, info, f"{literal(f'{FRAMES}/{video}')}/{{:06d}}.JPEG", first=first)


def _read_published(storage: Storage) -> TrackTable:
    path = storage.path(PUBLISHED_CACHE)
    try:
        tracks = []
        for number, entry in enumerate(json.loads(decode_text(storage.read(PUBLISHED_CACHE), path))):
            video = f"ILSVRC2015_VID_train_{entry['set_id']:04d}/ILSVRC2015_train_{entry['vid_id']:08d}"
            rows = [(box, not seen) for box, seen in zip(entry["anno"], entry["target_visible"], strict=True)]
            tracks.append(_track(f"{video}/{number}", video, entry["start_frame"], rows, tuple(entry["image_size"])))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise DataError(f"{path} is not the list of tracks of a published loader: {error!r}") from error
    return TrackTable.join(filter(None, tracks))
