"""Sequences drawn (synthesized) from images, written in the layout of GOT-10k."""

from __future__ import annotations

import shutil
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lib.config.drawing import DrawSettings
from lib.data.image_io import write_image
from lib.drawing.assets import AssetLibrary, SceneObject, SceneSpec, draw_scene_spec, load_assets
from lib.drawing.motion import (
    CHANGES,
    Frame,
    Start,
    body_center,
    camera_spread,
    deformation_spread,
    deformed,
    draw_start,
    object_tone,
)
from lib.drawing.photometric import Look, draw_look, draw_noise_offset, line_kernel
from lib.drawing.warp import Placed, Pose
from lib.utils.errors import DataError

SPLITS = ("train", "val", "test")
FRAME_SIZE = (480, 360)
_PERIODS = (30.0, 300.0)  # shortest and longest period, in frames, of the waves of a path
_WAVES = 5
_JPEG_QUALITY = 92
_EXIT_FRAMES = 6  # number of frames in which a target leaves the frame, and returns
_EXIT_MARGIN = 0.5  # gap between an absent target and the frame, over the target's size
_COVER_LEVELS = (0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9)  # GOT-10k: upper ends of levels 0 to 6; 7 is less than all

# Most sequences have an occluder or distractors.
SEQUENCE_SETTINGS = DrawSettings(
    VIEW=0.15, OCCLUDER=0.6, DISTRACTORS=(0.2, 0.4, 0.3, 0.1), MIN_SIZE=0.1, MAX_SIZE=0.3, NEW_BACKGROUND=0.0
)

_META_INFO = """[METAINFO]
url: drawn
begin: 00:00:00
end: 00:00:00
anno_fps: 10Hz
object_class: drawn
motion_class: drawn
major_class: drawn
root_class: drawn
motion_adverb: smoothly
resolution: {}
"""


@dataclass(frozen=True)
class DrawnFrame:
    """One frame of a sequence: RGB uint8 image, ``xywh`` box (zeros: outside of the frame), visible fraction."""

    image: np.ndarray
    box: np.ndarray
    visible: float


def smooth_path(rng: np.random.Generator, frames: int, numbers: int) -> np.ndarray:
    """Draw smooth curves ``(frames, numbers)`` starting at 0, of standard deviation about 1: sums of slow waves."""
    shortest, longest = np.log(_PERIODS)
    periods = np.exp(rng.uniform(shortest, longest, (_WAVES, numbers)))
    weights = np.sqrt(periods)
    weights *= np.sqrt(2) / np.linalg.norm(weights, axis=0)
    angles = 2 * np.pi * np.arange(frames)[:, None, None] / periods + rng.uniform(0, 2 * np.pi, (_WAVES, numbers))
    path = (np.sin(angles) * weights).sum(1)
    return path - path[0]


def _target_path(rng: np.random.Generator, scene: SceneSpec, start: np.ndarray, frames: int) -> np.ndarray:
    """Draw centers ``(frames, 2)`` of the target's body, which stays nearly completely inside the frame."""
    size = np.array(scene.frame_size, np.float64)
    margin = np.minimum(0.4 * scene.target.body, 0.45 * size)
    path = smooth_path(rng, frames, 2) * size * rng.uniform(0.1, 0.3)
    span = np.maximum(size - margin - margin, 1e-6)
    phase = np.mod(start + path - margin, 2 * span)
    return margin + np.minimum(phase, 2 * span - phase)  # reflected at the margins


def _passing(rng: np.random.Generator, occluder: SceneObject, target: Sequence[np.ndarray], body: float) -> list[Pose]:
    """Draw poses of an occluder that crosses the target (its centers, and its size) once, off its middle."""
    frames = len(target)
    angle = rng.uniform(0, 2 * np.pi)
    ahead = np.array((np.cos(angle), np.sin(angle)))
    aside = np.array((-ahead[1], ahead[0])) * rng.normal(0, 0.35) * body
    speed = body * rng.uniform(0.06, 0.25)
    meeting = rng.uniform(0.2, 0.9) * frames
    return [
        Pose(center + aside + ahead * (time - meeting) * speed, occluder.size) for time, center in enumerate(target)
    ]


