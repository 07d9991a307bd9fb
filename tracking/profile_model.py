"""Count a model's operations and parameters, and measure its speed and memory on the CPU or a GPU."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.config import add_overrides
from lib.test.profiling import profile
from lib.test.spec import TrackerSpec, add_family_option, add_running_options
from lib.utils.console import next_step
from lib.utils.errors import run_cli


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_family_option(parser)
    parser.add_argument("--config", default="vitb_256_mae_ce_32x4_ep300", help="experiment (%(default)s)")
    add_running_options(parser, device="cpu")
    parser.add_argument("--batch", type=int, default=1, help="targets in one forward pass")
    parser.add_argument("--frames", type=int, default=20, help="timed steps, after a quarter as many to warm up (20)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures to this file too")
    add_overrides(parser)
    args = parser.parse_intermixed_args()
    if args.json:  # before the work that would be lost
        args.json.parent.mkdir(parents=True, exist_ok=True)
    how = args.device, args.precision, args.backend, args.compile
    spec = TrackerSpec(args.config, args.script, None, *how, tuple(args.overrides))
    found = profile(spec, args.frames, args.batch)
    print(found)
    if args.json:
        args.json.write_text(json.dumps(asdict(found), indent=1) + "\n")
    next_step("--backend, --precision, --device and --compile to compare", "docs/performance.md for other machines")


if __name__ == "__main__":
    run_cli(main)
