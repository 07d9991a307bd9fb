"""The real VOT toolkit, run as a program in its own environment (install_vot.sh), evaluates the shipped tracker."""

import json
import os
import subprocess

import cv2
import numpy as np
import pytest
import torch

from lib.data.image_io import read_image
from lib.test.tracker import build_tracker
from lib.test.vot import workspace
from lib.test.vot.session import box_region
from lib.utils.box_ops import box_xywh_to_xyxy, paired_iou
from tests.conftest import REPOSITORY
from tests.factories import run_command

CONFIG, NAME = "vits_256_ce_images", "ostrack"
WEIGHTS = REPOSITORY / "pretrained_models/ostrack_vits_256_ce_images.pth"
VOT = REPOSITORY / ".venv-vot/bin/vot"
FRAMES, ANCHOR = 12, 11  # both runs have all frames: EAO is that of one length
STARTS = {"a": ((60, 50, 50, 40), (3, 2)), "b": ((120, 90, 36, 48), (-4, 1))}

pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.skipif(not VOT.is_file(), reason="the VOT toolkit is not installed: ./install_vot.sh, or make vot-env"),
]


def box_at(name, t):
    (x, y, w, h), (dx, dy) = STARTS[name]
    return [x + dx * t, y + dy * t, w, h]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two sequences: patches that move over a blurred background."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(3)
    background = cv2.resize(rng.integers(0, 256, (9, 12, 3), np.uint8), (240, 180))
    patches = {name: rng.integers(0, 256, (4, 4, 3), np.uint8) for name in STARTS}
    for name in STARTS:
        (root / name / "img").mkdir(parents=True)
        for t in range(FRAMES):
            frame = background.copy()
            for other, patch in patches.items():
                x, y, w, h = box_at(other, t)
                frame[y : y + h, x : x + w] = cv2.resize(patch, (w, h), interpolation=cv2.INTER_NEAREST)
            cv2.imwrite(str(root / name / f"img/{t:03d}.png"), frame)
        np.savetxt(root / name / "groundtruth.txt", [box_at(name, t) for t in range(FRAMES)], "%d", ",")
    return root


@pytest.fixture(scope="module")
def tracks(data):
    """Boxes that our tracker gives when it is asked directly: ``tracks(sequence, start, step)``."""
    tracker = build_tracker(CONFIG, WEIGHTS)

    def track(name, start=0, step=1):
        times = range(FRAMES)[start::step]
        images = [read_image(data / name / f"img/{t:03d}.png") for t in times]
        tracker.initialize(images[0], {"init_bbox": box_at(name, times[0])})
        return [tracker.track(image)["target_bbox"] for image in images[1:]]

    return track


