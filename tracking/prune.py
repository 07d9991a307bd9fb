"""Make a smaller model from a trained one: python tracking/prune.py --config NAME --config_prv TRAINED --out FILE.

The experiment NAME is the smaller one, with narrower MLPs (MODEL.BACKBONE.MLP_RATIO) and perhaps fewer blocks. The
least important neurons are removed and the remaining weights refitted, on samples of its training data. Training can
start from the result.
"""

import argparse
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.config import add_overrides
from lib.train.admin.settings import TrainOptions
from lib.utils.console import int_list, next_step
from lib.utils.errors import run_cli


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--script", default="", help="family of trackers (default: by the experiment's folder)")
    parser.add_argument("--config", required=True, help="experiment of the smaller model")
    parser.add_argument("--script_prv", default="", help="family of --config_prv")
    parser.add_argument("--config_prv", required=True, help="experiment of the trained model")
    parser.add_argument(
        "--blocks_prv", type=int_list, default=(), metavar="0,2,3", help="its blocks that are kept (default: the first)"
    )
    parser.add_argument("--out", type=Path, required=True, help="weight file to write")
    parser.add_argument("--samples", type=int, default=768, help="training samples to choose and fit by (768)")
    parser.add_argument(
        "--save_dir", default="", help="root of the checkpoints of --config_prv (default: the configured one, ./output)"
    )
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda or cuda:N")
    add_overrides(parser)
    args = parser.parse_intermixed_args()

    from lib.train.pruning import prune  # slow to import, which --help need not wait for

    own = ("script", "save_dir", "device", "config_prv", "script_prv", "blocks_prv")
    options = TrainOptions(**{name: getattr(args, name) for name in own})
    before, after = prune(args.config, args.out, options, args.samples, args.overrides)
    print(f"wrote {args.out}: mean IoU of training samples {before:.3f} before, {after:.3f} after")
    given = ["--script", args.script] if args.script else []
    given += ["--config", args.config, *(["--save_dir", args.save_dir] if args.save_dir else []), "--distill", "1"]
    given += ["--script_teacher", args.script_prv] if args.script_prv else []
    given += ["--config_teacher", args.config_prv, *args.overrides, f"MODEL.PRETRAIN_FILE={args.out}"]
    next_step(shlex.join(["python", "tracking/train.py", *given]))


if __name__ == "__main__":
    run_cli(main)
