"""Running statistics of a training run."""

from __future__ import annotations

from collections.abc import Mapping


class StatValue:
    """The value of a statistic after each epoch."""

    def __init__(self, history: list[float] | None = None):
        self.history = list(history or [])

    @property
    def val(self) -> float:
        """The newest value."""
        return self.history[-1]

    def update(self, val: float) -> None:
        self.history.append(val)


class AverageMeter:
    """Weighted mean of what was fed since the last :meth:`reset`."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.val = self.sum = 0.0
        self.count = 0

    @property
    def avg(self) -> float:
        """The mean; 0 when nothing was fed."""
        return self.sum / self.count if self.count else 0.0

    def update(self, val: float, n: int = 1) -> None:
        """Feed ``val``, the mean of ``n`` samples."""
        self.val = val
        self.sum += val * n
        self.count += n


class EpochStats:
    """One :class:`AverageMeter` per name, in the order in which the names first came.

    Args:
        plain: what :meth:`to_plain` gave, to go on from there.
    """

    def __init__(self, plain: Mapping[str, tuple[float, int]] | None = None) -> None:
        self.meters: dict[str, AverageMeter] = {}
        self.add(plain or {})

    def update(self, values: Mapping[str, float], n: int = 1) -> None:
        for name, value in values.items():
            self.meters.setdefault(name, AverageMeter()).update(value, n)

    def averages(self) -> dict[str, float]:
        return {name: meter.avg for name, meter in self.meters.items()}

    def to_plain(self) -> dict[str, tuple[float, int]]:
        """Sum and count of each name."""
        return {name: (meter.sum, meter.count) for name, meter in self.meters.items()}

    def add(self, plain: Mapping[str, tuple[float, int]]) -> None:
        """Take in what :meth:`to_plain` of other statistics gave."""
        for name, (total, count) in plain.items():
            meter = self.meters.setdefault(name, AverageMeter())
            meter.sum += total
            meter.count += count


class History:
    """What every epoch of every split (``train``, ``val``) came to: split -> name -> :class:`StatValue`."""

    def __init__(self, plain: Mapping[str, Mapping[str, list[float]]] | None = None):
        self.splits = {
            split: {name: StatValue(values) for name, values in stats.items()} for split, stats in (plain or {}).items()
        }

    def update(self, split: str, values: Mapping[str, float]) -> None:
        stats = self.splits.setdefault(split, {})
        for name, value in values.items():
            stats.setdefault(name, StatValue()).update(value)

    def to_plain(self) -> dict[str, dict[str, list[float]]]:
        """Primitive containers only, for a checkpoint."""
        return {split: {name: list(s.history) for name, s in stats.items()} for split, stats in self.splits.items()}
