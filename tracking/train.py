"""Train an experiment: ``python tracking/train.py --config NAME``."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.train.run_training import run_training
from lib.utils.errors import ConfigError, run_cli

# Published arguments that are understood but cannot be used, with what to do instead.
NOT_YET = {
    "script_prv": "starting from another experiment is not supported; name its weights in MODEL.PRETRAIN_FILE",
    "config_prv": "starting from another experiment is not supported; name its weights in MODEL.PRETRAIN_FILE",
    "distill": "distillation is not supported",
    "script_teacher": "distillation is not supported",
    "config_teacher": "distillation is not supported",
    "use_lmdb": "lmdb is not supported; use the folder layout",
}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--script", default="ostrack", help="family of trackers")
    parser.add_argument("--config", required=True, help="name in experiments/ostrack, or path of a YAML file")
    parser.add_argument("--save_dir", default="./output", help="root of checkpoints, logs and curves")
    parser.add_argument("--mode", choices=("single", "multiple"), default="single", help="one process, or one per GPU")
    parser.add_argument("--nproc_per_node", type=int, default=1, help="processes of mode multiple")
    parser.add_argument("--use_wandb", type=int, choices=(0, 1), default=0, help="log to Weights & Biases")
    parser.add_argument("--resume", default="latest", help="latest, none or the path of a checkpoint")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--seed", type=int, help="instead of TRAIN.SEED")
    parser.add_argument("overrides", nargs="*", metavar="KEY.SUB=value", help="values instead of the experiment's")
    for name in NOT_YET:
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    return parser.parse_intermixed_args()


def main() -> None:
    arguments = parse_arguments()
    if arguments.mode == "multiple":
        raise ConfigError("--mode multiple is not supported yet; use --mode single")
    for name, reason in NOT_YET.items():
        if getattr(arguments, name) not in (None, "0"):
            raise ConfigError(f"--{name}: {reason}")
    overrides = list(arguments.overrides)
    if arguments.seed is not None:
        overrides.append(f"TRAIN.SEED={arguments.seed}")
    run_training(
        arguments.config,
        save_dir=arguments.save_dir,
        device=arguments.device,
        resume=arguments.resume,
        use_wandb=bool(arguments.use_wandb),
        overrides=overrides,
        script=arguments.script,
    )


if __name__ == "__main__":
    run_cli(main)
