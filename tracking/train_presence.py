"""Train when a tracker with a memory says that its target is gone, by tracking annotated sequences.

python tracking/train_presence.py ostrack_memory vits_192_presence --dataset folder:DRAWN folder:TRACKS --out FILE

All weights but those of presence stay as they are. Tracking takes most of the time; what was recorded is kept in
--samples, so a command that was interrupted goes on where it was, and two that run at once share the sequences.
"""

import argparse
import logging
import random
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tqdm import tqdm

from lib.data.sequence import Sequence as TrackedSequence
from lib.models.ostrack_memory.memory import PRESENCE
from lib.test.evaluation.benchmarks import get_dataset
from lib.test.evaluation.environment import env_settings
from lib.test.evaluation.results import file_hash
from lib.test.spec import TrackerSpec, add_tracker_options
from lib.test.tracker.build import build_from_spec, tracking_model
from lib.test.tracker.presence_samples import PresenceSamples, RecordingTracker, record
from lib.train.presence import FitOptions, cross_entropy, fit_presence, labeled
from lib.utils.checkpoint import load_checkpoint, network_state, save_checkpoint
from lib.utils.console import next_step
from lib.utils.errors import ConfigError, DataError, run_cli
from lib.utils.replacing import writing

log = logging.getLogger(__name__)

_HELD_OUT = 10  # every tenth sequence is not trained on, and shows how well others are told apart


def record_all(
    tracker: RecordingTracker, sequences: Sequence[TrackedSequence], folder: Path, checkpoint: str, seed: int
) -> list[PresenceSamples]:
    """Return the samples of each sequence; those in ``folder`` are not recorded again. Damaged sequences are left out.

    Raises DataError: too few can be tracked, or samples in ``folder`` are damaged or of other weights.
    """
    paths = [folder / f"{one.group or one.dataset}_{one.name}.npz" for one in sequences]
    order = random.sample(range(len(sequences)), len(sequences))  # another command at the same time has another order
    for number in tqdm(order, "recording", unit="sequence"):
        if paths[number].is_file():
            continue
        try:
            samples = record(tracker, sequences[number], seed + number, sequences[number - 1] if number else None)
        except DataError as error:
            log.warning("left out: %s", error)
            continue
        with writing(paths[number]):
            samples.save(paths[number], checkpoint)
    found = [PresenceSamples.load(path, checkpoint) for path in paths if path.is_file()]
    if len(found) < _HELD_OUT:
        raise DataError(f"{len(found)} sequences could be tracked: presence needs {_HELD_OUT} or more")
    return found


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("script", help="family of trackers, such as ostrack_memory")
    parser.add_argument("config", help="name of an experiment, or the path of one")
    parser.add_argument("--dataset", required=True, nargs="+", help="annotated sequences, some with absences")
    parser.add_argument("--out", type=Path, required=True, help="weight file to write")
    parser.add_argument("--samples", type=Path, help="folder of what is recorded (default: beside --out)")
    parser.add_argument("--epochs", type=int, default=FitOptions.epochs, help=f"({FitOptions.epochs})")
    parser.add_argument("--lr", type=float, default=FitOptions.lr, help=f"largest learning rate ({FitOptions.lr})")
    parser.add_argument("--seed", type=int, default=0, help="(0)")
    add_tracker_options(parser)
    args = parser.parse_intermixed_args()
    if args.epochs < 1 or args.lr <= 0:
        parser.error(f"--epochs {args.epochs} and --lr {args.lr} must be above 0")
    return args


def main() -> None:
    args = parse_arguments()
    if args.compile or args.backend not in ("torch", "plain"):
        how = "--compile" if args.compile else f"--backend {args.backend}"
        raise ConfigError(f"{how} does not show what presence reads: use torch or plain, not compiled")
    tracker = build_from_spec(TrackerSpec.from_arguments(args, args.script))
    recording = RecordingTracker(tracker.cfg, tracker.network, tracker.checkpoint)
    checkpoint = Path(tracker.checkpoint)
    env = env_settings().saving_to(args.save_dir)
    sequences = [sequence for name in args.dataset for sequence in get_dataset(name, env=env)]
    folder = args.samples or args.out.with_name(f"{args.out.stem}_samples")
    samples = record_all(recording, sequences, folder, file_hash(checkpoint), args.seed)
    layers = tracking_model(tracker.cfg, checkpoint).get_submodule(PRESENCE)
    parts = [labeled(torch.from_numpy(one.features), torch.from_numpy(one.overlaps)) for one in samples]
    held = list(zip(*parts[::_HELD_OUT], strict=True))
    used = [torch.cat(each) for each in zip(*(p for i, p in enumerate(parts) if i % _HELD_OUT), strict=True)]
    before = cross_entropy(layers, *held)
    fit_presence(layers, *used, FitOptions(args.epochs, lr=args.lr, seed=args.seed))
    loaded = load_checkpoint(checkpoint)
    network = network_state(loaded, checkpoint)
    for name, value in layers.state_dict().items():
        own = network[f"{PRESENCE}.{name}"]
        network[f"{PRESENCE}.{name}"] = value.to(own.dtype)
    save_checkpoint({**loaded, "net": network}, args.out)
    print(f"wrote {args.out}: cross entropy of presence on {len(held[0])} other sequences {before:.3f} before, "
          f"{cross_entropy(layers, *held):.3f} after, trained on {len(used[1])} searches")  # fmt: skip
    track = ["python", "tracking/test.py", args.script, args.config, "--checkpoint", str(args.out)]
    next_step(
        shlex.join([*track, "--dataset", "folder:DIR", *args.overrides]),
        shlex.join(["python", "benchmarks/presence.py", args.script, args.config, "--dataset", "folder:DIR"])
        + f" --calibrate {shlex.quote(str(args.out))} CALIBRATED",
    )


if __name__ == "__main__":
    run_cli(main)
