"""OSTrack as a tracker of the VOT toolkit, which starts it by the trackers.ini of a workspace: see docs/vot.md."""

import argparse
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.test.running import add_running_options
from lib.test.vot.trax import connect
from lib.utils.errors import run_cli


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="name or path of an experiment")
    parser.add_argument("overrides", nargs="*", metavar="KEY.SUB=value", help="settings on top of the experiment")
    parser.add_argument("--checkpoint", type=Path, help="weight file (default: the experiment's own)")
    add_running_options(parser)
    return parser.parse_intermixed_args()


def main() -> None:
    args = parse_arguments()
    connection = connect()  # first of all: what the imports or the model print must not get into the conversation

    import numpy as np

    from lib.test.tracker import build_tracker
    from lib.test.vot.session import serve
    from lib.utils.devices import checked_device

    device = checked_device(args.device)
    running = {"precision": args.precision, "backend": args.backend, "compiled": args.compile}
    tracker = build_tracker(args.config, args.checkpoint, device, overrides=args.overrides, **running)
    # The first step of a model is slow, which a real-time experiment would count against the tracker.
    nothing = np.zeros((128, 128, 3), np.uint8)
    tracker.step([nothing], [tracker.start(nothing, [32, 32, 64, 64])])
    # The toolkit reads stderr with stdout: this also ends any line left unfinished there, ahead of the first message.
    how = f"{args.backend}, {args.precision}"
    logging.info("OSTrack %s, %s, on %s by %s", args.config, tracker.checkpoint, device, how)
    serve(connection, tracker, f"OSTrack {Path(args.config).stem}")


if __name__ == "__main__":
    run_cli(main)
