"""Layouts: the files of a data set's sequences in its folder, shared by training and evaluation.

Paths are templates relative to the data set's folder: ``{name}`` is a sequence's name there; the listings of
:mod:`lib.data.listings` document the other fields.
"""

from __future__ import annotations

import configparser
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lib.data.annotations import parse_boxes, parse_flags, read_spec
from lib.data.sequence import Annotations, ImageFrames
from lib.data.storage import Storage, any_case, file_text, image_names
from lib.data.tracks import FrameKind, LeftOut, SequenceInfo, Track, TrackTable, literal, valid_boxes
from lib.data.video_io import VIDEO_SUFFIXES, VideoFile
from lib.utils.errors import DataError

logger = logging.getLogger(__name__)

# Parses the text of a file, whose name is for error messages, to an array: boxes (N, 4), or flags bool (N,).
Parse = Callable[[str, str], np.ndarray]
Flags = tuple[str, Parse]  # template of a file of flags, and its parser


@dataclass(frozen=True)
class Layout:
    """Paths and formats of the files of a sequence. By default a data set has no optional files."""

    # Templates of the folder of frames, or of a video; the first one that exists is used.
    frames: tuple[str, ...] = ("{name}",)
    boxes: tuple[str, ...] = ("{name}/groundtruth.txt",)  # templates of the file of boxes, likewise
    parse: Parse = parse_boxes  # parses the text of that file to boxes
    # File name of a frame by its number, like ``{:08d}.jpg``, with which training finds frames without listing their
    # folder. In evaluation, or if the first frame has another name, all images there are used.
    numbered: str = ""
    first: int = 1  # number of the first frame
    hidden: tuple[Flags, ...] = ()  # files of flags that mark frames in which the target is invisible
    hidden_optional: bool = False  # these files may be missing; then no frame is marked
    official_hidden: Flags | None = None  # the flags that only the benchmark's own evaluator reads
    zero_is_absent: bool = False  # a box of zeros marks such frames (VastTrack, Anti-UAV)
    as_stored: bool = False  # ignore the EXIF orientation of images in evaluation too
    language: str = ""  # template of the file with the language description
    # Template of a file of 0/1 for each of ``attribute_names``; or, without ``{``, the name of a list in
    # ``lib/data/data_specs`` of lines ``NAME: ATTRIBUTE ATTRIBUTE ...``.
    attributes: str = ""
    attribute_names: tuple[str, ...] = ()
    meta: str = ""  # template of GOT-10k's ``meta_info.ini``, whose classes of object and motion are used as attributes


@dataclass(frozen=True)
class SequenceEntry:
    """A sequence of a listing."""

    name: str  # its name on disk
    keys: dict[str, str] = field(default_factory=dict)  # values of template fields besides ``{name}``
    label: str = ""  # its name in training; empty = ``name``
    # The file names of its frames in order; ``None`` = all images of the frame folder.
    frames: tuple[str, ...] | None = None
    omitted: int = 0  # frames and annotation rows to leave out at the start; ``frames`` is without them already
    object_class: str | None = None


Listing = Callable[[Storage, Layout], list[SequenceEntry]]


@dataclass(frozen=True)
class Plan:
    """How to build the annotation table of a training set."""

    files: list[str]  # keys of the files and folders that the table depends on, by content or list of names
    read: Callable[[], TrackTable]  # builds the table. Raises DataError, which names the damaged file.


@dataclass(frozen=True)
class SequenceSet:
    """The sequences that a listing finds, all of one layout. Calling it with a storage plans a training set."""

    find: Listing
    layout: Layout

    def files(self, storage: Storage) -> list[SequenceFiles]:
        """List the sequences. Raises DataError: folder or list is missing or damaged."""
        return [SequenceFiles(self.layout, storage, entry) for entry in self.find(storage, self.layout)]

    def __call__(self, storage: Storage) -> Plan:
        found = self.files(storage)
        if not found:
            raise DataError(f"{storage.path()}: there is no sequence in it; expected {self.layout.boxes[0]}")
        return plan_of(found)


def plan_of(found: list[SequenceFiles]) -> Plan:
    """Return the plan of the annotation table of some sequences."""
    keys = [key for one in found for key in one.annotation_keys()]
    return Plan(keys, lambda: TrackTable.join(one.track() for one in tqdm(found, desc="annotation", delay=2)))


