"""Paths: defaults, the user's file, and the script that writes it."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from lib.test.evaluation.environment import EnvSettings, env_settings
from lib.train.admin.environment import EnvironmentSettings
from lib.utils.errors import ConfigError
from tests.conftest import REPOSITORY, load_script


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for folder in ("lib/train/admin", "lib/test/evaluation"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


def test_without_a_file_everything_lies_under_data_and_output(tmp_path: Path) -> None:
    env = env_settings(tmp_path / "local.py")
    assert env.lasot_path == str(REPOSITORY / "data/lasot")
    assert env.results_path == str(REPOSITORY / "output/test/tracking_results")


def test_script_writes_both_files_and_they_are_read(tree: Path) -> None:
    script = load_script("create_default_local_file")
    places = [tree / name for name in ("work", "big/data", "out")]
    train, test = script.write_local_files(tree, *places, force=False)
    env = env_settings(test)
    assert vars(env) == vars(EnvSettings(*places))
    assert env.uav_path == str(tree / "big/data/uav") and env.save_dir == str(tree / "out")
    settings = vars(runpy.run_path(str(train))["EnvironmentSettings"]())
    assert settings.keys() == vars(EnvironmentSettings()).keys()
    assert (settings["workspace_dir"], settings["save_dir"]) == (str(tree / "work"), str(tree / "out"))
    assert settings["got10k_dir"] == str(tree / "big/data/got10k/train")
    assert settings["images_dir"] == ""


def test_script_never_overwrites_without_force(tree: Path) -> None:
    script = load_script("create_default_local_file")
    mine = tree / "lib/test/evaluation/local.py"
    mine.write_text("# mine")
    with pytest.raises(ConfigError, match=r"lib/test/evaluation/local\.py already there: .*--force"):
        script.write_local_files(tree, tree, tree, tree, force=False)
    assert mine.read_text() == "# mine" and not (tree / "lib/train/admin/local.py").exists()
    script.write_local_files(tree, tree, tree, tree, force=True)
    assert "local_env_settings" in mine.read_text()


def test_a_file_of_the_user_fills_in_what_it_names(tmp_path: Path) -> None:
    local = tmp_path / "local.py"
    local.write_text(
        "from lib.test.evaluation.environment import EnvSettings\n"
        "def local_env_settings():\n    settings = EnvSettings()\n    settings.otb_path = '/otb'\n    return settings\n"
    )
    env = env_settings(local)
    assert env.otb_path == "/otb" and env.nfs_path == str(REPOSITORY / "data/nfs")


def test_what_the_file_leaves_empty_keeps_its_default(tmp_path: Path) -> None:
    local = tmp_path / "local.py"
    names = ("got_packed_results_path", "tn_packed_results_path", "otb_path", "davis_dir")
    local.write_text(
        "from lib.test.evaluation.environment import EnvSettings\n"
        "def local_env_settings():\n    settings = EnvSettings()\n    settings.save_dir = '/out'\n"
        + "".join(f"    settings.{name} = ''\n" for name in names)
        + "    return settings\n"
    )
    env = env_settings(local)
    assert env.got_packed_results_path == "/out/test/packed/got10k"
    assert env.tn_packed_results_path == "/out/test/packed/trackingnet"
    assert env.otb_path == str(REPOSITORY / "data/otb")


@pytest.mark.parametrize("text", ["syntax error", "import no_such", "x = 1", "def local_env_settings(): return 5"])
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "local.py").write_text(text)
    with pytest.raises(ConfigError, match=r"local\.py.*(fix it)"):
        env_settings(tmp_path / "local.py")
