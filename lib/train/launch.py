"""Starting one process per GPU, and ending all of them when one fails.

:func:`launch` runs in the process that the user started, :func:`rank_process` in those that train. They share the
environment variables of ``torchrun``, so that a rank need not know which of the two started it.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lib.utils.cpu import cpu_count
from lib.utils.errors import ConfigError, OSTrackError
from lib.utils.processes import end_with

log = logging.getLogger(__name__)

PREEMPTED = 75  # EX_TEMPFAIL of sysexits.h: start the same command again later
NOTHING_TO_SAVE = "stopped by SIGTERM outside of training: there is nothing to save"
_REPORT = "OSTRACK_RANK_REPORT"
_LAUNCHER = "OSTRACK_LAUNCHER"
_POLL_SECONDS = 0.1
_GRACE_SECONDS = 5.0
_FAREWELL_SECONDS = 30.0


@dataclass
class _Rank:
    """One started process; ``report`` is the file in which it says why it failed."""

    number: int
    process: subprocess.Popen
    report: Path

    @property
    def failed(self) -> bool:
        return self.process.poll() not in (None, 0, PREEMPTED) or self.report.exists()

    @property
    def status(self) -> int:
        """Exit status as a shell gives it: 128 + N after signal N; 1 while a failed process has not quite ended."""
        code = self.process.poll()
        return 1 if code is None else 128 - code if code < 0 else code

    @property
    def reason(self) -> str:
        if self.report.exists():
            return self.report.read_text() or "failed, see above\n"
        code = self.process.returncode
        if code is None or code >= 0:
            return f"ended with exit status {code}\n"
        hint = " (most often because memory ran out)" if code == -signal.SIGKILL else ""
        return f"was ended by signal {signal.Signals(-code).name}{hint}\n"


@dataclass
class _Signals:
    """While entered: SIGINT and SIGTERM are passed on to the ranks, and the last one is kept in ``received``."""

    ranks: list[_Rank]
    received: int | None = None
    _before: dict[int, Any] = field(default_factory=dict)

    def __enter__(self) -> _Signals:
        self._before = {number: signal.signal(number, self._pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _pass_on(self, number: int, frame: object) -> None:
        self.received = number
        for rank in self.ranks:
            rank.process.send_signal(number)


def launch(
    command: Sequence[str], processes: int, nodes: int = 1, node: int = 0, ip: str = "127.0.0.1", port: int = 0
) -> int:
    """Run ``command`` in ``processes`` processes here, out of ``nodes * processes`` in all, until all have ended.

    SIGINT and SIGTERM are passed on. When one fails, here or on another machine, the others get SIGTERM and five
    seconds later SIGKILL; why the first one failed is printed once.

    Args:
        nodes, node: number of machines, on each of which this is called, and which of them this is.
        ip, port: where machine 0 can be reached by the others; port 0 means a free one, for a single machine.

    Returns:
        0; ``PREEMPTED`` after SIGTERM, when the ranks saved and stopped, or had nothing to save; 130 after SIGINT; else
        the status of the first that failed.
    """
    machines = _Machines(nodes, node, ip, port) if nodes > 1 else None
    common = {
        "WORLD_SIZE": nodes * processes, "LOCAL_WORLD_SIZE": processes, "MASTER_ADDR": ip,
        "MASTER_PORT": port or _free_port(), _LAUNCHER: os.getpid(), **(_Machines.VARIABLES if machines else {}),
        # Or every rank would start as many threads as there are CPUs.
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", max(1, cpu_count() // processes)),
    }  # fmt: skip
    ranks: list[_Rank] = []
    with TemporaryDirectory(prefix="ostrack_ranks_") as folder, _Signals(ranks) as signals:
        try:
            for local in range(processes):
                ranks.append(_start(command, common, node * processes + local, local, Path(folder)))
            elsewhere = _wait(ranks, machines)
            blamed = _first_failed(ranks)
            status, reason = (blamed.status, blamed.reason) if blamed else (0, "")
        finally:
            _end(ranks)
            if machines:
                machines.leave(failed=any(rank.failed for rank in ranks))
    if signals.received == signal.SIGINT:
        print("interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    if signals.received == signal.SIGTERM and any(rank.process.returncode == PREEMPTED for rank in ranks):
        return PREEMPTED  # what others fail of after that is that they were left
    if signals.received == signal.SIGTERM and status == 128 + signal.SIGTERM:
        print(NOTHING_TO_SAVE, file=sys.stderr)
        return PREEMPTED
    if blamed:
        print(f"rank {blamed.number}: {reason}", end="", file=sys.stderr)
        return status
    if elsewhere:
        print(f"error: {elsewhere}", file=sys.stderr)
        return 1
    return max(rank.status for rank in ranks)


def _start(command: Sequence[str], common: Mapping[str, object], number: int, local: int, folder: Path) -> _Rank:
    report = folder / f"{number}.txt"
    variables = {**common, "RANK": number, "LOCAL_RANK": local, _REPORT: report}
    environment = os.environ | {name: str(value) for name, value in variables.items()}
    # A session of its own: Ctrl-C in the terminal reaches a rank once, through us.
    return _Rank(number, subprocess.Popen(list(command), env=environment, start_new_session=True), report)


def _wait(ranks: list[_Rank], machines: _Machines | None) -> str | None:
    """Until all ranks have ended or one has failed; returns what went wrong on another machine.

    Ranks that stop after SIGTERM do so together, and end within a moment. One that does not is waiting in vain for one
    that left alone, because its data did not come.
    """
    limit = math.inf
    while any(rank.process.poll() is None for rank in ranks) and not any(rank.failed for rank in ranks):
        if limit == math.inf and any(rank.process.poll() == PREEMPTED for rank in ranks):
            limit = time.monotonic() + _FAREWELL_SECONDS
        if time.monotonic() > limit:
            return None
        if machines and (trouble := machines.trouble()):
            return trouble
        time.sleep(_POLL_SECONDS)
    return None


def _first_failed(ranks: list[_Rank]) -> _Rank | None:
    """The rank whose failure made the others fail: one that was killed, else the one that reported first.

    Called after a failure was seen, it looks at all again: what a rank failed of has happened before.
    """
    failed = [rank for rank in ranks if rank.failed]
    killed = [rank for rank in failed if not rank.report.exists()]
    reported = sorted(
        (rank for rank in failed if rank.report.exists()), key=lambda rank: rank.report.stat().st_mtime_ns
    )
    return next(iter([*killed, *reported]), None)


def _end(ranks: list[_Rank]) -> None:
    """End what still runs: ask, wait a little, kill."""
    for rank in ranks:
        if rank.process.poll() is None:
            rank.process.terminate()
    deadline = time.monotonic() + _GRACE_SECONDS
    for rank in ranks:
        try:
            rank.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            rank.process.kill()
            rank.process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class _Machines:
    """What the launchers of several machines tell each other, through the store that their ranks meet at.

    The launcher of machine 0 holds the store; ``VARIABLES`` tell the ranks so, in the words of ``torchrun``.
    """

    VARIABLES = {"TORCHELASTIC_USE_AGENT_STORE": True, "TORCHELASTIC_RESTART_COUNT": 0}

    def __init__(self, nodes: int, node: int, ip: str, port: int):
        import torch.distributed as dist  # slow to import, and needed for several machines only

        self.nodes, self.node = nodes, node
        try:
            self.store = dist.TCPStore(ip, port, is_master=node == 0, wait_for_workers=False)
        except (RuntimeError, ValueError) as error:
            what = "cannot listen" if node == 0 else "machine 0 cannot be reached"
            raise ConfigError(f"{what} at --ip {ip} --port {port}: {error}") from error

    def trouble(self) -> str | None:
        """What went wrong on another machine, if anything."""
        try:
            return "a process on another machine failed; see there" if self.store.check(["failed"]) else None
        except RuntimeError as error:
            return f"the connection to machine 0 is lost ({error})"

    def leave(self, failed: bool) -> None:
        """Tell the others how it ended here; machine 0, which holds the store, stays until all have said so."""
        try:
            if failed:
                self.store.set("failed", "1")
            left = self.store.add("left", 1)
            deadline = time.monotonic() + _FAREWELL_SECONDS
            while self.node == 0 and left < self.nodes and time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)
                left = self.store.add("left", 0)
        except RuntimeError:
            log.debug("the other launchers have ended already")


@contextmanager
def rank_process() -> Iterator[None]:
    """Run a rank: an error goes to the launcher, which prints it once, and the end of the launcher ends the rank.

    Under ``torchrun``, which prints nothing of that kind, errors keep their way and say which rank they come from.
    """
    if _LAUNCHER in os.environ:
        end_with(int(os.environ[_LAUNCHER]))
    try:
        yield
    except OSTrackError as error:
        if _REPORT not in os.environ:
            raise type(error)(f"rank {os.environ['RANK']}: {error}") from error
        _leave(f"error: {error}\n", 1)
    except KeyboardInterrupt:
        _leave("interrupted\n", 128 + signal.SIGINT)
    except Exception:  # a fault of ours: its traceback goes to the launcher
        if _REPORT not in os.environ:
            raise
        _leave(traceback.format_exc(), 1)


def _leave(text: str, status: int) -> None:
    """Say why, before the connections to the other ranks break and they have something to say too; then end."""
    if _REPORT in os.environ:
        report = Path(os.environ[_REPORT])
        temporary = report.with_suffix(".tmp")
        try:
            temporary.write_text(text)
        except OSError:  # a full disk, most likely what all fail of: the first one says so itself
            if not any(report.parent.glob("*.txt")):
                print(f"rank {os.environ['RANK']}: {text}", end="", file=sys.stderr)
        with suppress(OSError):
            temporary.replace(report)
    sys.exit(status)
