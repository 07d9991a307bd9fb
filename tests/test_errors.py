"""How the command line shows warnings and errors."""

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from lib.train.admin import environment
from lib.utils import errors
from tests.conftest import REPOSITORY
from tests.factories import run_command

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


@pytest.mark.parametrize("flush", [True, False])
def test_output_that_nobody_reads_on_ends_quietly(flush):
    printing = f"[print('x' * 99, flush={flush}) for _ in range(5000)] and 0"
    script = f"from lib.utils.errors import run_cli\nrun_cli(lambda: {printing})"
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"x" * 99 + b"\n"
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == (b"", 141)


def test_an_installed_package_names_its_own_commands_and_files(tmp_path, monkeypatch):
    text = "set otb_path in lib/test/evaluation/local.py, python tracking/test.py --list, tracking/none.py"
    monkeypatch.delenv("OSTRACK_HOME", raising=False)
    assert errors.in_names_of_installation(text) == text
    monkeypatch.setattr(errors, "_SHIPPED", tmp_path)
    commands = [EntryPoint("ostrack-test", "tracking.commands:test", "console_scripts")]
    monkeypatch.setattr(errors, "entry_points", lambda group: commands)
    expected = "set otb_path in local_test.py, ostrack-test --list, tracking/none.py"
    assert errors.in_names_of_installation(text) == expected


def test_reports_name_the_files_of_another_project_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OSTRACK_HOME", str(tmp_path))
    monkeypatch.setattr(environment, "LOCAL_FILE", tmp_path / "local_train.py")
    environment.LOCAL_FILE.write_text(f"class EnvironmentSettings:\n    lasot_dir = {str(tmp_path / 'none')!r}\n")
    assert run_command(monkeypatch, "check_data", ["--dataset", "LASOT"]) == 1
    assert "BROKEN" in (found := capsys.readouterr().out) and "set lasot_dir in local_train.py (" in found


def test_another_broken_pipe_is_a_bug():
    script = "from lib.utils.errors import run_cli\ndef main(): raise BrokenPipeError('to a worker')\nrun_cli(main)"
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 1 and "BrokenPipeError: to a worker" in done.stderr
