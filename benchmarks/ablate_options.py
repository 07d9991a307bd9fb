"""Scores and speed of the tracker with each of its options on, next to the experiment as it is: a table in Markdown.

The sequences must be none on which the tracker is reported: draw some with ``tracking/make_images_dataset.py``. Results
are kept in ``--save_dir``; after an interruption, or with more settings, only what is missing is tracked.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from lib.config.ostrack import config_hash, config_name, load_config
from lib.test.analysis.report import TrackerReport, evaluate
from lib.test.analysis.statistics import compare_scores
from lib.test.evaluation.evaluate import track_benchmarks
from lib.test.evaluation.results import result_path, time_path
from lib.test.running import add_device_option
from lib.utils.errors import OSTrackError, run_cli

SETTINGS = (
    "TEST.WINDOW_POWER=0",
    "TEST.WINDOW_POWER=0.5",
    "TEST.WINDOW_POWER=1.5",
    "TEST.SIZE_SMOOTHING=0.5",
    "TEST.SIZE_SMOOTHING=1",
    "TEST.HOLD.SCORE=0.2",
    "TEST.HOLD.SCORE=0.3",
    "TEST.HOLD.SCORE=0.2 TEST.HOLD.GROWTH=1.1",
    "TEST.SIZE_SMOOTHING=1 TEST.HOLD.SCORE=0.2",
)
COLUMNS = ("AUC", "OP50", "Precision")


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", help="folder:PATH of drawn sequences, or a benchmark")
    parser.add_argument("--config", default="vits_256_ce_images", help="name or path of an experiment")
    parser.add_argument("--checkpoint", type=Path, help="weight file (default: the experiment's own)")
    parser.add_argument("--setting", action="append", metavar="'KEY=VALUE ...'", help="instead of the usual ones")
    add_device_option(parser)
    parser.add_argument("--precision", choices=["float32", "bf16", "fp16"], default="float32")
    parser.add_argument("--batch", type=int, default=1, help="sequences in one forward pass")
    parser.add_argument("--save_dir", type=Path, default=Path("output/ablation"), help="where results are kept")
    return parser.parse_args(arguments)


def score_setting(args: argparse.Namespace, overrides: list[str]) -> tuple[TrackerReport, float]:
    """Track the sequences with ``overrides`` on top of the experiment; how it went, and frames per second."""
    results = args.save_dir / config_hash(load_config(args.config, overrides))  # of its own for each setting
    summary = track_benchmarks(
        args.config,
        [args.dataset],
        checkpoint=args.checkpoint,
        overrides=overrides,
        precision=args.precision,
        device=args.device,
        batch=args.batch,
        results_dir=results,
    )
    if summary.failed:
        raise OSTrackError(str(summary))
    tracker = "ostrack", config_name(args.config)
    report = evaluate([tracker], args.dataset, results)
    files = [time_path(result_path(results, *tracker, sequence)) for sequence in report.data]
    seconds = np.concatenate([np.loadtxt(file, ndmin=1)[1:] for file in files])  # without the first frames
    return report.trackers[0], len(seconds) / seconds.sum()


def main(arguments: list[str] | None = None) -> None:
    args = parse_arguments(arguments)
    first = None
    for setting in ("", *(args.setting or SETTINGS)):
        found, speed = score_setting(args, setting.split())
        if first is None:
            first = found
            print(f"| setting | {' | '.join(COLUMNS)} | AUC gained | 95 % interval | p | better, worse | FPS |")
            print(f"|---|{'---:|' * (len(COLUMNS) + 5)}")
        scores = " | ".join(f"{found.scores()[name]:.2f}" for name in COLUMNS)
        change = compare_scores(found.sequence_scores()[:, 0], first.sequence_scores()[:, 0], first.weights)
        gained = (
            f"{change.difference:+.2f} | {change.low:+.2f}..{change.high:+.2f} | {change.p_value:.3f} | "
            f"{change.better}, {change.worse}"
        )
        row = f"`{setting}` | {scores} | {gained}" if setting else f"as published | {scores} | | | |"
        print(f"| {row} | {speed:.1f} |", flush=True)


if __name__ == "__main__":
    run_cli(main)
