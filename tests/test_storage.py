"""Files in folders and in lmdbs by the same keys, and making an lmdb of a folder."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import resource
import signal
import subprocess
import sys
from pathlib import Path

import lmdb
import pytest

from lib.data import lmdb_pack
from lib.data.lmdb_pack import pack_folder
from lib.data.storage import image_digest, image_names, natural_key, open_storage
from lib.utils.errors import ConfigError, DataError
from tests.conftest import REPOSITORY

FILES = {
    "list.txt": b"a\n",
    "a/10.jpg": b"ten",
    "a/2.jpg": b"two" * 5000,
    "a/notes.md": b"",
    "a-1/x.PNG": b"png",
    "a.txt": b"text",
    "a/deep/er/1.txt": b"1",
}
HIDDEN = ".hidden/file"


def write_files(root: Path, files: dict[str, bytes] = FILES) -> Path:
    for key, data in {**files, HIDDEN: b"no"}.items():
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        (root / key).write_bytes(data)
    return root


@pytest.fixture(params=["folder", "lmdb", "lmdbs", "prefix"])
def storage(request, tmp_path):
    """The same files in each kind of storage."""
    root = write_files(tmp_path / "data")
    if request.param == "folder":
        return open_storage(root)
    if request.param == "lmdb":
        pack_folder(root, tmp_path / "out")
        return open_storage(tmp_path / "out", lmdb=True)
    if request.param == "prefix":
        pack_folder(root, tmp_path / "out", "train")
        return open_storage(tmp_path / "out", lmdb=True).within("train")
    for part in ("part", "other"):
        pack_folder(root, tmp_path / "out" / f"{part}_lmdb")
    sets = open_storage(tmp_path / "out", lmdb=True)
    assert sets.names() == ["other", "part"]
    assert not sets.exists("none/list.txt") and not sets.exists("part")
    return sets.within("part")


def test_the_first_kind_of_pictures_counts(tmp_path):
    names = {"a.tif": b"", "b.webp": b"", "c.PGM": b"", "d.gif": b""}
    storage = open_storage(write_files(tmp_path, names))
    assert image_names(storage, "") == ["a.tif", "b.webp", "c.PGM"]
    (tmp_path / "e.jpg").touch()
    assert image_names(storage, "") == ["e.jpg"]


def test_every_storage_reads_the_same(storage):
    assert {key: storage.read(key) for key in FILES} == FILES
    assert storage.names() == ["a", "a-1", "a.txt", "list.txt"]
    assert storage.names("a") == ["2.jpg", "10.jpg", "deep", "notes.md"]
    assert storage.names("a/deep") == ["er"]
    assert storage.names("nothing") == storage.names("a/2.jpg") == []
    assert image_names(storage, "a") == ["2.jpg", "10.jpg"]
    assert image_names(storage, "a-1") == ["x.PNG"]
    assert storage.exists("a/notes.md") and not storage.exists("a/3.jpg")
    assert storage.size("a/2.jpg") == 15000
    assert image_digest(storage.within("a"), ["2.jpg", "10.jpg"]) == "3544a1db60d9d46e"
    with pytest.raises(DataError, match="3.jpg"):
        image_digest(storage, ["a/2.jpg", "a/3.jpg", "a/10.jpg"])
    inner = storage.within("a").within("deep")
    assert inner.read("er/1.txt") == b"1"
    assert inner.names() == ["er"]


def test_a_missing_file_is_an_error_that_names_root_and_key(storage):
    root = storage.path().split(":")[0]
    with pytest.raises(DataError, match=f"{root}.*a/3.jpg") as error:
        storage.within("a").read("3.jpg")
    assert root in str(error.value)


def test_stamp_tells_changes_of_files_and_folders(tmp_path):
    root = write_files(tmp_path)
    storage, keys = open_storage(root), ["a.txt", "a", "later"]
    stamps = [storage.stamp(keys)]
    assert storage.stamp(keys) == stamps[0]
    for change in (
        lambda: (root / "a.txt").write_bytes(b"longer"),
        lambda: os.utime(root / "a.txt", ns=(1, 1)),
        lambda: ((root / "a/new").write_bytes(b""), os.utime(root / "a", ns=(2, 2))),
        lambda: (root / "later").write_bytes(b""),
        lambda: (root / "a.txt").unlink(),
    ):
        change()
        stamps.append(storage.stamp(keys))
    assert len(set(stamps)) == 6
    before = storage.stamp(keys)
    (root / "list.txt").write_bytes(b"not among the keys")
    assert storage.stamp(keys) == before


def test_stamp_of_an_lmdb_is_that_of_its_file(tmp_path):
    pack_folder(write_files(tmp_path / "data"), tmp_path / "out")
    storage = open_storage(tmp_path / "out", lmdb=True)
    before = storage.stamp(["a.txt"])
    assert storage.stamp(["list.txt"]) == before
    os.utime(tmp_path / "out" / "data.mdb", ns=(1, 1))
    assert storage.stamp(["a.txt"]) != before


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_an_lmdb_that_is_open_can_be_read_in_other_processes(tmp_path, method):
    pack_folder(write_files(tmp_path / "data"), tmp_path / "out")
    storage = open_storage(tmp_path / "out", lmdb=True)
    assert storage.read("a.txt") == b"text"  # opens it here
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    # Not a function of this file: a process that is spawned would import all that it does.
    child = context.Process(
        target=exec, args=("queue.put(storage.read('a/10.jpg'))", {"queue": queue, "storage": storage})
    )
    child.start()
    assert queue.get(timeout=60) == b"ten"
    child.join()
    assert storage.read("a.txt") == b"text"
    assert pickle.loads(pickle.dumps(storage)) == storage


def test_open_storage_says_what_is_missing(tmp_path):
    with pytest.raises(DataError, match="there is no folder .*none"):
        open_storage(tmp_path / "none")
    with pytest.raises(DataError, match="is no lmdb: there is no data.mdb"):
        open_storage(tmp_path, lmdb=True)
    (tmp_path / "data.mdb").write_bytes(b"garbage" * 1000)
    with pytest.raises(DataError, match="cannot be opened as an lmdb"):
        open_storage(tmp_path, lmdb=True).read("a")


def test_an_lmdb_that_was_not_copied_to_its_end_is_an_error_and_no_crash(tmp_path):
    """To read beyond the end of the file would end the process by SIGBUS."""
    root = write_files(tmp_path / "data", {f"{i}": bytes(50_000) for i in range(8)})
    pack_folder(root, tmp_path / "out")
    os.truncate(tmp_path / "out/data.mdb", 100_000)
    message = r"out/data.mdb is cut short, 100000 bytes of \d+: copy it again"
    with pytest.raises(DataError, match=message):
        open_storage(tmp_path / "out", lmdb=True).read("7")
    with pytest.raises(DataError, match=message):
        pack_folder(root, tmp_path / "out")


def test_natural_order():
    assert sorted(["b2", "B10", "a10x2", "a10x10", "a9"], key=natural_key) == ["a9", "a10x2", "a10x10", "b2", "B10"]


# Packing


def entries(out: Path) -> dict[str, bytes]:
    with lmdb.open(str(out), readonly=True, lock=False) as database, database.begin() as transaction:
        return {key.decode(): value for key, value in transaction.cursor()}


def test_pack_writes_what_is_there_and_grows_the_map(tmp_path, monkeypatch):
    monkeypatch.setattr(lmdb_pack, "_FIRST_SIZE", 64 << 10)
    files = {**FILES, **{f"big/{i}": bytes([i]) * 100_000 for i in range(20)}}
    assert pack_folder(write_files(tmp_path / "data", files), tmp_path / "out") == len(files)
    assert entries(tmp_path / "out") == files


def test_pack_takes_only_what_belongs_to_the_data_set(tmp_path):
    root = write_files(tmp_path / "data")
    assert pack_folder(root, tmp_path / "out", "p", ("a-1", "list.txt")) == 2
    assert entries(tmp_path / "out") == {"p/a-1/x.PNG": b"png", "p/list.txt": b"a\n"}


def test_pack_goes_on_after_a_kill(tmp_path, monkeypatch):
    root = write_files(tmp_path / "data", {f"{i:03d}": bytes([i]) * 1000 for i in range(200)})
    program = (
        "import sys, time; from pathlib import Path; from lib.data import lmdb_pack as p\n"
        "p._COMMIT, commit = 1000, p._commit\n"
        "def slow(*a):\n    commit(*a); print('committed', flush=True); time.sleep(0.02)\n"
        "p._commit = slow\np.pack_folder(Path(sys.argv[1]), Path(sys.argv[2]))\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, root, tmp_path / "out"],
        cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    for _ in range(5):
        assert child.stdout.readline() == b"committed\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    there = len(entries(tmp_path / "out"))
    assert 5 <= there < 200
    written = []
    monkeypatch.setattr(lmdb_pack, "_COMMIT", 1)
    commit = lmdb_pack._commit
    monkeypatch.setattr(lmdb_pack, "_commit", lambda db, batch: (written.extend(batch), commit(db, batch)))
    assert pack_folder(root, tmp_path / "out") == 200
    assert len(written) == 200 - there
    assert entries(tmp_path / "out") == {f"{i:03d}": bytes([i]) * 1000 for i in range(200)}


def test_pack_never_mixes_data_sets(tmp_path):
    first, second = (write_files(tmp_path / name) for name in ("first", "second"))
    pack_folder(first, tmp_path / "out")
    with pytest.raises(DataError, match=r"out holds \* of .*first; .*second needs a folder of its own"):
        pack_folder(second, tmp_path / "out")
    with pytest.raises(DataError, match="needs a folder of its own"):
        pack_folder(second, tmp_path / "out", "val")
    pack_folder(first, tmp_path / "got", "train")
    pack_folder(second, tmp_path / "got", "val")
    assert json.loads((tmp_path / "got/sources.json").read_text()) == {"train/": str(first), "val/": str(second)}
    assert len(entries(tmp_path / "got")) == 2 * len(FILES)
    with pytest.raises(DataError, match="needs a folder of its own"):
        pack_folder(second, tmp_path / "got", "train")
    (tmp_path / "out/sources.json").unlink()
    with pytest.raises(DataError, match="was not made by this command"):
        pack_folder(first, tmp_path / "out")


def test_pack_verifies_every_byte_and_every_key(tmp_path):
    root = write_files(tmp_path / "data")
    pack_folder(root, tmp_path / "out")
    (root / "a.txt").write_bytes(b"TEXT")
    with pytest.raises(DataError, match="a.txt is not in the lmdb as it is on disk"):
        pack_folder(root, tmp_path / "out")
    (root / "a.txt").unlink()
    with pytest.raises(DataError, match="the lmdb has a.txt, which .*data has not"):
        pack_folder(root, tmp_path / "out")


def test_pack_on_a_full_disk_is_one_error_and_goes_on_later(tmp_path):
    root = write_files(tmp_path / "data", {f"{i}": bytes(200_000) for i in range(10)})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, before[1]))
    try:
        with pytest.raises(DataError, match="out cannot be written: .*goes on from there"):
            pack_folder(root, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert pack_folder(root, tmp_path / "out") == 10


def test_pack_says_what_it_cannot_take(tmp_path):
    with pytest.raises(DataError, match="no such folder, or no file in it"):
        pack_folder(tmp_path / "none", tmp_path / "out")
    long = Path(*["x" * 200] * 3)
    with pytest.raises(DataError, match="longer than the 511 bytes"):
        pack_folder(write_files(tmp_path / "data", {str(long): b""}), tmp_path / "out")
    (write_files(tmp_path / "linked") / "gone.jpg").symlink_to("nowhere")
    with pytest.raises(DataError, match="linked/gone.jpg cannot be read: No such file"):
        pack_folder(tmp_path / "linked", tmp_path / "out2")


def test_without_the_package_lmdb_there_is_one_error(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lmdb", None)
    for call in (lambda: open_storage(tmp_path, lmdb=True), lambda: pack_folder(write_files(tmp_path / "a"), tmp_path)):
        with pytest.raises(ConfigError, match="pip install lmdb"):
            call()
