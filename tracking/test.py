"""Track the sequences of one or more benchmarks and write a result file for each."""

import argparse
import shlex
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.models.family import find_family, is_family
from lib.test.evaluation.benchmarks import describe_benchmarks
from lib.test.evaluation.environment import env_settings
from lib.test.evaluation.evaluate import RunOptions, track_benchmarks
from lib.test.evaluation.modes import mode_name, mode_of
from lib.test.evaluation.results import run_folder
from lib.test.evaluation.runner import wait_for_all
from lib.test.spec import TrackerSpec, add_tracker_options, add_visdom_options
from lib.test.utils.packing import SERVERS
from lib.utils.console import analysis_command, int_list, next_step
from lib.utils.dist_info import dist_info
from lib.utils.errors import ConfigError, in_names_of_installation, run_cli
from lib.vis.recorder import record_video
from lib.vis.views import Screen
from lib.vis.visdom_client import visdom_or_pictures


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tracker", nargs="?", help="family, or NAME of lib/test/tracker/NAME.py (docs/api.md)")
    parser.add_argument("config", nargs="?", help="name of an experiment of the family, or the path of one")
    parser.add_argument("--dataset", "--dataset_name", default="otb", help="names or folder:PATH, by comma (otb)")
    parser.add_argument("--sequence", help="name or number of the only sequence to track")
    parser.add_argument("--list", action="store_true", help="print the benchmarks and where they are looked for")
    parser.add_argument(
        "--threads", type=int, default=0, help="worker processes, on all GPUs together; 0 (default): in this one"
    )
    parser.add_argument("--batch", type=int, default=1, help="sequences that a process tracks in one forward pass (1)")
    parser.add_argument("--num_gpus", type=int, help="GPUs to use at most (default: all)")
    add_tracker_options(parser)
    parser.add_argument("--runid", type=int, help="keep this run's results apart, under CONFIG_RUNID")
    parser.add_argument("--fresh", action="store_true", help="track again what is there already, and replace it")
    parser.add_argument(
        "--compat_int", action="store_true", help="write boxes as integers by truncation, as the published code"
    )
    parser.add_argument(
        "--annotator",
        type=float,
        metavar="IOU",
        help="simulate a person who draws the box anew where its IoU falls below this, and count (docs/metrics.md)",
    )
    parser.add_argument(
        "--realtime",
        type=float,
        metavar="FPS",
        help="skip the frames that arrive, at this rate, while the tracker computes (docs/metrics.md)",
    )
    group = parser.add_argument_group("seeing the tracker at work (docs/seeing.md)")
    group.add_argument("--debug", type=int, choices=[0, 1], default=0, help="1 shows it in visdom, or in image files")
    add_visdom_options(group)
    group.add_argument("--save_vis", type=Path, metavar="DIR", help="write a video of each sequence that is tracked")
    group.add_argument(
        "--vis_attention", type=int_list, default=(), metavar="3,6,9", help="show the attention of these layers, from 0"
    )
    args = parser.parse_intermixed_args(arguments)
    if args.config is None and not args.list:
        parser.error("the following arguments are required: tracker, config")
    return args


def choose_screen(args: argparse.Namespace) -> Screen | None:
    """Choose where to show the tracker at work, if anywhere. Raises ConfigError: the options do not go together."""
    if args.debug and args.save_vis:
        raise ConfigError("--debug 1 and --save_vis: choose one, to look on or to keep videos")
    if args.debug and (args.threads > 1 or args.batch > 1 or dist_info().world > 1):
        raise ConfigError("--debug 1 shows one sequence at a time: leave out --threads, --batch, torchrun")
    if args.debug:
        folder = env_settings().saving_to(args.save_dir).debug_folder
        return visdom_or_pictures(args.visdom_server, args.visdom_port, folder)
    if args.save_vis:
        Path(args.save_vis).mkdir(parents=True, exist_ok=True)
        return partial(record_video, args.save_vis, 25.0)
    if args.vis_attention:
        raise ConfigError("--vis_attention: say where to show it, with --debug 1 or --save_vis DIR")
    return None


def scoring_commands(args: argparse.Namespace) -> list[str]:
    """Return the commands that score the results: the analysis, and the package for each benchmark with a server."""
    output = ["--save_dir", str(args.save_dir)] if args.save_dir else []
    servers = {form.dataset: server for server, form in SERVERS.items()} if args.annotator is None else {}
    names = args.dataset.split(",")
    scored = [name for name in names if name not in servers]
    commands = [analysis_command(",".join(scored), args.save_dir)] if scored else []
    for server in (servers[name] for name in names if name in servers):
        run = run_folder(mode_name(Path(args.config).stem, mode_of(args.annotator, args.realtime)), args.runid)
        # Results lie under the name of the family or, of a module that is a tracker, the last part of its name.
        tracker = find_family(args.tracker).name if is_family(args.tracker) else args.tracker.rpartition(".")[2]
        results = ["--tracker_name", tracker, "--cfg_name", run]
        commands.append(shlex.join(["python", f"lib/test/utils/transform_{server}.py", *results, *output]))
    return commands


def main() -> int:
    args = parse_arguments()
    if args.list:
        print(in_names_of_installation(describe_benchmarks(env_settings())))
        return 0
    screen = choose_screen(args)
    options = RunOptions(
        sequence=args.sequence,
        num_gpus=args.num_gpus,
        workers=0 if args.debug else args.threads,
        batch=args.batch,
        compat_int=args.compat_int,
        run_id=args.runid,
        fresh=args.fresh or bool(args.debug),
        annotator=args.annotator,
        realtime=args.realtime,
        results_dir=env_settings().saving_to(args.save_dir).debug_folder / "tracking_results" if args.debug else None,
        screen=screen,
        attention_layers=args.vis_attention,
    )
    summary = track_benchmarks(TrackerSpec.from_arguments(args, args.tracker), args.dataset.split(","), options)
    print(summary, flush=True)
    wait_for_all()
    if not summary.failed and not args.debug and dist_info().rank == 0:
        next_step(*scoring_commands(args))
    return 1 if summary.failed else 0


if __name__ == "__main__":
    run_cli(main)
