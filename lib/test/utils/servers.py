"""What the servers of benchmarks want: packages of results, and how to read them again."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from lib.data.annotations import parse_table
from lib.utils.errors import DataError


@dataclass(frozen=True)
class RawResult:
    """A result as it was tracked: boxes (N, 4) x, y, w, h, and seconds per frame (N,), if they are known."""

    name: str
    boxes: np.ndarray
    seconds: np.ndarray | None


@dataclass(frozen=True)
class Server:
    """What the server of a benchmark wants.

    Attributes:
        dataset: name of the benchmark.
        packed_field: the setting that says where packages go.
        pack: makes the package of checked results, given the number of decimals.
        unpack: the boxes by sequence that a package holds.
        folder: sub-folder of TRACKER/CONFIG with its results.
        suffix: of the package.
        decimals: of the boxes, unless the user says otherwise; ``None`` keeps all.
        needs_times: every result needs its times.
        names: the names of the sequences where the benchmark itself is not there; ``None`` where they are not public.
    """

    dataset: str
    packed_field: str
    pack: Callable[[list[RawResult], int | None], bytes]
    unpack: Callable[[bytes], dict[str, np.ndarray]]
    folder: str = ""
    suffix: str = ".zip"
    decimals: int | None = 0
    needs_times: bool = False
    names: tuple[str, ...] | None = None


def rounded(boxes: np.ndarray, decimals: int | None) -> np.ndarray:
    """Return the boxes to so many decimals (half to even); ``None`` changes nothing."""
    return boxes if decimals is None else np.round(boxes, decimals) + 0.0  # no -0


def _rows(boxes: np.ndarray, decimals: int | None) -> str:
    form = "{:.4f}" if decimals is None else f"{{:.{decimals}f}}"
    return "".join(",".join(map(form.format, row)) + "\n" for row in rounded(boxes, decimals).tolist())


def _zip(members: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def _unzip(data: bytes, ending: str) -> dict[str, np.ndarray]:
    """Return the boxes of the members whose name ends so, by the rest of their file name. Raises DataError: damaged."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            texts = {name: archive.read(name).decode() for name in archive.namelist()}  # checks their CRC-32
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"the package is damaged, pack it again: {error}") from error
    return {
        name.rpartition("/")[2].removesuffix(ending): parse_table(text, 4, name)
        for name, text in texts.items()
        if name.endswith(ending)
    }


def pack_got10k(results: list[RawResult], decimals: int | None) -> bytes:
    """Return a zip with ``SEQ/SEQ_001.txt`` (commas) and ``SEQ/SEQ_time.txt`` (seconds per frame)."""
    members = {}
    for one in results:
        assert one.seconds is not None  # Server.needs_times
        members[f"{one.name}/{one.name}_001.txt"] = _rows(one.boxes, decimals)
        members[f"{one.name}/{one.name}_time.txt"] = "".join(f"{value:.6f}\n" for value in one.seconds)
    return _zip(members)


def pack_trackingnet(results: list[RawResult], decimals: int | None) -> bytes:
    """Return a zip with ``SEQ.txt`` (commas)."""
    return _zip({f"{one.name}.txt": _rows(one.boxes, decimals) for one in results})


def pack_nt_vot211(results: list[RawResult], decimals: int | None) -> bytes:
    """JSON: ``{"SEQ": {"pred": [[x, y, w, h], ...]}, ..., "time": [[seconds, ...], ...]}``, boxes of whole numbers.

    Where times are unknown, ``time`` is ``[[-211000]]``, as NT-VOT211's own converter has it.
    """
    content: dict = {one.name: {"pred": rounded(one.boxes, 0).astype(int).tolist()} for one in results}
    times = [one.seconds.tolist() for one in results if one.seconds is not None]
    content["time"] = times if len(times) == len(results) else [[-211000]]
    return json.dumps(content).encode()


def _unpack_nt_vot211(data: bytes) -> dict[str, np.ndarray]:
    content = json.loads(data)
    return {name: np.array(entry["pred"], np.float64) for name, entry in content.items() if name != "time"}


SERVERS = {
    "got10k": Server(
        dataset="got10k_test",
        packed_field="got_packed_results_path",
        pack=pack_got10k,
        unpack=partial(_unzip, ending="_001.txt"),
        folder="got10k",
        decimals=None,
        needs_times=True,
        names=tuple(f"GOT-10k_Test_{number:06d}" for number in range(1, 181)),
    ),
    "trackingnet": Server(
        "trackingnet", "tn_packed_results_path", pack_trackingnet, partial(_unzip, ending=".txt"), "trackingnet"
    ),
    "nt_vot211": Server(
        "nt_vot211", "nt_vot211_packed_results_path", pack_nt_vot211, _unpack_nt_vot211, suffix=".json"
    ),
}
