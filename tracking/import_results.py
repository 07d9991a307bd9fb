"""Import the results of another tracker, so that tracking/analysis_results.py scores them together with your own.

SOURCE is a folder, a zip or a file: text files of boxes (comma, tab or space), .mat of the OTB toolkit, .json, .npz.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.test.evaluation.environment import env_settings
from lib.test.utils.importing import FORMS, ImportOptions, import_results
from lib.utils.console import analysis_command, next_step
from lib.utils.errors import run_cli


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="SOURCE")
    parser.add_argument("--tracker", required=True, help="what to call the tracker, for example STARK")
    parser.add_argument("--config", required=True, help="what to call its configuration, for example st50")
    parser.add_argument("--dataset", required=True, help="benchmark, or folder:PATH")
    parser.add_argument("--member", help="folder or key inside SOURCE to take, where it holds several trackers")
    parser.add_argument("--one_based", action="store_true", help="pixels are counted from 1, as in MATLAB")
    parser.add_argument("--form", choices=FORMS, default="xywh", help="what the numbers of a box are (default: xywh)")
    parser.add_argument("--any_length", action="store_true", help="also results with too few or too many boxes")
    parser.add_argument("--force", action="store_true", help="replace results of another origin")
    parser.add_argument("--save_dir", help="output folder; default: that of the settings, ./output")
    args = parser.parse_args()
    options = ImportOptions(args.member, args.one_based, args.form, args.any_length, args.force)
    env = env_settings().saving_to(args.save_dir)
    report = import_results(args.source, args.tracker, args.config, args.dataset, options, env)
    print(report)
    if report.written:
        next_step(analysis_command(args.dataset, args.save_dir))
    return 0 if report.complete else 1


if __name__ == "__main__":
    run_cli(main)
