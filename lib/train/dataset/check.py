"""The doctor: what is wrong with a data set on disk, before a week of training finds out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from tqdm import tqdm

from lib.train.admin.environment import EnvironmentSettings
from lib.train.dataset.base import CONFIGURE
from lib.train.dataset.cache import cache_path
from lib.train.dataset.decode_check import CHUNK, Span, decode_spans
from lib.train.dataset.registry import find_row, folders, open_dataset, own_setting
from lib.train.dataset.tracks import FrameKind, TrackDataset
from lib.utils.errors import OSTrackError
from lib.utils.storage import image_names

_SAMPLE = 400  # sequences whose first and last frame is decoded, unless all are


@dataclass
class Report:
    """What was found in one data set.

    Attributes:
        name: as in an experiment.
        place: where it was looked for.
        sequences, frames: how many there are.
        decoded: frames that were decoded.
        broken: what is wrong.
        notes: what is odd, but does no harm.
    """

    name: str
    place: str
    sequences: int = 0
    frames: int = 0
    decoded: int = 0
    broken: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def line(self) -> str:
        """The report as one line."""
        counts = f"{self.sequences} sequences, {self.frames} frames, {self.decoded} decoded, in {self.place}"
        if self.broken:
            more = f" (and {len(self.broken) - 1} more)" if len(self.broken) > 1 else ""
            return f"{self.name}: BROKEN, {counts}; first: {self.broken[0]}{more}"
        return "; ".join([f"{self.name}: ok, {counts}", *self.notes])


def check_dataset(
    name: str, env: EnvironmentSettings, use_lmdb: bool = False, full: bool = False, jobs: int = 1
) -> Report:
    """Examine a training data set.

    Every annotation is read, every frame is looked for, and the first and last frame of up to 400 sequences is decoded.

    Args:
        full: decode every frame. What was decoded is noted in ``cache_dir``; after an interruption only the rest, and
            what was broken, is decoded.
        jobs: threads that decode.
    """
    if name == "IMAGES":
        return _check_images(env)
    report = Report(name, _place(name, env, use_lmdb))
    try:
        dataset = open_dataset(name, env, use_lmdb)
    except OSTrackError as error:
        report.broken.append(str(error))
        return report
    report.sequences, report.frames = len(dataset), len(dataset.table.bbox)
    report.notes = _notes(dataset)
    if not dataset.table.visible.any():
        report.broken.append("the target is visible in no frame at all")
    report.broken += _missing(dataset, counted=dataset.is_video if own_setting(name) else find_row(name).counted)
    spans = _all_spans(dataset) if full else _sample_spans(dataset)
    note = cache_path(env.cache_dir, name, report.place, ".checked") if full else None
    for frames, broken in decode_spans(dataset, spans, jobs, note):
        report.decoded += frames
        report.broken += broken
    return report


def _place(name: str, env: EnvironmentSettings, use_lmdb: bool) -> str:
    if setting := own_setting(name):
        return ", ".join(folders(getattr(env, setting))) or "no folder"
    row = find_row(name)
    return getattr(env, row.lmdb_setting if use_lmdb else row.setting)


def _check_images(env: EnvironmentSettings) -> Report:
    """Pictures of ``IMAGES`` are all decoded when it is opened, which passes over those that cannot be used."""
    from lib.train.dataset.images import build_images_dataset

    pictures, cutouts = folders(env.images_dir), folders(env.cutouts_dir)
    report = Report("IMAGES", ", ".join([*pictures, *cutouts]) or "no folder: procedural textures")
    try:
        stock = build_images_dataset(pictures, cutouts).stock
    except OSTrackError as error:
        report.broken.append(f"{error}; " + CONFIGURE.format(setting="images_dir and cutouts_dir"))
        return report
    report.decoded = report.frames = len(stock.pictures) + len(stock.cutouts)
    return report


def _notes(dataset: TrackDataset) -> list[str]:
    """Boxes that are not there: the target counts as invisible in these frames, so they do no harm."""
    table, notes = dataset.table, []
    for what, found in (
        ("boxes are NaN", np.isnan(table.bbox).any(1)),
        ("boxes have no area", ~table.valid & ~np.isnan(table.bbox).any(1)),
    ):
        if found.any():
            frame = int(np.argmax(found))
            index = int(np.searchsorted(table.starts, frame, "right")) - 1
            where = f"{dataset.sequence_name(index)} frame {frame - table.starts[index]}"
            notes.append(f"{int(found.sum())} {what} and count as invisible (first: {where})")
    return notes


def _missing(dataset: TrackDataset, counted: bool) -> list[str]:
    """Frames that are not there, and folders with another number of pictures than there are boxes."""
    problems: list[str] = []
    listed: str | None = None
    names: frozenset[str] = frozenset()
    for index in tqdm(range(len(dataset)), desc=f"{dataset.name}: frames", delay=2):
        if dataset.table.kinds[index] != FrameKind.NUMBERED:
            continue  # listed frames and videos were counted when the data set was opened
        keys = [dataset.frame_key(index, t).rpartition("/")[::2] for t in range(dataset.length(index))]
        folder = keys[0][0]
        if folder != listed:
            listed, names = folder, frozenset(image_names(dataset.storage, folder))
        absent = [name for _, name in keys if name not in names]
        if absent:
            first = dataset.storage.path(f"{folder}/{absent[0]}")
            problems.append(f"{first} is missing ({len(absent)} of {len(keys)} frames of its sequence are)")
        elif counted and len(names) != len(keys):
            problems.append(f"{dataset.storage.path(folder)} has {len(names)} frames but {len(keys)} boxes")
    return problems


def _sample_spans(dataset: TrackDataset) -> Iterator[Span]:
    """The first and last frame of some sequences, spread over the data set."""
    for index in np.unique(np.linspace(0, len(dataset) - 1, _SAMPLE).round().astype(int)).tolist():
        for t in sorted({0, dataset.length(index) - 1}):
            yield index, t, t + 1


def _all_spans(dataset: TrackDataset) -> Iterator[Span]:
    """Every frame; a still image with several objects once."""
    seen: set[bytes] = set()
    for index in range(len(dataset)):
        if not dataset.is_video:
            if dataset.table.places[index] in seen:
                continue
            seen.add(dataset.table.places[index])
        length = dataset.length(index)
        step = length if dataset.video(index) else CHUNK  # a video is decoded in one go
        for start in range(0, length, step):
            yield index, start, min(start + step, length)
