"""How far boxes of reduced precisions and other runtimes are from those of float32, from the same state in every frame.

A target that is lost in one precision and not in another makes whole sequences differ, and says little of either. So
float32 leads here: in every frame all look around the box that it found in the frame before. Distances are the largest
of a box's four numbers, in pixels of the image; ``seen`` is the share within half a pixel of the search region, as the
network sees it. AUC is scored as in ``tracking/analysis_results.py``; its change has the interval that the sequences
allow.
"""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.variants import VARIANTS, Variant, project_tracker
from lib.config import add_overrides, load_config
from lib.config.ostrack import OSTrackConfig
from lib.data.sequence import Sequence
from lib.test.analysis.metrics import compare_scores, curve_scores, frame_errors, sequence_curves
from lib.test.analysis.protocols import get_protocol
from lib.test.evaluation.benchmarks import get_dataset
from lib.test.tracker import Tracker, find_checkpoint
from lib.train.run_training import pick_device
from lib.utils.crop import crop_window
from lib.utils.errors import ConfigError, OSTrackError, run_cli

LEADER = next(variant for variant in VARIANTS if variant.name == "torch float32")
REDUCED = {variant.name: variant for variant in VARIANTS if variant.precision != "float32"}
NEAR = 0.5  # pixels


@dataclass(frozen=True)
class Followed:
    """A sequence of N frames."""

    leading: np.ndarray  # boxes of the leader, (N, 4)
    others: dict[str, np.ndarray]  # those of the others by name, likewise
    scales: np.ndarray  # pixels of the search region for each pixel of the image, (N - 1,), from the second frame on

    def distances(self, name: str) -> np.ndarray:
        """Return how far boxes are from the leader's, (N - 1,), from the second frame on."""
        return np.abs(self.others[name] - self.leading)[1:].max(axis=1)


def follow(leader: Tracker, others: Mapping[str, Tracker], sequence: Sequence, frames: int) -> Followed:
    """Track the first ``frames`` frames with all trackers. Raises ConfigError: not all of them are annotated."""
    count = min(frames, len(sequence.frames))
    if len(sequence.ground_truth) < count:
        raise ConfigError(f"{sequence.name} is annotated in {len(sequence.ground_truth)} of {count} frames: no AUC")
    images = islice(sequence.frames, count)
    first, box = next(images), sequence.init_box
    ahead = leader.start(first, box)
    targets = {name: tracker.start(first, box) for name, tracker in others.items()}
    leading, scales, test = [box], [], leader.cfg.TEST
    found: dict[str, list[list[float]]] = {name: [box] for name in others}
    for image in images:
        scales.append(test.SEARCH_SIZE / crop_window(ahead.box, test.SEARCH_FACTOR).side)
        for name, target in targets.items():
            target.box = list(ahead.box)
            found[name] += others[name].step([image], [target]).boxes
        leading += leader.step([image], [ahead]).boxes
    return Followed(np.array(leading), {name: np.array(boxes) for name, boxes in found.items()}, np.array(scales))


def area(boxes: np.ndarray, sequence: Sequence) -> float:
    """Return the AUC of a sequence's first frames, in percent."""
    truth, visible = sequence.ground_truth[: len(boxes)], sequence.visible
    rules = get_protocol("pytracking").rules(sequence.dataset)
    errors = frame_errors(boxes, truth, None if visible is None else visible[: len(boxes)], rules, sequence.name)
    return float(curve_scores(sequence_curves(errors, rules))[0])


def row(name: str, distances: np.ndarray, scales: np.ndarray, scores: np.ndarray, leading: np.ndarray) -> str:
    """Return a line of the table: distances and scales of all frames, and AUC of each sequence next to the leader's."""
    change = compare_scores(scores, leading, np.ones(len(scores)))
    median, p95 = np.percentile(distances, (50, 95))
    near, seen = (100 * (values <= NEAR).mean() for values in (distances, distances * scales))
    return (
        f"{name:22s} {median:7.3f} {p95:7.2f} {distances.max():7.1f} {near:7.1f} % {seen:7.1f} %"
        f" {scores.mean():7.2f} {change.difference:+7.2f}  {change.low:+.2f}..{change.high:+.2f}"
    )


def build(names: list[str], args: argparse.Namespace) -> tuple[Tracker, dict[str, Tracker]]:
    """Build the leader, and the others that are available here; print the reason for the rest."""
    device, checkpoint = pick_device(args.device), args.checkpoint
    if checkpoint is None:
        checkpoint = find_checkpoint(load_config(OSTrackConfig, args.config, args.overrides))

    def tracker(variant: Variant) -> Tracker:
        return project_tracker(variant, args.config, args.overrides, checkpoint, device)

    others = {}
    for name in names:
        try:
            others[name] = tracker(REDUCED[name])
        except (OSTrackError, ImportError) as error:
            print(f"{name:22s} {error}")
    return tracker(LEADER), others  # float32 last: on a GPU it forbids TensorFloat-32, which the others do not need


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="a benchmark, or folder:PATH")
    parser.add_argument("--config", default="vits_256_ce_images", help="name or path of an experiment")
    parser.add_argument("--checkpoint", type=Path, help="weight file (default: the experiment's own)")
    known = list(REDUCED)
    listed = f"of {', '.join(known)}"
    parser.add_argument("--variants", nargs="+", choices=known, default=known, metavar="VARIANT", help=listed)
    parser.add_argument("--frames", type=int, default=10**9, metavar="N", help="the first N of each sequence")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add_overrides(parser)
    args = parser.parse_intermixed_args()
    if args.frames < 2:
        raise ConfigError(f"--frames {args.frames}: the first frame is given, so at least 2")
    sequences = get_dataset(args.dataset)
    leader, others = build(args.variants, args)
    found = [follow(leader, others, sequence, args.frames) for sequence in sequences]
    leading = np.array([area(one.leading, sequence) for one, sequence in zip(found, sequences, strict=True)])
    scales = np.concatenate([one.scales for one in found])
    print(f"{args.config}, {args.dataset}: {len(sequences)} sequences; float32 has AUC {leading.mean():.2f}")
    heads = f"{'median':>7s} {'p95':>7s} {'largest':>7s} {'<= 0.5':>9s} {'seen':>9s} {'AUC':>7s} {'change':>7s}  95 %"
    print(f"{'pixels from float32':22s} {heads}")
    for name in others:
        scores = np.array([area(one.others[name], sequence) for one, sequence in zip(found, sequences, strict=True)])
        print(row(name, np.concatenate([one.distances(name) for one in found]), scales, scores, leading))


if __name__ == "__main__":
    run_cli(main)
