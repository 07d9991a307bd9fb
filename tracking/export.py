"""Write the network of a tracker as a file that other programs run, and check that it gives what torch gives."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from lib.config.ostrack import Config, config_name, load_config
from lib.test.evaluation.results import file_hash
from lib.test.export import FORMATS, export_network
from lib.test.export.graph import network_hash, takes_mask
from lib.test.running import PRECISIONS
from lib.test.tracker import Tracker, find_checkpoint
from lib.test.tracker.backends import ExportedNetwork, kept_file
from lib.test.tracker.build import exports_folder, tracking_model
from lib.train.data.drawing.cast import load_stock
from lib.train.data.drawing.sequences import SEQUENCE_SETTINGS, draw_sequence
from lib.utils.errors import ConfigError, run_cli

_SEQUENCES, _FRAMES = 8, 6  # that are drawn for the calibration of int8


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, help="name of a file in experiments/ostrack, or the path of one")
    parser.add_argument("--checkpoint", type=Path, help="weight file (default: the experiment's own)")
    parser.add_argument("--format", choices=list(FORMATS), default="onnx")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32")
    parser.add_argument("--batch", type=int, default=1, help="targets that the file takes at a time")
    parser.add_argument(
        "--out", type=Path, help="file to write (default: where --backend of the other commands looks for it)"
    )
    parser.add_argument("--save_dir", type=Path, help="output folder (default: the configured one, ./output)")
    parser.add_argument("overrides", nargs="*", metavar="KEY.SUB=value", help="settings on top of the experiment")
    return parser.parse_intermixed_args()


def drawn_inputs(cfg: Config) -> list[dict[str, np.ndarray]]:
    """Inputs of the network, of one target each, as a good tracker meets them on drawn sequences."""

    def no_run(inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        raise AssertionError("only crops are wanted")

    tracker = Tracker(cfg, ExportedNetwork(cfg, no_run))  # it keeps crops as they are
    stock, found = load_stock((), (), SEQUENCE_SETTINGS), []
    for number in range(_SEQUENCES):
        first, *others = draw_sequence(np.random.default_rng(number), stock, _FRAMES)
        target = tracker.start(first.image, first.box.tolist())
        for frame in others:
            search, _ = tracker.crop_search([frame.image], [target])
            found.append({"template": target.template.numpy(), "search": search})
            if takes_mask(cfg) and target.mask is not None:
                found[-1]["mask"] = target.mask.numpy()
            if frame.visible > 0:
                target.box = frame.box.tolist()
    return found


def main() -> None:
    args = parse_arguments()
    cfg, name = load_config(args.config, args.overrides), config_name(args.config)
    checkpoint = args.checkpoint or find_checkpoint(cfg, name, args.save_dir)
    model = tracking_model(cfg, checkpoint)
    if args.out is None and (args.batch != 1 or args.format == "torch"):
        raise ConfigError("--out is needed: backends run files of format onnx or openvino for one target")
    folder = exports_folder(args.save_dir)
    path = args.out or kept_file(network_hash(cfg, model), name, args.format, args.precision, folder)
    written = export_network(
        cfg,
        model,
        name,
        args.format,
        path,
        precision=args.precision,
        batch=args.batch,
        calibration=drawn_inputs(cfg) if args.precision == "int8" else (),
        origin={"checkpoint": checkpoint.name, "checkpoint_sha256": file_hash(checkpoint)},
    )
    print(f"wrote {written.path}")
    print(f"its outputs differ from torch's in float32 by at most {written.largest:.2g}, on average {written.mean:.2g}")


if __name__ == "__main__":
    run_cli(main)
