"""Demonstrate the tracker: track a helicopter in a real clip, then score the tracker on drawn (synthesized) sequences.

Needs nothing but the installation: model and clip ship with the project. A cloud is drawn over part of the clip, so
that the target is lost and found again.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np
from tqdm import tqdm

from lib.data.image_io import write_image
from lib.data.video_io import VideoFile, VideoWriter
from lib.drawing.sequences import make_images_sequences
from lib.models.family import experiment_family
from lib.test.analysis.analyze import AnalysisOptions, analyze
from lib.test.evaluation.environment import env_settings
from lib.test.evaluation.evaluate import RunOptions, track_benchmarks
from lib.test.evaluation.results import LOST_BELOW
from lib.test.spec import TrackerSpec
from lib.test.tracker import build_tracker
from lib.test.tracker.inspected import InspectedTracker
from lib.test.tracker.video import track_frames
from lib.utils.console import next_step
from lib.utils.errors import run_cli
from lib.utils.paths import shipped_file
from lib.vis.draw import contact_sheet
from lib.vis.recorder import record_video
from lib.vis.views import View

CONFIG = "vits_256_ce_images"  # which has candidate elimination to show
BETTER = "vits_192"  # of the trackers that ship
CLIP, FIRST_BOX, CLIP_FRAMES = "web/sample/helicopter.mp4", (74, 244, 136, 92), 200
CLOUD_FRAMES = range(100, 114)
CLOUD = ((128, 178, 62), (190, 138, 72), (262, 142, 78), (322, 182, 58), (222, 195, 70))  # circles: x, y, radius
SEQUENCES, FRAMES, SEED = 8, 40, 1


def clip_frames() -> Iterator[np.ndarray]:
    """Yield the first frames of the clip, RGB uint8 (512, 640, 3), a cloud drawn over some of them."""
    cover = np.zeros((512, 640), np.float32)
    for x, y, radius in CLOUD:
        cv2.circle(cover, (x, y), radius, 1.0, cv2.FILLED)
    cover = cv2.GaussianBlur(cover, (0, 0), 10)[..., None]
    for number, frame in zip(range(CLIP_FRAMES), VideoFile(shipped_file(CLIP)), strict=False):
        yield (frame + cover * (225.0 - frame)).astype(np.uint8) if number in CLOUD_FRAMES else frame


def lost_and_found(scores: Sequence[float], lost_below: float = LOST_BELOW) -> list[str]:
    """Return a line for each frame in which the target is lost or found again, by its score; frames count from 0."""
    lost = [score < lost_below for score in scores]
    return [
        f"frame {number}: {'lost' if now else 'found again'} (score {scores[number]:.2f})"
        for number, (before, now) in enumerate(zip([False, *lost], lost, strict=False))
        if before != now
    ]


def views() -> Iterator[View]:
    """Yield a view of each frame of the clip, with candidate elimination and the attention that decides it."""
    tracker = build_tracker(CONFIG, backend="plain")
    inspected = InspectedTracker(tracker, record_video, tracker.cfg.MODEL.BACKBONE.CE_LOC)
    frames = clip_frames()
    target = inspected.start(next(frames), FIRST_BOX)
    yield inspected.view(0, target)
    for number, frame in enumerate(frames, 1):
        inspected.step([frame], [target])
        yield inspected.view(number, target)


def track_clip(out: Path) -> None:
    """Track the clip; write the video, frames of it, and a video of what the network sees."""
    tracker = build_tracker(CONFIG, precision="auto")
    cloud = f"a cloud drawn over frames {CLOUD_FRAMES[0]} to {CLOUD_FRAMES[-1]}"
    print(f"Tracking a helicopter in {CLIP} ({CLIP_FRAMES} frames, {cloud}) with {tracker.checkpoint} on the CPU")
    fps = VideoFile(shipped_file(CLIP)).fps
    frames = list(tqdm(track_frames(tracker, clip_frames(), FIRST_BOX), total=CLIP_FRAMES, unit="frame"))
    pictures = [frame.picture(LOST_BELOW) for frame in frames]
    with VideoWriter(out / "demo.mp4", fps) as writer:
        for picture in pictures:
            writer.write(picture)
    chosen = np.linspace(0, len(frames) - 1, 12).round().astype(int)
    write_image(out / "demo.png", contact_sheet([pictures[i] for i in chosen], columns=4, tile_width=320))
    scores, seconds = [frame.score for frame in frames[1:]], [frame.seconds for frame in frames[1:]]
    print(f"  {1 / np.median(seconds):.1f} frames per second, scores {min(scores):.2f} to {max(scores):.2f}")
    for line in lost_and_found([1.0, *scores]) or [f"never lost (no score below {LOST_BELOW})"]:
        print(f"  {line}")
    with record_video(out, fps, "elimination", CLIP_FRAMES) as show:
        for view in views():
            show(view)
    print("Look at")
    print(f"  {out / 'demo.mp4'}          the clip with the box, gray where the target is lost")
    print(f"  {out / 'demo.png'}          12 frames of it")
    print(f"  {out / 'elimination.mp4'}   search region, score map and the patches that the network drops\n")


def score_drawn_sequences(out: Path) -> int:
    root = env_settings().images_path
    if not (Path(root) / "val" / "list.txt").is_file():
        print(f"Drawing {SEQUENCES} sequences into {root}/val")
        make_images_sequences(Path(root), "val", SEQUENCES, FRAMES, SEED)
    print("Tracking the drawn sequences (images_val)")
    summary = track_benchmarks(TrackerSpec(CONFIG, save_dir=out), ["images_val"], RunOptions(fresh=True))
    print(f"{summary}\n")
    family, env = experiment_family(CONFIG).name, env_settings().saving_to(out)
    for block in analyze("images_val", family, [CONFIG], AnalysisOptions(plots=False), env):
        print(f"{block}\n")
    return 1 if summary.failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("output/demo"), help="folder for what the demo makes")
    out = parser.parse_args().out
    start = time.perf_counter()
    track_clip(out)
    status = score_drawn_sequences(out)
    print(f"The demo took {time.perf_counter() - start:.0f} seconds.")
    family = experiment_family(BETTER).name
    next_step(f"python tracking/video_demo.py {family} {BETTER} VIDEO, with a video of your own")
    return status


if __name__ == "__main__":
    run_cli(main)
