"""Sequences with boxes from videos without annotation, by the agreement of a tracker's two directions.

A candidate is followed forward, and from where that ends backward again; the longest run of frames in which both agree
becomes a sequence. Images are RGB uint8 (H, W, 3), boxes x, y, w, h in pixels of the frames that are written.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from lib.data.image_io import shrink, write_image
from lib.data.video_io import VIDEO_SUFFIXES, VideoFile
from lib.test.analysis.metrics import box_overlap, true_runs
from lib.test.evaluation.protocol import BatchTracker
from lib.test.evaluation.results import LOST_BELOW
from lib.test.labeling.candidates import Candidate, moving_regions, worth_following
from lib.utils.box_ops import clip_box
from lib.utils.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

Detect = Callable[[np.ndarray], list[Candidate]]
_ious = partial(box_overlap, pixel=0)  # of two tables of boxes, row by row

RECORD = "pseudo_label.jsonl"
_SURE = 0.5  # least score of a candidate; to see it again less is enough
_TRIES = 4  # candidates that are followed from one frame, at most
_STARTED = 0.25  # of the motion that a sequence must have: what has come less far after its fewest frames stands still
_SAME_OBJECT = 0.5  # IoU from which on two boxes show the same object
_MOTION_GAP = 3  # frames to either side that tell what moves
_CUT = 6.0  # how much more than before two frames of different shots differ
_BEFORE, _STILL = 6, 2.0  # differences before, of which the median is taken; levels that differ without a cut
_JPEG_QUALITY = 92


@dataclass(frozen=True)
class LabelOptions:
    """What is kept."""

    stride: int = 1  # every how many-th frame of a video is read
    read: int | None = None  # most frames of a video that are read; None: all
    side: int = 640  # longest side of the frames that are written, at most, in pixels
    frames: int = 150  # most frames of a sequence
    min_frames: int = 20  # fewest frames of a sequence
    agreement: float = 0.6  # least IoU of the two directions, in every frame
    motion: float = 0.25  # how far the center must come from its first place, in mean sides of the box
    per_video: int = 3  # most sequences of a video
    per_class: int | None = None  # most sequences of a class in all
    classes: tuple[str, ...] = ()  # the classes to follow; empty: all
    without: tuple[str, ...] = ()  # classes that are not followed

    def follows(self, name: str) -> bool:
        """Return whether objects of a class are followed."""
        return name not in self.without and (not self.classes or name in self.classes)


@dataclass(frozen=True)
class LabeledTrack:
    """An object that both directions agree on."""

    first: int  # number of the first frame among those that were read
    frames: list[np.ndarray]
    boxes: np.ndarray  # (N, 4), the mean of both directions
    name: str
    agreement: float  # mean IoU of the two directions


def find_videos(paths: Sequence[Path]) -> list[Path]:
    """List the videos among files and in folders, in order. Raises DataError: a path or all videos are missing."""
    found = []
    for path in paths:
        if not path.exists():
            raise DataError(f"there is no video or folder {path}")
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        found += [file for file in inside if file.suffix.lower() in VIDEO_SUFFIXES or not path.is_dir()]
    if not found:
        raise DataError(f"no videos ({', '.join(sorted(VIDEO_SUFFIXES))}) in {', '.join(map(str, paths))}")
    return found


def label_videos(
    videos: Sequence[Path],
    out: Path,
    tracker: BatchTracker,
    origin: dict[str, str],
    detect: Detect | None = None,
    options: LabelOptions = LabelOptions(),  # noqa: B008 (frozen)
) -> tuple[int, int]:
    """Write the sequences of videos into a folder that ``FOLDER`` trains from and ``folder:`` evaluates.

    A sequence is ``pseudo_VIDEO_DIGEST_N/`` with ``img/``, ``groundtruth.txt`` and ``meta.json``, which names its
    source. ``pseudo_label.jsonl`` holds a line for each video that is done; those are not done again. A video that
    cannot be read is left out with a warning. ``origin`` names tracker and detector, for the record; without ``detect``
    what moves is followed.

    Returns the numbers of new sequences and of videos that cannot be read. Raises ConfigError: the folder was made with
    other settings.
    """
    settings = origin | _as_json(options)
    done = _read_record(out, settings)
    counts = Counter(name for names in done.values() for folder, name in names.items() if (out / folder).is_dir())
    written = broken = 0
    for path in tqdm(videos, desc="videos"):
        video = VideoFile(path)
        try:
            if video.digest in done:
                continue
            tracks = label_frames(_frames(video, options), tracker, detect, options, counts)
        except DataError as error:
            logger.warning("left out: %s", error)
            broken += 1
            continue
        stem = re.sub(r"[^\w.-]+", "_", path.stem)
        names = {f"pseudo_{stem}_{video.digest[:6]}_{number}": track for number, track in enumerate(tracks)}
        for name, track in names.items():
            _write(out / name, track, origin | {"video": str(path), "stride": options.stride})
        done[video.digest] = {name: track.name for name, track in names.items()}
        _append(out, {"video": path.name, "digest": video.digest, "sequences": done[video.digest]})
        counts.update(track.name for track in tracks)
        written += len(tracks)
    return written, broken


def label_frames(
    frames: Iterable[np.ndarray],
    tracker: BatchTracker,
    detect: Detect | None,
    options: LabelOptions,
    counts: Counter[str] | None = None,
) -> list[LabeledTrack]:
    """Return the tracks in the frames of a video, one shot of at most ``options.frames`` after the other.

    ``counts`` says how many sequences of each class there are already; the rarest are followed first.
    """
    counts, found, first = Counter(counts), list[LabeledTrack](), 0
    for shot in _shots(frames, options.frames):
        if len(found) >= options.per_video:
            break
        kept: list[LabeledTrack] = []
        for start in (0 if detect else _MOTION_GAP, len(shot) // 2):
            for candidate in _candidates(shot, start, detect, options, counts):
                full = options.per_class is not None and counts[candidate.name] >= options.per_class
                if full or len(found) + len(kept) >= options.per_video or _known(candidate.box, start, kept):
                    continue
                track = follow_both_ways(shot, start, candidate, tracker, detect, options)
                if track and not any(_overlap(track, other) for other in kept):
                    kept.append(track)
                    counts[track.name] += 1
        found += [replace(track, first=first + track.first) for track in kept]
        first += len(shot)
    return found


def follow_both_ways(
    shot: Sequence[np.ndarray],
    start: int,
    candidate: Candidate,
    tracker: BatchTracker,
    detect: Detect | None,
    options: LabelOptions,
) -> LabeledTrack | None:
    """Return the longest run of frames from ``start`` on in which forward and backward track agree.

    It ends where the detector sees the object again. None where it is too short, or the object stands still.
    """
    forward = follow(tracker, shot[start:], candidate.box, (options.min_frames, _STARTED * options.motion))
    if len(forward) < options.min_frames or not moves(forward, options.motion):
        return None
    end = start + len(forward)
    backward = follow(tracker, list(reversed(shot[start:end])), forward[-1])
    forward, backward = forward[-len(backward) :], backward[::-1]
    overlaps = _ious(forward, backward)
    run = longest_run(overlaps >= options.agreement)
    boxes, overlaps = ((forward + backward) / 2)[run], overlaps[run]
    first = end - len(backward) + run.start
    frames = shot[first : first + len(boxes)]
    if detect:
        length = _seen_length(detect, frames, boxes, candidate.name, options.min_frames, first > start)
        frames, boxes, overlaps = frames[:length], boxes[:length], overlaps[:length]
    if len(boxes) < options.min_frames or not moves(boxes, options.motion):
        return None
    return LabeledTrack(first, list(frames), boxes, candidate.name, float(overlaps.mean()))


def follow(
    tracker: BatchTracker,
    frames: Sequence[np.ndarray],
    box: Sequence[float] | np.ndarray,
    must_move: tuple[int, float] | None = None,
) -> np.ndarray:
    """Track a target from its ``box`` in the first frame to the last, or until it is lost; return its boxes (N, 4).

    ``must_move``: number of frames, and how far a target must come in them (see :func:`moves`) to be tracked further.
    """
    boxes = [[float(value) for value in box]]
    target = tracker.start(frames[0], boxes[0])
    for image in frames[1:]:
        found = tracker.step([image], [target])
        if found.confidence[0] < LOST_BELOW:
            break
        boxes.append(clip_box(found.boxes[0], image.shape[0], image.shape[1], margin=1))
        if must_move and len(boxes) == must_move[0] and not moves(np.array(boxes), must_move[1]):
            break
    return np.array(boxes)


def longest_run(flags: np.ndarray) -> slice:
    """Return the longest run of true flags, the first of several; an empty slice where there is none."""
    return slice(*max(true_runs(flags).tolist(), key=lambda run: run[1] - run[0], default=(0, 0)))


def moves(boxes: np.ndarray, least: float) -> bool:
    """Return whether the center comes at least ``least`` mean sides of the box away from its first place."""
    centers = boxes[:, :2] + boxes[:, 2:] / 2
    side = np.sqrt(boxes[:, 2] * boxes[:, 3]).mean()
    return bool(np.linalg.norm(centers - centers[0], axis=1).max() >= least * side)


def _candidates(
    shot: Sequence[np.ndarray], start: int, detect: Detect | None, options: LabelOptions, counts: Counter[str]
) -> list[Candidate]:
    """Choose the candidates to track from a frame of a shot on, the rarest classes first."""
    if len(shot) - start < max(options.min_frames, _MOTION_GAP + 1):
        return []
    before, frame, after = shot[start - _MOTION_GAP], shot[start], shot[start + _MOTION_GAP]
    found = detect(frame) if detect else moving_regions(before, frame, after)
    wanted = [one for one in found if one.score >= _SURE and options.follows(one.name)]
    worth = [one for one in wanted if worth_following(one.box, frame)]
    return sorted(worth, key=lambda one: counts[one.name])[:_TRIES]


def _seen_length(
    detect: Detect, frames: Sequence[np.ndarray], boxes: np.ndarray, name: str, least: int, check_first: bool
) -> int:
    """Of how many frames the last shows the object to the detector: all, three quarters or half of them, else 0."""
    for length in (len(frames) * quarters // 4 for quarters in (4, 3, 2)):
        if length < least or (check_first and not _sees(detect, frames[0], boxes[0], name)):
            return 0
        if _sees(detect, frames[length - 1], boxes[length - 1], name):
            return length
    return 0


def _sees(detect: Detect, image: np.ndarray, box: np.ndarray, name: str) -> bool:
    same = [one.box for one in detect(image) if one.name == name]
    return bool(same) and bool((_ious(np.array(same), np.tile(box, (len(same), 1))) >= _SAME_OBJECT).any())


def _known(box: Sequence[float], start: int, tracks: Iterable[LabeledTrack]) -> bool:
    """Return whether a box in frame ``start`` shows what is followed already."""
    rows = [track.boxes[start - track.first] for track in tracks if 0 <= start - track.first < len(track.boxes)]
    return any(_ious(np.array([box]), row[None])[0] >= _SAME_OBJECT for row in rows)


def _overlap(a: LabeledTrack, b: LabeledTrack) -> bool:
    """Return whether two tracks of a shot come to the same object: in any frame."""
    first, last = max(a.first, b.first), min(a.first + len(a.boxes), b.first + len(b.boxes))
    rows = (track.boxes[first - track.first : last - track.first] for track in (a, b))
    return last > first and bool((_ious(*rows) >= _SAME_OBJECT).any())


def _frames(video: VideoFile, options: LabelOptions) -> Iterator[np.ndarray]:
    """Return the frames to work on: thinned, no more and not larger than asked for."""
    stop = None if options.read is None else options.read * options.stride
    return (shrink(image, options.side) for image in islice(video, 0, stop, options.stride))


def _shots(frames: Iterable[np.ndarray], most: int) -> Iterator[list[np.ndarray]]:
    """Yield frames in pieces of at most ``most``, none of which goes across a cut."""
    shot: list[np.ndarray] = []
    smalls: list[np.ndarray] = []
    differences: list[float] = []
    for image in frames:
        smalls = [*smalls[-1:], cv2.resize(image, (16, 16), interpolation=cv2.INTER_AREA).astype(np.float32)]
        difference = float(np.abs(smalls[-1] - smalls[0]).mean())
        cut = bool(differences) and difference > _CUT * max(_STILL, float(np.median(differences)))
        if shot and (cut or len(shot) == most):
            yield shot
            shot = []
        shot.append(image)
        differences = [*differences[1 - _BEFORE :], difference]
    if shot:
        yield shot


def _write(folder: Path, track: LabeledTrack, origin: dict[str, Any]) -> None:
    """Write a sequence; its boxes last, without which it is none."""
    shutil.rmtree(folder, ignore_errors=True)  # of an interrupted run
    for number, image in enumerate(track.frames, start=1):
        write_image(folder / f"img/{number:05d}.jpg", image, _JPEG_QUALITY)
    meta = origin | {"class": track.name, "agreement": round(track.agreement, 4)}
    frames = [frame * origin["stride"] for frame in (track.first, track.first + len(track.frames) - 1)]
    (folder / "meta.json").write_text(json.dumps(meta | {"frames": frames}, indent=1))
    np.savetxt(folder / "groundtruth.txt", track.boxes, fmt="%.2f", delimiter=",")


def _read_record(out: Path, settings: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Read which videos are done: classes of their sequences, by their digests. A new record begins with settings."""
    path = out / RECORD
    if not path.is_file():
        _append(out, settings)
        return {}
    try:
        head, *lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
        done = {line["digest"]: dict(line["sequences"]) for line in lines}
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged: {error!r}; remove its last line, or use another --out") from error
    before = _as_json(LabelOptions()) | head  # a record of a version without an option was made without it
    if other := [key for key in settings if before.get(key) != settings[key]]:
        raise ConfigError(f"{path} was made with another {', '.join(other)}: use the same settings, or another --out")
    return done


def _as_json(options: LabelOptions) -> dict[str, Any]:
    """Return the options as they are read back from a record."""
    return json.loads(json.dumps(asdict(options)))


def _append(out: Path, line: dict[str, Any]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with (out / RECORD).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
