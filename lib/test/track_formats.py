"""Tracks of a video as the files that other programs read: plain boxes, MOTChallenge, COCO, CVAT and Label Studio.

Boxes are ``xywh`` in pixels, counted from 0 at the upper left corner of the picture, as everywhere in the project. What
a format counts in another way is converted here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from lib.utils.errors import ConfigError, OSTrackError

if TYPE_CHECKING:
    import supervision


@dataclass(frozen=True)
class Track:
    """One target through all frames of a video."""

    boxes: np.ndarray  # (N, 4), ``xywh`` in pixels; nan where the target is absent
    scores: np.ndarray  # (N,), in [0, 1]; nan where there is none
    label: str = "target"  # what it is

    @property
    def present(self) -> np.ndarray:
        """Frames in which the target has a box, bool (N,)."""
        return np.isfinite(self.boxes).all(axis=1)


@dataclass(frozen=True)
class VideoTracks:
    """The tracks of one video."""

    video: str  # its file, or what it is called
    # width, height: of a frame, in pixels.
    width: int
    height: int
    fps: float  # frames per second
    tracks: tuple[Track, ...]  # one for each target, all with as many frames as were seen

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.tracks[0].boxes) if self.tracks else 0

    def rows(self) -> Iterator[tuple[int, int, np.ndarray, float]]:
        """Every box: frame (from 0), target (from 0), ``xywh`` and score, frame by frame."""
        for frame in range(self.frames):
            for number, track in enumerate(self.tracks):
                if track.present[frame]:
                    yield frame, number, track.boxes[frame], float(track.scores[frame])

    def to_supervision(self, frame: int) -> supervision.Detections:
        """Return the boxes of a frame (from 0) as ``supervision.Detections``; targets are numbered from 1.

        Raises OSTrackError: the package ``supervision`` is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise OSTrackError("supervision is not installed; run: pip install supervision") from error
        found = [(number, track) for number, track in enumerate(self.tracks) if track.present[frame]]
        if not found:
            return supervision.Detections.empty()
        boxes = np.stack([track.boxes[frame] for _, track in found])
        return supervision.Detections(
            xyxy=np.concatenate((boxes[:, :2], boxes[:, :2] + boxes[:, 2:]), axis=1).astype(np.float32),
            confidence=np.array([track.scores[frame] for _, track in found], np.float32),
            class_id=np.zeros(len(found), int),
            tracker_id=np.array([number + 1 for number, _ in found]),
        )


def boxes_text(video: VideoTracks) -> str:
    """Return a line ``x,y,w,h`` for each frame, nan where the target is absent; one target alone, as annotation has it.

    Raises ConfigError: there are several targets.
    """
    if len(video.tracks) != 1:
        raise ConfigError(f"boxes.txt holds one target, not {len(video.tracks)}: save to mot.csv or coco.json")
    return "".join(",".join(f"{value:.2f}" for value in box) + "\n" for box in video.tracks[0].boxes)


def mot_csv(video: VideoTracks) -> str:
    """MOTChallenge: ``frame,id,x,y,w,h,conf,-1,-1,-1``; frames, targets and pixels are counted from 1."""
    lines = []
    for frame, number, (x, y, w, h), score in video.rows():
        confidence = score if np.isfinite(score) else 1.0
        lines.append(f"{frame + 1},{number + 1},{x + 1:.2f},{y + 1:.2f},{w:.2f},{h:.2f},{confidence:.4f},-1,-1,-1\n")
    return "".join(lines)


def coco_json(video: VideoTracks) -> str:
    """COCO: an image for each frame, an annotation for each box, with ``track_id`` (from 1) and ``score``."""
    labels = list(dict.fromkeys(track.label for track in video.tracks))
    stem = Path(video.video).stem
    size = {"width": video.width, "height": video.height}
    images = [
        {"id": frame + 1, "file_name": f"{stem}/{frame + 1:06d}.jpg", **size, "frame_id": frame}
        for frame in range(video.frames)
    ]
    annotations: list[dict[str, Any]] = []
    for frame, number, box, score in video.rows():
        x, y, w, h = (round(float(value), 2) for value in box)
        category = labels.index(video.tracks[number].label) + 1
        annotation: dict[str, Any] = {"id": len(annotations) + 1, "image_id": frame + 1, "category_id": category}
        annotation |= {"bbox": [x, y, w, h], "area": round(w * h, 2), "iscrowd": 0, "track_id": number + 1}
        annotations.append(annotation | ({"score": round(score, 4)} if np.isfinite(score) else {}))
    categories = [{"id": number + 1, "name": label} for number, label in enumerate(labels)]
    info = {"description": f"tracks of {video.video}"}
    content = {"info": info, "images": images, "annotations": annotations, "categories": categories}
    return json.dumps(content, indent=1) + "\n"


