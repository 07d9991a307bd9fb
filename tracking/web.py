"""Build and serve the browser demo: a page that tracks in your video or camera and uploads nothing.

Needs npm once, to install onnxruntime-web.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.config import add_overrides
from lib.test.evaluation.environment import env_settings
from lib.test.export import ExportOptions
from lib.test.spec import TrackerSpec
from lib.test.web import BACKENDS, fetch_runtime, open_server, write_site
from lib.utils.console import next_step
from lib.utils.errors import ConfigError, run_cli
from tracking.export import export_experiment

CONFIG = "vits_160"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", help=f"name or path of an experiment (default: {CONFIG}, which ships)")
    parser.add_argument("--checkpoint", type=Path, help="weight file (default: the experiment's own)")
    parser.add_argument("--network", type=Path, help="an ONNX file of tracking/export.py, instead of an experiment")
    what = "of the network for WebAssembly: weights in fp16, or faster and less exact int8; WebGPU has fp16 always"
    parser.add_argument("--precision", choices=("fp16", "int8"), default="fp16", help=what)
    parser.add_argument("--port", type=int, default=8000, help="to serve on (8000); 0 = any that is free")
    parser.add_argument("--build_only", action="store_true", help="leave the files, and serve nothing")
    parser.add_argument("--save_dir", type=Path, help="output folder (default: the configured one, ./output)")
    add_overrides(parser)
    return parser.parse_intermixed_args()


def build(args: argparse.Namespace) -> Path:
    """Put the page together as the arguments say, and return its folder."""
    if args.network and (args.config or args.checkpoint or args.overrides):
        raise ConfigError("--network is a whole tracker: leave out --config, --checkpoint and settings")
    folder = Path(env_settings().saving_to(args.save_dir).save_dir) / "web"
    runtime = fetch_runtime(folder)
    site = folder / "site"
    if args.network:
        write_site(site, dict.fromkeys(BACKENDS, args.network), runtime)
        return site
    config = args.config or CONFIG
    print("Exporting the network, unless it is there already: less than a minute", flush=True)
    spec = TrackerSpec(config, checkpoint=args.checkpoint, overrides=tuple(args.overrides), save_dir=args.save_dir)
    networks = {
        backend: export_experiment(spec, "onnx", ExportOptions(precision))[0]
        for backend, precision in zip(BACKENDS, (args.precision, "fp16"), strict=True)
    }
    write_site(site, networks, runtime)
    return site


def main() -> None:
    args = parse_arguments()
    site = build(args)
    print(f"The page is in {site}")
    if args.build_only:
        next_step(f"put {site} where any static server serves it, or python tracking/web.py to serve it here")
        return
    with open_server(site, args.port) as server:
        print(f"Open http://localhost:{server.server_port} in a browser; Ctrl-C ends this.", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("\nended")


if __name__ == "__main__":
    run_cli(main)