def vot(*arguments):
    """Run the toolkit; returns what it printed. Its exit status says nothing of the tracker's fate."""
    settings = {"VOT_RESULTS_BINARY": "false", "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
    done = subprocess.run(
        [VOT, *arguments],
        capture_output=True,
        text=True,
        timeout=900,
        env={key: value for key, value in os.environ.items() if not key.startswith(("TRAX", "VOT"))} | settings,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def make_workspace(place, monkeypatch, *options):
    arguments = ["--workspace", place, "--config", CONFIG, "--checkpoint", WEIGHTS, "--name", NAME, *options]
    run_command(monkeypatch, "make_vot_workspace", arguments)


def overlap(boxes, times):
    truth = torch.tensor([box_at("a", t) for t in times], dtype=torch.float64)
    return paired_iou(*map(box_xywh_to_xyxy, (torch.tensor(boxes, dtype=torch.float64), truth)))[0].numpy()


def trajectory(path):
    first, *lines = path.read_text().split()
    assert first == "1"  # the toolkit's mark of an initialization
    return lines


def test_short_term_experiments_on_boxes(tmp_path, data, tracks, monkeypatch):
    monkeypatch.setattr(workspace, "ANCHOR_STEP", ANCHOR)
    make_workspace(tmp_path, monkeypatch, "--sequences", f"folder:{data / 'a'}", "--device", "cpu")
    place = ["--workspace", str(tmp_path)]
    try_it = ["--registry", str(tmp_path), "test", NAME, "--sequence", str(tmp_path / "sequences/a")]
    printed = vot(*try_it)
    assert "Test concluded successfuly" in printed and printed.count("@@TRAX:state") == FRAMES
    assert "Initialized workspace" in vot("initialize", str(tmp_path / "stack.yaml"), *place)
    assert "Evaluation concluded successfuly" in vot("evaluate", *place, NAME)

    forward, backward = tracks("a"), tracks("a", start=ANCHOR, step=-1)
    for name, expected in {
        "unsupervised/a/a_001.txt": forward,
        "baseline/a/a_00000000.txt": forward,
        f"baseline/a/a_{ANCHOR:08d}.txt": backward,
    }.items():
        boxes = [[float(v) for v in line.split(",")] for line in trajectory(tmp_path / f"results/{NAME}" / name)]
        np.testing.assert_allclose(boxes, expected, atol=0.02, err_msg=name)

    assert "Analysis successful" in vot("analysis", *place, "--name", "numbers", NAME)
    numbers = json.loads((tmp_path / "analysis/numbers.json").read_text())["results"]
    (accuracy,) = numbers["unsupervised"]["results"][0][0]  # of the first analysis and tracker
    overlaps = overlap(forward, range(1, FRAMES)), overlap(backward, range(ANCHOR - 1, -1, -1))
    assert accuracy == pytest.approx(overlaps[0].mean(), abs=0.03)  # the toolkit rounds boxes to pixels
    assert accuracy > 0.6
    # Accuracy over both runs, in which the frame of the start counts as an overlap of 0, and robustness.
    accuracy_of_runs = np.concatenate([[0], overlaps[0], [0], overlaps[1]]).mean()
    eao = numbers["baseline"]["results"][0][0][0]
    assert eao == pytest.approx(np.mean([one.mean() for one in overlaps]), abs=0.03)
    assert numbers["baseline"]["results"][2][0][:2] == pytest.approx([accuracy_of_runs, 1], abs=0.03)
    assert "Report generation successful" in vot("report", *place, "--name", "page", NAME)
    page = (tmp_path / "reports/page/report.html").read_text()
    assert CONFIG in page and f"{accuracy:.3f}" in page

    # A damaged picture: the toolkit shows why our side left.
    picture = tmp_path / "sequences/a/color/00000003.png"
    picture.unlink()
    picture.write_bytes(b"no picture")
    printed = vot(*try_it)
    assert "Error during tracker execution" in printed and f"{picture} cannot be decoded" in printed


def test_masks_of_several_targets_are_answered_by_rectangles(tmp_path, data, tracks, monkeypatch):
    make_workspace(tmp_path, monkeypatch, "--device", "cpu")
    sequence = tmp_path / "sequences/both"
    (sequence / "color").mkdir(parents=True)
    for t in range(FRAMES):
        (sequence / f"color/{t + 1:08d}.png").symlink_to(data / f"a/img/{t:03d}.png")
    for name in STARTS:
        masks = [box_region(box_at(name, t), as_mask=True).replace("mask:", "m") for t in range(FRAMES)]
        (sequence / f"groundtruth_{name}.txt").write_text("\n".join(masks))
    (sequence / "sequence").write_text("name=both\nfps=30\nformat=default\nchannels.color=color/%08d.png\n")
    (tmp_path / "sequences/list.txt").write_text("both\n")
    place = ["--workspace", str(tmp_path)]
    vot("initialize", "vots2023", "--nodownload", *place)
    assert "Evaluation concluded successfuly" in vot("evaluate", *place, NAME)
    for name in STARTS:
        lines = trajectory(tmp_path / f"results/{NAME}/baseline/both/both_{name}_001.txt")
        boxes = np.array([line.removeprefix("m").split(",")[:4] for line in lines], float)
        np.testing.assert_allclose(boxes, tracks(name), atol=1.1)  # corners are rounded to pixels
        assert {line.split(",", 4)[4] for line in lines} == {f"0,{int(w * h)}" for w, h in boxes[:, 2:]}
