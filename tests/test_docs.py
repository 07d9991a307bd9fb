"""What README and docs tell people to type exists, and the examples run."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
from functools import cache
from html.parser import HTMLParser
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import lib.test.tracker
from benchmarks import plot
from lib.data.image_io import read_image
from lib.utils.errors import ConfigError
from tests.conftest import REPOSITORY, load_script

DOCS = REPOSITORY / "docs"
PAGES = sorted([*REPOSITORY.glob("*.md"), *DOCS.glob("*.md"), *REPOSITORY.glob("pretrained_models/*.md")])
BLOCK = re.compile(r"(?:^<!-- ([a-zA-Z ]+) -->\n)?^```([a-z ]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# What runs the commands of blocks that bear no mark.
RUN_BY = {
    r"make demo": "tests/test_demo.py",
    r"make web": "tests/test_web.py",
    r"make (test|test-all|vot-env|docs)": ".ci/run",
    r"git clone": ".ci/run",
    r"\.venv/bin/python tracking/demo\.py": "tests/test_demo.py",
}
USERS_OWN = {
    "lib/train/admin/local.py", "lib/test/evaluation/local.py", "lib/test/tracker/correlation.py",
    "experiments/ostrack/mine.yaml",
}  # fmt: skip
MARKS = {
    "needs data",
    "needs a GPU",
    "needs a network",
    "needs others",
    "takes a minute",
    "takes minutes",
    "takes hours",
}
TYPED = re.compile(r"make|python|pip|\./|\.venv|torchrun|docker|conda|tensorboard|git|vot|ostrack-")
SCRIPTS = re.compile(r"(?:python |\.venv/bin/python )?((?:tracking|benchmarks|lib/test/utils)/\w+\.py)")


def commands(page: Path) -> list[tuple[str, str]]:
    """Mark and line of the commands in a page's blocks; lines that end in a backslash are joined, comments dropped."""
    found = []
    for mark, language, text in BLOCK.findall(page.read_text()):
        if language in ("", "bash", "sh"):
            lines = [line.split(" # ")[0] for line in re.sub(r"\\\n\s*", " ", text).splitlines()]
            parts = [part.strip() for line in lines for part in re.split(r"&&|\|", line)]
            found += [(mark, part) for part in parts if TYPED.match(part)]
    return found


def examples(page: Path, language: str) -> list[str]:
    return [text for _, found, text in BLOCK.findall(page.read_text()) if found == language]


ALL = sorted({(page.name, mark, line) for page in PAGES for mark, line in commands(page)})
COMMANDS = sorted({(page, line) for page, _, line in ALL if SCRIPTS.match(line)})


class ParserShown(Exception):
    """Carries the parser out of a script."""


@pytest.fixture
def parser_of(monkeypatch):
    """The argument parser of a script, caught when it is about to parse."""

    def caught(self, *arguments, **named):
        raise ParserShown(self)

    def find(script: str) -> argparse.ArgumentParser:
        name = Path(script).stem
        with monkeypatch.context() as patch:
            patch.setattr(argparse.ArgumentParser, "parse_args", caught)
            patch.setattr(argparse.ArgumentParser, "parse_intermixed_args", caught)
            patch.setattr(sys, "argv", [script])
            with pytest.raises(ParserShown) as shown:
                if script.startswith("lib/test/utils"):
                    from lib.test.utils.packing import pack_cli

                    pack_cli(name.removeprefix("transform_"), "")
                else:
                    load_script(name, Path(script).parent.name).main()
        return shown.value.args[0]

    return cache(find)


def test_every_command_names_a_script_its_options_and_an_experiment_that_exist(parser_of):
    experiments = {path.stem for path in REPOSITORY.glob("experiments/*/*.yaml")}
    for page, line in COMMANDS:
        script, *arguments = shlex.split(SCRIPTS.match(line)[1] + line[SCRIPTS.match(line).end() :])
        assert (REPOSITORY / script).is_file(), f"{page}: {line}"
        known = {option: action for action in parser_of(script)._actions for option in action.option_strings}
        for option, following in pairwise([*arguments, ""]):
            if option.startswith("--"):
                name, _, value = option.partition("=")
                assert name in known, f"{page}: {script} has no option {name}"
                choices, value = known[name].choices, value or following
                if choices and not value.isupper():
                    assert value in map(str, choices), f"{page}: {script} {name} takes {', '.join(map(str, choices))}"
        for name in re.findall(r"(?:--config |test\.py ostrack )([\w./]+)", line):
            placeholder = name.isupper() or name in {"st50", "r50", "hog", "mine", "my.yaml"}
            assert placeholder or name in experiments, f"{page}: {line}"


