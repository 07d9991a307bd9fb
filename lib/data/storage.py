"""Storage of a data set's files: a folder or an lmdb, read by the same keys.

A key is the path of a file inside the data set, with ``/``. In an lmdb made by the published converters, or by
``tracking/pack_lmdb.py``, it is the database key of the file's bytes.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from lib.data.annotations import decode_text
from lib.utils.errors import ConfigError, DataError

if TYPE_CHECKING:
    import lmdb

# Frames; the second kind is used only if there are none of the first.
IMAGE_SUFFIXES = ((".jpg", ".jpeg", ".png", ".bmp"), (".tif", ".tiff", ".webp", ".pgm", ".ppm"))
IMAGE_TYPES = ", ".join(sum(IMAGE_SUFFIXES, ()))


def open_storage(root: str | Path, lmdb: bool = False) -> Storage:
    """Return the storage at ``root``, a folder of files or, with ``lmdb``, of an lmdb.

    Raises DataError: there is no such folder, or no lmdb in it; ConfigError: the package lmdb is not installed.
    """
    if not Path(root).is_dir():
        raise DataError(f"there is no folder {root}")
    if not lmdb:
        return FolderStorage(str(root))
    import_lmdb()
    storage = LmdbStorage(str(root))
    if not (storage.is_database() or storage.names()):
        raise DataError(f"{root} is no lmdb: there is no data.mdb in it, nor folders NAME_lmdb that have one")
    return storage


def import_lmdb() -> ModuleType:
    """Import the optional package lmdb. Raises ConfigError: it is not installed."""
    try:
        import lmdb
    except ImportError as error:
        raise ConfigError("an lmdb needs the package lmdb: pip install lmdb") from error
    return lmdb


@dataclass(frozen=True)
class FolderStorage:
    """Plain files in a folder. A key may also be an absolute path."""

    root: str

    def read(self, key: str) -> bytes:
        """Return the bytes of a file. Raises DataError, which names root and key: missing or unreadable."""
        try:
            return Path(self.root, key).read_bytes()
        except OSError as error:
            raise DataError(f"{self.path(key)} cannot be read: {error.strerror}") from error

    def exists(self, key: str) -> bool:
        """Return whether a file, or in a folder also a sub-folder, of that key exists."""
        return os.path.exists(self.path(key))

    def size(self, key: str) -> int:
        """Return the number of bytes of a file. Raises DataError as :meth:`read` does."""
        try:
            return os.stat(self.path(key)).st_size
        except OSError as error:
            raise DataError(f"{self.path(key)} cannot be read: {error.strerror}") from error

    def names(self, folder: str = "") -> list[str]:
        """List the entries of a folder, in natural order, without hidden files; empty if there is no such folder."""
        try:
            return sorted((name for name in os.listdir(self.path(folder)) if name[0] != "."), key=natural_key)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise DataError(f"folder {self.path(folder)} cannot be read: {error.strerror}") from error

    def within(self, folder: str) -> FolderStorage:
        """Return the storage of a sub-folder, with keys relative to it."""
        return FolderStorage(self.path(folder))

    def path(self, key: str = "") -> str:
        """Return the name of a file for error messages."""
        return os.path.join(self.root, key) if key else self.root

    def stamp(self, keys: Iterable[str]) -> str:
        """Return a text that changes when a file or folder of these keys is changed, added or removed."""
        digest = hashlib.sha256()
        for key in keys:
            try:
                found = os.stat(self.path(key))
                state = f"{found.st_size} {found.st_mtime_ns}"
            except OSError:
                state = "none"
            digest.update(f"{key}\n{state}\n".encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class LmdbStorage:
    """Files in an lmdb, or in several: if ``root`` itself is none, ``NAME/...`` is looked up in ``root/NAME_lmdb``.

    Its methods are those of :class:`FolderStorage`. It has no open database, so it can be passed to other
    processes: each opens the database on its first read.
    """

    root: str
    prefix: str = ""

    def read(self, key: str) -> bytes:
        value = self._get(key)
        if value is None:
            raise DataError(f"{self.path(key)} is not in the lmdb")
        return value

    def exists(self, key: str) -> bool:
        return self._get(key) is not None

    def size(self, key: str) -> int:
        return len(self.read(key))

    def _get(self, key: str) -> bytes | None:
        database, rest = self._locate(self.prefix + key)
        if database is None or not rest:
            return None
        with database.begin() as transaction:
            return transaction.get(rest.encode())

    def names(self, folder: str = "") -> list[str]:
        whole = self.prefix + (f"{folder}/" if folder else "")
        if not whole and not self.is_database():
            ends = sorted(Path(self.root).glob("*_lmdb/data.mdb"))
            return sorted((path.parent.name.removesuffix("_lmdb") for path in ends), key=natural_key)
        database, rest = self._locate(whole)
        return sorted(_entries(database, rest.encode()), key=natural_key) if database else []

    def within(self, folder: str) -> LmdbStorage:
        return LmdbStorage(self.root, f"{self.prefix}{folder}/" if folder else self.prefix)

    def path(self, key: str = "") -> str:
        return f"{self.root}:{self.prefix}{key}"

    def is_database(self) -> bool:
        """Return whether ``root`` itself is an lmdb, not a folder of several."""
        return os.path.exists(os.path.join(self.root, "data.mdb"))

    def stamp(self, keys: Iterable[str]) -> str:
        """Return the stamp of the databases' files, for any keys: their content cannot change without them."""
        inside = [] if self.is_database() else [f"{name}_lmdb/" for name in LmdbStorage(self.root).names()]
        return FolderStorage(self.root).stamp(f"{folder}data.mdb" for folder in inside or [""])

    def _locate(self, key: str) -> tuple[lmdb.Environment | None, str]:
        """Return the database that has a key, if any, and the key in that database."""
        folder = self.root
        if not self.is_database():
            name, _, key = key.partition("/")
            folder = os.path.join(folder, f"{name}_lmdb")
            if not os.path.exists(os.path.join(folder, "data.mdb")):
                return None, key
        return _open(folder), key


