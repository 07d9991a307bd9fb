"""How well a tracker knows that its target is gone: AUROC, calibration, returns, from results of tracking/test.py.

    python tracking/test.py ostrack_memory vits_192_memory --dataset folder:DIR
    python benchmarks/presence.py ostrack_memory vits_192_memory --dataset folder:DIR --plot calibration.png

``--calibrate WEIGHTS OUT`` writes weights whose presence is what these results would have it be, say those of drawn
sequences with absences (tracking/make_images_dataset.py --exits). The weights must be those that the results are of.

The annotation of the set says where the target is absent: boxes of nan or without area, or flags. Of a tracker without
presence its scores are taken. The first frame, whose box was given, counts nowhere.
"""

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit
from scipy.stats import rankdata

matplotlib.use("Agg")
import matplotlib.pyplot as plt

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.data.sequence import Sequence
from lib.models.ostrack_memory.memory import PRESENCE
from lib.test.analysis.metrics import box_overlap, true_runs
from lib.test.evaluation.benchmarks import get_dataset
from lib.test.evaluation.environment import env_settings
from lib.test.evaluation.results import file_hash, found_result, read_provenance, read_result, read_scores
from lib.utils.checkpoint import load_checkpoint, network_state, save_checkpoint
from lib.utils.errors import CheckpointError, DataError, run_cli

LAST_LAYER = f"{PRESENCE}.2."
_BINS = 10
_LEAST = 1e-6
FOUND_OVERLAP = 0.5


@dataclass(frozen=True)
class TrackedSequence:
    """What is compared of one sequence.

    Attributes:
        boxes, truth: float64 (N, 4) ``xywh``; the truth is read in visible frames alone.
        visible: bool (N,).
        confidence: float64 (N,) in [0, 1], how sure the tracker was.
    """

    boxes: np.ndarray
    truth: np.ndarray
    visible: np.ndarray
    confidence: np.ndarray


@dataclass(frozen=True)
class PresenceReport:
    """How confidence and annotation compare, see :func:`presence_report`.

    Attributes:
        auroc: chance that a visible frame has more confidence than one without the target.
        calibration_error: expected calibration error over ten bins of equal width.
        bins: for each bin, mean confidence, share of visible frames, and frames; (10, 3), nan where there are none.
        returns: how often a target came back after at least ``min_absence`` frames.
        found: how many of these it was found again within the allowed frames, by overlap of at least 0.5.
        absent: frames without the target.
        false_finds: how many of these the tracker was sure of, at or above the threshold.
    """

    auroc: float
    calibration_error: float
    bins: np.ndarray
    returns: int
    found: int
    absent: int
    false_finds: int


def presence_report(
    sequences: Iterable[TrackedSequence], threshold: float = 0.6, within: int = 30, min_absence: int = 3
) -> PresenceReport:
    """Compare confidence with the annotation over all frames of some sequences.

    Args:
        threshold: from here on the tracker says that the target is there.
        within: frames after a return in which it has to be found again.
        min_absence: shorter gaps are no absence to return from.
    """
    taken = list(sequences)
    visible = np.concatenate([one.visible[1:] for one in taken])
    confidence = np.concatenate([one.confidence[1:] for one in taken])
    found = []
    for one in taken:
        good = overlap_by_frame(one) >= FOUND_OVERLAP
        found += [bool(good[start : start + within].any()) for start in returns_of(one.visible, min_absence)]
    bins, error = calibration(confidence, visible)
    absent, false_finds = int((~visible).sum()), int((confidence[~visible] >= threshold).sum())
    return PresenceReport(auroc(confidence, visible), error, bins, len(found), sum(found), absent, false_finds)


def overlap_by_frame(one: TrackedSequence) -> np.ndarray:
    """IoU of each frame, (N,), 0 where the target is not visible."""
    truth = np.where(one.visible[:, None], one.truth, 0.0)
    return np.where(one.visible, box_overlap(one.boxes, truth, pixel=0), 0.0)


def returns_of(visible: np.ndarray, least: int) -> list[int]:
    """Return the frames in which a target is seen again after at least ``least`` frames without it."""
    return [end for start, end in true_runs(~visible).tolist() if end - start >= least and end < len(visible)]


