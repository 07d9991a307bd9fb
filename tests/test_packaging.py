"""The wheel: built, installed in an empty environment, used from another folder; and what must agree with setup.py."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml

from tests.conftest import REPOSITORY

SOURCES = (
    "lib",
    "ostrack.py",
    "tracking",
    "experiments",
    "web",
    "setup.py",
    "pyproject.toml",
    "MANIFEST.in",
    "README.md",
    "LICENSE",
)
MODELS = ("ostrack_vits_160", "ostrack_vits_192", "ostrack_vits_256_ce_images")
SHIPPED = {"README.md", "training_data.yaml", *(f"{model}.{end}" for model in MODELS for end in ("md", "pth"))}


def run(command: list[str | Path], folder: Path) -> str:
    """Run a command in ``folder`` as a person would who has never seen the clone; returns what it prints."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "OSTRACK_HOME")}
    ended = subprocess.run(
        [str(part) for part in command], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy of what belongs in it, and two files of paths that do not."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        path = REPOSITORY / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, source)
    (source / "pretrained_models").mkdir()
    for name in SHIPPED:
        shutil.copy(REPOSITORY / "pretrained_models" / name, source / "pretrained_models")
    (source / "pretrained_models" / "mae_pretrain_vit_base.pth").write_bytes(b"not ours")
    for place in ("lib/train/admin", "lib/test/evaluation"):
        (source / place / "local.py").write_text("secret = '/home/me'\n")
    pip = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation", "--no-index"]
    run([*pip, "--quiet", "--wheel-dir", out], source)
    (found,) = out.glob("ostrack-*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The ``bin`` of an environment with the wheel in it.

    The heavy packages are those of this environment, by a path file: nothing is downloaded. Path files there are not
    followed, so the editable installation of the clone stays out of sight.
    """
    root = tmp_path_factory.mktemp("environment")
    run([sys.executable, "-m", "venv", "--without-pip", root], root)
    python = root / "bin" / "python"
    (site,) = root.glob("lib/python*/site-packages")
    (site / "heavy.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "--ignore-installed"]
    run([*pip, "--quiet", wheel], root)
    return root / "bin"


@pytest.mark.end_to_end
def test_the_wheel_holds_what_ships_and_nothing_of_this_machine(wheel):
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {f"lib/shipped/pretrained_models/{name}" for name in SHIPPED} == {
        name for name in names if "pretrained_models" in name
    }
    for experiment in REPOSITORY.glob("experiments/*/*.yaml"):
        assert f"lib/shipped/{experiment.relative_to(REPOSITORY)}" in names
    for resource in ("lib/data/data_specs", "lib/test/analysis/page"):
        for path in (REPOSITORY / resource).iterdir():
            assert f"{resource}/{path.name}" in names
    for path in (REPOSITORY / "web").rglob("*.*"):
        assert f"lib/shipped/web/{path.relative_to(REPOSITORY / 'web')}" in names
    assert not [name for name in names if name.endswith("/local.py") or name.startswith("tests")]


@pytest.mark.end_to_end
def test_every_script_is_a_command(installed):
    scripts = {path.stem for path in (REPOSITORY / "tracking").glob("*.py")} - {"__init__", "commands", "vot_tracker"}
    commands = {path.name for path in installed.glob("ostrack-*")}
    assert len(commands) == len(scripts)
    assert {"ostrack-train", "ostrack-test", "ostrack-analyze", "ostrack-demo", "ostrack-profile"} <= commands
    for command in ("ostrack-train", "ostrack-test", "ostrack-analyze"):
        assert run([installed / command, "--help"], installed).startswith(f"usage: {command} ")


@pytest.mark.end_to_end
def test_wrong_input_of_a_command_is_one_line_and_a_status(installed, tmp_path):
    ended = subprocess.run(
        [installed / "ostrack-test", "ostrack", "no_such"], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: no experiment 'no_such'") and "Traceback" not in ended.stderr


@pytest.mark.end_to_end
def test_the_commands_track_and_score_in_another_folder(installed, tmp_path):
    code = (
        "import lib, ostrack, tracking; print(lib.__file__, ostrack.__file__, tracking.__file__); "
        "ostrack.Tracker.from_pretrained('vits_192')"
    )
    place = run([installed / "python", "-c", code], tmp_path)
    assert all(Path(path).is_relative_to(installed.parent) for path in place.split())

    run([installed / "ostrack-make-images-dataset", "--sequences", "1", "--frames", "4"], tmp_path)
    assert (tmp_path / "data/images/val/list.txt").is_file()
    tracked = run(
        [installed / "ostrack-test", "ostrack", "vits_256_ce_images", "--dataset", "images_val", "--device", "cpu"],
        tmp_path,
    )
    assert "1 tracked, 0 already there, 0 failed" in tracked and "next: ostrack-analyze --dataset images_val" in tracked
    results = list((tmp_path / "output/test/tracking_results/ostrack/vits_256_ce_images").glob("*.json"))
    assert len(results) == 1
    assert str(installed.parent) in results[0].read_text()  # the weights are those in the package
    scored = run([installed / "ostrack-analyze", "--dataset", "images_val", "--no_plots"], tmp_path)
    assert "ostrack/vits_256_ce_images" in scored and "1 sequence" in scored

    written = run([installed / "ostrack-create-local"], tmp_path)
    assert "edit both, then ostrack-test --list; or: ostrack-check-data" in written
    for path in written.split("wrote ")[1:]:
        assert Path(path.split("\nnext: ")[0].strip()).parent == tmp_path
    assert f"{tmp_path}/data/lasot" in (tmp_path / "local_test.py").read_text()
    assert f"{tmp_path}/data/lasot" in (tmp_path / "local_train.py").read_text()


@pytest.mark.end_to_end
def test_files_of_the_project_folder_go_before_those_in_the_package(installed, tmp_path):
    code = (
        "from lib.config import config_path; from lib.config.ostrack import OSTrackConfig; "
        "from lib.utils.paths import PROJECT_DIR; "
        "print(config_path(OSTrackConfig, 'vits_256_ce_images')); print(PROJECT_DIR)"
    )
    shipped, home = run([installed / "python", "-c", code], tmp_path).split()
    assert Path(shipped).is_relative_to(installed.parent) and Path(home) == tmp_path
    mine = tmp_path / "experiments/ostrack/vits_256_ce_images.yaml"
    mine.parent.mkdir(parents=True)
    shutil.copy(shipped, mine)
    assert Path(run([installed / "python", "-c", code], tmp_path).split()[0]) == mine


@pytest.mark.parametrize("chosen", [True, False])
def test_the_project_folder_is_the_clone_or_the_one_that_is_chosen(tmp_path, monkeypatch, chosen):
    code = (
        "from lib.utils.paths import PROJECT_DIR; from lib.test.evaluation.environment import LOCAL_FILE; "
        "print(PROJECT_DIR, LOCAL_FILE)"
    )
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OSTRACK_HOME": str(tmp_path) if chosen else ""}
    found = subprocess.check_output([sys.executable, "-c", code], env=environment, cwd=tmp_path, text=True).split()
    expected = (tmp_path, "local_test.py") if chosen else (REPOSITORY, "lib/test/evaluation/local.py")
    assert found == [str(expected[0]), str(expected[0] / expected[1])]


def _requirements(text: str) -> dict[str, str]:
    """Bounds by name of the quoted requirements in a piece of setup.py."""
    return {name.lower(): bound for name, bound in re.findall(r'"([A-Za-z0-9_-]+)([<>=][^"]*)?"', text)}


def test_the_conda_environment_agrees_with_setup():
    required = _requirements((REPOSITORY / "setup.py").read_text().split("install_requires=")[1].split("]")[0])
    conda = yaml.safe_load((REPOSITORY / "ostrack_cuda113_env.yaml").read_text())
    (pip,) = (entry["pip"] for entry in conda["dependencies"] if isinstance(entry, dict))
    index, *pins, everything_else = pip
    assert index == "--extra-index-url https://download.pytorch.org/whl/cu118"
    assert re.fullmatch(r"-e \.\[[a-z,]+]", everything_else)  # what setup.py names, it installs
    pinned = dict(line.split("==") for line in pins)
    assert pinned.keys() == {"torch", "torchvision"}
    for name, version in pinned.items():
        assert version.endswith("+cu118")
        assert _parts(version.removesuffix("+cu118")) >= _parts(required[name])
    (python,) = (line for line in conda["dependencies"] if str(line).startswith("python="))
    assert _parts(python) >= _parts(re.search(r'python_requires="(.*)"', (REPOSITORY / "setup.py").read_text())[1])


def test_every_constraint_is_a_dependency_above_its_bound():
    text = (REPOSITORY / "setup.py").read_text()
    required = _requirements(text)
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pins = dict(line.lower().split("==") for line in lines if line and not line.startswith("#"))
    assert pins.keys() <= required.keys()
    for name, version in pins.items():
        for bound in filter(None, required[name].split(",")):
            below = bound.startswith("<")
            assert (_parts(version) < _parts(bound)) if below else (_parts(version) >= _parts(bound)), name


def _parts(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def test_the_container_is_built_from_what_exists():
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    for pattern in (line[1:] for line in lines if line.startswith("!")):
        assert list(REPOSITORY.glob(pattern)), pattern
    large = re.search(r"\^\((.*)\)==", (REPOSITORY / "Dockerfile").read_text())[1].split("|")
    pinned = {line.split("==")[0] for line in (REPOSITORY / "constraints.txt").read_text().splitlines()}
    assert set(large) <= pinned


@pytest.mark.parametrize(
    ("options", "index"),
    [([], None), (["--cpu"], "whl/cpu"), (["--cuda", "11.8"], "whl/cu118"), (["--gpu"], "unknown")],
)
def test_install_asks_the_index_that_is_chosen(tmp_path, options, index):
    """A stand-in for the environment's Python writes down what it is asked to install."""
    for name in ("install.sh", "setup.py", "constraints.txt"):
        shutil.copy(REPOSITORY / name, tmp_path)
    (tmp_path / "tracking").mkdir()
    (tmp_path / "tracking/test.py").touch()
    (tmp_path / ".venv/bin").mkdir(parents=True)
    python = tmp_path / ".venv/bin/python"
    python.write_text('#!/bin/sh\necho "$@" >> asked.txt\n')
    python.chmod(0o755)

    def install(*given: str) -> str:
        environment = os.environ | {"PYTHON": sys.executable}
        ended = subprocess.run(
            ["bash", "install.sh", *given], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
        )
        assert ended.returncode == (2 if index == "unknown" else 0), ended.stderr
        return ended.stderr

    errors = install(*options)
    if index == "unknown":
        assert errors == "error: unknown option --gpu; there are --cpu and --cuda VERSION\n"
        return
    asked = (tmp_path / "asked.txt").read_text()
    assert asked.count("--editable .[all]") == 1
    assert (f"torch torchvision --index-url https://download.pytorch.org/{index}\n" in asked) == (index is not None)
    install()  # nothing has changed, and the choice is kept
    assert (tmp_path / "asked.txt").read_text() == asked


def test_the_version_is_the_same_everywhere():
    version = re.search(r'version="([^"]+)"', (REPOSITORY / "setup.py").read_text())[1]
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert citation["version"] == version
    assert re.search(r"^## \[?(\d+\.\d+\.\d+)", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE)[1] == version
