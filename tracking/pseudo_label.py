"""Pseudo-label unlabeled videos: keep sequences on which forward and backward tracking agree, for training (FOLDER).

python tracking/pseudo_label.py ostrack vits_192 --videos clips --detector yolox_nano.onnx --out data/pseudo
"""

import argparse
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.config import config_hash
from lib.models.family import is_family
from lib.test.evaluation.protocol import BatchTracker, Tracker, batch_tracker
from lib.test.evaluation.results import backend_name, file_hash
from lib.test.labeling.candidates import Detector, check_classes
from lib.test.labeling.pseudo_label import LabelOptions, find_videos, label_videos
from lib.test.spec import TrackerSpec, add_tracker_options
from lib.test.tracker.build import choose_precision
from lib.test.tracker.custom import build_custom, custom_identity
from lib.utils.console import next_step
from lib.utils.devices import checked_device
from lib.utils.errors import ConfigError, run_cli
from lib.vis.samples import label_sheets


def parse_arguments() -> argparse.Namespace:
    default = LabelOptions()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tracker", help="family, or NAME of lib/test/tracker/NAME.py (docs/api.md)")
    parser.add_argument("config", help="name of an experiment of the family, or the path of one")
    paths = {"type": Path, "nargs": "+", "metavar": "PATH"}
    parser.add_argument("--videos", required=True, help="videos, or their folders", **paths)
    parser.add_argument("--out", type=Path, default=Path("data/pseudo"), help="folder of the sequences (data/pseudo)")
    parser.add_argument("--detector", type=Path, metavar="ONNX", help="a YOLOX; default: what moves is followed")
    parser.add_argument("--detector_size", type=int, default=416, help="side of its input, in pixels (416)")
    parser.add_argument("--classes", nargs="+", default=[], metavar="CLASS", help="of the detector (default: all)")
    parser.add_argument("--without", nargs="+", default=[], metavar="CLASS", help="classes that are not followed")
    parser.add_argument("--per_class", type=int, help="most sequences of a class (default: no limit)")
    parser.add_argument("--per_video", type=int, default=default.per_video, help="most sequences of a video (3)")
    parser.add_argument("--stride", type=int, default=default.stride, help="take every N-th frame (1)")
    parser.add_argument("--read", type=int, help="most frames that are read of a video (default: no limit)")
    parser.add_argument("--frames", type=int, default=default.frames, help="most frames of a sequence (150)")
    parser.add_argument("--min_frames", type=int, default=default.min_frames, help="fewest frames of a sequence (20)")
    parser.add_argument("--side", type=int, default=default.side, help="longest side of a frame, in pixels (640)")
    parser.add_argument("--agreement", type=float, default=default.agreement, help="least IoU of the directions (0.6)")
    parser.add_argument("--sheet", type=Path, metavar="PNG", help="draw all sequences of --out on contact sheets")
    add_tracker_options(parser)
    args = parser.parse_intermixed_args()
    for name in ("stride", "read", "frames", "min_frames", "side", "per_video", "per_class", "detector_size"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise ConfigError(f"--{name} {getattr(args, name)}: must be 1 or more")
    if not 0 < args.agreement <= 1:
        raise ConfigError(f"--agreement {args.agreement}: an IoU, above 0 and at most 1")
    if args.min_frames > args.frames:
        raise ConfigError(f"--min_frames {args.min_frames}: no sequence has more than --frames {args.frames}")
    return args


def build(spec: TrackerSpec) -> tuple[Tracker | BatchTracker, dict[str, str]]:
    """Return the tracker, and what tells it from others."""
    device = checked_device(spec.device)
    if not is_family(spec.family):
        identity, _ = custom_identity(spec.family, str(spec.config))
        return build_custom(str(device), spec.family, str(spec.config)), {"code": identity}
    tracker = spec.build()
    return tracker, {
        "config_hash": config_hash(tracker.cfg),
        "weights": file_hash(str(tracker.checkpoint)),
        "precision": choose_precision(spec.precision, device, spec.backend),
        "backend": backend_name(spec.backend),
    }


def main() -> int:
    args = parse_arguments()
    tracker, identity = build(TrackerSpec.from_arguments(args, args.tracker))
    detector = Detector(args.detector, args.detector_size) if args.detector else None
    check_classes([*args.classes, *args.without], detector.names if detector else [])
    origin = {"tracker": f"{args.tracker} {args.config}", "detector": args.detector.name if args.detector else "motion"}
    origin |= identity | ({"detector_size": str(args.detector_size)} if args.detector else {})
    fields = ("stride", "read", "side", "frames", "min_frames", "agreement", "per_video", "per_class")
    classes = {"classes": tuple(args.classes), "without": tuple(args.without)}
    options = LabelOptions(**{name: getattr(args, name) for name in fields}, **classes)
    videos = find_videos(args.videos)
    written, broken = label_videos(videos, args.out, batch_tracker(tracker, 1), origin, detector, options)
    print(f"wrote {written} sequences to {args.out}; {broken} of {len(videos)} videos could not be read")
    if any(args.out.glob("*/groundtruth.txt")):
        for path in label_sheets(args.out, args.sheet) if args.sheet else ():
            print(f"wrote {path}")
        command = f"python tracking/test.py ostrack vits_192 --dataset folder:{shlex.quote(str(args.out))}"
        next_step(f"set folder_dir to {args.out} in the file of paths to train from them", command)
    return int(broken == len(videos))


if __name__ == "__main__":
    run_cli(main)
