"""Summary of a run, with its speed."""

from __future__ import annotations

from dataclasses import dataclass, field

from lib.test.evaluation.job import Outcome
from lib.test.evaluation.writer import FrameTime
from lib.utils.dist_info import ALONE, DistInfo
from lib.utils.errors import listed


@dataclass
class Summary:
    """Summary of a run.

    Attributes:
        rank: which process it is, of a run over several machines.
        workers: number of tracking processes.
        batch: number of sequences that each of them tracked in one step.
        skipped: number of sequences that had results already.
        left: number of sequences that the user skipped before their end; they have no result.
        done, failed: outcomes of the other sequences.
        seconds: from when the first tracker was ready to the end.
    """

    rank: DistInfo = ALONE
    workers: int = 1
    batch: int = 1
    skipped: int = 0
    left: int = 0
    done: list[Outcome] = field(default_factory=list)
    failed: list[Outcome] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def frames(self) -> int:
        """Tracked frames, without the first of each sequence."""
        return sum(outcome.frames for outcome in self.done)

    @property
    def times(self) -> FrameTime:
        """The sums over all tracked frames and processes."""
        return FrameTime(*map(sum, zip(FrameTime(0.0, 0.0, 0.0, 0.0), *(o.times for o in self.done), strict=True)))

    def __str__(self) -> str:
        text = f"{self.rank}: " if self.rank.world > 1 else ""
        text += f"sequences: {len(self.done)} tracked, {self.skipped} already there, {len(self.failed)} failed"
        text += f", {self.left} left before their end" if self.left else ""
        if self.frames:
            text += f"; {self.frames} frames, {self._speeds()}\n{self._shares()}"
        corrected = [outcome.corrections for outcome in self.done if outcome.corrections is not None]
        if corrected and self.frames:
            share = 100 * sum(corrected) / self.frames
            text += f"\ncorrected {sum(corrected)} times: {share:.2f} in a hundred frames"
        skipped = [outcome.skipped for outcome in self.done if outcome.skipped is not None]
        if skipped:
            text += f"\nin real time {sum(skipped)} of {sum(skipped) + self.frames} frames were skipped"
        final = [outcome.name for outcome in self.failed if outcome.final]
        text += f"\nfailed, see above: {listed(final)}" if final else ""
        for outcome in self.failed:
            text += "" if outcome.final else f"\nfailed: {outcome.name} ({outcome.reason})"
        return text

    def _speeds(self) -> str:
        """Return frames per second of the network alone, of the tracker, and end to end."""
        times = self.times
        network = f"network {self.frames / times.network:.1f} FPS, " if times.network > 0 else ""
        tracker = f"tracker {self.frames / times.tracker:.1f} FPS, " if times.tracker > 0 else ""
        each = f" ({self.workers} processes; network and tracker: of each)" if self.workers > 1 else ""
        return f"{network}{tracker}end to end {self.frames / self.seconds:.1f} FPS{each}"

    def _shares(self) -> str:
        """Describe how the time of a frame is spent."""
        decode, tracker, crop, network = (1000 * seconds / self.frames for seconds in self.times)
        text = f"a frame: {tracker:.2f} ms in the tracker"
        if network > 0:
            parts = {"crop": crop, "network": network, "rest": tracker - crop - network}
            shares = ", ".join(f"{name} {value:.2f} ms ({value / tracker:.0%})" for name, value in parts.items())
            text += f" = {shares}"
        text += f"; {decode:.2f} ms to read and decode it, in threads beside"
        if self.batch > 1:
            text += f" (up to {self.batch} sequences in one step, of whose time each has its share)"
        return text
