"""Training samples per second of one core from JPEG frames, compared with a plain version of the published steps.

Sequences are drawn and written to a temporary folder. Both variants make the same samples from the same random numbers,
which is checked first. The published steps are: decode both frames to BGR and convert them to RGB; grayscale and flip
of whole frames; jitter; crop by padding and resizing, with an attention mask and a segmentation mask (of zeros, but
through all steps); conversion to float, brightness, flip, normalization, and the check for padding. The published data
sets also parse a sequence's annotation for every sample, which is left out.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.published import published_crop, published_read
from lib.data.crops import CropSpec, JointAugmentation, jitter_box
from lib.data.image_io import read_image, write_image
from lib.data.tracks import SequenceInfo
from lib.drawing.pictures import list_pictures
from lib.drawing.textures import procedural_textures
from lib.train.data import augmentation
from lib.train.data.sampler import PairSampling
from lib.train.data.samples import AnnotatedPairs, SampleSpec, TrackingDataset
from lib.utils.crop import box_to_crop, crop_window
from lib.utils.errors import ConfigError, run_cli

TEMPLATE = CropSpec(size=128, factor=2.0, center_jitter=0.0, scale_jitter=0.0, number=1)
SEARCH = CropSpec(size=256, factor=4.0, center_jitter=3.0, scale_jitter=0.25, number=1)
NORMALIZE = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
STRIDE = 16
SEQUENCES, FRAMES = 5, 24


class Drawn:
    """Sequences of a textured square that moves over a background, written as JPEGs."""

    name, is_video = "DRAWN", True

    def __init__(self, root: Path, size: tuple[int, int], backgrounds: list[np.ndarray], quality: int):
        self.root, self.boxes = root, []
        rng = np.random.default_rng(0)
        for index in range(SEQUENCES):
            scene = cv2.resize(backgrounds[index % len(backgrounds)], size, interpolation=cv2.INTER_CUBIC)
            side = int(np.exp(rng.uniform(np.log(0.06), np.log(0.35))) * size[1])
            thing = cv2.resize(backgrounds[(index + 1) % len(backgrounds)], (side, side), interpolation=cv2.INTER_AREA)
            start, end = rng.uniform(0, 1, (2, 2)) * (np.array(size) - side)
            self.boxes.append(np.array([[*(start + (end - start) * t / FRAMES).astype(int), side, side]
                                        for t in range(FRAMES)], np.float64))  # fmt: skip
            for t, (x, y, w, h) in enumerate(self.boxes[index].astype(int)):
                frame = scene.copy()
                frame[y : y + h, x : x + w] = thing
                write_image(self.path(index, t), frame, quality)

    def path(self, index: int, t: int) -> Path:
        return self.root / f"{index}" / f"{t:08d}.jpg"

    def __len__(self) -> int:
        return SEQUENCES

    def sequence(self, index: int) -> SequenceInfo:
        return SequenceInfo(self.boxes[index], np.ones(FRAMES, bool), np.ones(FRAMES, bool))

    def sequence_name(self, index: int) -> str:
        return str(index)

    def frame(self, index: int, t: int) -> np.ndarray:
        return read_image(self.path(index, t))


def plain_sample(samples: TrackingDataset, key: tuple[int, int]) -> dict[str, torch.Tensor]:
    """Make the sample ``key`` by the published steps, with random numbers in the order of :class:`TrackingDataset`."""
    rng = np.random.default_rng([samples.spec.seed, samples.spec.stream, *key])
    source = samples.sources[rng.choice(1, p=samples.probabilities)]
    joint = augmentation.draw_joint_augmentation(rng)
    index = int(rng.integers(len(source.usable)))
    info = source.dataset.sequence(index)
    frames = dict(zip(("template", "search"), source.sampling.draw(info, rng), strict=True))
    cut = {}
    for kind, spec in (("template", TEMPLATE), ("search", SEARCH)):
        t = frames[kind][0]
        image, mask, box = plain_frame(source.dataset.path(index, t), torch.from_numpy(info.bbox[t]), joint)
        cut[kind] = plain_crop(image, mask, box, torch.from_numpy(jitter_box(box.numpy(), spec, rng)), spec)
    sample = {}
    for kind, (image, mask, padding, box) in cut.items():
        brightness = rng.uniform(1 - augmentation.BRIGHTNESS_JITTER, 1 + augmentation.BRIGHTNESS_JITTER)
        tensor = torch.from_numpy(image.transpose(2, 0, 1)).float().mul(brightness / 255.0).clamp(0.0, 1.0)
        padding = torch.from_numpy(padding)
        if rng.random() < augmentation.FLIP_PROBABILITY:
            tensor, padding, mask = tensor.flip(2), padding.flip(1), mask.flip(1)
            box = torch.stack((1 - box[0] - box[2], *box[1:]))
        mean, std = (torch.tensor(values)[:, None, None] for values in NORMALIZE)
        small = F.interpolate(padding[None, None].float(), size=len(padding) // STRIDE).bool()
        if padding.all() or small.all():
            raise ConfigError("the benchmark drew a sample of nothing but padding")
        sample[f"{kind}_images"] = ((tensor - mean) / std)[None]
        sample[f"{kind}_anno"], sample[f"{kind}_att"] = box.float()[None], padding[None]
    return sample


def plain_frame(
    path: Path, box: torch.Tensor, joint: JointAugmentation
) -> tuple[np.ndarray, torch.Tensor, torch.Tensor]:
    """Read a whole frame with its mask and box, after the joint augmentation."""
    image = published_read(path)
    mask = torch.zeros(image.shape[:2])
    if joint.gray:
        image = np.stack([cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)] * 3, axis=2)
    if joint.flip:
        image, mask = np.fliplr(image).copy(), mask.flip(1)
        box = torch.stack((image.shape[1] - 1 - box[0] - box[2], *box[1:]))
    return image, mask, box


def plain_crop(
    image: np.ndarray, mask: torch.Tensor, box: torch.Tensor, around: torch.Tensor, spec: CropSpec
) -> tuple[np.ndarray, torch.Tensor, np.ndarray, torch.Tensor]:
    """Crop by padding and resizing; return the picture, its mask, its padding, and the box in fractions."""
    window = crop_window(around.tolist(), spec.factor)
    patch, padding, (top, bottom, left, right) = published_crop(image, window, spec.size)
    rows = slice(window.y + top, window.y + window.side - bottom)
    columns = slice(window.x + left, window.x + window.side - right)
    whole = F.pad(mask[rows, columns], (left, right, top, bottom))
    mask = F.interpolate(whole[None, None], (spec.size, spec.size), mode="bilinear", align_corners=False)[0, 0]
    fractions = box_to_crop(box, around, spec.size / window.side, spec.size)
    return patch, mask, padding, fractions


def check_equal(samples: TrackingDataset, count: int) -> None:
    """Raise ConfigError unless both variants make the same samples, but for the rounding of gray."""
    for index in range(count):
        ours, plain = samples[1, index], plain_sample(samples, (1, index))
        for name, expected in plain.items():
            difference = (ours[name].float() - expected.float()).abs().max().item()
            if difference > (0.025 if name.endswith("images") else 1e-6):
                raise ConfigError(f"the two variants differ by {difference} in {name} of sample {index}")


def seconds(work, count: int) -> float:
    """Return the processor time in seconds of one of ``count`` calls of ``work``."""
    start = time.process_time()
    for index in range(count):
        work(index)
    return (time.process_time() - start) / count


def parse_size(size: str) -> tuple[int, int]:
    """Parse ``WIDTHxHEIGHT``; raises ConfigError."""
    try:
        width, height = map(int, size.split("x"))
    except ValueError as error:
        raise ConfigError(f"--size {size}: give WIDTHxHEIGHT, such as 1280x720") from error
    return width, height


def measure(size: str, pictures: list[np.ndarray], quality: int, pairs: int, rounds: int) -> str:
    """Return a row of the table for frames of ``size`` WIDTHxHEIGHT.

    Raises ConfigError: the size is invalid, or the two variants differ.
    """
    with tempfile.TemporaryDirectory() as folder:
        data = Drawn(Path(folder), parse_size(size), pictures, quality)
        files = [data.path(i, t) for i in range(SEQUENCES) for t in range(FRAMES)]
        source = AnnotatedPairs(data, PairSampling("causal", 200, 1, 1))
        samples = TrackingDataset([source], [1], SampleSpec(TEMPLATE, SEARCH, NORMALIZE, STRIDE, seed=0, stream=0))
        check_equal(samples, 40)
        variants = [
            lambda index: plain_sample(samples, (2, index)),
            lambda index: samples[2, index],
            lambda index: [read_image(files[(2 * index + k) % len(files)]) for k in range(2)],
        ]
        times = [[seconds(variant, pairs) for variant in variants] for _ in range(rounds)]
        plain, ours, decoding = np.median(times, axis=0)
        kilobytes = np.mean([path.stat().st_size for path in files]) / 1000
    shares = f"{1000 * decoding:.2f} of {1000 * ours:.2f} ms"
    return f"{size:>10} {kilobytes:5.0f} {1 / plain:8.1f} /s {1 / ours:9.1f} /s {plain / ours:6.2f}  {shares}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", nargs="+", default=["1280x720", "1920x1080"], metavar="WxH", help="sizes of frames")
    parser.add_argument("--pairs", type=int, default=100, help="samples in a round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="of which the median counts (default: %(default)s)")
    parser.add_argument("--images", metavar="FOLDER", help="pictures to draw from (default: procedural textures)")
    parser.add_argument("--quality", type=int, default=90, help="of the JPEGs (default: %(default)s)")
    args = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    paths = list_pictures([args.images])[:SEQUENCES] if args.images else []
    pictures = [read_image(path) for path in paths] or procedural_textures(SEQUENCES)
    print(f"{'frames':>10} {'KB':>5} {'published':>11} {'here':>12} {'ratio':>6}  of which decoding")
    for size in args.size:
        print(measure(size, pictures, args.quality, args.pairs, args.rounds), flush=True)


if __name__ == "__main__":
    run_cli(main)
