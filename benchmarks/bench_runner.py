"""Frames per second of the runner on drawn sequences, by worker processes and batch, and next to the first of them."""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.drawing.sequences import make_images_sequences
from lib.test.evaluation.evaluate import RunOptions, track_benchmarks
from lib.test.spec import TrackerSpec, add_device_option
from lib.utils.errors import OSTrackError, run_cli


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="vits_192", help="name or path of an experiment")
    parser.add_argument("--checkpoint", type=Path, help="weight file (default: the experiment's own)")
    add_device_option(parser)
    parser.add_argument("--precision", choices=["float32", "bf16", "fp16"], default="float32")
    parser.add_argument("--threads", type=int, nargs="+", default=[0, 1, 2], help="numbers of worker processes")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8], help="sequences in one forward pass")
    parser.add_argument("--sequences", type=int, default=16)
    parser.add_argument("--frames", type=int, default=40, help="of each sequence")
    args = parser.parse_args()
    spec = TrackerSpec(args.config, checkpoint=args.checkpoint, precision=args.precision, device=args.device)
    with tempfile.TemporaryDirectory() as folder:
        data = make_images_sequences(Path(folder), "val", args.sequences, args.frames, seed=1)
        print(f"{args.config}, {args.precision}, {args.device}: {args.sequences} sequences of {args.frames} frames")
        print("threads  batch  end to end FPS   ratio  network FPS  tracker FPS   (the last two: of each process)")
        first = 0.0
        for threads in args.threads:
            for batch in args.batch:
                apart = replace(spec, save_dir=Path(folder) / f"{threads}_{batch}")
                summary = track_benchmarks(apart, [f"folder:{data}"], RunOptions(workers=threads, batch=batch))
                if summary.failed:
                    raise OSTrackError(str(summary))
                seconds = summary.seconds, summary.times.network, summary.times.tracker
                total, network, tracker = (summary.frames / spent for spent in seconds)
                first = first or total
                line = f"{threads:7d}  {batch:5d}  {total:14.1f}  {total / first:6.2f}"
                print(f"{line}  {network:11.1f}  {tracker:11.1f}", flush=True)


if __name__ == "__main__":
    run_cli(main)
