"""Decoding every image of a data set in parallel, and going on after an interruption."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from tqdm import tqdm

from lib.data.tracks import TrackDataset, boxes_outside
from lib.utils.errors import DataError

logger = logging.getLogger(__name__)

CHUNK = 256  # frames that a thread decodes at a time; what an interruption can lose

# Frames start to stop - 1 of sequence number index.
Span = tuple[int, int, int]
# Number of frames that were decoded, what was broken, and which boxes of visible targets lie wholly outside.
Result = tuple[int, list[str], list[str]]


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
    lines = path.read_text().splitlines() if path and path.exists() else []
    if not lines or lines[0] != stamp:
        return {}
    whole = (re.fullmatch(r"(\d+) (\d+) ([0-9a-f]{64})", line) for line in lines[1:])
    return {int(found[1]): (int(found[2]), found[3]) for found in whole if found}
