"""Pack the training data of an experiment into small files, to train on another machine; unpack them there.

python tracking/pack_training_data.py ostrack vits_192_stage4 --out packed --part_mb 60
python tracking/pack_training_data.py --unpack packed/part_*.zip --out data/packed
"""

import argparse
import itertools
import shlex
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from lib.config import drawn_datasets
from lib.data import packing
from lib.data.packing import Job, PackSpec
from lib.data.registry import folders, open_dataset
from lib.drawing.pictures import list_pictures
from lib.models.family import load_experiment
from lib.train.admin.environment import env_settings
from lib.train.data.sampler import SHORTEST_SEQUENCE
from lib.utils.console import next_step
from lib.utils.errors import ConfigError, run_cli

_SETTINGS = {
    "folder_dir": packing.VIDEO,
    "pictures_dir": packing.PICTURES,
    "images_dir": packing.PHOTOS,
    "cutouts_dir": packing.CUTOUTS,
}


def parse_arguments() -> argparse.Namespace:
    spec = PackSpec()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("script", nargs="?", help="family of the experiment")
    parser.add_argument("config", nargs="?", help="the experiment, or the path of one")
    parser.add_argument("--out", type=Path, required=True, help="folder of the parts, or of the unpacked data")
    parser.add_argument("--unpack", type=Path, nargs="+", metavar="ZIP", help="parts to unpack")
    parser.add_argument("--part_mb", type=float, nargs="+", default=[60.0], help="most MB of the parts (60)")
    parser.add_argument("--frames", type=int, default=spec.frames, help=f"most frames of a sequence ({spec.frames})")
    parser.add_argument("--pictures", type=int, default=12000, help="most images with boxes (12000)")
    parser.add_argument("--photos", type=int, default=4000, help="most images for IMAGES (4000)")
    parser.add_argument("--side", type=int, default=spec.side, help=f"of an image, in pixels ({spec.side})")
    parser.add_argument("--quality", type=int, default=spec.quality, help=f"of AVIF, 0 to 100 ({spec.quality})")
    args = parser.parse_args()
    if bool(args.unpack) == bool(args.script and args.config):
        raise ConfigError("name a family and an experiment to pack, or parts with --unpack")
    if min(args.frames, args.pictures, args.photos, args.side, *args.part_mb) <= 0 or not 0 <= args.quality <= 100:
        raise ConfigError("--frames, --pictures, --photos, --side and --part_mb are above 0, --quality is 0 to 100")
    if args.frames < SHORTEST_SEQUENCE:
        raise ConfigError(f"--frames {args.frames}: training takes sequences of {SHORTEST_SEQUENCE} frames or more")
    return args


def find_jobs(args: argparse.Namespace, rng: np.random.Generator) -> list[Job]:
    """Return what packs each sequence and picture of the experiment, and say how many there are of each kind."""
    cfg, env = load_experiment(args.config, (), args.script), env_settings()
    spec = PackSpec(args.frames, args.side, quality=args.quality)
    ratios = drawn_datasets(cfg, "TRAIN")
    sets = {name: open_dataset(name, env) for name in ratios if name != "IMAGES"}
    still = sum(ratios[name] for name, one in sets.items() if not one.is_video)
    jobs: dict[str, Job] = {}  # a sequence may be in several sets
    sources: dict[str, str] = {}
    for name, one in sets.items():
        most = 0 if one.is_video else round(args.pictures * ratios[name] / still)
        found = packing.jobs_of(one, rng, most, spec, sources)
        print(f"{name}: {len(found)} of {len(one)}", flush=True)
        jobs |= found
    packed = list(jobs.values())
    if "IMAGES" in ratios:
        photos, cutouts = (list_pictures(folders(setting)) for setting in (env.images_dir, env.cutouts_dir))
        chosen = rng.permutation(len(photos))[: args.photos].tolist()
        packed += [partial(packing.pack_photo, number, photos[number], spec) for number in chosen]
        packed += [partial(packing.pack_cutout, number, path, spec) for number, path in enumerate(cutouts)]
        print(f"IMAGES: {len(chosen)} of {len(photos)} pictures, {len(cutouts)} cut-outs", flush=True)
    return packed


def main() -> None:
    args = parse_arguments()
    if args.unpack:
        counts = packing.unpack(args.unpack, args.out)
        print(", ".join(f"{count} {kind}" for kind, count in counts.items()))
        names = ", ".join(
            f'{setting} = "{args.out.resolve() / kind}"' for setting, kind in _SETTINGS.items() if counts[kind]
        )
        next_step(f"write into lib/train/admin/local.py: {names}")
        return
    rng = np.random.default_rng(0)
    jobs = find_jobs(args, rng)
    sizes = (int(mb * 1e6) for mb in itertools.chain(args.part_mb, itertools.repeat(args.part_mb[-1])))
    for path in packing.pack(jobs, args.out, sizes, rng):
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB", flush=True)
    parts = f"{shlex.quote(args.out.name)}/part_*.zip"
    next_step(f"there, python tracking/pack_training_data.py --unpack {parts} --out data/packed")


if __name__ == "__main__":
    run_cli(main)