def auroc(score: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve, (Mann and Whitney's U by ranks, ties shared); nan without both kinds."""
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return float("nan")
    u = rankdata(score)[positive].sum() - 0.5 * positives * (positives + 1)
    return float(u / (positives * negatives))


def fit_calibration(confidence: np.ndarray, positive: np.ndarray) -> tuple[float, float]:
    """Scale and offset of the logit of ``confidence`` under which ``positive`` is most likely (Platt, 1999)."""
    clipped = np.clip(confidence, _LEAST, 1 - _LEAST)
    inputs = np.stack((logit(clipped), np.ones(len(clipped))), axis=1)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:  # and its gradient
        outputs = inputs @ weights
        value = np.logaddexp(0, outputs).sum() - outputs[positive.astype(bool)].sum()
        return value + 0.5 * _LEAST * (weights**2).sum(), inputs.T @ (expit(outputs) - positive) + _LEAST * weights

    scale, offset = minimize(loss, (1.0, 0.0), jac=True, method="L-BFGS-B").x
    return float(scale), float(offset)


def calibration(confidence: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, float]:
    """Bins as of :class:`PresenceReport`, and the expected calibration error (Guo et al., ICML 2017)."""
    which = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    rows = np.full((_BINS, 3), np.nan)
    for i in range(_BINS):
        inside = which == i
        if inside.any():
            rows[i] = confidence[inside].mean(), positive[inside].mean(), inside.sum()
    gaps = np.abs(rows[:, 0] - rows[:, 1]) * rows[:, 2] / len(confidence)
    return rows, float(np.nansum(gaps))


def tracked(sequence: Sequence, path: Path) -> TrackedSequence:
    """Return a sequence with the result file ``path`` of it.

    Raises DataError: there is no result, it has no confidence, or it has another length than the annotation.
    """
    if not path.is_file():
        raise DataError(f"there is no {path}: track {sequence.name} with tracking/test.py first")
    confidence = read_scores(path)
    if confidence is None:
        raise DataError(f"{path}: there are no scores beside it: this tracker does not tell how sure it is")
    boxes, truth = read_result(path), sequence.ground_truth
    if not len(boxes) == len(truth) == len(confidence):
        raise DataError(f"{path} has {len(boxes)} boxes and {len(confidence)} scores, its annotation {len(truth)}")
    return TrackedSequence(boxes, truth, sequence.shown, np.nan_to_num(confidence))


def calibrated(weights: Path, data: list[TrackedSequence], results: list[Path]) -> tuple[dict[str, Any], float, float]:
    """Return a checkpoint with the last layer of presence rescaled, and by what scale and offset of its logit.

    ``results`` are the files of ``data``. Raises CheckpointError: it is damaged, or of a model without presence;
    DataError: the results are of other weights, or the target is there in all of their frames, or in none.
    """
    checkpoint, own = load_checkpoint(weights), file_hash(weights)
    for path in results:
        if ((read_provenance(path) or {}).get("checkpoint_sha256") or own) != own:
            raise DataError(f"{path} is of other weights than {weights}: track with these first")
    visible = np.concatenate([one.visible[1:] for one in data])
    if visible.all() or not visible.any():
        raise DataError(f"the target is there in {int(visible.sum())} of {len(visible)} frames: presence is calibrated "
                        "on sequences with absences, such as of tracking/make_images_dataset.py --exits")  # fmt: skip
    network = network_state(checkpoint, weights)
    if LAST_LAYER + "weight" not in network:
        raise CheckpointError(f"{weights} has no {LAST_LAYER}weight: its model tells no presence")
    confidence = np.concatenate([one.confidence[1:] for one in data])
    scale, offset = fit_calibration(confidence, visible)
    for name, shift in (("weight", 0.0), ("bias", offset)):
        before = network[LAST_LAYER + name]
        network[LAST_LAYER + name] = (scale * before.float() + shift).to(before.dtype)
    return {**checkpoint, "net": network}, scale, offset


def lines(report: PresenceReport, within: int) -> list[str]:
    """Return the report in words."""
    found = f"{report.found} of {report.returns} ({report.found / report.returns:.0%})" if report.returns else "none"
    share = f" ({report.false_finds / report.absent:.1%})" if report.absent else ""
    false = f"{report.false_finds} of {report.absent}{share}"
    return [
        f"AUROC of confidence: {report.auroc:.3f}",
        f"expected calibration error: {report.calibration_error:.3f}",
        f"found again within {within} frames of coming back: {found}",
        f"frames without the target in which it was sure: {false}",
    ]


def plot(reports: dict[str, PresenceReport], path: Path) -> None:
    """Draw the share of visible frames over mean confidence, a line for each tracker."""
    figure, axes = plt.subplots(figsize=(5, 4.5), layout="constrained")
    axes.plot((0, 1), (0, 1), color="0.7", linewidth=1)
    for label, report in reports.items():
        rows = report.bins[~np.isnan(report.bins[:, 0])]
        axes.plot(rows[:, 0], rows[:, 1], marker="o", label=f"{label} (error {report.calibration_error:.3f})")
    axes.set(xlabel="confidence", ylabel="share of frames that show the target", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tracker", help="its name, as of tracking/test.py")
    parser.add_argument("configs", nargs="+", metavar="config")
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--save_dir", type=Path, help="output folder of the runs (default: as configured)")
    parser.add_argument("--threshold", type=float, default=0.6, help="confidence from which it is sure (default 0.6)")
    parser.add_argument("--within", type=int, default=30, help="frames to be found again in (default 30)")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the calibration curves")
    files = {"type": Path, "metavar": ("WEIGHTS", "OUT")}
    parser.add_argument("--calibrate", nargs=2, help="write calibrated weights of the one config", **files)
    args = parser.parse_args()
    if args.calibrate and len(args.configs) > 1:
        parser.error("--calibrate takes one config")
    env = env_settings().saving_to(args.save_dir)
    reports = {}
    for config in args.configs:
        sequences = get_dataset(args.dataset, env=env)
        results = [found_result(env.results_path, args.tracker, config, one) for one in sequences]
        data = [tracked(one, path) for one, path in zip(sequences, results, strict=True)]
        reports[config] = presence_report(data, args.threshold, args.within)
        print(f"{args.tracker} {config} on {args.dataset}: {len(data)} sequences")
        print("\n".join(f"  {line}" for line in lines(reports[config], args.within)), flush=True)
    if args.calibrate:
        checkpoint, scale, offset = calibrated(args.calibrate[0], data, results)
        save_checkpoint(checkpoint, args.calibrate[1])
        print(f"wrote {args.calibrate[1]}: the logit of presence times {scale:.3f}, and {offset:+.3f}")
    if args.json:
        values = {name: asdict(report) | {"bins": report.bins.tolist()} for name, report in reports.items()}
        args.json.write_text(json.dumps(values, indent=1) + "\n")
    if args.plot:
        plot(reports, args.plot)


if __name__ == "__main__":
    run_cli(main)