def test_every_command_is_run_somewhere_or_marked_as_needing_something():
    for page, mark, line in ALL:
        if mark:
            assert mark in MARKS, f"{page}: <!-- {mark} -->"
            continue
        places = [place for pattern, place in RUN_BY.items() if re.match(pattern, line)]
        assert places, f"{page}: {line} is run by no test: put <!-- needs data --> or the like before its block"
        assert (REPOSITORY / places[0]).is_file()


def test_the_pages_were_found():
    assert {"README.md", "api.md", "benchmarks.md"} <= {page.name for page in PAGES}
    assert len(COMMANDS) > 30


def test_links_and_files_exist():
    for page in PAGES:
        text = page.read_text()
        for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", text):
            linked = page.parent / target if target else page
            assert linked.exists(), f"{page.name} links to {target}"
            assert not anchor or anchor in anchors(linked), f"{page.name} links to {target}#{anchor}"
        named = re.findall(
            r"`((?:lib|tracking|tests|docs|benchmarks|experiments)/[\w./]+\.(?:py|md|yaml|txt|csv))`", text
        )
        for path in set(named) - USERS_OWN:
            if "NAME" not in path:
                assert (REPOSITORY / path).exists(), f"{page.name} names {path}"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and mkdocs make them."""
    text = BLOCK.sub("", page.read_text())
    return {
        re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in re.findall("^#+ (.*)", text, re.M)
    }


def test_every_page_starts_with_its_question_and_can_be_found():
    for page in DOCS.glob("*.md"):
        title, _, first = page.read_text().split("\n")[:3]
        assert title.startswith("# "), page.name
        assert "?" in first, f"{page.name} says in its first line which question it answers"
        assert page.name == "index.md" or f"({page.name})" in (DOCS / "index.md").read_text(), page.name
        assert f": {page.name}\n" in (REPOSITORY / "mkdocs.yml").read_text(), page.name


def test_the_readme_is_short_and_its_table_is_that_of_the_figures(tmp_path):
    text, rows = (REPOSITORY / "README.md").read_text(), json.loads(plot.FIGURES.read_text())
    assert len(text.splitlines()) <= 120
    assert plot.with_table(text, rows) == text, "python benchmarks/plot.py writes the table of README.md"
    row = {"tracker": "ours", "run": "here", "auc": 61.0, "corrections": 2.5, "fps": 25, "size": "1 MB"}
    line = "| ours |  | 61.0 |  | 2.5 | 25 (here) | 1 MB |\n"
    assert line in plot.table([row | {"lasot": None, "auc_easier": None}])
    plot.plot(rows, tmp_path / "plot.png")
    assert read_image(tmp_path / "plot.png").shape[2] == 3


def test_pictures_of_the_documents_are_used_and_small():
    pictures = list((DOCS / "pictures").iterdir())
    used = "".join(page.read_text() for page in PAGES)
    assert len(pictures) >= 7
    for picture in pictures:
        assert f"pictures/{picture.name})" in used, f"no page shows {picture.name}"
        assert picture.stat().st_size < (2_000_000 if picture.name == "tracking.webp" else 300_000), picture.name


class Links(HTMLParser):
    """Addresses that a page names, and the anchors that it has."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.addresses: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.anchors |= {found[name] or "" for name in ("id", "name") if name in found}
        self.addresses |= {found[name] or "" for name in ("href", "src") if name in found}


