"""Rows of the benchmark's tables: what was timed, as figures and as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.test.evaluation.writer import FrameTime


@dataclass(frozen=True)
class Row:
    """One variant at one point. Times are milliseconds for one frame of one target, None where there are none."""

    config: str
    # axis, value: what was changed and to what; ``model`` and 1 where nothing was.
    axis: str
    value: int
    variant: str
    missing: str | None = None  # why it was not timed
    # network, total: median and 95th percentile; from the crop's pixels to the box and its score, and of everything.
    network: tuple[float, float] | None = None
    total: tuple[float, float] | None = None
    shares: dict[str, float] | None = None  # of the mean time, by part: ``decode``, ``crop``, ``network``, ``rest``
    # network_speed, total_speed: how many times as fast as the published way, by the medians.
    network_speed: float | None = None
    total_speed: float | None = None
    # Share of the limit that the machine's measured rates set to the network; None where not known.
    of_limit: float | None = None

    def ratios(self) -> dict[str, float]:
        """Speeds by a name that is the same in every run."""
        name = f"{self.config}, {self.axis} {self.value}, {self.variant}"
        speeds = {f"{name}: network": self.network_speed, f"{name}: end to end": self.total_speed}
        return {key: speed for key, speed in speeds.items() if speed is not None}

    def __str__(self) -> str:
        point = "" if self.axis == "model" else f"{self.axis} {self.value}"
        text = f"{point:>13s}  {self.variant:22s}"
        if self.missing:
            return f"{text} {self.missing}"
        network, total, shares = self.network or (None, None), self.total or (None, None), self.shares or {}
        rate = 1000 / total[0] if total[0] else None
        values = [*network, self.network_speed, self.of_limit, *total, rate, self.total_speed, *map(shares.get, PARTS)]
        for value, (_, form) in zip(values, COLUMNS, strict=True):
            text += ("-" if value is None else format(value, form)).rjust(WIDTH)
        return text


PARTS = ("decode", "crop", "network", "rest")
WIDTH = 9
COLUMNS = (
    ("network", ".2f"), ("p95", ".2f"), ("speed", ".2f"), ("limit", ".0%"),
    ("all", ".2f"), ("p95", ".2f"), ("FPS", ".1f"), ("speed", ".2f"), *((part, ".1%") for part in PARTS),
)  # fmt: skip
HEADER = f"{'':37s}" + "".join(title.rjust(WIDTH) for title, _ in COLUMNS)


def figures(frames: Sequence[FrameTime]) -> dict[str, object]:
    """``network``, ``total`` and ``shares`` of a :class:`Row`."""
    times = 1000 * np.array([(one.decode + one.tracker, one.decode, one.crop, one.network) for one in frames])
    total, decode, crop, network = times.mean(axis=0).tolist()
    p50, p95 = np.percentile(times, (50, 95), axis=0)
    found: dict[str, object] = {"total": (float(p50[0]), float(p95[0]))}
    shares = {"decode": decode / total}
    if not np.isnan(network):
        found["network"] = float(p50[3]), float(p95[3])
        shares |= {"crop": crop / total, "network": network / total}
    shares["rest"] = 1 - sum(shares.values())
    return found | {"shares": shares}
