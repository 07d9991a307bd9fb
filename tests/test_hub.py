"""Trackers as folders of a model hub: the same boxes to the last bit, and what is refused."""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

from lib.models.family import find_family, load_experiment
from lib.test import hub
from lib.test.tracker.build import tracking_model
from lib.utils.checkpoint import save_checkpoint
from lib.utils.errors import CheckpointError, ConfigError, OSTrackError
from ostrack import Tracker, build_tracker
from tests.conftest import REPOSITORY
from tests.factories import run_command
from tests.miniature import draw, moving_boxes
from tests.train_processes import TINY

MEMORY = "tests.mean_memory"


@pytest.fixture
def source(tmp_path):
    """A tiny experiment outside of the project, and where its weights lie."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path, tmp_path / "mine.pth"


def export(monkeypatch, capsys, source, out, family="ostrack", *options):
    """Random weights in half precision, written by the command; returns what it prints."""
    config, weights = source
    torch.manual_seed(0)
    state = tracking_model(load_experiment(config, family=family)).state_dict()
    halves = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    save_checkpoint({"net": halves}, weights)
    line = ["--config", config, "--script", family, "--checkpoint", weights, "--format", "hub", "--out", out, *options]
    run_command(monkeypatch, "export", line)
    return capsys.readouterr().out


def follow(tracker):
    boxes = moving_boxes(4)
    tracker.initialize(draw(boxes[0]), {"init_bbox": boxes[0].tolist()})
    return [tracker.track(draw(box))["target_bbox"] for box in boxes[1:]]


@pytest.mark.parametrize("family", ["ostrack", MEMORY])
def test_a_folder_gives_the_same_boxes_to_the_last_bit(source, tmp_path, monkeypatch, capsys, family):
    out = tmp_path / "hub"
    (tmp_path / "mine.md").write_text("| license | MIT, as the project |\n| data | drawn pictures |\n")
    printed = export(monkeypatch, capsys, source, out, family, "TEST.SIZE_SMOOTHING=0.5")
    assert printed.splitlines()[0] == f"wrote {out}: README.md, config.yaml, model.safetensors"
    options = {"family": family} if family == MEMORY else {}
    loaded = Tracker.from_pretrained(out, **options)
    straight = build_tracker(source[0], source[1], overrides=["TEST.SIZE_SMOOTHING=0.5"], family=family)
    assert follow(loaded) == follow(straight)
    assert loaded.cfg == straight.cfg and loaded.cfg.name == "tiny"
    assert Tracker.from_pretrained(str(out), overrides=["TEST.MIN_SIZE=3"], **options).cfg.TEST.MIN_SIZE == 3
    _, head, body = (out / "README.md").read_text().split("---\n", 2)
    known = yaml.safe_load(head)
    assert known["license"] == "mit" and known["ostrack"]["family"] == find_family(family).name
    assert "| data | drawn pictures |" in body and known["ostrack"]["sha256"]["model.safetensors"] in body


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_told(source, tmp_path, monkeypatch, capsys):
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub/model.safetensors").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        export(monkeypatch, capsys, source, tmp_path / "hub")


def test_a_folder_that_is_not_what_it_says_is_refused_in_a_line(source, tmp_path, monkeypatch, capsys):
    out = tmp_path / "hub"
    export(monkeypatch, capsys, source, out)
    assert "| license | not stated |" in (out / "README.md").read_text()  # nor are data: no card lies beside
    weights, readme = out / "model.safetensors", out / "README.md"
    good, text = weights.read_bytes(), readme.read_text()

    def refused(message, error=CheckpointError):
        with pytest.raises(error, match=message) as found:
            Tracker.from_pretrained(out)
        assert "\n" not in str(found.value)

    weights.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    refused(r"model.safetensors has SHA-256 \w+, README.md says \w+: it was changed or damaged")
    weights.write_bytes(good)
    readme.write_text(text.replace("family: ostrack", "family: os.path"))
    refused("'os.path', 'tiny' are no names")
    readme.write_text(text.replace("family: ostrack", "family: unheard"))
    refused("unknown family of trackers 'unheard'", ConfigError)
    readme.write_text("# a model\n")
    refused("does not begin with family, experiment and sha256")
    readme.unlink()
    refused("has no README.md: copy or download it again")
    with pytest.raises(CheckpointError, match="there is no folder ./nowhere"):
        Tracker.from_pretrained("./nowhere")
    with pytest.raises(ConfigError, match="format hub needs --out FOLDER"):
        export(monkeypatch, capsys, source, out, "ostrack", "--precision", "int8")
    with pytest.raises(ConfigError, match=r"experiment 'my run \(2\)': a hub's folder needs a name of letters"):
        hub.write_folder(replace(load_experiment("vits_160"), name="my run (2)"), weights, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_name_on_the_hub_is_downloaded_once_and_a_failure_is_a_line(source, tmp_path, monkeypatch, capsys):
    export(monkeypatch, capsys, source, tmp_path / "hub")
    asked = []

    def download(name, allow_patterns):
        asked.append((name, allow_patterns))
        if name != "me/tiny":
            raise RuntimeError("404 not found\nand more")
        return str(tmp_path / "hub")

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=download))
    assert np.isfinite(follow(Tracker.from_pretrained("me/tiny"))).all()
    assert asked == [("me/tiny", ["config.yaml", "model.safetensors", "README.md"])]
    with pytest.raises(OSTrackError, match=r"there is no folder me/none, and the hub .*: 404 not found$"):
        Tracker.from_pretrained("me/none")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(OSTrackError, match="is not installed; run: pip install huggingface_hub"):
        Tracker.from_pretrained("me/tiny")


@pytest.mark.parametrize("card", sorted((REPOSITORY / "pretrained_models").glob("ostrack*.md")), ids=lambda c: c.stem)
def test_the_cards_of_the_models_tell_license_and_data(card):
    rows = hub._card_rows(card)
    assert rows["license"].startswith("MIT") and "data" in rows


def test_a_folder_brings_its_weights_and_a_file_is_an_experiment(source, tmp_path, monkeypatch, capsys):
    with pytest.raises(ConfigError, match="brings its own weights: leave out checkpoint"):
        Tracker.from_pretrained(tmp_path, checkpoint="w.pth")
    path = REPOSITORY / "experiments/ostrack/vits_160.yaml"
    assert Tracker.from_pretrained(str(path)).cfg.name == "vits_160"
    with pytest.raises(ConfigError, match="nothing.yaml does not exist"):
        Tracker.from_pretrained(tmp_path / "nothing.yaml")


def test_the_name_of_an_experiment_that_ships_is_built():
    assert Tracker.from_pretrained("vits_256_ce_images").cfg.name == "vits_256_ce_images"
