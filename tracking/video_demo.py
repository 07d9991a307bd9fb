"""Track what you point at in a video file, a camera or a stream."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.test.evaluation.environment import env_settings
from lib.test.evaluation.results import LOST_BELOW
from lib.test.spec import TrackerSpec, add_tracker_options, add_visdom_options
from lib.test.track_formats import FORMATS
from lib.test.video_demo import track_video
from lib.test.video_loop import KEYS, VideoOptions
from lib.utils.console import next_step
from lib.utils.errors import ConfigError, run_cli
from lib.vis.visdom_client import visdom_or_pictures


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, epilog=f"Keys in the window: {KEYS}.")
    parser.add_argument("tracker", help="family of trackers in lib/models")
    parser.add_argument("config", help="name of an experiment of the family, or the path of one")
    sources = "video file, folder of pictures, pattern of pictures (walk/%%05d.jpg), number of a camera, or URL"
    parser.add_argument("video", help=sources)
    box, sides = {"type": float, "action": "append", "dest": "boxes"}, ("X", "Y", "W", "H")
    first = "target in the first frame, in pixels; repeat it for several (default: draw it with the mouse)"
    parser.add_argument("--optional_box", "--box", nargs=4, default=[], metavar=sides, help=first, **box)
    later = "target that starts in a later frame of the video, counted from 0; may be repeated, too"
    parser.add_argument("--box_at", nargs=5, metavar=("FRAME", *sides), help=later, **box)
    parser.add_argument("--start_frame", type=int, default=0, help="first frame that is read, counted from 0 (0)")
    least = "least side of a box in pixels, for small targets: TEST.MIN_SIZE (10)"
    parser.add_argument("--min_size", type=float, help=least)
    parser.add_argument("--targets", type=int, default=1, help="how many targets to draw")
    parser.add_argument("--lost_below", type=float, default=LOST_BELOW, help="lower scores are shown as lost (0.3)")
    parser.add_argument("--output", type=Path, metavar="OUT.mp4", help="write a video with the boxes")
    formats = f"write the tracks as {', '.join(FORMATS)}, or under names that end so (docs/video_demo.md)"
    files = {"type": Path, "nargs": "+", "action": "extend", "metavar": "FILE"}
    parser.add_argument("--save", default=[], help=formats, **files)
    parser.add_argument("--label", default="target", help="what the targets are called in these files (target)")
    results = "write the boxes where tracking/test.py puts its own"
    parser.add_argument("--save_results", action="store_true", help=results)
    parser.add_argument("--no_display", action="store_true", help="open no window, as where there is no display")
    add_tracker_options(parser)
    parser.add_argument("--runid", type=int, help="keep this run's results apart, under CONFIG_RUNID")
    parser.add_argument("--debug", type=int, choices=[0, 1], default=0, help="1 shows the first target in visdom, too")
    add_visdom_options(parser)
    return parser.parse_intermixed_args(arguments)


def split_boxes(given: list[list[float]], start_frame: int) -> tuple[list[list[float]], list[int]]:
    """Split boxes and the frame that each is in. Raises ConfigError: it is no whole number."""
    starts = [box[0] if len(box) == 5 else start_frame for box in given]
    if parts := [start for start in starts if start % 1]:
        raise ConfigError(f"--box_at {parts[0]:g}: FRAME is a whole number, the first is 0")
    return [box[-4:] for box in given], list(map(int, starts))


def main() -> None:
    args = parse_arguments()
    screen = None
    if args.debug:
        folder = env_settings().saving_to(args.save_dir).debug_folder
        screen = visdom_or_pictures(args.visdom_server, args.visdom_port, folder)
    boxes, starts = split_boxes(args.boxes, args.start_frame)
    least = [] if args.min_size is None else [f"TEST.MIN_SIZE={args.min_size}"]
    spec = TrackerSpec.from_arguments(args, args.tracker)
    spec = replace(spec, overrides=(*spec.overrides, *least))
    names = ("start_frame", "targets", "output", "save_results", "lost_below", "save", "label")
    same = {name: getattr(args, name) for name in names}
    options = VideoOptions(starts, display=not args.no_display, run_id=args.runid, screen=screen, **same)
    summary = track_video(spec, args.video, boxes, options)
    print(summary)
    made = [str(path) for path in (args.output, *args.save) if path]
    next_step(f"look at {', '.join(made)}" if made else "--output OUT.mp4 keeps the video, --save cvat.xml the boxes")


if __name__ == "__main__":
    run_cli(main)
