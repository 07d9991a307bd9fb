"""Making an lmdb of a data set folder: the path of each file inside the data set -> its bytes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from lib.data.storage import FolderStorage, check_whole, import_lmdb
from lib.utils.errors import DataError
from lib.utils.replacing import replacing

if TYPE_CHECKING:
    import lmdb

SOURCES = "sources.json"
_FIRST_SIZE = 64 << 20  # of the memory map, in bytes; it grows by doubling
_COMMIT = 64 << 20  # bytes between two commits: what a kill can lose


def pack_folder(folder: Path, out: Path, prefix: str = "", content: Sequence[str] = ()) -> int:
    """Put the files of a folder into an lmdb, then read every one back and compare it with its file, byte by byte.

    After a kill, call it again: it goes on where it stopped, at the cost of at most 64 MB written again. Beside the
    lmdb, ``sources.json`` names the folder that each prefix comes from, so that no two data sets are mixed. Hidden
    files are left out, links are followed; ``prefix``, if any, is put before the keys, with a slash (GOT-10k's begin
    with ``train/``); ``content`` names the files and folders to take, by default all.

    Returns the number of files. Raises DataError: the folder is missing, a file cannot be read, ``out`` holds another
    data set, the disk is full, or a file does not come back as it is; ConfigError: the package lmdb is not installed.
    """
    lmdb = import_lmdb()
    keys = list(_keys(folder, content))
    if not keys:
        raise DataError(f"{folder}: there is no such folder, or no file in it")
    start = f"{prefix}/" if prefix else ""
    if too_long := [key for key in keys if len((start + key).encode()) > 511]:
        raise DataError(f"{folder}/{too_long[0]}: the path is longer than the 511 bytes of a key of an lmdb")
    try:
        _claim(folder.resolve(), out, start)
        size = max(_FIRST_SIZE, 2 * (out / "data.mdb").stat().st_size if (out / "data.mdb").exists() else 0)
        with closing(lmdb.open(str(out), map_size=size, meminit=False)) as database:
            check_whole(database)
            _write(database, folder, start, keys)
            _verify(database, folder, start, keys)
    except (OSError, lmdb.Error) as error:
        raise DataError(f"{out} cannot be written: {error}; the same command goes on from there") from error
    return len(keys)


def _keys(folder: Path, content: Sequence[str]) -> Iterator[str]:
    """Paths of all files below some parts of a folder, in an order that never changes."""
    for part in content or [""]:
        top = os.path.join(folder, part) if part else str(folder)
        if os.path.isfile(top):
            yield part
        for parent, folders, files in os.walk(top, followlinks=True):
            folders[:] = sorted(name for name in folders if name[0] != ".")
            for name in sorted(name for name in files if name[0] != "."):
                yield Path(os.path.relpath(os.path.join(parent, name), folder)).as_posix()


def _claim(folder: Path, out: Path, start: str) -> None:
    """Note where the keys with this start come from, unless they come from elsewhere."""
    out.mkdir(parents=True, exist_ok=True)
    note = out / SOURCES
    if note.exists():
        try:
            sources = json.loads(note.read_text())
        except ValueError as error:
            raise DataError(f"{note} is damaged: {error}") from error
    elif (out / "data.mdb").exists():
        raise DataError(f"{out} holds an lmdb that was not made by this command; choose another folder")
    else:
        sources = {}
    others = [f"{key}* of {source}" for key, source in sources.items() if (key, source) != (start, str(folder))]
    if start in sources and sources[start] != str(folder) or (others and "" in (start, *sources)):
        raise DataError(f"{out} holds {', '.join(others)}; {folder} needs a folder of its own")
    with replacing(note) as unfinished:
        unfinished.write_text(json.dumps(sources | {start: str(folder)}, indent=1))


def _write(database: lmdb.Environment, folder: Path, start: str, keys: list[str]) -> None:
    """Write what is not there yet with its size."""
    batch: list[tuple[bytes, bytes]] = []
    waiting = 0
    with database.begin(buffers=True) as transaction:
        there = {bytes(key).decode(): len(value) for key, value in transaction.cursor()}
    source = FolderStorage(str(folder))
    for key in tqdm(keys, desc=f"writing {folder.name}"):
        if start + key in there and there[start + key] == (folder / key).stat().st_size:
            continue
        batch.append(((start + key).encode(), source.read(key)))
        waiting += len(batch[-1][1])
        if waiting >= _COMMIT:
            _commit(database, batch)
            batch, waiting = [], 0
    _commit(database, batch)


def _commit(database: lmdb.Environment, batch: list[tuple[bytes, bytes]]) -> None:
    """Write a batch in one transaction; if it does not fit, double the map and try again."""
    while True:
        try:
            with database.begin(write=True) as transaction:
                for key, value in batch:
                    transaction.put(key, value)
            return
        except import_lmdb().MapFullError:
            database.set_mapsize(2 * database.info()["map_size"])


def _verify(database: lmdb.Environment, folder: Path, start: str, keys: list[str]) -> None:
    """Compare every value with its file, and the number of keys with that of files."""
    source = FolderStorage(str(folder))
    with database.begin(buffers=True) as transaction:
        for key in tqdm(keys, desc=f"verifying {folder.name}"):
            value = transaction.get((start + key).encode())
            if value is None or bytes(value) != source.read(key):
                raise DataError(f"{folder / key} is not in the lmdb as it is on disk: delete the lmdb and make it anew")
        cursor, known = transaction.cursor(), {(start + key).encode() for key in keys}
        if cursor.set_range(start.encode()) if start else cursor.first():
            for entry in map(bytes, cursor.iternext(values=False)):
                if not entry.startswith(start.encode()):
                    break
                if entry not in known:
                    raise DataError(f"the lmdb has {entry.decode()}, which {folder} has not: make it anew")
