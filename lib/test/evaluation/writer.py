"""Write the result of one sequence while it is tracked: boxes, scores and times."""

from __future__ import annotations

import fcntl
import math
import os
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TextIO

from lib.test.evaluation.results import finish_result, partial_path, time_path, times_path, write_scores
from lib.utils.errors import BusyError, DataError
from lib.utils.replacing import writing


class FrameTime(NamedTuple):
    """Seconds spent on a frame; in a batch, those of the batch divided by its size."""

    decode: float  # reading and decoding, in a thread that runs ahead of the tracker
    tracker: float  # total of the tracker: crop, network and the rest, without decode
    crop: float = math.nan  # cropping the search region, normalizing it and copying it to the device
    network: float = math.nan  # the forward pass, synchronized; both are NaN if the tracker does not measure them

    def __str__(self) -> str:
        rest = self.tracker - self.crop - self.network
        return f"{self.decode:.6f},{self.crop:.6f},{self.network:.6f},{rest:.6f}"


class ResultWriter:
    """Streams the result of one sequence to disk; the file is complete when the ``with`` block ends without an error.

    Boxes are written with four decimals, or as integers by truncation if ``compat_int`` is set in the provenance, see
    :func:`lib.test.evaluation.results.sequence_provenance`. Without ``replace`` an earlier result is an error.

    Raises:
        DataError: another process is tracking the same sequence into the same file, or has done so, or it cannot be
            written.
    """

    def __init__(self, path: Path, provenance: dict[str, Any], replace: bool = True) -> None:
        self.path, self.provenance, self.replace = path, provenance, replace
        self.times: list[FrameTime] = []
        self.scores: list[float] = []

    def __enter__(self) -> ResultWriter:
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = _open_alone(partial_path(self.path))
            if not self.replace and self.path.exists():  # asked only now that no other process can write it
                partial_path(self.path).unlink()
                self._file.close()
                raise BusyError(f"{self.path} was written by another process meanwhile")
        return self

    def add(self, box: list[float], time: FrameTime, score: float = math.nan) -> None:
        """Append the box x, y, w, h of the next frame, its times and its score.

        The score is in [0, 1], 1 if the box was given, NaN if the tracker has none.

        Raises:
            DataError: the box is not four finite numbers with width and height of at least 0, or the file cannot be
                written.
        """
        if len(box) != 4 or not all(map(math.isfinite, box)) or min(box[2:]) < 0:
            found = f"the tracker returned the box {box} for frame {len(self.times)} of {self.path.stem}"
            raise DataError(f"{found}: a box is four finite numbers x, y, w, h, and w and h are not below 0")
        whole = self.provenance.get("compat_int", False)
        with writing(self.path):
            self._file.write("\t".join(f"{int(value)}" if whole else f"{value:.4f}" for value in box) + "\n")
            self._file.flush()
        self.times.append(time)
        self.scores.append(float(score))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with writing(self.path), self._file:  # closed, and so unlocked, only after the result is renamed
            if error is None:
                os.fsync(self._file.fileno())
                time_path(self.path).write_text("".join(f"{time.tracker:.6f}\n" for time in self.times))
                lines = ("decode,crop,network,rest", *self.times)
                times_path(self.path).write_text("".join(f"{line}\n" for line in lines))
                write_scores(self.path, self.scores)
                finish_result(self.path, self.provenance)


def _open_alone(path: Path) -> TextIO:
    """Open ``path`` for writing from its start. Raises DataError: another process is writing it, or just finished."""
    file = open(path, "a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system releases it whenever the process ends
        alone = os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except (BlockingIOError, FileNotFoundError):
        alone = False
    except OSError:  # a file system without locks
        alone = True
    if not alone:
        file.close()
        raise BusyError(f"{path} is being written by another process: the same run was started twice")
    file.truncate(0)
    return file
