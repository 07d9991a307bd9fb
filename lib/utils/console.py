"""Arguments and output of commands."""

from __future__ import annotations

import shlex

from lib.utils.errors import in_names_of_installation


def int_list(text: str) -> tuple[int, ...]:
    """Read whole numbers with commas between them, as type of an argument. Raises ValueError: one is none."""
    return tuple(int(number) for number in text.split(","))


def analysis_command(dataset: str, save_dir: object = None, *options: str) -> str:
    """Return the command that scores the results of a data set; ``save_dir`` is where they were put, if it was said."""
    output = ["--save_dir", str(save_dir)] if save_dir else []
    return shlex.join(["python", "tracking/analysis_results.py", "--dataset", dataset, *options, *output])


def next_step(*steps: str) -> None:
    """Print the next step, or several alternatives, as the last line of a command."""
    print(in_names_of_installation(f"next: {'; or: '.join(steps)}"), flush=True)
