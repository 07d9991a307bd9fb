"""Write a small weight file from a training checkpoint: only the network, in half precision, with its config."""

import argparse
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.utils.checkpoint import strip_checkpoint
from lib.utils.console import next_step
from lib.utils.errors import ConfigError, run_cli


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="OSTrack_epNNNN.pth.tar")
    parser.add_argument("out", type=Path, help="for example pretrained_models/FAMILY_NAME.pth")
    parser.add_argument("--float32", action="store_true", help="keep full precision")
    parser.add_argument("--ema", action="store_true", help="the averaged weights (TRAIN.EMA_DECAY), not the newest")
    parser.add_argument("--mix", type=Path, metavar="WEIGHTS", help="mix with these, say of the stage before")
    parser.add_argument("--share", type=float, help="of the checkpoint in the mixture, 0 to 1 (0.5)")
    args = parser.parse_args()
    if args.share is not None and not args.mix:
        raise ConfigError(f"--share {args.share} is that of a mixture: name the other weights with --mix")
    args.share = 0.5 if args.share is None else args.share
    if not 0 <= args.share <= 1:
        raise ConfigError(f"--share {args.share}: it must be from 0 to 1")
    strip_checkpoint(args.checkpoint, args.out, half=not args.float32, ema=args.ema, mix=args.mix, share=args.share)
    print(f"wrote {args.out}: {args.out.stat().st_size / 2**20:.1f} MiB")
    out = shlex.quote(str(args.out))
    next_step(f"python tracking/export.py --config CONFIG --checkpoint {out} --format hub --out FOLDER")


if __name__ == "__main__":
    run_cli(main)
