"""What commands say to the person in front of them."""

from __future__ import annotations


def next_step(*steps: str) -> None:
    """Print what can be done now, as the last line of a command; of several steps each is an alternative."""
    print(f"next: {'; or: '.join(steps)}", flush=True)
