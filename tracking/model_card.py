"""Write the contents of a model card: scores by sequence, curves of training runs, and images of the worst failures."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.models.family import DEFAULT_FAMILY
from lib.test.analysis.analyze import Selection
from lib.test.analysis.card import write_card
from lib.test.analysis.protocols import PROTOCOLS
from lib.test.evaluation.environment import env_settings
from lib.utils.console import next_step
from lib.utils.errors import run_cli


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="for card.md and its images")
    parser.add_argument("--dataset", default="", help="benchmark, or folder:PATH, whose results to show")
    parser.add_argument("--tracker", default=DEFAULT_FAMILY, help="whose results (default: %(default)s)")
    parser.add_argument("--config", nargs=1, default=(), help="of that tracker")
    parser.add_argument(
        "--compare", nargs="+", default=[], metavar="TRACKER/CONFIG", help="results to show beside them"
    )
    parser.add_argument(
        "--runs", nargs="+", default=[], metavar="[LABEL=]CHECKPOINT", help="training runs whose curves to show"
    )
    parser.add_argument("--failures", type=int, default=4, help="number of sequences to show (default: %(default)s)")
    parser.add_argument("--save_dir", help="where test.py put its results; default: that of the settings, ./output")
    parser.add_argument("--protocol", choices=PROTOCOLS, default="pytracking", help="how to score")
    parser.add_argument("--skip_missing", action="store_true", help="leave out sequences without results")
    args = parser.parse_args()
    files = write_card(
        args.output,
        Selection(args.dataset, args.tracker, args.config, args.compare, args.protocol),
        args.runs,
        args.failures,
        args.skip_missing,
        env_settings().saving_to(args.save_dir),
    )
    print(f"Wrote to {args.output}: {', '.join(path.name for path in files)}")
    next_step(f"copy what you want to say from {args.output / 'card.md'} into the model's own card")


if __name__ == "__main__":
    run_cli(main)