@dataclass(frozen=True)
class SequenceFiles:
    """The files of one sequence, read on access."""

    layout: Layout
    storage: Storage
    entry: SequenceEntry

    def key(self, *templates: str) -> str:
        """Fill in the templates; return the first path that exists, as spelled on disk, or the first if none exists.

        The case of the last part of a path is ignored, unless it has fields.
        """
        keys = [template.format(name=self.entry.name, **self.entry.keys) for template in templates]
        fixed = (key for key, one in zip(keys, templates, strict=True) if "{" not in one.rpartition("/")[2])
        found = next(filter(self.storage.exists, keys), None)
        return found or next(filter(None, (any_case(self.storage, key) for key in fixed)), keys[0])

    def has_boxes(self) -> bool:
        return self.storage.exists(self.key(*self.layout.boxes))

    def has_frames(self) -> bool:
        key = self.key(*self.layout.frames)
        return self.storage.exists(key) or bool(self.storage.names(key))  # an lmdb has no folder entries

    def annotation_keys(self) -> Iterator[str]:
        """Yield the files and folders that :meth:`track` depends on."""
        yield self.key(*self.layout.boxes)
        yield from (self.key(template) for template, _ in self.layout.hidden)
        if not self.layout.numbered:
            yield self.key(*self.layout.frames)

    def frames(self) -> ImageFrames | VideoFile:
        """Return the frames, without reading them."""
        key = self.key(*self.layout.frames)
        if (video := self._video(key)) is not None:  # reading its length would decode it
            return video
        return ImageFrames(self.storage.within(key), self.entry.frames, upright=not self.layout.as_stored)

    def annotations(self) -> Annotations:
        """Read boxes and flags. Raises DataError: a file is missing or damaged, or they differ in length."""
        start, key = self.entry.omitted, self.key(*self.layout.boxes)
        boxes = self._parsed(key, self.layout.parse)
        hidden = [(boxes == 0).all(axis=1)] if self.layout.zero_is_absent else []
        for template, parse in self.layout.hidden:
            flags_key = self.key(template)
            if self.layout.hidden_optional and not self.storage.exists(flags_key):
                continue
            hidden.append(self._parsed(flags_key, parse))
            if len(hidden[-1]) != len(boxes):
                name = self.storage.path(flags_key)
                raise DataError(f"{name} has {len(hidden[-1])} flags for the {len(boxes)} boxes of {key}")
        return Annotations(boxes[start:], ~np.any(hidden, axis=0)[start:] if hidden else None)

    def official_visible(self) -> np.ndarray | None:
        """Return the flags of the benchmark's own evaluator; None if the user's copy lacks them."""
        template, parse = self.layout.official_hidden or ("", parse_flags)
        there = template and self.storage.exists(self.key(template))
        return ~self._parsed(self.key(template), parse)[self.entry.omitted :] if there else None

    def language(self) -> str | None:
        """Return the language description of the target; None if the user's copy lacks it."""
        key = self.key(self.layout.language)
        return file_text(self.storage, key).strip() if self.storage.exists(key) else None

    def attributes(self) -> tuple[str, ...]:
        """Read the names of attributes; empty if the user's copy lacks the file. Raises DataError: it is damaged."""
        if self.layout.attributes and "{" not in self.layout.attributes:
            return attribute_list(self.layout.attributes).get(self.entry.name, ())
        key = self.key(self.layout.meta or self.layout.attributes)
        if not self.storage.exists(key):
            return ()
        if self.layout.meta:
            return _got10k_classes(file_text(self.storage, key), self.storage.path(key))
        flags, names = self._parsed(key, parse_flags), self.layout.attribute_names
        if len(flags) != len(names):
            raise DataError(f"{self.storage.path(key)}: expected {len(names)} attributes, found {len(flags)}")
        return tuple(name for name, flag in zip(names, flags, strict=True) if flag)

    def track(self) -> Track | LeftOut:
        """Return the sequence for training; it is left out if its numbers of frames and boxes differ.

        A video is decoded once, to count its frames and to test whether seeking in it is exact.
        """
        layout, label, key = self.layout, self.entry.label or self.entry.name, self.key(*self.layout.frames)
        boxes, visible = self.annotations()
        valid = valid_boxes(boxes)
        info = SequenceInfo(boxes, valid if visible is None else valid & visible, valid)
        video = self._video(key)
        if layout.numbered and not video:
            track = Track(label, info, f"{literal(key)}/{layout.numbered}", first=layout.first)
            there = self.storage.exists(track.key.format(layout.first))
            if there or len(image_names(self.storage, key)) != len(boxes):
                return track  # with images missing, the first one may be among them
        files = () if video else self.entry.frames or image_names(self.storage, key)
        if (count := len(video or files)) != len(boxes):
            counts = f"{count} frames but {len(boxes)} boxes in the annotation"
            return LeftOut(f"{self.storage.path(key)} is left out: {counts}; is the copy complete?")
        if not video:
            return Track(label, info, key, FrameKind.LISTED, files=files)
        exact = video.seeks_exactly()
        if not exact:
            logger.warning("%s: seeking is inexact, so each frame is decoded from the start, which is slow; pictures "
                           "in img/ are faster", video.path)  # fmt: skip
        return Track(label, info, key, FrameKind.VIDEO if exact else FrameKind.SLOW_VIDEO)

    def _video(self, key: str) -> VideoFile | None:
        path = Path(self.storage.path(key))
        return VideoFile(path) if path.suffix.lower() in VIDEO_SUFFIXES and not path.is_dir() else None

    def _parsed(self, key: str, parse: Parse) -> np.ndarray:
        return parse(file_text(self.storage, key), self.storage.path(key))


@cache
def attribute_list(name: str) -> dict[str, tuple[str, ...]]:
    """Return attributes by sequence, from a list in ``lib/data/data_specs``."""
    pairs = (line.rsplit(":", 1) for line in read_spec(name))
    return {sequence: tuple(attributes.split()) for sequence, attributes in pairs}


def _got10k_classes(text: str, path: str) -> tuple[str, ...]:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(text)
        section = parser["METAINFO"]
    except (configparser.Error, KeyError) as error:
        raise DataError(f"{path} is not a file with a section METAINFO: {error}") from error
    return tuple(section[key].strip() for key in ("object_class", "motion_class") if section.get(key))
