"""Draw (synthesize) sequences from images or procedural textures and write them in the layout of GOT-10k."""

import argparse
import shlex
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.drawing.assets import load_assets
from lib.drawing.sequences import FRAME_SIZE, SEQUENCE_SETTINGS, SPLITS, make_images_sequences
from lib.test.evaluation.environment import env_settings
from lib.utils.console import next_step
from lib.utils.errors import run_cli


def frame_size(text: str) -> tuple[int, int]:
    """Parse ``480x360``."""
    width, height = (int(part) for part in text.lower().split("x"))
    return width, height


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="where the splits go (default: where images_val is looked for)")
    parser.add_argument("--split", choices=SPLITS, default="val", help="(val)")
    parser.add_argument("--sequences", type=int, default=10, help="(10)")
    parser.add_argument("--frames", type=int, default=60, help="per sequence (60)")
    parser.add_argument("--seed", type=int, default=1, help="(1)")
    parser.add_argument("--images", nargs="+", default=[], metavar="DIR", help="folders of images")
    parser.add_argument("--cutouts", nargs="+", default=[], metavar="DIR", help="folders of cut-outs with alpha")
    parser.add_argument("--size", type=frame_size, default=FRAME_SIZE, metavar="WxH")
    exits = "share of the sequences whose target leaves the frame for a while (default 0)"
    parser.add_argument("--exits", type=float, default=0.0, metavar="SHARE", help=exits)
    parser.add_argument("--force", action="store_true", help="replace a split that exists")
    args = parser.parse_args()
    if not 0 <= args.exits <= 1:
        parser.error(f"--exits {args.exits} is a share, from 0 to 1")
    load = partial(load_assets, args.images, args.cutouts, replace(SEQUENCE_SETTINGS, EXIT=args.exits))
    out = args.out or Path(env_settings().images_path)
    folder = make_images_sequences(out, args.split, args.sequences, args.frames, args.seed, load, args.size, args.force)
    print(f"wrote {args.sequences} sequences of {args.frames} frames to {folder}")
    next_step(f"python tracking/test.py ostrack vits_192 --dataset folder:{shlex.quote(str(folder))}")


if __name__ == "__main__":
    run_cli(main)
