"""Every command ends with what to do next, and names only what there is."""

import re

import pytest

from lib.utils.console import analysis_command, next_step
from tests.conftest import REPOSITORY, load_script

OTHERS = {"__init__", "commands", "vot_tracker"}  # no commands; the last speaks with the VOT toolkit
SCRIPTS = sorted(path for path in REPOSITORY.glob("tracking/*.py") if path.stem not in OTHERS)


def test_several_steps_are_one_line(capsys):
    next_step("look", "listen")
    assert capsys.readouterr().out == "next: look; or: listen\n"


def test_results_are_scored_where_they_are():
    start = "python tracking/analysis_results.py --dataset"
    assert analysis_command("otb") == f"{start} otb"
    assert analysis_command("folder:a b", "out", "--html") == f"{start} 'folder:a b' --html --save_dir out"


def test_every_command_says_what_to_do_next():
    for path in SCRIPTS:
        text = path.read_text()
        assert "next_step(" in text or '"next, with the vot' in text, path.name
        assert not re.search(r"python tracking/.*\{args\.\w+\}", text), path.name  # a path may hold spaces: quote it
        for script in re.findall(r"tracking/(\w+)\.py", text):
            assert (REPOSITORY / f"tracking/{script}.py").is_file(), path.name


def test_what_was_trained_is_tracked_as_it_was_trained(monkeypatch, capsys):
    train = load_script("train")
    monkeypatch.setattr("lib.train.run_training.run_training", lambda *_: "out/a b.pth")
    monkeypatch.setattr("sys.argv", ["train.py", "--config", "vitt_256_ce_images", "MODEL.BACKBONE.DEPTH=2"])
    assert train.train(train.parse_arguments()) == 0
    assert capsys.readouterr().out == (
        "next: python tracking/test.py ostrack vitt_256_ce_images MODEL.BACKBONE.DEPTH=2 --checkpoint 'out/a b.pth' "
        "--dataset NAME\n"
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ostrack vits --dataset otb", "python tracking/analysis_results.py --dataset otb"),
        (
            "ostrack a/b.yaml --dataset got10k_test --runid 3 --save_dir out",
            "python lib/test/utils/transform_got10k.py --tracker_name ostrack --cfg_name b_003 --save_dir out",
        ),
        (
            "tests.evaluation_fakes b --dataset got10k_test",  # a tracker of one's own; then a family of one's own
            "python lib/test/utils/transform_got10k.py --tracker_name evaluation_fakes --cfg_name b",
        ),
        (
            "tests.mean_memory b --dataset got10k_test",
            "python lib/test/utils/transform_got10k.py --tracker_name mean_memory --cfg_name b",
        ),
        (
            "ostrack b --dataset trackingnet --annotator 0.5",
            "python tracking/analysis_results.py --dataset trackingnet",
        ),
        (
            "ostrack b --dataset trackingnet --realtime 30",
            "python lib/test/utils/transform_trackingnet.py --tracker_name ostrack --cfg_name b_realtime30",
        ),
        (
            "ostrack b --dataset otb,got10k_test,nfs,trackingnet",  # the analysis would end at got10k_test
            "python tracking/analysis_results.py --dataset otb,nfs; or: "
            "python lib/test/utils/transform_got10k.py --tracker_name ostrack --cfg_name b; or: "
            "python lib/test/utils/transform_trackingnet.py --tracker_name ostrack --cfg_name b",
        ),
    ],
)
def test_results_are_scored_here_or_packed_for_a_server(line, expected):
    test = load_script("test")
    assert "; or: ".join(test.scoring_commands(test.parse_arguments(line.split()))) == expected
