"""How many training pairs a second one core draws: procedural textures, and the folders given if any."""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np

from lib.data.crops import CropSpec, PairSpec
from lib.drawing.assets import load_assets
from lib.drawing.pairs import ImagesDataset
from lib.utils.errors import run_cli

TEMPLATE = CropSpec(size=128, factor=2.0, center_jitter=0.0, scale_jitter=0.0, number=1)
SEARCH = CropSpec(size=256, factor=4.0, center_jitter=3.0, scale_jitter=0.25, number=1)


def pairs_per_second(dataset: ImagesDataset, pairs: int) -> float:
    """Pairs per second of processor time; each is drawn from a generator of its own, as in training."""
    dataset.draw_pair(np.random.default_rng(0), PairSpec(TEMPLATE, SEARCH))
    start = time.process_time()
    for index in range(pairs):
        dataset.draw_pair(np.random.default_rng((1, index)), PairSpec(TEMPLATE, SEARCH))
    return pairs / (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", nargs="*", default=[], help="folders of pictures")
    parser.add_argument("--cutouts", nargs="*", default=[], help="folders of cut-outs with alpha")
    parser.add_argument("--pairs", type=int, default=500)
    args = parser.parse_args()
    cv2.setNumThreads(0)
    for name, images in (("procedural", []), ("pictures", args.images)):
        if images or name == "procedural":
            start = time.perf_counter()
            dataset = ImagesDataset(load_assets(images, args.cutouts))
            loaded = time.perf_counter() - start
            rate = pairs_per_second(dataset, args.pairs)
            print(f"{name}: {len(dataset.stock.pictures)} pictures ready in {loaded:.1f} s, {rate:.0f} pairs/s")


if __name__ == "__main__":
    run_cli(main)
