"""Count a model's operations and parameters, and time it on the CPU or a GPU."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.test.profiling import profile
from lib.utils.errors import run_cli


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--script", default="ostrack", choices=["ostrack"])
    parser.add_argument("--config", default="vitb_256_mae_ce_32x4_ep300", help="name or path of an experiment")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--precision", default="float32", choices=["float32", "bf16", "fp16"])
    parser.add_argument("--frames", type=int, default=20, help="timed frames, after a quarter as many to warm up")
    parser.add_argument("overrides", nargs="*", metavar="KEY.SUB=value")
    arguments = parser.parse_intermixed_args()
    print(profile(arguments.config, arguments.device, arguments.precision, arguments.frames, arguments.overrides))


if __name__ == "__main__":
    run_cli(main)
