"""Cut objects out of images, by COCO's masks or by saliency, as foreground objects for the data set IMAGES.

python tracking/make_cutouts.py --coco data/coco --split train2017 --out data/cutouts
python tracking/make_cutouts.py --saliency PHOTOGRAPHS --out data/cutouts --sheet sheet.png
"""

import argparse
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.drawing.cutouts import Saliency, cut_out_coco, cut_out_salient
from lib.utils.console import next_step
from lib.utils.convert_dinov2 import INSTALL
from lib.utils.errors import run_cli
from lib.vis.samples import cutout_sheets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--coco", type=Path, help="folder with annotations/ and images/")
    photographs = f"folders of photographs; needs a package: {INSTALL.format('onnxruntime')}"
    source.add_argument("--saliency", type=Path, nargs="+", metavar="DIR", help=photographs)
    parser.add_argument("--split", default="train2017", help="of COCO (train2017)")
    parser.add_argument("--out", type=Path, default=Path("data/cutouts"))
    parser.add_argument("--sheet", type=Path, metavar="PNG", help="draw the cut-outs of --out on sheets")
    args = parser.parse_args()
    if args.saliency:
        count = cut_out_salient(args.saliency, args.out, Saliency())
    else:
        annotations = args.coco / "annotations" / f"instances_{args.split}.json"
        count = cut_out_coco(annotations, args.coco / "images" / args.split, args.out)
    print(f"wrote {count} cut-outs to {args.out}")
    for path in cutout_sheets(args.out, args.sheet) if args.sheet else ():
        print(f"wrote {path}")
    drawing = f"python tracking/make_images_dataset.py --cutouts {shlex.quote(str(args.out))}"
    next_step("set cutouts_dir in the file of paths to train from them", drawing)


if __name__ == "__main__":
    run_cli(main)
