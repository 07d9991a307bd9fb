"""Compare the ratios of a fresh run of benchmarks/bench.py with those of benchmarks/regression.json.

The file has ratios to the published way, not times, for each kind of machine, and how much of each may be lost. When
one has fallen by more, its line says so and the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.report import Row
from lib.utils.errors import DataError, run_cli

REGRESSION = Path(__file__).with_name("regression.json")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises DataError: there is none in ``path``."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise DataError(f"{path} holds no JSON object")
    return found


def run_ratios(run: dict[str, Any], path: Path) -> tuple[str, dict[str, float]]:
    """Read kind of machine and ratios of a run. Raises DataError: ``path`` is no file of benchmarks/bench.py."""
    try:
        ratios: dict[str, float] = {}
        for row in run["rows"]:
            ratios |= Row(**row).ratios()
        return run["machine"]["kind"], ratios
    except (KeyError, TypeError) as error:
        raise DataError(f"{path} was not written by benchmarks/bench.py --json: {error}") from error


def compare(known: dict[str, dict[str, float]], fresh: dict[str, float]) -> tuple[list[str], list[str]]:
    """Write lines for the ratios that have fallen, and the names that were not measured this time."""
    fallen = []
    for name, entry in known.items():
        least = entry["ratio"] * (1 - entry["tolerance"])
        if name in fresh and not fresh[name] >= least:
            fallen.append(f"{name}: {fresh[name]:.2f}, was {entry['ratio']:.2f}, may be {least:.2f}")
    return fallen, [name for name in known if name not in fresh]


def update(
    known: dict[str, dict[str, float]], fresh: dict[str, float], tolerance: float
) -> dict[str, dict[str, float]]:
    """Return the known ratios replaced by the fresh ones; a known ratio keeps its tolerance, a new one gets this."""
    new = {
        name: {"ratio": round(ratio, 3), "tolerance": known.get(name, {}).get("tolerance", tolerance)}
        for name, ratio in fresh.items()
    }
    return dict(sorted((known | new).items()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN.json", help="what benchmarks/bench.py --json wrote")
    parser.add_argument("--file", type=Path, default=REGRESSION, help="known ratios (default: %(default)s)")
    parser.add_argument("--update", action="store_true", help="write the run's ratios into that file instead")
    parser.add_argument("--tolerance", type=float, default=0.15, help="share that a new ratio may lose (%(default)s)")
    args = parser.parse_args()
    kind, fresh = run_ratios(read_json(args.run), args.run)
    machines = read_json(args.file) if args.file.exists() or not args.update else {}
    if args.update:
        machines[kind] = update(machines.get(kind, {}), fresh, args.tolerance)
        args.file.write_text(json.dumps(machines, indent=1) + "\n")
        print(f"{len(fresh)} ratios of {kind} written to {args.file}")
        return 0
    if kind not in machines:
        known = "; ".join(machines) or "none"
        raise DataError(f"{args.file} knows no ratios of {kind} (but of: {known}): see --update")
    fallen, unmeasured = compare(machines[kind], fresh)
    compared = len(machines[kind]) - len(unmeasured)
    if not compared:
        raise DataError(f"{args.run} has none of the {len(unmeasured)} ratios that {args.file} knows of {kind}")
    print(f"{kind}: {compared} ratios compared, {len(fallen)} have fallen")
    for name in unmeasured:
        print(f"not measured: {name}")
    for line in fallen:
        print(f"FALLEN: {line}")
    return 1 if fallen else 0


if __name__ == "__main__":
    run_cli(main)
