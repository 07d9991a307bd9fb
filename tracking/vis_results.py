"""Draw the results of one or several trackers on a sequence: a contact sheet of informative frames, or a video."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.test.analysis.analyze import Selection
from lib.test.analysis.on_frames import draw_results
from lib.test.analysis.protocols import PROTOCOLS
from lib.test.evaluation.environment import env_settings
from lib.utils.console import analysis_command, next_step
from lib.utils.errors import run_cli


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", "--dataset_name", required=True, help="benchmark, or folder:PATH")
    parser.add_argument("--sequence", required=True, help="name of the sequence, or its number in the data set")
    parser.add_argument("--tracker", help="only the results of this tracker, the name of its family or its own")
    parser.add_argument("--config", action="append", default=[], help="only this config; may be given several times")
    parser.add_argument("--compare", nargs="+", default=[], metavar="TRACKER/CONFIG", help="and these trackers")
    parser.add_argument("--output", type=Path, metavar="FILE", help="a video (.mp4) or an image (.png, .jpg)")
    parser.add_argument("--frames", type=int, default=12, help="frames in the image: half spread, half worst (12)")
    parser.add_argument("--save_dir", help="where test.py put its results; default: that of the settings, ./output")
    parser.add_argument("--protocol", choices=PROTOCOLS, default="pytracking", help="how to score")
    args = parser.parse_args()
    print(
        draw_results(
            Selection(args.dataset, args.tracker, args.config, args.compare, args.protocol),
            args.sequence,
            args.output,
            args.frames,
            env_settings().saving_to(args.save_dir),
        )
    )
    next_step("--output WALK.mp4 for a video", analysis_command(args.dataset, args.save_dir, "--html"))


if __name__ == "__main__":
    run_cli(main)
