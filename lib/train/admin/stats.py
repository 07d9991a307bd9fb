"""Running statistics of a training run."""

from __future__ import annotations

from collections.abc import Mapping


class EpochStats:
    """Weighted means by name, in the order in which names were first added.

    Args:
        sums: the weighted sum and the weight of each name so far, from :attr:`sums` of an interrupted epoch.
    """

    def __init__(self, sums: Mapping[str, tuple[float, int]] | None = None) -> None:
        self.sums = dict(sums or {})

    def update(self, values: Mapping[str, float], n: int = 1) -> None:
        """Add ``values``, each the mean of ``n`` samples."""
        self.add({name: (value * n, n) for name, value in values.items()})

    def add(self, sums: Mapping[str, tuple[float, int]]) -> None:
        """Add the :attr:`sums` of other statistics."""
        for name, (total, count) in sums.items():
            before, counted = self.sums.get(name, (0.0, 0))
            self.sums[name] = (before + total, counted + count)

    def averages(self) -> dict[str, float]:
        """Return the mean of each name."""
        return {name: total / count for name, (total, count) in self.sums.items()}
