"""Draw the pictures of README and documents from the clip that ships, the shipped model and the results of the demo.

    make demo && .venv/bin/python docs/make_pictures.py

needs what ./install.sh installs and, for the picture of the report page, Chromium. benchmarks/plot.py draws the plot of
speed against accuracy.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import matplotlib
import numpy as np
from PIL import Image

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from lib.data.image_io import read_image
from lib.models.family import load_experiment
from lib.test.analysis.analyze import AnalysisOptions, analyze
from lib.test.evaluation.environment import env_settings
from lib.test.evaluation.results import LOST_BELOW
from lib.test.tracker.video import LOST
from lib.utils.crop import CropWindow, crop_window
from lib.utils.errors import run_cli
from lib.utils.paths import PROJECT_DIR
from lib.vis.draw import CAPTION_HEIGHT, TARGET, captioned, draw_box, fitted
from lib.vis.recorder import Dashboard
from lib.vis.views import View, panels
from tests.browser import CHROMIUM, Browser
from tracking.demo import CLIP_FRAMES, CONFIG, FIRST_BOX, views

PICTURES = Path(__file__).parent / "pictures"
EVERY, FPS = 2, 12  # of the moving picture: one frame in two, frames per second
HEIGHT, TILE = 384, 168
SHOWN = 95  # the frame that the still pictures show
REGION = (255, 255, 255)


def moving_frame(view: View, region: CropWindow) -> np.ndarray:
    """A frame with the box and the search region; beside it the patches that the network keeps, and its score map."""
    image = draw_box(view.image, [region.x, region.y, region.side, region.side], REGION, thickness=1)
    lost = view.score < LOST_BELOW
    label = "lost" if lost else f"{view.score:.2f}"
    frame = fitted(draw_box(image, view.box, LOST if lost else TARGET, label), HEIGHT, round(HEIGHT * 1.25))
    shown = panels(view)
    last = max(view.removed)
    tiles = [("patches that are kept", shown[f"masked_search_{last}"]), ("score map", shown["score_map"])]
    beside = [captioned(fitted(panel.picture, HEIGHT // 2 - CAPTION_HEIGHT, TILE), title) for title, panel in tiles]
    return np.concatenate((frame, np.concatenate(beside)), axis=1)


def write_moving(frames: Sequence[np.ndarray], path: Path) -> None:
    first, *others = [Image.fromarray(frame) for frame in frames]
    first.save(path, save_all=True, append_images=others, duration=round(1000 / FPS), loop=0, quality=55, method=6)


def write_webp(image: np.ndarray, name: str, width: int, quality: int = 80) -> None:
    scale = min(1.0, width / image.shape[1])
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    Image.fromarray(small).save(PICTURES / name, quality=quality, method=6)


def architecture(view: View) -> None:
    """The model as a picture: what goes in, how many tokens each group of blocks sees, and what comes out."""
    figure, axes = plt.subplots(figsize=(11, 3.9), dpi=130)
    axes.set(xlim=(0, 110), ylim=(0, 39))
    axes.axis("off")
    shown, stages = panels(view), sorted(view.removed)
    total = view.grid**2
    side, template_tokens = 12, (len(view.template) // 16) ** 2
    _picture(axes, view.template, (0, 23), 8, f"template\n{template_tokens} patches")
    _picture(axes, view.search, (0, 3), side, f"search region\n{total} patches")
    counts = [total, *(total - len(view.removed[stage]) for stage in stages)]
    names = ["blocks 1 to 4", "blocks 5, 6", "blocks 7, 8"]
    for i, (name, count) in enumerate(zip(names, counts, strict=True)):
        left = 20 + 22 * i
        axes.add_patch(FancyBboxPatch((left, 22), 14, 9, "round,pad=0.6", fc="#dbe7f5", ec="#4477aa"))
        axes.text(left + 7, 26.5, f"{name}\n{template_tokens} + {count} tokens", ha="center", va="center", fontsize=9)
        if i:
            panel = shown[f"masked_search_{stages[i - 1]}"]
            _picture(axes, panel.picture, (left - 10, 3), side, f"{counts[i]} of {total} are kept")
            _arrow(axes, (left - 4, 22), (left - 4, 17.5))
        _arrow(axes, (left - 7 if i else left - 10, 26.5), (left - 1, 26.5))
    _arrow(axes, (13, 9), (18.5, 22))
    _arrow(axes, (79, 26.5), (87, 26.5))
    axes.add_patch(FancyBboxPatch((88, 22), 20, 9, "round,pad=0.6", fc="#fbe6c8", ec="#dd7711"))
    axes.text(98, 26.5, "center head: score,\noffset, size of each cell", ha="center", va="center", fontsize=9)
    _arrow(axes, (98, 21.4), (98, 17.5))
    _picture(
        axes, shown["score_map_hann"].picture, (92, 3), side, "score map x Hann window:\nthe best cell gives the box"
    )
    axes.text(49, 35.5, "one ViT compares template and search region in every block", ha="center", fontsize=11)
    figure.savefig(PICTURES / "architecture.png", bbox_inches="tight", pad_inches=0.05)
    plt.close(figure)


def _picture(axes: Axes, image: np.ndarray, corner: tuple[float, float], side: float, text: str) -> None:
    x, y = corner
    axes.imshow(image, extent=(x, x + side, y, y + side), zorder=3)
    axes.text(x + side / 2, y - 0.6, text, ha="center", va="top", fontsize=8)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=11, color="#444444", lw=1.2))


def report_page(demo: Path) -> None:
    """The page of ``analysis_results.py --html`` for the drawn sequences of the demo."""
    if CHROMIUM is None:
        print("no Chromium: the picture of the report page stays as it is")
        return
    for _ in analyze("images_val", "ostrack", [CONFIG], AnalysisOptions(html=True), env_settings().saving_to(demo)):
        pass
    (page,) = (demo / "test/result_plots/images_val").glob("*.html")
    with Browser(1280, 900) as browser, tempfile.TemporaryDirectory() as folder:
        browser.open(page)
        browser.screenshot(Path(folder, "report.png"))
        shot = cv2.cvtColor(cv2.imread(str(Path(folder, "report.png"))), cv2.COLOR_BGR2RGB)
    write_webp(shot, "report.webp", 1000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", type=Path, default=PROJECT_DIR / "output/demo", help="what make demo has left")
    demo = parser.parse_args().demo
    tracked = read_image(demo / "demo.png")
    PICTURES.mkdir(exist_ok=True)
    board, moving = Dashboard("helicopter", CLIP_FRAMES), []
    factor, around = load_experiment(CONFIG).TEST.SEARCH_FACTOR, FIRST_BOX
    for view in views():
        picture = board.draw(view)
        if view.number % EVERY == 1:  # without frame 0, which has no search region
            moving.append(moving_frame(view, crop_window(around, factor)))
        around = view.box
        if view.number == SHOWN:
            architecture(view)
            write_webp(picture, "elimination.webp", 1048)
    write_moving(moving, PICTURES / "tracking.webp")
    write_webp(tracked, "demo.webp", 1000)
    report_page(demo)
    shutil.copy(PROJECT_DIR / f"pretrained_models/ostrack_{CONFIG}/curves.png", PICTURES)
    for path in sorted(PICTURES.iterdir()):
        print(f"{path} ({path.stat().st_size / 1024:.0f} KiB)")


if __name__ == "__main__":
    run_cli(main)
