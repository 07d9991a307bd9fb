"""How many training pairs a second one core draws: procedural textures, and the folders given if any."""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np

from benchmarks.bench_data import SEARCH, TEMPLATE, seconds
from lib.data.crops import PairSpec
from lib.drawing.assets import load_assets
from lib.drawing.pairs import ImagesDataset
from lib.utils.errors import run_cli


def pairs_per_second(dataset: ImagesDataset, pairs: int) -> float:
    """Pairs per second of processor time; each is drawn from a generator of its own, as in training."""
    dataset.draw_pair(np.random.default_rng(0), PairSpec(TEMPLATE, SEARCH))
    return 1 / seconds(lambda i: dataset.draw_pair(np.random.default_rng((1, i)), PairSpec(TEMPLATE, SEARCH)), pairs)


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
            print(f"{name}: {len(dataset.assets.pictures)} pictures ready in {loaded:.1f} s, {rate:.0f} pairs/s")


if __name__ == "__main__":
    run_cli(main)