def cvat_xml(video: VideoTracks) -> str:
    """CVAT for video 1.1: a track for each target; a box for each frame, and one marked ``outside`` where it leaves."""
    root = ElementTree.Element("annotations")
    _add(root, version="1.1")
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    _add(task, name=video.video, size=video.frames, mode="interpolation", overlap=0)
    _add(task, start_frame=0, stop_frame=max(video.frames - 1, 0))
    names = ElementTree.SubElement(task, "labels")
    for label in dict.fromkeys(track.label for track in video.tracks):
        _add(ElementTree.SubElement(names, "label"), name=label, attributes=None)
    _add(ElementTree.SubElement(task, "original_size"), width=video.width, height=video.height)
    for number, track in enumerate(video.tracks):
        node = ElementTree.SubElement(root, "track", id=str(number), label=track.label, source="auto")
        last = None
        for frame, (box, present) in enumerate(zip(track.boxes, track.present, strict=True)):
            if present:
                last = box
            elif last is None or frame == 0 or not track.present[frame - 1]:
                continue  # CVAT takes an absent target to stay so until its next box
            left, top, width, height = last
            flags = {"frame": str(frame), "keyframe": "1", "outside": str(int(not present)), "occluded": "0"}
            sides = {"xtl": left, "ytl": top, "xbr": left + width, "ybr": top + height}
            corners = {name: f"{value:.2f}" for name, value in sides.items()}
            ElementTree.SubElement(node, "box", {**flags, **corners, "z_order": "0"})
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _add(parent: ElementTree.Element, **texts: object) -> None:
    """Add elements that hold a text each, or nothing where it is None."""
    for name, text in texts.items():
        ElementTree.SubElement(parent, name).text = None if text is None else str(text)


def labelstudio_json(video: VideoTracks) -> str:
    """Label Studio: one task with a prediction; boxes are percentages of the frame, frames are counted from 1.

    The labeling configuration is ``<Video name="video" value="$video"/>``, ``<VideoRectangle name="box"
    toName="video"/>`` and ``<Labels name="videoLabels" toName="video">`` with the labels of the tracks.
    """
    scale = np.array([100 / video.width, 100 / video.height] * 2)
    results = []
    for number, track in enumerate(video.tracks):
        sequence: list[dict[str, Any]] = []
        for frame in np.flatnonzero(track.present).tolist():
            x, y, w, h = (round(float(value), 4) for value in track.boxes[frame] * scale)
            follows = frame + 1 < video.frames and bool(track.present[frame + 1])  # else it ends with this frame
            moment: dict[str, Any] = {"frame": frame + 1, "time": round(frame / video.fps, 4)}
            sequence.append(moment | {"x": x, "y": y, "width": w, "height": h, "rotation": 0, "enabled": follows})
        value: dict[str, Any] = {"framesCount": video.frames, "duration": round(video.frames / video.fps, 4)}
        value |= {"sequence": sequence, "labels": [track.label]}
        region = {"id": f"target{number + 1}", "type": "videorectangle", "from_name": "box", "to_name": "video"}
        results.append(region | {"value": value})
    content = [{"data": {"video": video.video}, "predictions": [{"model_version": "ostrack", "result": results}]}]
    return json.dumps(content, indent=1) + "\n"


# By the end of the file's name: how the file is called, or ends with ``_`` or ``.`` before that.
FORMATS: dict[str, Callable[[VideoTracks], str]] = {
    "boxes.txt": boxes_text,
    "mot.csv": mot_csv,
    "coco.json": coco_json,
    "cvat.xml": cvat_xml,
    "labelstudio.json": labelstudio_json,
}


def find_format(path: Path) -> Callable[[VideoTracks], str]:
    """Return the writer for a file of this name, such as ``clip_mot.csv``. Raises ConfigError: no format has it."""
    for name, write in FORMATS.items():
        if path.name == name or path.name.endswith((f"_{name}", f".{name}")):
            return write
    raise ConfigError(f"{path}: the name must be one of {', '.join(FORMATS)}, or end with one after _ or .")


def check_names(paths: Sequence[Path], targets: int) -> None:
    """Refuse files that could not be written in the end, before anything is tracked; their folders are made.

    Raises ConfigError: no format has such names, it cannot hold so many targets, or the file cannot be written;
    OSError: a folder cannot be made.
    """
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
            raise ConfigError(f"{path} cannot be written, it is a folder or read-only: choose another name")
        if find_format(path) is boxes_text and targets > 1:
            raise ConfigError(f"{path}: boxes.txt holds one target, not {targets}: save to mot.csv or coco.json")


def save_tracks(video: VideoTracks, path: Path) -> None:
    """Write the tracks in the format that the file's name asks for, see :func:`find_format`.

    Raises ConfigError: no format has such names, or it cannot hold these tracks; OSError: the file cannot be written.
    """
    text = find_format(path)(video)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
