"""Check training data sets: prints one line each; the exit status is 1 if any is broken.

ok: training uses every sequence; PARTLY USABLE: it leaves out some of them; BROKEN: fix the data first.

python tracking/check_data.py --config vitb_256_mae_ce_32x4_ep300       # those that an experiment names
python tracking/check_data.py --dataset LASOT "TRACKINGNET[0-3]" --full # these, and decode every image
"""

import argparse
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.config import add_overrides, drawn_datasets
from lib.models.family import load_experiment
from lib.test.spec import add_family_option
from lib.train.admin.environment import env_settings
from lib.train.data.check import check_dataset
from lib.train.data.sampler import PairSampling
from lib.utils.console import next_step
from lib.utils.cpu import cpu_count
from lib.utils.errors import ConfigError, in_names_of_installation, run_cli


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", help="name of an experiment, or path of a YAML file")
    add_family_option(parser)
    parser.add_argument("--dataset", nargs="+", default=[], metavar="NAME", help="names of training data sets")
    parser.add_argument("--use_lmdb", type=int, choices=(0, 1), default=0, help="examine their lmdbs")
    parser.add_argument("--full", action="store_true", help="decode every image; an interrupted check goes on")
    parser.add_argument("--jobs", type=int, default=cpu_count(), help="threads that decode (default: %(default)s)")
    add_overrides(parser)
    args = parser.parse_intermixed_args()
    names, options = list(args.dataset), {}
    if args.config:
        cfg = load_experiment(args.config, args.overrides, args.script)
        names += [*drawn_datasets(cfg, "TRAIN"), *drawn_datasets(cfg, "VAL")]
        options = {"sampling": PairSampling.of(cfg.DATA), "drawing": cfg.DATA.DRAW}
    elif args.overrides:
        raise ConfigError(f"{args.overrides[0]} changes an experiment: name one with --config")
    if not names or args.jobs < 1:
        raise ConfigError("name an experiment with --config or data sets with --dataset; --jobs is 1 or more")
    broken = False
    for name in dict.fromkeys(names):
        report = check_dataset(name, env_settings(), bool(args.use_lmdb), args.full, args.jobs, **options)
        print(in_names_of_installation(report.line()), flush=True)
        broken |= bool(report.broken)
    if broken:
        next_step("mend what is BROKEN, then the same command again")
    else:
        given = ["--script", args.script] if args.script else []
        given += ["--config", args.config or "CONFIG", *args.overrides]
        given += ["--use_lmdb", "1"] if args.use_lmdb else []
        next_step(shlex.join(["python", "tracking/train.py", *given]))
    return int(broken)


if __name__ == "__main__":
    run_cli(main)
