"""Register a tracker in a workspace of the VOT toolkit, and add your own sequences to it: see docs/vot.md."""

import argparse
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.config import config_path, load_config
from lib.models.family import Family, experiment_family
from lib.test.evaluation.benchmarks import get_dataset
from lib.test.spec import EXPORTED, add_family_option, add_tracker_options
from lib.test.tracker.build import check_compiled, choose_precision, exports_folder, find_checkpoint
from lib.test.vot.workspace import add_sequences, register_tracker
from lib.utils.devices import checked_device
from lib.utils.errors import CheckpointError, run_cli


def tracker_command(args: argparse.Namespace, family: Family) -> list[str]:
    """Return the toolkit's command for the tracker: this Python, absolute paths and the weights found now."""
    cfg = load_config(family.config, args.config, args.overrides)
    checkpoint = args.checkpoint or find_checkpoint(cfg, args.save_dir)
    if not checkpoint.is_file():
        raise CheckpointError(f"there is no checkpoint {checkpoint}")
    choose_precision(args.precision, checked_device(args.device), args.backend)
    check_compiled(args.compile, args.backend)
    config, checkpoint = config_path(family.config, args.config).resolve(), checkpoint.resolve()
    options = ["--script", args.script or family.name, "--checkpoint", str(checkpoint), "--device", args.device]
    options += ["--precision", args.precision, "--backend", args.backend, *(["--compile"] if args.compile else [])]
    if args.backend in EXPORTED:  # their file is there, whatever folder the toolkit runs this in
        options += ["--save_dir", str(exports_folder(args.save_dir).parent.resolve())]
    script = Path(__file__).resolve().with_name("vot_tracker.py")
    return [sys.executable, str(script), str(config), *args.overrides, *options]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="vits_192", help="name or path of an experiment (vits_192)")
    parser.add_argument("--workspace", type=Path, required=True, help="folder of the workspace; made where missing")
    parser.add_argument("--sequences", help="names of benchmarks or folder:PATH, comma separated, to evaluate on")
    parser.add_argument("--name", help="the tracker's name in the workspace (default: FAMILY_CONFIG)")
    add_family_option(parser)
    add_tracker_options(parser)
    args = parser.parse_intermixed_args()
    family = experiment_family(args.config, args.script)
    label = config_path(family.config, args.config).stem
    name, workspace = args.name or f"{family.name}_{label}", args.workspace.resolve()
    command = tracker_command(args, family)
    stack = "STACK"
    if args.sequences is not None:
        stack = shlex.quote(str(add_sequences(workspace, get_dataset(*args.sequences.split(",")))))
    print(f"wrote {register_tracker(workspace, name, label, command)}")
    folder = shlex.quote(str(workspace))
    print(
        "next, with the vot of .venv-vot:\n"
        f"  vot --registry {folder} test {name}\n"
        f"  vot initialize {stack} --workspace {folder}\n"
        f"  vot evaluate --workspace {folder} {name}\n"
        f"  vot report --workspace {folder} {name}"
    )


if __name__ == "__main__":
    run_cli(main)
