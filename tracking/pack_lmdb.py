"""Pack a training data set into an lmdb, for --use_lmdb 1. If interrupted, the same command continues.

python tracking/pack_lmdb.py --dataset LASOT TRACKINGNET      # folders and lmdbs as lib/train/admin/local.py says
python tracking/pack_lmdb.py --folder data/lasot --out data/lasot_lmdb
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.data.lmdb_pack import pack_folder
from lib.data.registry import lmdb_jobs
from lib.train.admin.environment import env_settings
from lib.utils.console import next_step
from lib.utils.errors import ConfigError, run_cli


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", nargs="+", default=[], metavar="NAME", help="names of training data sets")
    parser.add_argument("--folder", type=Path, help="a folder instead; with --out")
    parser.add_argument("--out", type=Path, help="where its lmdb goes")
    parser.add_argument("--prefix", default="", help="with --folder: what its keys begin with, like train for GOT-10k")
    args = parser.parse_args()
    alone = args.folder or args.out or args.prefix
    if alone if args.dataset else not (args.folder and args.out):
        raise ConfigError("name data sets with --dataset, or a folder with --folder and --out")
    jobs = [job for name in args.dataset for job in lmdb_jobs(name, env_settings())]
    for folder, out, prefix, content in jobs or [(args.folder, args.out, args.prefix, ())]:
        count = pack_folder(folder, out, prefix, content)
        print(f"{out}: {count} files of {folder}, verified")
    next_step("python tracking/train.py --config CONFIG --use_lmdb 1")


if __name__ == "__main__":
    run_cli(main)
