"""How the command line shows warnings and errors."""

import subprocess
import sys

from tests.conftest import REPOSITORY

SCRIPT = """
import logging
from lib.utils.errors import DataError, run_cli

def main():
    for name in ("a", "b", "a"):
        logging.getLogger(name).warning("%s is odd", "this")
        logging.getLogger(name).warning("%s is odd", name)
        logging.info("done")
    raise DataError("and no more")

run_cli(main)
"""


def test_a_warning_is_shown_once():
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=REPOSITORY, capture_output=True, text=True)
    lines = ["this is odd", "a is odd", "done", "b is odd", "done", "done", "error: and no more"]
    assert (done.returncode, done.stderr.splitlines()) == (1, lines)
