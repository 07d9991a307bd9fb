"""Cut the objects of a data set in COCO's layout out, as foreground objects for the data set IMAGES.

python tracking/make_cutouts.py --coco data/coco --split train2017 --out data/cutouts
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.drawing.cutouts import cut_out_coco
from lib.utils.console import next_step
from lib.utils.errors import run_cli


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coco", type=Path, required=True, help="folder with annotations/ and images/")
    parser.add_argument("--split", default="train2017")
    parser.add_argument("--out", type=Path, default=Path("data/cutouts"))
    arguments = parser.parse_args()
    annotations = arguments.coco / "annotations" / f"instances_{arguments.split}.json"
    count = cut_out_coco(annotations, arguments.coco / "images" / arguments.split, arguments.out)
    print(f"wrote {count} cut-outs to {arguments.out}")
    next_step(
        "set cutouts_dir in the file of paths to train from them",
        f"python tracking/make_images_dataset.py --cutouts {arguments.out}",
    )


if __name__ == "__main__":
    run_cli(main)
