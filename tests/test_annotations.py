"""Tables of numbers are read fast, exactly, and with the line of what is wrong."""

import numpy as np
import pytest

from lib.utils.annotations import parse_table
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
