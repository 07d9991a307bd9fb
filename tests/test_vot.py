"""OSTrack as a tracker of the VOT toolkit, without the toolkit: the program that it starts, and workspaces."""

import configparser
import os
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from lib.test.evaluation import get_dataset
from lib.test.tracker import Tracker
from lib.test.vot import workspace
from lib.test.vot.session import region_box
from lib.test.vot.trax import parse_message
from lib.utils.errors import CheckpointError, ConfigError, DataError
from tests.conftest import REPOSITORY
from tests.evaluation_fakes import write_sequences
from tests.factories import TINY, drawn_model, drawn_weights, run_command
from tests.golden.fixtures import clip_frame


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A small tracker with weights drawn from a seed, and their file."""
    path = drawn_weights(tmp_path_factory.mktemp("weights") / "tiny.pth")
    return Tracker(*drawn_model()), path


@pytest.mark.end_to_end
def test_the_script_tracks_and_prints_nothing_but_the_protocol(tmp_path, tiny):
    tracker, weights = tiny
    frames, box = [clip_frame(t)[0] for t in range(3)], clip_frame(0)[1]
    for t, frame in enumerate(frames):
        cv2.imwrite(str(tmp_path / f"{t}.png"), frame[..., ::-1])
    lines = ['initialize "{},{},{},{}"'.format(*box), *(f'frame "file://{tmp_path}/{t}.png"' for t in range(4))]
    script = [sys.executable, REPOSITORY / "tracking/vot_tracker.py", TINY, "--checkpoint", weights, "--device", "cpu"]
    done = subprocess.run(
        script,
        input="".join(f"@@TRAX:{line}\n" for line in lines).encode(),
        capture_output=True,
        cwd=tmp_path,
        timeout=300,
        env={key: value for key, value in os.environ.items() if key != "TRAX_SOCKET"},
    )
    hello, *states, last = map(parse_message, done.stdout.splitlines())
    assert hello.properties["trax.name"] == f"ostrack {TINY}"
    tracker.initialize(frames[0], {"init_bbox": box})
    expected = [box, *(tracker.track(frame)["target_bbox"] for frame in frames[1:])]
    np.testing.assert_allclose([region_box(state.arguments[0]) for state in states], expected, atol=0.01)
    # The fourth picture does not exist.
    assert last.kind == "quit" and f"{tmp_path}/3.png" in last.properties["trax.reason"]
    assert done.returncode == 1 and f"error: image {tmp_path}/3.png" in done.stderr.decode()
    assert str(weights) in done.stderr.decode()


# ----------------------------------------------------------------------------------------------------- workspaces


def test_a_tracker_is_registered_beside_others(tmp_path):
    command = ["/py thon", "run.py", "100%", "it's"]
    (tmp_path / "trackers.ini").write_text("[other]\nprotocol = trax\ncommand = other\n\n[mine]\ncommand = old\n")
    registry = configparser.ConfigParser()
    registry.read(workspace.register_tracker(tmp_path, "mine", "50% mine", command))
    assert registry["other"]["command"] == "other"
    assert shlex.split(registry["mine"]["command"]) == command  # what the toolkit does
    assert (registry["mine"]["label"], registry["mine"]["protocol"]) == ("50% mine", "trax")
    assert workspace.register_tracker(tmp_path / "new" / "place", "mine", "", command).is_file()
    workspace.register_tracker(tmp_path, "mine", "", ["other"])  # nothing was tracked yet
    (tmp_path / "results/mine").mkdir(parents=True)
    workspace.register_tracker(tmp_path, "mine", "", ["other"])
    with pytest.raises(ConfigError, match=r"results/mine has results of mine by another command \(other\): choose"):
        workspace.register_tracker(tmp_path, "mine", "", command)


def test_names_and_registries_that_the_toolkit_would_not_take_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="'a b'"):
        workspace.register_tracker(tmp_path, "a b", "", ["x"])
    with pytest.raises(ConfigError, match="'DEFAULT'.* not DEFAULT"):  # the section of defaults of its files
        workspace.register_tracker(tmp_path, "DEFAULT", "", ["x"])
    (tmp_path / "trackers.ini").write_text("no section\n")
    with pytest.raises(ConfigError, match=r"trackers\.ini"):
        workspace.register_tracker(tmp_path, "a", "", ["x"])


def test_anchors_run_to_the_farther_end():
    present = np.ones(160, bool)
    present[100:103] = False
    anchors = workspace.place_anchors(present)
    assert {int(i): int(anchors[i]) for i in anchors.nonzero()[0]} == {0: 1, 50: 1, 103: -1, 150: -1}
    present[50:100] = False
    assert workspace.place_anchors(present).nonzero()[0].tolist() == [0, 103, 150]


def test_sequences_take_the_layout_of_vot(tmp_path):
    data = write_sequences(tmp_path / "data", {"a": 4, "b": 120})
    (data / "b/groundtruth.txt").write_text("1.5,2,3,4\n" * 110 + "0,0,0,0\n" * 9 + "nan,nan,nan,nan\n")
    (data / "a/absence.label").write_text("0\n0\n1\n0\n")
    stack = workspace.add_sequences(tmp_path / "w", get_dataset(f"folder:{data}"))
    a, b = tmp_path / "w/sequences/a", tmp_path / "w/sequences/b"
    assert (tmp_path / "w/sequences/list.txt").read_text() == "a\nb\n"
    assert (a / "sequence").read_text() == "name=a\nformat=default\nfps=30\nchannels.color=color/%08d.png\n"
    box, absent = "1.5000,2.0000,3.0000,4.0000", "nan,nan,nan,nan"
    assert (a / "groundtruth.txt").read_text().split() == [box, box, absent, box]
    assert (b / "groundtruth.txt").read_text().split() == [box] * 110 + [absent] * 10
    assert (a / "color/00000004.png").resolve() == (data / "a/img/3.png").resolve()
    assert (a / "anchor.value").read_text().split() == ["1", "0", "0", "0"]
    experiments = yaml.safe_load(stack.read_text())["experiments"]
    assert list(experiments) == ["baseline", "realtime", "unsupervised"]
    # Runs of b: 120 and 70 frames forward, 101 backward; the run of a has 4 frames, 3 after the first.
    assert [experiments["baseline"]["analyses"][0][key] for key in ("low", "high")] == [3, 120]
    (tmp_path / "w/sequences/list.txt").unlink()  # as an interrupted run leaves it
    with pytest.raises(DataError, match="sequences is there already"):
        workspace.add_sequences(tmp_path / "w", get_dataset(f"folder:{data}"))


@pytest.mark.parametrize("lengths", [(12, 12), (2, 2), (3,), (100, 100), (12, 13)])
def test_any_set_has_an_eao(tmp_path, lengths):
    data = write_sequences(tmp_path / "data", {f"s{i}": length for i, length in enumerate(lengths)})
    stack = yaml.safe_load(workspace.add_sequences(tmp_path / "w", get_dataset(f"folder:{data}")).read_text())
    runs = [length for length in lengths] + [51 for length in lengths if length > 50]  # from frame 50 backwards
    for name in ("baseline", "realtime"):
        score, curve, _ = stack["experiments"][name]["analyses"]
        values = list(range(curve["high"]))  # one for each number of frames after the first
        taken = values[score["low"] : score["high"] + 1]  # as the toolkit does before it takes the mean
        assert taken == list(range(min(runs) - 1, max(runs)))


def test_sequences_that_vot_cannot_take_are_named(tmp_path):
    def add(data):
        workspace.add_sequences(tmp_path / "w", get_dataset(f"folder:{data}"))

    mixed = write_sequences(tmp_path / "mixed", {"m": 3})
    (mixed / "m/img/2.png").rename(mixed / "m/img/2.jpg")
    with pytest.raises(DataError, match=r"m mixes \.jpg, \.png"):
        add(mixed)
    short = write_sequences(tmp_path / "short", {"s": 3})
    (short / "s/groundtruth.txt").write_text("1,2,3,4\n")
    with pytest.raises(DataError, match=r"first box of sequence s is known \(.*groundtruth\.txt\); .* leave it out"):
        add(short)
    (short / "s/groundtruth.txt").write_text("1,2,3,4\n" * 2)
    with pytest.raises(DataError, match="s: 3 frames but 2 boxes"):
        add(short)
    with pytest.raises(DataError, match="one has one frame only, so nothing is tracked in it"):
        add(write_sequences(tmp_path / "single", {"one": 1, "other": 4}))
    (short / "s/groundtruth.txt").write_text("0,0,0,0\n" * 3)
    with pytest.raises(DataError, match="s shows its target in no frame"):
        add(short)
    with pytest.raises(DataError, match="same name"):
        workspace.add_sequences(tmp_path / "w", get_dataset(*[f"folder:{write_sequences(tmp_path / 'twice')}"] * 2))
    assert not (tmp_path / "w").exists()


def test_the_workspace_script_writes_absolute_paths(tmp_path, tiny, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    os.symlink(tiny[1], "weights.pth")
    arguments = ["--workspace", "w", "--config", TINY, "--checkpoint", "weights.pth", "TEST.EPOCH=3"]
    run_command(monkeypatch, "make_vot_workspace", arguments)
    assert f"vot evaluate --workspace {tmp_path}/w ostrack_{TINY}" in capsys.readouterr().out
    registry = configparser.ConfigParser()
    registry.read("w/trackers.ini")
    python, program, config, override, *options = shlex.split(registry[f"ostrack_{TINY}"]["command"])
    assert (python, override) == (sys.executable, "TEST.EPOCH=3")
    assert Path(program) == REPOSITORY / "tracking/vot_tracker.py"
    assert Path(config) == REPOSITORY / f"experiments/ostrack/{TINY}.yaml"
    running = ["--device", "auto", "--precision", "float32", "--backend", "torch"]
    assert options == ["--script", "ostrack", "--checkpoint", str(tiny[1]), *running]
    # An installed package looks for exported files below the folder that it runs in, which the toolkit chooses.
    run_command(
        monkeypatch, "make_vot_workspace", [*arguments, "--name", "e", "--backend", "openvino", "--save_dir", "o"]
    )
    registry.read("w/trackers.ini")
    assert shlex.split(registry["e"]["command"])[-2:] == ["--save_dir", str(tmp_path / "o")]
    with pytest.raises(CheckpointError, match=r"none\.pth"):
        run_command(monkeypatch, "make_vot_workspace", ["--workspace", "v", "--checkpoint", "none.pth"])
    for options, message in (
        (["--precision", "int8"], "backend torch knows no precision 'int8'"),
        (["--backend", "openvino", "--compile"], "backend openvino is not compiled"),
    ):
        with pytest.raises(ConfigError, match=message):
            run_command(monkeypatch, "make_vot_workspace", ["--workspace", "v", "--device", "cpu", *options])
    assert not Path("v").exists()
