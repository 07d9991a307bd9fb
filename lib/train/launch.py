"""Start one process per GPU, and end all of them when one fails.

:func:`launch` runs in the process that the user started, :func:`rank_process` in those that train. The variables are
those of ``torchrun``, so a rank need not know which of the two started it.
"""

# Not by torch.distributed.launcher.api: it takes exit status 75 for a failure and ends the ranks that still save, loses
# the exit statuses of all ranks after a signal, and does not notice failures on other machines.

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
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from lib.utils.cpu import cpu_count
from lib.utils.errors import ConfigError, OSTrackError
from lib.utils.processes import end_with

logger = logging.getLogger(__name__)

PREEMPTED = 75  # EX_TEMPFAIL of sysexits.h: start the same command again later
NOTHING_TO_SAVE = "stopped by SIGTERM outside of training: there is nothing to save"
_REPORT = "OSTRACK_RANK_REPORT"
_LAUNCHER = "OSTRACK_LAUNCHER"
_POLL_SECONDS = 0.1
_GRACE_SECONDS = 5.0
_FAREWELL_SECONDS = 30.0


@dataclass
class _Rank:
    """A started process; ``report`` is the file to which it writes why it failed."""

    number: int
    process: subprocess.Popen
    report: Path

    @property
    def failed(self) -> bool:
        return self.process.poll() not in (None, 0, PREEMPTED) or self.report.exists()

    @property
    def status(self) -> int:
        """Exit status as in a shell: 128 + N after signal N; 1 for a failed process that still runs."""
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


@contextmanager
def _forward_signals(ranks: list[_Rank]) -> Iterator[list[int]]:
    """Pass SIGINT and SIGTERM on to ``ranks``; yield the list of those received."""
    received: list[int] = []

    def forward(number: int, frame: object) -> None:
        received.append(number)
        for rank in ranks:
            rank.process.send_signal(number)

    before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def launch(
    command: Sequence[str], processes: int, nodes: int = 1, node: int = 0, ip: str = "127.0.0.1", port: int = 0
) -> int:
    """Run ``command`` in ``processes`` processes here, of ``nodes * processes`` in all, until all have ended.

    SIGINT and SIGTERM are passed on. When one fails, here or on another machine, the others get SIGTERM and five
    seconds later SIGKILL; the reason of the first failure is printed once.

    This is machine ``node`` of ``nodes``, on each of which it is called; ``ip`` and ``port`` are the address of machine
    0, where port 0 means a free one, for a single machine.

    Returns:
        0; ``PREEMPTED`` after SIGTERM, when the ranks saved and stopped or had nothing to save; 130 after SIGINT; else
        the status of the first that failed.
    """
    machines = _Machines(nodes, node, ip, port) if nodes > 1 else None
    common = {
        "WORLD_SIZE": nodes * processes, "LOCAL_WORLD_SIZE": processes, "MASTER_ADDR": ip,
        "MASTER_PORT": port or _free_port(), _LAUNCHER: os.getpid(), **(_Machines.VARIABLES if machines else {}),
        # Otherwise every rank would start as many threads as there are CPUs.
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", max(1, cpu_count() // processes)),
    }  # fmt: skip
    ranks: list[_Rank] = []
    with TemporaryDirectory(prefix="ostrack_ranks_") as folder, _forward_signals(ranks) as received:
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
    if received[-1:] == [signal.SIGINT]:
        print("interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    if received and any(rank.process.returncode == PREEMPTED for rank in ranks):
        return PREEMPTED  # ranks that fail later do so because the others have left
    if received and status == 128 + signal.SIGTERM:
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
    """Wait until all ranks have ended or one has failed; return what went wrong on another machine.

    Ranks that stop after SIGTERM stop at the same step. If one leaves alone, because it got no data in time, the others
    would wait for it forever, so this returns after a limit.
    """
    limit = math.inf
    while any(rank.process.poll() is None for rank in ranks) and not any(rank.failed for rank in ranks):
        if limit == math.inf and any(rank.process.poll() == PREEMPTED for rank in ranks):
            limit = time.monotonic() + _FAREWELL_SECONDS
        if time.monotonic() > limit:
            break
        if machines and (trouble := machines.trouble()):
            return trouble
        time.sleep(_POLL_SECONDS)
    return None


def _first_failed(ranks: list[_Rank]) -> _Rank | None:
    """Return the rank whose failure caused the others': one that was killed, else the one that reported first."""
    failed = [rank for rank in ranks if rank.failed]
    return min(failed, key=lambda rank: rank.report.stat().st_mtime_ns if rank.report.exists() else 0, default=None)


def _end(ranks: list[_Rank]) -> None:
    """Terminate the ranks that still run, and kill those that do not end."""
    for rank in ranks:
        rank.process.terminate()  # nothing happens to one that has ended
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
    """Exchange failures between the launchers of several machines, through the store that the one of machine 0 hosts.

    ``VARIABLES`` announce it to the ranks, as in ``torchrun``.
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
        """Return what went wrong on another machine, if anything."""
        try:
            return "a process on another machine failed; see there" if self.store.check(["failed"]) else None
        except RuntimeError as error:
            return f"the connection to machine 0 is lost ({error})"

    def leave(self, failed: bool) -> None:
        """Report the outcome to the others; machine 0, which hosts the store, waits until all have done so."""
        try:
            if failed:
                self.store.set("failed", "1")
            left = self.store.add("left", 1)
            deadline = time.monotonic() + _FAREWELL_SECONDS
            while self.node == 0 and left < self.nodes and time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)
                left = self.store.add("left", 0)
        except RuntimeError:
            logger.debug("the other launchers have ended already")


@contextmanager
def rank_process() -> Iterator[None]:
    """Run a rank: an error is reported to the launcher, which prints it once; the rank ends with its launcher.

    Under ``torchrun``, which prints no reports, errors are raised and name their rank.
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
    except Exception:  # a bug: its traceback goes to the launcher
        if _REPORT not in os.environ:
            raise
        _leave(traceback.format_exc(), 1)


def _leave(text: str, status: int) -> None:
    """Report ``text``, before the connections to other ranks break and they report too; then exit."""
    if _REPORT in os.environ:
        report = Path(os.environ[_REPORT])
        temporary = report.with_suffix(".tmp")
        try:
            temporary.write_text(text)
        except OSError:  # most likely a full disk, on which all ranks fail: the first one prints the error itself
            if not any(report.parent.glob("*.txt")):
                print(f"rank {os.environ['RANK']}: {text}", end="", file=sys.stderr)
        with suppress(OSError):
            temporary.replace(report)
    sys.exit(status)
