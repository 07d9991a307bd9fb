"""Score tracking results: tables, success and precision plots, an HTML report, and significance tests.

Without arguments: lists the results and scores every benchmark with complete results.
"""

import argparse
import sys
from dataclasses import fields
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.test.analysis.analyze import AnalysisOptions, analyze
from lib.test.analysis.protocols import PROTOCOLS
from lib.test.evaluation.environment import env_settings
from lib.test.evaluation.results import LOST_BELOW
from lib.utils.console import next_step
from lib.utils.errors import run_cli


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tracker", help="only the results of this tracker, the name of its family or its own")
    parser.add_argument("--config", action="append", default=[], help="only this config; may be given several times")
    parser.add_argument("--dataset", help="benchmark, or folder:PATH; default: every complete one")
    parser.add_argument("--save_dir", help="where test.py put its results; default: that of the settings, ./output")
    parser.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        default="pytracking",
        help="how to score: as PyTracking and OSTrack do (default), or as each benchmark's own toolkit does",
    )
    parser.add_argument("--sequences", dest="by_sequence", action="store_true", help="print the table by sequence too")
    parser.add_argument(
        "--attributes", dest="by_attribute", action="store_true", help="print the table by attribute too"
    )
    parser.add_argument("--compare", nargs=2, metavar=("A", "B"), help="test whether two trackers really differ")
    parser.add_argument(
        "--export", nargs="+", choices=("md", "tex", "csv"), default=[], help="write all tables as files"
    )
    parser.add_argument("--html", action="store_true", help="write report.html, one page with everything in it")
    parser.add_argument(
        "--lost_below",
        type=float,
        default=LOST_BELOW,
        help="frames of a lower score are marked in report.html (default: %(default)s)",
    )
    parser.add_argument("--no_plots", dest="plots", action="store_false", help="write no plots")
    parser.add_argument(
        "--no_cache", dest="cache", action="store_false", help="read all result files again, do not use test/cache"
    )
    parser.add_argument("--skip_missing", action="store_true", help="leave out sequences without results")
    args = parser.parse_args()
    options = AnalysisOptions(**{option.name: getattr(args, option.name) for option in fields(AnalysisOptions)})
    blocks = analyze(args.dataset, args.tracker, args.config, options, env_settings().saving_to(args.save_dir))
    for block in blocks:
        print(f"{block}\n")
    next_step(
        "open report.html in the folder above" if args.html else "--html for a page with every sequence in it",
        *(() if args.compare else ("--compare A B to ask whether a difference counts",)),
    )


if __name__ == "__main__":
    run_cli(main)
