"""ImageNet VID (Russakovsky et al., IJCV 2015): every track of an object in a video is a sequence."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import numpy as np
from tqdm import tqdm

from lib.data.layouts import Plan
from lib.data.storage import Storage, file_text
from lib.data.tracks import SequenceInfo, Track, TrackTable, boxes_outside, literal, valid_boxes
from lib.utils.errors import DataError

ANNOTATIONS = "Annotations/VID/train"
FRAMES = "Data/VID/train"
# What the published loader writes beside the data, and its lmdb holds instead of the XML files.
PUBLISHED_CACHE = "cache.json"

_Row = tuple[list[float], bool]  # box x, y, w, h of a frame, and whether the target is occluded


def plan_vid(storage: Storage) -> Plan:
    """``Annotations/VID/train/SET/VIDEO/%06d.xml`` and ``Data/VID/train/SET/VIDEO/%06d.JPEG``.

    A track begins with the first frame that names it and ends before the first that does not; frames in which it is
    occluded count as invisible. Left out are tracks whose first box covers the whole picture. Where there is no XML,
    the published loader's ``cache.json`` is read, which says the same.
    """
    files: dict[str, list[str]] = {}
    for group in storage.names(ANNOTATIONS):
        for video in (f"{group}/{name}" for name in storage.names(f"{ANNOTATIONS}/{group}")):
            files[video] = [name for name in storage.names(f"{ANNOTATIONS}/{video}") if name.endswith(".xml")]
    if not files and storage.exists(PUBLISHED_CACHE):
        return Plan([PUBLISHED_CACHE], lambda: _read_published(storage))
    if not files:
        raise DataError(f"{storage.path()} has neither {ANNOTATIONS}/SET/VIDEO/*.xml nor {PUBLISHED_CACHE}")
    keys = [f"{ANNOTATIONS}/{video}/{name}" for video, names in files.items() for name in names]
    return Plan(keys, lambda: _read_xml(storage, files))


def _read_xml(storage: Storage, files: dict[str, list[str]]) -> TrackTable:
    tracks: list[Track | None] = []
    for video, names in tqdm(files.items(), desc="annotation", delay=2):
        rows: dict[str, list[_Row]] = {}
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
        expected = "expected a number, like 000000.xml"
        raise DataError(f"{name} is not the name of a frame's annotation: {expected}") from error


def _read_frame(storage: Storage, key: str) -> tuple[dict[str, _Row], tuple[int, int]]:
    """Box and occlusion by track, and the picture's width and height."""
    try:
        root = ElementTree.fromstring(storage.read(key))
        objects: dict[str, _Row] = {}
        for item in root.iter("object"):
            x1, y1, x2, y2 = (float(item.findtext(f"bndbox/{tag}", "")) for tag in ("xmin", "ymin", "xmax", "ymax"))
            occluded = item.findtext("occluded") != "0"
            objects.setdefault(item.findtext("trackid", ""), ([x1, y1, x2 - x1, y2 - y1], occluded))
        return objects, (int(root.findtext("size/width", "")), int(root.findtext("size/height", "")))
    except (ElementTree.ParseError, TypeError, ValueError) as error:
        raise DataError(f"{storage.path(key)} is not an annotation of ImageNet VID: {error}") from error


def _track(name: str, video: str, first: int, rows: list[_Row], size: tuple[int, int]) -> Track | None:
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
        for number, entry in enumerate(json.loads(file_text(storage, PUBLISHED_CACHE))):
            video = f"ILSVRC2015_VID_train_{entry['set_id']:04d}/ILSVRC2015_train_{entry['vid_id']:08d}"
            rows = [(box, not seen) for box, seen in zip(entry["anno"], entry["target_visible"], strict=True)]
            tracks.append(_track(f"{video}/{number}", video, entry["start_frame"], rows, tuple(entry["image_size"])))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise DataError(f"{path} is not the list of tracks of a published loader: {error!r}") from error
    return TrackTable.join(filter(None, tracks))
