"""Train an experiment: python tracking/train.py --config NAME.

One process trains on the CPU or one GPU. Several train together with --nproc_per_node N, on several machines with
--mode multi_node (the same command on each except --rank), or under torchrun. TRAIN.BATCH_SIZE is per process.

Exit status: 0 done; 1 an error; 75 stopped by SIGTERM with everything saved (if there was anything yet): start the same
command again and it resumes, bit for bit on the CPU; 130 stopped by Ctrl-C, which saves nothing: the last
checkpoint counts.
"""

import argparse
import os
import shlex
import signal
import sys
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.config import add_overrides
from lib.train.launch import NOTHING_TO_SAVE, PREEMPTED, launch, rank_process
from lib.utils.console import int_list, next_step
from lib.utils.errors import ConfigError, run_cli

if TYPE_CHECKING:
    from lib.train.trainers.trainer import SequenceScorer


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--script", default="", help="family of trackers (default: by the experiment's folder)")
    parser.add_argument("--config", required=True, help="name of an experiment, or path of a YAML file")
    parser.add_argument(
        "--save_dir", default="", help="root of checkpoints, logs and curves (default: the configured one, ./output)"
    )
    parser.add_argument("--resume", default="latest", help="latest (default), none or the path of a checkpoint")
    parser.add_argument(
        "--resume_changed",
        action="store_true",
        help="go on with another configuration too (learning rate, batch, processes ...), at the end of an epoch",
    )
    parser.add_argument(
        "--val_dataset", help="track these sequences after each validation, names or folder:PATH, comma separated"
    )
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda or cuda:N")
    parser.add_argument("--seed", type=int, help="instead of TRAIN.SEED")
    parser.add_argument("--use_lmdb", type=int, choices=(0, 1), default=0, help="read the data sets from their lmdb")
    parser.add_argument("--use_wandb", type=int, choices=(0, 1), default=0, help="log to Weights & Biases")
    add_overrides(parser)

    group = parser.add_argument_group("several processes")
    group.add_argument(
        "--mode",
        choices=("single", "multiple", "multi_node"),
        help="one process; several; several on each of several machines (default: by --nproc_per_node)",
    )
    group.add_argument("--nproc_per_node", type=int, help="processes on each machine (with --mode: one per GPU)")
    group.add_argument("--nnodes", "--world-size", type=int, default=1, help="machines, in mode multi_node")
    group.add_argument("--rank", type=int, help="number of this machine, from 0, in mode multi_node")
    group.add_argument("--ip", default="127.0.0.1", help="address of machine 0 (127.0.0.1)")
    group.add_argument("--port", type=int, help="port of machine 0 (a free one; in mode multi_node 20000)")

    group = parser.add_argument_group("other experiments")
    group.add_argument("--script_prv", default="", help="family of --config_prv")
    group.add_argument("--config_prv", default="", help="start from the weights of this experiment")
    group.add_argument(
        "--blocks_prv",
        type=int_list,
        default=(),
        metavar="0,2,3",
        help="its blocks, from 0, that become those of a model of fewer (default: the first ones)",
    )
    group.add_argument("--distill", type=int, choices=(0, 1), default=0, help="1 distills from --config_teacher")
    group.add_argument("--script_teacher", default="", help="family of --config_teacher")
    group.add_argument("--config_teacher", default="", help="experiment of the teacher")
    return parser.parse_intermixed_args()


def check_options(args: argparse.Namespace) -> None:
    """Refuse options that contradict each other."""
    if args.port is not None and not 0 < args.port < 2**16:
        raise ConfigError(f"--port {args.port}: this must be from 1 to {2**16 - 1}")
    count = args.nproc_per_node
    if count is not None and count < 1:
        raise ConfigError(f"--nproc_per_node {count}: this must be 1 or more")
    if args.mode == "single" and (count or 1) > 1:
        raise ConfigError(f"--nproc_per_node {count} needs --mode multiple")
    if args.mode != "multi_node" and (args.nnodes > 1 or args.rank is not None):
        raise ConfigError("--nnodes and --rank need --mode multi_node")
    for name in ("script_prv", "blocks_prv"):
        if getattr(args, name) and not args.config_prv:
            raise ConfigError(f"--{name} needs --config_prv, the experiment whose weights are to be started from")
    if bool(args.distill) != bool(args.config_teacher):
        raise ConfigError("--distill 1 and --config_teacher, the experiment of the teacher, need each other")


def start_all(args: argparse.Namespace) -> int:
    """Start this command once for each process."""
    nodes, node = (args.nnodes, args.rank) if args.mode == "multi_node" else (1, 0)
    if node is None or not 0 <= node < nodes:
        raise ConfigError(f"--rank {node}: of {nodes} machines (--nnodes), this must be one from 0 to {nodes - 1}")
    processes = args.nproc_per_node
    if not processes:
        import torch  # slow to import

        processes = torch.cuda.device_count()
    if not processes:
        raise ConfigError("there is no GPU: say with --nproc_per_node how many processes are to train on the CPU")
    port = args.port or (20000 if nodes > 1 else 0)
    return launch([sys.executable, *sys.argv], processes, nodes, node, args.ip, port)


def train(args: argparse.Namespace) -> int:
    """Train, as the only process or as one of several."""
    # Slow to import, which --help and the launcher need not wait for.
    from lib.models.family import experiment_family
    from lib.train.run_training import TrainOptions, run_training
    from lib.train.trainers.stop import Preempted

    overrides = list(args.overrides)
    if args.seed is not None:
        overrides.append(f"TRAIN.SEED={args.seed}")
    options = {field.name: getattr(args, field.name) for field in fields(TrainOptions)}
    options |= {"use_wandb": bool(args.use_wandb), "use_lmdb": bool(args.use_lmdb)}
    try:
        last = run_training(args.config, overrides, TrainOptions(**options), sequence_scorer(args.val_dataset))
    except Preempted:
        return PREEMPTED
    if os.environ.get("RANK", "0") == "0":
        family = args.script or experiment_family(args.config).name
        # The overrides, too: they may decide which weights fit.
        line = ["python", "tracking/test.py", family, args.config, *args.overrides, "--checkpoint", str(last)]
        next_step(shlex.join([*line, "--dataset", "NAME"]))
    return 0


def sequence_scorer(names: str | None) -> "SequenceScorer | None":
    """Return what tracks the sequences of the benchmarks ``names`` after each validation; None = nothing."""
    if not names:
        return None
    from lib.test.validation import score_sequences, validation_sequences

    return partial(score_sequences, sequences=validation_sequences(names))


def stop_early(number: int, frame: object) -> None:
    """Handle SIGTERM before the first step and after the last; in between the trainer does."""
    os.write(2, f"{NOTHING_TO_SAVE}\n".encode())
    os._exit(PREEMPTED)


def main() -> int:
    args = parse_arguments()
    check_options(args)
    if "RANK" in os.environ:
        with rank_process():
            return train(args)
    if args.mode in ("multiple", "multi_node") or (args.mode is None and args.nproc_per_node):
        return start_all(args)
    signal.signal(signal.SIGTERM, stop_early)
    return train(args)


if __name__ == "__main__":
    run_cli(main)
