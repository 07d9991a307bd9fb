"""Run a tracker for the VOT toolkit, which starts it from the trackers.ini of a workspace: see docs/vot.md."""

import argparse
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.test.spec import TrackerSpec, add_family_option, add_tracker_options
from lib.test.vot.trax import connect
from lib.utils.errors import run_cli


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="name or path of an experiment")
    add_family_option(parser)
    add_tracker_options(parser)
    args = parser.parse_intermixed_args()
    connection = connect()  # first of all: what the imports or the model print must not get into the conversation

    from lib.test.evaluation.modes import warm_up
    from lib.test.vot.session import serve

    spec = TrackerSpec.from_arguments(args, args.script)
    tracker = spec.build()
    warm_up(tracker)  # or a real-time experiment would count it against the tracker
    # The toolkit reads stderr with stdout: this also ends any line left unfinished there, ahead of the first message.
    name, how = f"{tracker.cfg.family} {tracker.cfg.name}", f"{args.backend}, {args.precision}"
    logging.info("%s, %s, on %s by %s", name, tracker.checkpoint, tracker.device, how)
    serve(connection, tracker, name)


if __name__ == "__main__":
    run_cli(main)
