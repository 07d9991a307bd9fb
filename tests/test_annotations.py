"""Tables of numbers are read fast, exactly, and with the line of what is wrong."""

import numpy as np
import pytest

from lib.data import annotations
from lib.data.annotations import parse_own, parse_table
from lib.utils.errors import DataError


def test_numbers_are_those_that_python_reads():
    rng = np.random.default_rng(0)
    numbers = np.concatenate((rng.normal(0, 1e3, 200), rng.uniform(0, 1, 100) * 1e-7, [0.1, 1 / 3, 2**53 + 1, -0.0]))
    text = "\n".join(" , ".join(map(repr, row)) for row in numbers.reshape(-1, 4).tolist())
    np.testing.assert_array_equal(parse_table(text, 4, "boxes.txt"), numbers.reshape(-1, 4))


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [
        ("7", 1, [[7]]),
        ("1\n0\n1\n", 1, [[1], [0], [1]]),
        ("1 2\t3;4", 4, [[1, 2, 3, 4]]),
        ("1e2,+2\n.5,-3.\n\n", 2, [[100, 2], [0.5, -3]]),
    ],
)
def test_shapes_and_separators(text, columns, expected):
    table = parse_table(text, columns, "t.txt")
    assert table.dtype == np.float64
    assert table.tolist() == expected


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 1),
        ("\n1 2 3 4", 1),
        ("1 2 3 4\n\n1 2 3 4", 2),
        ("1 2 3\n4 5 6 7 8", 1),  # eight numbers in all
        ("1 2 3 4\n1 2 3 4 5\n1 2 3", 2),
        ("1 2 3 4\n# 2 3 4", 2),
        ("1 2 3 4\n1 2 3 4\n1 2 -inf 4", 3),
        ("1 2 3 4\n1_0 2 3 4", 2),
    ],
)
def test_the_first_bad_line_is_named(text, line):
    with pytest.raises(DataError, match=rf"t\.txt, line {line}: expected four numbers"):
        parse_table(text, 4, "t.txt")


# Decimal commas


@pytest.mark.parametrize(
    "line", ["10,5\t20,5\t30,0\t40,0", "10,5;20,5;30;40", "-1,5 2,25  3 4", "10,5000,20,0625,30,0000,40,0000"]
)
def test_boxes_with_decimal_commas_are_not_taken_for_polygons(line):
    for text, number in ((f"{line}\n" * 3, 1), (f"1,2,3,4\n{line}\n", 2), (f"1,1,5,1,5,5,1,5\n{line}\n", 2)):
        with pytest.raises(DataError, match=rf"gt\.txt, line {number}: .*; are these decimal commas\? Write 10\.5 for"):
            parse_own(text, "gt.txt")
    with pytest.raises(DataError, match="line 1: expected four numbers x, y, w, h, found .*decimal commas"):
        parse_table(line, 4, "result.txt")


@pytest.mark.parametrize("form", ["{:.1f}", "{:.2f}", "{:.0f}.5", "{:g}.25"])
def test_nor_are_those_with_commas_between_them_too(form):
    rng = np.random.default_rng(0)
    boxes = rng.uniform(11, 99, (20, 4)).round(1 if form == "{:.1f}" else 2)
    lines = [",".join(form.format(int(v) if form[3] != "." else v) for v in box).replace(".", ",") for box in boxes]
    with pytest.raises(DataError, match=r"gt\.txt, line \d+: found '\d+,\d+,.*; are these decimal commas\? Write 10"):
        parse_own("\n".join(lines), "gt.txt")


def test_whole_numbers_of_polygons_are_read():
    # A turned box, a dented one among others, a box, and none.
    text = "10,12,30,10,33,40,12,41\n0,0,8,0,2,2,0,8\n5,6,9,6,9,8,5,8\n0,0,0,0,0,0,0,0\n"
    expected = [[10, 10, 23, 31], [0, 0, 8, 8], [5, 6, 4, 2], [0, 0, 0, 0]]
    assert parse_own(text, "gt.txt").tolist() == expected


@pytest.mark.parametrize(
    ("line", "box"),
    [
        ("1,2,5,2,5,9,1,9", [1, 2, 4, 7]),
        ("10,20,30,20,30,45.5,9.5,40", [9.5, 20, 20.5, 25.5]),
        ("302,135,305,133,310,150,300,140", [300, 133, 10, 17]),
        ("1, 2.5,\t3   4", [1, 2.5, 3, 4]),
        ("1,2 3,4", [1, 2, 3, 4]),
        ("0,0,10,0,10,10,0,10", [0, 0, 10, 10]),
    ],
)
def test_polygons_and_boxes_are_read_as_before(line, box):
    np.testing.assert_array_equal(parse_own(f"{line}\n" * 2, "gt.txt"), [box] * 2)


def test_that_lines_are_read_as_polygons_is_said_once(caplog, monkeypatch):
    monkeypatch.setattr(annotations, "_polygons_said", set())
    with caplog.at_level("INFO"):
        for path in ("a.txt", "b.txt"):
            parse_own("1,2,5,2,5,9,1,9\n", path)
        parse_own("1,2,3,4\n", "c.txt")
    assert caplog.messages == ["a.txt: its 8 numbers a line are read as polygons, around which boxes are put"]