def _wandering(rng: np.random.Generator, scene: SceneSpec, pose: Pose, frames: int) -> list[Pose]:
    """Draw poses of a distractor on its own path."""
    path = pose.center + smooth_path(rng, frames, 2) * scene.frame_size * 0.25
    changes = smooth_path(rng, frames, CHANGES) * deformation_spread(scene.settings)
    return [deformed(pose, change, center) for change, center in zip(changes, path, strict=True)]


def _leading(rng: np.random.Generator, scene: SceneSpec, start: Start, frames: int) -> tuple[list[Pose], list[Pose]]:
    """Draw poses of the camera and of the target."""
    settings = scene.settings
    changes = smooth_path(rng, frames, CHANGES) * deformation_spread(settings) * start.strength
    centers = _target_path(rng, scene, body_center(scene.target.sprite, start.target), frames)
    if not scene.painted:
        changes[:, 5:] = 0  # a background does not bend
        centers = centers[0] + 0.3 * (centers - centers[0])  # and the camera stays near the image
    targets = []
    for change, center in zip(changes, centers, strict=True):
        pose = deformed(start.target, change, center)
        targets.append(replace(pose, center=2 * center - body_center(scene.target.sprite, pose)))
    if not scene.painted:
        return targets, targets
    if settings.EXIT and rng.random() < settings.EXIT:
        targets = _leaving(rng, scene, targets)
    pans = smooth_path(rng, frames, 2) * settings.CAMERA_SHIFT * np.sqrt(np.prod(scene.frame_size))
    turns = smooth_path(rng, frames, CHANGES) * camera_spread(settings)
    cameras = [deformed(start.camera, turn, start.camera.center + pan) for turn, pan in zip(turns, pans, strict=True)]
    return cameras, targets


def _leaving(rng: np.random.Generator, scene: SceneSpec, targets: Sequence[Pose]) -> list[Pose]:
    """Move some of the target's poses beyond the nearest border of the frame."""
    frames, size = len(targets), np.array(scene.frame_size, np.float64)
    gone, back = np.sort(rng.uniform(0.2, 0.9, 2)) * frames
    back = max(back, gone + 2 * _EXIT_FRAMES)
    middle = targets[min(round(gone), frames - 1)].center
    room = np.concatenate((middle, size - middle))
    axis, low = int(np.argmin(room)) % 2, int(np.argmin(room)) < 2
    distance = (0.5 + _EXIT_MARGIN) * scene.target.body.max()
    outside = -distance if low else size[axis] + distance
    times = np.arange(frames)
    share = np.clip(np.minimum(times - gone, back - times) / _EXIT_FRAMES, 0, 1)
    share = share**2 * (3 - 2 * share)
    moved = []
    for pose, part in zip(targets, share, strict=True):
        center = pose.center.copy()
        center[axis] += part * (outside - center[axis])
        moved.append(replace(pose, center=center))
    return moved


def _looks(rng: np.random.Generator, scene: SceneSpec, frames: int) -> Iterator[Look]:
    """Draw slow changes of light and bursts of motion blur; noise, compression and shadow are constant."""
    settings = scene.settings
    first = draw_look(rng, settings, scene.look)
    spread = (settings.GAIN, *(settings.WHITE,) * 3, settings.GAMMA, settings.SATURATION, np.deg2rad(settings.HUE))
    tones = smooth_path(rng, frames, len(spread)) * spread
    bursts = smooth_path(rng, frames, 1)[:, 0] - 1.5
    direction = rng.uniform(0, np.pi)
    for tone, burst in zip(tones, bursts, strict=True):
        change = np.concatenate((tone[0] + tone[1:4], tone[4:]))
        blur = line_kernel(2 + settings.BLUR_LENGTH * min(burst, 1.0), direction) if burst > 0 else None
        yield replace(first, tone=first.tone + change, blur=blur, noise_offset=draw_noise_offset(rng))


