"""Arguments and output of command-line tools."""

from __future__ import annotations

import shlex

from lib.utils.errors import in_names_of_installation


def int_list(text: str) -> tuple[int, ...]:
    """Parse comma-separated integers, as ``type`` of an argument. Raises ValueError: one is not an integer."""
    return tuple(int(number) for number in text.split(","))


def analysis_command(dataset: str, save_dir: object = None, *options: str) -> str:
    """Return the command that scores the results of a data set; ``save_dir`` is their folder, if given."""
    output = ["--save_dir", str(save_dir)] if save_dir else []
    return shlex.join(["python", "tracking/analysis_results.py", "--dataset", dataset, *options, *output])


def next_step(*steps: str) -> None:
    """Print the next step, or several alternatives, as the last line of a command."""
    print(in_names_of_installation(f"next: {'; or: '.join(steps)}"), flush=True)
