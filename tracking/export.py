"""Export the network of a tracker to a file for other runtimes, and check that its outputs agree with PyTorch.

--format hub writes the tracker as a folder for a model hub instead, for Tracker.from_pretrained(FOLDER).
"""

import argparse
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.config import add_overrides
from lib.models.family import experiment_family, load_experiment
from lib.test.evaluation.results import file_hash
from lib.test.export import FORMATS, Exported, ExportOptions, export_network
from lib.test.export.graph import network_hash
from lib.test.export.opset import OLDEST
from lib.test.hub import write_folder
from lib.test.spec import PRECISIONS, TrackerSpec, add_family_option
from lib.test.tracker import find_checkpoint
from lib.test.tracker.backends import FORMAT_OF, kept_file
from lib.test.tracker.build import exports_folder, tracking_model
from lib.test.tracker.calibration import drawn_inputs
from lib.utils.console import next_step
from lib.utils.errors import ConfigError, run_cli


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="name of an experiment, or the path of one")
    add_family_option(parser)
    parser.add_argument("--checkpoint", type=Path, help="weight file (default: the experiment's own)")
    parser.add_argument("--format", choices=[*FORMATS, "hub"], default="onnx", help="(onnx)")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="(float32)")
    parser.add_argument(
        "--opset", type=int, help=f"of an ONNX file, {OLDEST} or newer (default: PyTorch's own; docs/export.md)"
    )
    parser.add_argument("--batch", type=int, default=1, help="targets that the file takes at a time")
    parser.add_argument(
        "--out", type=Path, help="file to write (default: where --backend of the other commands looks for it)"
    )
    parser.add_argument("--license", default="", help="of format hub (default: as the model card of the weights says)")
    parser.add_argument("--save_dir", type=Path, help="output folder (default: the configured one, ./output)")
    add_overrides(parser)
    return parser.parse_intermixed_args()


def export_experiment(
    spec: TrackerSpec, format: str, options: ExportOptions, out: Path | None = None
) -> tuple[Path, Exported | None]:
    """Export the network of a tracker to ``out``, or to where ``--backend`` looks for it.

    Returns:
        The file, and what was written; None where the backend's file is there already.

    Raises:
        ConfigError: no backend runs such a file, and ``out`` is not given; or as of :func:`export_network`.
    """
    if out is None and (options != ExportOptions(options.precision) or format == "torch"):
        raise ConfigError(
            "--out is needed: backends run files of onnx or openvino for one target, in the default opset"
        )
    cfg = load_experiment(spec.config, spec.overrides, spec.family)
    checkpoint = Path(spec.checkpoint or find_checkpoint(cfg, spec.save_dir))
    model = tracking_model(cfg, checkpoint)
    folder = exports_folder(spec.save_dir)
    path = out or kept_file(cfg, network_hash(cfg, model), format, options.precision, folder)
    if out is None and path.is_file():
        return path, None
    calibration = drawn_inputs(cfg) if options.precision == "int8" else ()
    origin = {"checkpoint": checkpoint.name, "checkpoint_sha256": file_hash(checkpoint)}
    return path, export_network(cfg, model, format, path, options, calibration, origin)


def export_folder(args: argparse.Namespace) -> Path:
    """Write what ``--format hub`` asks for. Raises ConfigError: it has no such option, or there is no ``--out``."""
    if args.out is None or (args.precision, args.batch, args.opset) != ("float32", 1, None):
        raise ConfigError("format hub needs --out FOLDER, and takes no --precision, --batch, --opset")
    cfg = load_experiment(args.config, args.overrides, args.script)
    checkpoint = args.checkpoint or find_checkpoint(cfg, args.save_dir)
    tracking_model(cfg, checkpoint)  # do they fit?
    return write_folder(cfg, checkpoint, args.out, args.license)


def tracking_command(args: argparse.Namespace, backend: str) -> str:
    """Return the command that tracks with the file that was written."""
    family = args.script or experiment_family(args.config).name
    words = ["python", "tracking/test.py", family, args.config, "--dataset", "NAME", "--backend", backend]
    words += ["--precision", args.precision]
    for option in ("checkpoint", "save_dir"):
        if value := getattr(args, option):
            words += [f"--{option}", str(value)]
    return shlex.join([*words, *args.overrides])


def main() -> None:
    args = parse_arguments()
    if args.format == "hub":
        folder = export_folder(args)
        print(f"wrote {folder}: {', '.join(path.name for path in sorted(folder.iterdir()))}")
        next_step(f'Tracker.from_pretrained("{folder}") in Python', f"hf upload OWNER/NAME {folder}")
        return
    print("exporting, which takes a minute or so", file=sys.stderr)  # in one piece, so that no bar can tell how far
    spec = TrackerSpec(
        args.config, args.script, args.checkpoint, overrides=tuple(args.overrides), save_dir=args.save_dir
    )
    options = ExportOptions(args.precision, args.batch, args.opset)
    path, written = export_experiment(spec, args.format, options, args.out)
    if written is None:
        print(f"{path} is there already, of the same weights, code and versions")
    else:
        print(f"wrote {path}")
        differ = f"at most {written.largest:.2g}, on average {written.mean:.2g}"
        print(f"its outputs differ from torch's in float32 by {differ}")
    backends = [backend for backend, format in FORMAT_OF.items() if args.out is None and format == args.format]
    for backend in backends:
        next_step(tracking_command(args, backend))
    if not backends:
        next_step("docs/export.md has the recipe that runs it, in Python and C++")


if __name__ == "__main__":
    run_cli(main)
