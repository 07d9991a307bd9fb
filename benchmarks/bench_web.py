"""Frames a second of the browser demo on this machine, in Chromium without a window, and a picture of it.

Needs Chromium, and the page that ``python tracking/web.py --build_only`` leaves, with the network to measure.
"""

import argparse
import base64
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.test.evaluation.environment import env_settings
from lib.utils.errors import OSTrackError, run_cli
from tests.browser import CHROMIUM, Browser
from tests.web_page import FLAGS, SECONDS, draw_box, open_page, saved_boxes, served

_START = 0.2  # seconds of the clip, in which kernels and decoder settle


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="of WebAssembly")
    parser.add_argument("--seconds", type=float, default=1.0, help="of the sample clip to track in")
    parser.add_argument("--picture", type=Path, help="file for a picture of the page as it tracks: .png or .webp")
    parser.add_argument("--save_dir", type=Path, help="output folder (default: the configured one, ./output)")
    return parser.parse_args()


def take_picture(browser: Browser, path: Path) -> None:
    """The page above its numbers."""
    browser.evaluate("scrollTo(0, 0)")
    height = browser.evaluate("document.querySelector('dl').getBoundingClientRect().top")
    clip = {"x": 0, "y": 0, "width": browser.evaluate("innerWidth"), "height": height, "scale": 1}
    quality = {} if path.suffix == ".png" else {"quality": 85}
    answer = browser.send("Page.captureScreenshot", format=path.suffix[1:], clip=clip, **quality)
    path.write_bytes(base64.b64decode(answer["data"]))


def main() -> None:
    args = parse_arguments()
    if args.picture and args.picture.suffix not in (".png", ".webp"):
        raise OSTrackError(f"{args.picture}: the name of a picture ends with .png or .webp")
    if CHROMIUM is None:
        raise OSTrackError("no Chromium was found: apt-get install chromium")
    site = Path(env_settings().saving_to(args.save_dir).save_dir) / "web/site"
    if not (site / "index.html").is_file():
        raise OSTrackError(f"there is no page in {site}: run python tracking/web.py --build_only")
    with served(site) as address, Browser(width=960, height=800, timeout=600, flags=FLAGS) as browser:
        open_page(browser, f"{address}?backend=wasm&threads={args.threads}")
        if problem := browser.evaluate("problem.textContent"):
            raise OSTrackError(problem)
        draw_box(browser)
        browser.wait(f"{SECONDS} >= {_START}")
        before = browser.cpu_seconds(), browser.evaluate(SECONDS)
        browser.wait(f"{SECONDS} >= {_START + args.seconds}")
        cpu, last = browser.cpu_seconds() - before[0], browser.evaluate(SECONDS)
        if args.picture:
            take_picture(browser, args.picture)
            print(f"wrote {args.picture}")
        with tempfile.TemporaryDirectory() as folder:
            times = saved_boxes(browser, Path(folder))[1][:, 0].round(2)
        count = ((times > before[1]) & (times <= last)).sum()
        print(f"{browser.texts('#network')[0]}: {browser.texts('#speed')[0]}")
        print(f"CPU time of a frame, in all processes of the browser: {1000 * cpu / count:.0f} ms")


if __name__ == "__main__":
    run_cli(main)
