"""Numbers kept by content."""

import numpy as np
import pytest

from lib.test.evaluation import results
from lib.test.evaluation.results import read_result
from lib.utils.errors import DataError


@pytest.fixture
def result(tmp_path):
    path = tmp_path / "car.txt"
    path.write_text("1\t2\t3\t4\n5\t6\t7\tnan\n")
    return path


def test_content_decides_not_the_name(result, tmp_path, monkeypatch):
    boxes = read_result(result, tmp_path / "cache")
    np.testing.assert_array_equal(boxes, [[1, 2, 3, 4], [5, 6, 7, np.nan]])
    (entry,) = (tmp_path / "cache").iterdir()

    monkeypatch.setattr(results, "read_table", lambda path, columns: pytest.fail("read again"))
    other = tmp_path / "boat.txt"
    other.write_bytes(result.read_bytes())
    np.testing.assert_array_equal(read_result(other, tmp_path / "cache"), boxes)

    monkeypatch.undo()
    result.write_text("9 9 9 9\n")  # another content under the old name
    np.testing.assert_array_equal(read_result(result, tmp_path / "cache"), [[9, 9, 9, 9]])
    assert len(list((tmp_path / "cache").iterdir())) == 2 and entry.is_file()


@pytest.mark.parametrize("damage", ["empty", "garbage", "cut", "bit"])
def test_damaged_entries_are_written_anew(result, tmp_path, damage):
    boxes = read_result(result, tmp_path / "cache")
    (entry,) = (tmp_path / "cache").iterdir()
    content = bytearray(entry.read_bytes())
    good = bytes(content)
    spot = good.index(boxes.tobytes()) + 3
    content[spot] ^= 1
    damaged = {"empty": b"", "garbage": b"PK\x03\x04 nonsense", "cut": good[:-30], "bit": bytes(content)}[damage]
    entry.write_bytes(damaged)
    np.testing.assert_array_equal(read_result(result, tmp_path / "cache"), boxes)
    assert entry.read_bytes()[: len(good) // 2] == good[: len(good) // 2]
    with np.load(entry) as file:
        np.testing.assert_array_equal(file["boxes"], boxes)


def test_a_folder_that_cannot_be_written_to_is_done_without(result, tmp_path):
    (tmp_path / "cache").write_text("a file, not a folder")
    assert read_result(result, tmp_path / "cache").shape == read_result(result, None).shape == (2, 4)


def test_errors_of_result_files_stay_the_same(tmp_path):
    with pytest.raises(DataError, match=r"none\.txt cannot be read"):
        read_result(tmp_path / "none.txt", tmp_path / "cache")
    (tmp_path / "bad.txt").write_text("1 2 3\n")
    with pytest.raises(DataError, match=r"bad\.txt, line 1"):
        read_result(tmp_path / "bad.txt", tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