def draw_sequence(
    rng: np.random.Generator, assets: AssetLibrary, frames: int, frame_size: tuple[int, int] = FRAME_SIZE
) -> Iterator[DrawnFrame]:
    """Draw the frames of one sequence.

    The camera moves over a background; the target is deformed on a smooth path, distractors have their own paths, and
    an occluder may cross the target.
    """
    settings = assets.settings
    scene = draw_scene_spec(rng, assets, frame_size)
    start = draw_start(rng, scene)
    cameras, targets = _leading(rng, scene, start, frames)
    moving: list[tuple[list[Placed], bool]] = []  # each object in all frames, and whether it is behind the target
    for thing, pose in zip(scene.distractors, start.distractors, strict=True):
        tone, below = object_tone(rng, settings), bool(rng.random() < settings.DISTRACTOR_BELOW)
        track = _wandering(rng, scene, pose, frames)
        moving.append(([Placed(thing.sprite, pose, tone) for pose in track], below))
    if scene.occluder:
        tone = object_tone(rng, settings)
        centers = [body_center(scene.target.sprite, pose) for pose in targets]
        track = _passing(rng, scene.occluder, centers, float(np.sqrt(scene.target.body.prod())))
        moving.append(([Placed(scene.occluder.sprite, pose, tone) for pose in track], False))
    target_tone = object_tone(rng, settings)
    for time, look in enumerate(_looks(rng, scene, frames)):
        frame = Frame(
            frame_size,
            Placed(scene.background.sprite, cameras[time]),
            Placed(scene.target.sprite, targets[time], target_tone),
            scene.painted,
            [track[time] for track, below in moving if below],
            [track[time] for track, below in moving if not below],
            look,
        )
        box = np.zeros(4) if frame.target_box is None else frame.target_box
        yield DrawnFrame(frame.draw(np.eye(3), frame_size), box, frame.visible_fraction())


def cover_label(visible: float) -> int:
    """Return GOT-10k's cover level, 0 to 8, of a visible fraction in [0, 1]."""
    return 8 if visible >= 1 else bisect_left(_COVER_LEVELS, visible)


def _write_sequence(folder: Path, frames: Iterator[DrawnFrame], frame_size: tuple[int, int], progress: tqdm) -> None:
    folder.mkdir(parents=True)
    boxes, covers = [], []
    for number, frame in enumerate(frames, 1):
        write_image(folder / f"{number:08d}.jpg", frame.image, _JPEG_QUALITY)
        boxes.append(",".join(f"{value:.4f}" for value in frame.box))
        covers.append(cover_label(frame.visible))
        progress.update()
    (folder / "groundtruth.txt").write_text("\n".join(boxes) + "\n")
    (folder / "cover.label").write_text("".join(f"{cover}\n" for cover in covers))
    (folder / "absence.label").write_text("".join(f"{int(cover == 0)}\n" for cover in covers))
    (folder / "meta_info.ini").write_text(_META_INFO.format(frame_size))


_load_procedural = partial(load_assets, (), (), SEQUENCE_SETTINGS)


def make_images_sequences(
    out: str | Path,
    split: str,
    sequences: int,
    frames: int,
    seed: int,
    load: Callable[[], AssetLibrary] = _load_procedural,
    frame_size: tuple[int, int] = FRAME_SIZE,
    force: bool = False,
) -> Path:
    """Draw a split of sequences and write it to the folder ``out/split``, which is returned, as GOT-10k does.

    The same arguments and images give the same files; each split has other random numbers. The folder is renamed to its
    final name when it is complete. ``load`` loads the assets; ``frame_size`` is width and height.

    Raises:
        DataError: the split exists already, or its assets cannot be used.
    """
    if split not in SPLITS:
        raise DataError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
    if sequences < 1 or frames < 1 or min(frame_size) < 64:
        wanted = f"{sequences} sequences of {frames} frames, {frame_size[0]} x {frame_size[1]}"
        raise DataError(f"{wanted} cannot be drawn: at least one of one frame, 64 x 64, is needed")
    folder, unfinished = Path(out) / split, Path(out) / f"{split}.partial"
    if folder.exists() and not force:
        raise DataError(f"{folder} exists already: choose another --out, or --force to replace it")
    assets = load()
    names = [f"images_{split}_{index:06d}" for index in range(1, sequences + 1)]
    shutil.rmtree(unfinished, ignore_errors=True)
    with tqdm(total=sequences * frames, unit="frame", desc=str(folder)) as progress:
        for index, name in enumerate(names):
            rng = np.random.default_rng((seed, SPLITS.index(split), index))
            _write_sequence(unfinished / name, draw_sequence(rng, assets, frames, frame_size), frame_size, progress)
    (unfinished / "list.txt").write_text("\n".join(names) + "\n")
    if folder.exists():
        shutil.rmtree(folder)
    unfinished.rename(folder)
    return folder
