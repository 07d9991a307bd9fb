"""Output of commands."""

from __future__ import annotations


def next_step(*steps: str) -> None:
    """Print the next step, or several alternatives, as the last line of a command."""
    print(f"next: {'; or: '.join(steps)}", flush=True)
