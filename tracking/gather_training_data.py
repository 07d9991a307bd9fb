"""Build the training data of the small trackers from clones of the public repositories that contain them.

python tracking/gather_training_data.py --clones data/clones --out data/gathered
python tracking/gather_training_data.py --clones data/clones --out data/gathered --only raccoon kangaroo --offline
"""

import argparse
import json
import logging
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.data import gather_pictures, gather_tracks
from lib.data.gather_table import Row, read_table
from lib.utils.console import next_step
from lib.utils.errors import DataError, listed, run_cli
from lib.utils.paths import shipped_file
from lib.utils.replacing import replacing

log = logging.getLogger(__name__)

MODULES = (gather_pictures, gather_tracks)
MAKERS = {form: module.gather for module in MODULES for form in module.FORMS}
TABLE = "pretrained_models/training_data.yaml"
HOST = "https://github.com"


def clone(repository: str, path: Path) -> Path:
    """Clone the newest state of OWNER/NAME to ``path``. Raises DataError: git is not installed, or refuses."""
    unfinished = path.with_name(path.name + ".tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    command = ["git", "clone", "--quiet", "--depth", "1", f"{HOST}/{repository}.git", str(unfinished)]
    silent = os.environ | {"GIT_TERMINAL_PROMPT": "0"}  # of a repository that does not exist, the host asks a password
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, env=silent)
    except FileNotFoundError:
        raise DataError("git is not installed; install it, or put clones into --clones and add --offline") from None
    except subprocess.CalledProcessError as error:
        raise DataError(f"{shlex.join(command)}: {error.stderr.strip()}") from error
    return unfinished.rename(path)


def clones_of(row: Row, folder: Path, offline: bool) -> list[Path]:
    """The working trees of a row's repositories, ``OWNER+NAME`` or ``OWNER/NAME`` in a folder; missing ones are cloned.

    Raises DataError: one is missing and cannot be cloned.
    """
    found = []
    for repository in row.repositories:
        own = folder / repository.replace("/", "+")
        path = next(filter(Path.is_dir, (own, folder / repository)), None)
        if path is None and offline:
            raise DataError(f"{row.name}: there is no clone {own}; clone {HOST}/{repository}, or omit --offline")
        found.append(path or clone(repository, own))
    return found


def make_sets(
    rows: Sequence[Row], clones: Path, out: Path, offline: bool
) -> tuple[dict[str, tuple[int, int]], list[str]]:
    """Make the sets that are not finished, and note each in ``out/gathered.json`` when it is.

    Returns the counts of the finished ones by name, and why others could not be made. Raises DataError:
    ``gathered.json`` is damaged.
    """
    record = out / "gathered.json"
    try:
        notes = json.loads(record.read_text()) if record.exists() else {}
        finished = {name: dict(note) for name, note in notes.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{record} is damaged ({error}); delete it: all sets are made again") from error
    counts, failed = {}, []
    for row in rows:
        note = finished.get(row.name, {})
        there = any(out.glob(f"*/{row.name}")) or any(out.glob(f"video/{row.name}_[0-9]*"))
        if note.get("row") != row.as_json() or not there:
            try:
                trees = clones_of(row, clones, offline)
                pictures, boxes = MAKERS[row.form](row.name, row.form, row.options, trees, out)
            except DataError as error:
                failed.append(str(error))
                continue
            note = {"row": row.as_json(), "pictures": pictures, "boxes": boxes}
            with replacing(record) as path:
                path.write_text(json.dumps({**finished, row.name: note}, indent=1))
            finished[row.name] = note
            log.info("%s: %d pictures, %d boxes", row.name, pictures, boxes)
        counts[row.name] = note["pictures"], note["boxes"]
    return counts, failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clones", type=Path, required=True, metavar="DIR", help="clones: OWNER+NAME or OWNER/NAME")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="pictures/, photos/ and video/ go here")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="sets to make; by default all")
    parser.add_argument("--offline", action="store_true", help="clone nothing: sets whose clone is missing fail")
    parser.add_argument("--table", type=Path, default=shipped_file(TABLE), help=f"of the sets ({TABLE})")
    args = parser.parse_args()
    counts, failed = make_sets(read_table(args.table, list(MAKERS), args.only), args.clones, args.out, args.offline)
    width = max(map(len, ("total", *counts)))
    total = [sum(column) for column in zip(*counts.values(), strict=True)] or [0, 0]
    print(f"{'set':{width}}  pictures    boxes")
    for name, (pictures, boxes) in {**counts, "total": total}.items():
        print(f"{name:{width}}  {pictures:8d} {boxes:8d}")
    if failed:
        missing = f"{len(failed)} of {len(failed) + len(counts)} sets are missing:\n"
        raise DataError(missing + listed(failed, between="\n"))
    places = f"pictures_dir to {args.out / 'pictures'} and folder_dir to {args.out / 'video'}"
    next_step(f"set {places} in the file of paths and train on PICTURES and FOLDER")


if __name__ == "__main__":
    run_cli(main)
