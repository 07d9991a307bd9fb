"""Score tracking results: the table, a table by sequence, success and precision plots.

Without arguments: lists the results and scores every benchmark that they cover completely.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.test.analysis.analyse import analyse
from lib.test.analysis.metrics import PROTOCOLS
from lib.utils.errors import run_cli


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tracker", help="only the results of this tracker, for example ostrack")
    parser.add_argument("--config", action="append", default=[], help="only this config; may be given several times")
    parser.add_argument("--dataset", help="benchmark, or folder:PATH; default: every complete one")
    parser.add_argument("--save_dir", help="where test.py put its results; default: that of the settings, ./output")
    parser.add_argument("--protocol", choices=PROTOCOLS, default="pytracking", help="how to score; default: pytracking")
    parser.add_argument("--sequences", action="store_true", help="print the table by sequence too")
    parser.add_argument("--no_plots", action="store_true", help="tables only")
    parser.add_argument("--skip_missing", action="store_true", help="leave out sequences without results")
    args = parser.parse_args()
    blocks = analyse(
        dataset=args.dataset,
        tracker=args.tracker,
        configs=args.config,
        save_dir=args.save_dir,
        protocol=args.protocol,
        by_sequence=args.sequences,
        plots=not args.no_plots,
        skip_missing=args.skip_missing,
    )
    for block in blocks:
        print(f"{block}\n")


if __name__ == "__main__":
    run_cli(main)