Storage = FolderStorage | LmdbStorage

# By folder: the ID of the process that opened the database, and the database.
_DATABASES: dict[str, tuple[int, lmdb.Environment]] = {}


def _open(folder: str) -> lmdb.Environment:
    """Return the database in ``folder``, opened once per process.

    A database inherited by a fork must not be used; it is closed first, since a process may open a database only once.
    """
    lmdb = import_lmdb()
    key = os.path.realpath(folder)
    if known := _DATABASES.get(key):
        process, database = known
        if process == os.getpid():
            return database
        database.close()
    try:
        database = lmdb.open(folder, readonly=True, lock=False, readahead=False, meminit=False)
    except lmdb.Error as error:
        raise DataError(f"{folder} cannot be opened as an lmdb: {error}") from error
    try:
        check_whole(database)
    except DataError:
        database.close()
        raise
    _DATABASES[key] = os.getpid(), database
    return database


def check_whole(database: lmdb.Environment) -> None:
    """Raise DataError if an lmdb's file is truncated, as after an interrupted copy.

    Reading the missing part would kill the process by SIGBUS, without an error message.
    """
    path = os.path.join(database.path(), "data.mdb")
    size, whole = os.path.getsize(path), (database.info()["last_pgno"] + 1) * database.stat()["psize"]
    if size < whole:
        raise DataError(f"{path} is cut short, {size} bytes of {whole}: copy it again, or delete it and make it anew")


def _entries(database: lmdb.Environment, prefix: bytes) -> set[str]:
    """List the first path components after ``prefix``; whole folders are skipped, so their size does not matter."""
    found: set[str] = set()
    with database.begin() as transaction:
        cursor = transaction.cursor()
        more = cursor.set_range(prefix) if prefix else cursor.first()
        while more and cursor.key().startswith(prefix):
            name, slash, _ = cursor.key()[len(prefix) :].partition(b"/")
            if name[:1] != b".":
                found.add(name.decode())
            more = cursor.set_range(prefix + name + b"0") if slash else cursor.next()  # "0" comes after "/"
    return found


def natural_key(name: str) -> tuple:
    """Return a sort key that orders names by the numbers in them: ``img2.jpg`` before ``img10.jpg``."""
    parts = re.split(r"(\d+)", name)
    return tuple((int(part), part) if part.isdecimal() else part.lower() for part in parts)


def image_digest(storage: Storage, names: Sequence[str]) -> str:
    """Return a hash of images, 16 hex digits, from their names and sizes and the bytes of the first and last.

    Raises DataError: an image is missing or unreadable.
    """
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{name} {storage.size(name)}\n".encode())
    for name in (names[0], names[-1]):
        digest.update(storage.read(name))
    return digest.hexdigest()[:16]


def file_text(storage: Storage, key: str) -> str:
    """Return the text of a file. Raises DataError: it is missing, unreadable or no text."""
    return decode_text(storage.read(key), storage.path(key))


def any_case(storage: Storage, key: str) -> str | None:
    """Return the key of an existing file or folder whose name matches ``key``, ignoring case; None if there is none."""
    folder, slash, wanted = key.rpartition("/")
    found = (name for name in storage.names(folder) if name.lower() == wanted.lower())
    return next((folder + slash + name for name in found), None)


def image_names(storage: Storage, folder: str) -> list[str]:
    """List the images of a folder, in natural order; only the first kind of :data:`IMAGE_SUFFIXES` found there."""
    names = storage.names(folder)
    kinds = ([name for name in names if os.path.splitext(name)[1].lower() in kind] for kind in IMAGE_SUFFIXES)
    return next(filter(None, kinds), [])
