"""Check a data set on disk before training; decoding every image goes on after an interruption."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from tqdm import tqdm

from lib.config.drawing import DrawSettings
from lib.data.registry import CONFIGURE, find_spec, folders, open_dataset, own_setting
from lib.data.storage import image_names
from lib.data.tracks import FrameKind, TrackDataset, boxes_outside, cache_path, valid_boxes
from lib.drawing.assets import load_assets
from lib.drawing.pictures import list_pictures
from lib.train.admin.environment import EnvironmentSettings
from lib.train.data.sampler import PairSampling, usable_sequences
from lib.utils.errors import DataError, OSTrackError

logger = logging.getLogger(__name__)

_PUBLISHED = PairSampling("causal", 200, 1, 1)
_SAMPLE = 400  # decode the first and last frame of at most this many sequences, unless all are decoded
CHUNK = 256  # frames that a thread decodes at a time; what an interruption can lose

# Frames start to stop - 1 of sequence number index.
Span = tuple[int, int, int]
# Number of frames that were decoded, what was broken, and which boxes of visible targets lie wholly outside.
Result = tuple[int, list[str], list[str]]


@dataclass
class Report:
    """Findings in one data set."""

    name: str
    folder: str
    sequences: int = 0
    usable: int = 0  # sequences that training can sample from
    frames: int = 0
    decoded: int = 0
    broken: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)  # which sequences training cannot sample from, and why
    notes: list[str] = field(default_factory=list)  # harmless irregularities

    def line(self) -> str:
        """The report as one line."""
        counts = f"{self.sequences} sequences, {self.frames} frames, {self.decoded} decoded, in {self.folder}"
        if self.broken:
            return f"{self.name}: BROKEN, {counts}; first: {_first(self.broken)}"
        state = f"PARTLY USABLE, {self.usable} of" if self.left_out else "ok,"
        return "; ".join([f"{self.name}: {state} {counts}", *self.left_out, *self.notes])


def _first(texts: list[str]) -> str:
    return texts[0] + (f" (and {len(texts) - 1} more)" if len(texts) > 1 else "")


def check_dataset(
    name: str,
    env: EnvironmentSettings,
    use_lmdb: bool = False,
    full: bool = False,
    jobs: int = 1,
    sampling: PairSampling = _PUBLISHED,
    drawing: DrawSettings | None = None,
) -> Report:
    """Check a training data set: its annotations, that all frames exist, and which sequences training can use.

    The first and last frame of up to 400 sequences are decoded, with ``full`` every frame, in ``jobs`` threads.
    ``cache_dir`` records what was decoded; after an interruption only the rest, and what was broken, is decoded.

    Args:
        sampling: how frames are sampled, which decides which sequences can be used.
        drawing: magnitudes of the synthesis of ``IMAGES``.
    """
    if name == "IMAGES":
        return _check_images(env, drawing)
    report = Report(name, _folder(name, env, use_lmdb))
    try:
        dataset = open_dataset(name, env, use_lmdb)
    except OSTrackError as error:
        report.broken.append(str(error).removeprefix(f"{name}: "))
        return report
    report.sequences, report.frames = len(dataset), len(dataset.table.bbox)
    report.notes = _notes(dataset)
    _judge(dataset, sampling, report)
    report.broken += _missing(dataset, counted=dataset.is_video if own_setting(name) else find_spec(name).counted)
    spans = _all_spans(dataset) if full else _sample_spans(dataset)
    note = cache_path(env.cache_dir, name, report.folder, ".checked") if full else None
    outside: list[str] = []
    for frames, broken, strays in decode_spans(dataset, spans, jobs, note):
        report.decoded += frames
        report.broken += broken
        outside += strays
    if outside:
        found = f"{len(outside)} boxes are wholly outside their pictures, or far too large (first: {outside[0]})"
        (report.notes if dataset.is_video else report.broken).append(found)
    return report


def _judge(dataset: TrackDataset, sampling: PairSampling, report: Report) -> None:
    """Report which sequences training can sample from, by the rule of training itself."""
    usable, needed = usable_sequences(dataset, sampling)
    report.usable = len(usable)
    if not dataset.table.visible.any():
        report.broken.append("the target is visible in no frame at all")
    elif not usable:
        report.broken.append(f"none of {len(dataset)} sequences can be used; one needs {needed}")
    elif len(usable) < len(dataset):
        first = min(set(range(len(dataset))) - set(usable))
        visible = int(dataset.sequence(first).visible.sum())
        counts = f": {dataset.length(first)} frames, visible in {visible}" if dataset.is_video else ""
        left_out = f"{len(dataset) - len(usable)} cannot be used, one needs {needed}"
        report.left_out.append(f"{left_out} (first: {dataset.sequence_name(first)}{counts})")
    if reasons := [text.decode() for text in dataset.table.left_out]:
        report.left_out.append(f"not counted: {_first(reasons)}")


def _folder(name: str, env: EnvironmentSettings, use_lmdb: bool) -> str:
    if setting := own_setting(name):
        return ", ".join(folders(getattr(env, setting))) or "no folder"
    spec = find_spec(name)
    return getattr(env, spec.lmdb_setting if use_lmdb else spec.setting)


def _check_images(env: EnvironmentSettings, drawing: DrawSettings | None) -> Report:
    """Check ``IMAGES``, which decodes all its images when it is opened and skips those that cannot be used."""
    pictures, cutouts = folders(env.images_dir), folders(env.cutouts_dir)
    report = Report("IMAGES", ", ".join([*pictures, *cutouts]) or "no folder: procedural textures")
    try:
        assets = load_assets(pictures, cutouts, drawing)
    except OSTrackError as error:
        report.broken.append(f"{error}; " + CONFIGURE.format(setting="images_dir and cutouts_dir"))
        return report
    report.usable = report.decoded = report.frames = len(assets.pictures) + len(assets.cutouts)
    skipped = len(list_pictures(cutouts)) - len(assets.cutouts)
    skipped += len(list_pictures(pictures)) - len(assets.pictures) if pictures else 0
    report.sequences = report.usable + skipped
    if skipped:
        report.left_out.append(f"{skipped} pictures cannot be used, see the warnings above")
    return report


def _notes(dataset: TrackDataset) -> list[str]:
    """List invalid boxes; the target counts as invisible in their frames, so they are harmless."""
    table, notes = dataset.table, []
    for what, found in (
        ("boxes are NaN", np.isnan(table.bbox).any(1)),
        ("boxes have no area", ~valid_boxes(table.bbox) & ~np.isnan(table.bbox).any(1)),
        ("boxes are wholly outside their pictures, or far too large,", ~table.valid & valid_boxes(table.bbox)),
    ):
        if found.any():
            frame = int(np.argmax(found))
            index = int(np.searchsorted(table.starts, frame, "right")) - 1
            where = f"{dataset.sequence_name(index)} frame {frame - table.starts[index]}"
            notes.append(f"{int(found.sum())} {what} and count as invisible (first: {where})")
    return notes


def _missing(dataset: TrackDataset, counted: bool) -> list[str]:
    """List missing frames, and folders with another number of images than boxes."""
    problems: list[str] = []
    names_in = lru_cache(1)(lambda folder: frozenset(image_names(dataset.storage, folder)))  # often one for all
    for index in tqdm(range(len(dataset)), desc=f"{dataset.name}: frames", delay=2):
        if dataset.table.kinds[index] != FrameKind.NUMBERED:
            continue  # listed frames and videos were counted when the data set was opened
        keys = [dataset.frame_key(index, t).rpartition("/")[::2] for t in range(dataset.length(index))]
        folder = keys[0][0]
        names = names_in(folder)
        absent = [name for _, name in keys if name not in names]
        if absent:
            first = dataset.storage.path(f"{folder}/{absent[0]}")
            problems.append(f"{first} is missing ({len(absent)} of {len(keys)} frames of its sequence are)")
        elif counted and len(names) != len(keys):
            problems.append(f"{dataset.storage.path(folder)} has {len(names)} frames but {len(keys)} boxes")
    return problems


def _sample_spans(dataset: TrackDataset) -> Iterator[Span]:
    """Yield the first and last frame of some sequences, spread over the data set."""
    for index in np.unique(np.linspace(0, len(dataset) - 1, _SAMPLE).round().astype(int)).tolist():
        for t in sorted({0, dataset.length(index) - 1}):
            yield index, t, t + 1


def _all_spans(dataset: TrackDataset) -> Iterator[Span]:
    """Yield every frame; a still image with several objects once."""
    seen: set[bytes] = set()
    for index in range(len(dataset)):
        if not dataset.is_video:
            if dataset.table.keys[index] in seen:
                continue
            seen.add(dataset.table.keys[index])
        length = dataset.length(index)
        step = length if dataset.video(index) else CHUNK  # a video is decoded from its start
        for start in range(0, length, step):
            yield index, start, min(start + step, length)


def decode_spans(dataset: TrackDataset, spans: Iterable[Span], jobs: int, note: Path | None) -> Iterator[Result]:
    """Decode frames in ``jobs`` threads; results come in parts, those noted by an earlier, interrupted run first.

    Threads, because reading and decoding leave Python's lock alone, and processes would each need the annotation. The
    file ``note`` keeps, line by line, which parts are done. It does not count for other data, nor a part of it for
    files that were changed since; parts in which something was found are not kept, since it may have been mended.
    """
    chunks = _chunks(spans)
    stamp = f"{len(chunks)} parts, {len(dataset.table.bbox)} frames, {dataset.storage.stamp([''])}"
    done = {
        number: frames
        for number, (frames, mark) in _read_note(note, stamp).items()
        if number < len(chunks) and mark == _mark(dataset, chunks[number])
    }
    if done:
        logger.info("%d of %d parts were decoded before; to decode them again, remove %s", len(done), len(chunks), note)
    yield from ((frames, [], []) for frames in done.values())
    waiting = [number for number in range(len(chunks)) if number not in done]
    pool = ThreadPoolExecutor(jobs)
    try:
        with _open_note(note, "a" if done else "w") as file:
            if not done:
                print(stamp, file=file)
            results = pool.map(partial(_decode, dataset), [chunks[number] for number in waiting])
            bar = tqdm(results, desc=f"{dataset.name}: decoding", total=len(waiting), delay=2, unit="part")
            for number, (frames, broken, outside) in zip(waiting, bar, strict=True):
                if not broken and not outside:
                    # The line break ends one that was cut short.
                    print(f"\n{number} {frames} {_mark(dataset, chunks[number])}", file=file, flush=True)
                yield frames, broken, outside
    finally:
        pool.shutdown(cancel_futures=True)


def _chunks(spans: Iterable[Span]) -> list[list[Span]]:
    """Spans in parts of about ``CHUNK`` frames."""
    chunks: list[list[Span]] = []
    room = 0
    for span in spans:
        if room <= 0:
            chunks.append([])
            room = CHUNK
        chunks[-1].append(span)
        room -= span[2] - span[1]
    return chunks


def _decode(dataset: TrackDataset, spans: list[Span]) -> Result:
    frames, broken, outside = 0, [], []
    for index, start, stop in spans:
        video = dataset.video(index)
        in_order = iter(video) if video and stop - start == dataset.length(index) else None
        for t in range(start, stop):
            try:
                frame = dataset.frame(index, t) if video is None or in_order is None else next(in_order, None)
                if frame is None:
                    raise DataError(f"video {video.path if video else dataset.sequence_name(index)} has no frame {t}")
                frames += 1
            except DataError as error:
                broken.append(str(error))
                if in_order:
                    break
                continue
            row = dataset.table.starts[index] + t
            box, (height, width) = dataset.table.bbox[row], frame.shape[:2]
            if dataset.table.visible[row] and boxes_outside(box[None], np.array([width, height]))[0]:
                shown = ", ".join(f"{value:g}" for value in box)
                where = dataset.sequence_name(index) + (f" frame {t}" if dataset.is_video else "")
                outside.append(f"{where}, box {shown} in {width} x {height} pixels")
    return frames, broken, outside


def _mark(dataset: TrackDataset, spans: list[Span]) -> str:
    """Return a text that changes when a file that these frames lie in is changed."""
    files = (dataset.frame_file(index, t) for index, start, stop in spans for t in range(start, stop))
    return dataset.storage.stamp(dict.fromkeys(files))


def _open_note(path: Path | None, mode: str) -> IO[Any]:
    """Return the file to note progress in, or the null device if there is to be none or it cannot be written."""
    try:
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            return open(path, mode)
    except OSError as error:
        logger.warning("%s cannot be written (%s): if interrupted, the check will start anew", path, error)
    return open(os.devnull, "w")


def _read_note(path: Path | None, stamp: str) -> dict[int, tuple[int, str]]:
    """Return frames and mark by number of part, of a note of the same data."""
    lines = path.read_text(errors="replace").splitlines() if path and path.exists() else []
    if not lines or lines[0] != stamp:
        return {}
    whole = (re.fullmatch(r"(\d+) (\d+) ([0-9a-f]{64})", line) for line in lines[1:])
    return {int(found[1]): (int(found[2]), found[3]) for found in whole if found}