@pytest.mark.skipif(find_spec("material") is None, reason="make docs needs mkdocs-material: pip install '.[docs]'")
def test_links_of_the_built_site_lead_somewhere(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    site = {page: Links(page) for page in tmp_path.rglob("*.html") if page.name != "404.html"}
    assert {page.stem for page in site} == {page.stem for page in DOCS.glob("*.md")}
    for page, links in site.items():
        for address in links.addresses:
            target, _, anchor = address.partition("#")
            if ":" in target or not address:
                assert target.startswith(("https://github.com/", "https://squidfunk.github.io/")), f"{page}: {address}"
                continue
            linked = (page.parent / target).resolve() if target else page
            assert linked.is_file(), f"{page.name} links to {address}"
            assert not anchor or linked not in site or anchor in site[linked].anchors, f"{page.name}: {address}"


@pytest.fixture
def drawn():
    """Six frames in which a textured square moves two pixels to the right each time, and where it is at first."""
    rng = np.random.default_rng(0)
    ground = rng.integers(0, 90, (120, 160, 3), np.uint8)
    square = np.kron(rng.integers(100, 255, (6, 6, 3), np.uint8), np.ones((5, 5, 1), np.uint8))
    frames = []
    for t in range(6):
        frames.append(ground.copy())
        frames[-1][40:70, 50 + 2 * t : 80 + 2 * t] = square
    return {"frames": frames, "box": [50, 40, 30, 30], "boxes_of_several": [[50, 40, 30, 30], [10, 80, 30, 20]]}


def test_the_examples_track(drawn):
    one, several = examples(DOCS / "api.md", "python run")
    exec(one, drawn)
    assert len(drawn["boxes"]) == 5
    exec(several, drawn)
    assert [len(track) for track in drawn["tracks"]] == [6, 6]
    np.testing.assert_allclose(drawn["tracks"][0][1:], drawn["boxes"], atol=0.05)  # alone or together
    assert abs(drawn["boxes"][-1][0] - 60) < 6 and abs(drawn["boxes"][-1][1] - 40) < 6


@pytest.fixture
def own(tmp_path, monkeypatch, drawn):
    """The page's tracker among those of the project, and a sequence to track."""
    from lib.data.image_io import write_image

    (text,) = examples(DOCS / "api.md", "python own")
    (tmp_path / "trackers").mkdir()
    module = tmp_path / "trackers/correlation.py"
    module.write_text(text)
    monkeypatch.setattr(lib.test.tracker, "__path__", [*lib.test.tracker.__path__, str(module.parent)])
    monkeypatch.delitem(sys.modules, "lib.test.tracker.correlation", raising=False)
    for t, frame in enumerate(drawn["frames"]):
        write_image(tmp_path / f"videos/square/{t:03d}.png", frame)
    rows = "".join(f"{50 + 2 * t},40,30,30\n" for t in range(6))
    (tmp_path / "videos/square/groundtruth.txt").write_text(rows)
    yield module
    sys.modules.pop("lib.test.tracker.correlation", None)


def run_test(monkeypatch, folder: Path, *arguments: str) -> int:
    command = ["test.py", *arguments, "--dataset", f"folder:{folder}/videos", "--save_dir", f"{folder}/out"]
    monkeypatch.setattr(sys, "argv", [*command, "--device", "cpu"])
    return load_script("test").main()


def test_a_tracker_of_ones_own_runs_and_leaves_results(own, tmp_path, monkeypatch, capsys):
    assert run_test(monkeypatch, tmp_path, "correlation", "wide") == 0
    assert "1 tracked, 0 already there, 0 failed" in capsys.readouterr().out
    (result,) = (tmp_path / "out/test/tracking_results/correlation/wide").rglob("*square.txt")
    boxes = np.loadtxt(result)
    np.testing.assert_array_equal(boxes, [[50 + 2 * t, 40, 30, 30] for t in range(6)])

    assert run_test(monkeypatch, tmp_path, "correlation", "wide") == 0
    assert "0 tracked, 1 already there" in capsys.readouterr().out
    own.write_text(own.read_text() + "# another version\n")
    from lib.utils.errors import DataError

    with pytest.raises(DataError, match="config_hash"):
        run_test(monkeypatch, tmp_path, "correlation", "wide")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ostrak", "wide"], "unknown tracker 'ostrak': did you mean ostrack"),
        (["nowhere.at_all", "wide"], "unknown tracker 'nowhere.at_all'"),
        (["correlation", "wide", "--precision", "bf16"], "is of no family"),
        (["correlation", "../wide"], "names the folder"),
        (["video", "wide"], r"video\.py has no function parameters\(\)"),
    ],
)
def test_what_cannot_be_a_tracker_is_said(own, tmp_path, monkeypatch, arguments, message):
    with pytest.raises(ConfigError, match=message):
        run_test(monkeypatch, tmp_path, *arguments)
