"""Track the sequences of one or more benchmarks and write a result file for each."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.test.evaluation.evaluate import track_benchmarks
from lib.utils.errors import ConfigError, run_cli


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tracker", choices=["ostrack"])
    parser.add_argument("config", help="name of a file in experiments/ostrack, or the path of one")
    parser.add_argument("overrides", nargs="*", metavar="KEY.SUB=value", help="settings on top of the experiment")
    parser.add_argument("--dataset", "--dataset_name", default="otb", help="names or folder:PATH, comma separated")
    parser.add_argument("--sequence", help="name or number of the only sequence to track")
    parser.add_argument("--threads", type=int, default=0, help="worker processes; 0 tracks in this one")
    parser.add_argument("--num_gpus", type=int, help="GPUs to use at most (default: all)")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--precision", choices=["float32", "bf16", "fp16"], default="float32")
    parser.add_argument("--checkpoint", type=Path, help="weight file (default: the experiment's own)")
    parser.add_argument("--save_dir", type=Path, help="output folder (default: the configured one, ./output)")
    parser.add_argument("--runid", type=int, help="keep this run's results apart, under CONFIG_RUNID")
    parser.add_argument("--fresh", action="store_true", help="track again what is there already, and replace it")
    parser.add_argument("--debug", type=int, choices=[0, 1], default=0, help="1 shows the tracker at work")
    return parser.parse_intermixed_args(arguments)


def main() -> int:
    args = parse_arguments()
    if args.debug:
        raise ConfigError("--debug 1 is not available yet; leave it out")
    summary = track_benchmarks(
        args.config,
        args.dataset.split(","),
        sequence=args.sequence,
        checkpoint=args.checkpoint,
        overrides=args.overrides,
        precision=args.precision,
        device=args.device,
        num_gpus=args.num_gpus,
        workers=args.threads,
        save_dir=args.save_dir,
        run_id=args.runid,
        fresh=args.fresh,
    )
    print(summary)
    return 1 if summary.failed else 0


if __name__ == "__main__":
    run_cli(main)
