"""Tracks as files of other programs, read back: by the packages themselves where they are installed."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest

from lib.test.track_formats import FORMATS, Track, VideoTracks, check_names, find_format, save_tracks
from lib.utils.errors import ConfigError

NAN = [np.nan] * 4
BOXES = np.array([[10.0, 20, 30, 40], [11.5, 21, 30, 40], NAN, [14, 24, 32, 42]])
OTHER = np.array([NAN, [100.0, 50, 20, 10], [101, 51, 20, 10], NAN])


@pytest.fixture
def video():
    first = Track(BOXES, np.array([1.0, 0.9, np.nan, 0.8]), "dog")
    return VideoTracks("clip.mp4", 200, 100, 25.0, (first, Track(OTHER, np.full(4, 0.5), "cat")))


def alone(video):
    return VideoTracks(video.video, video.width, video.height, video.fps, video.tracks[:1])


def test_plain_boxes_are_a_line_for_each_frame(video, tmp_path):
    save_tracks(alone(video), tmp_path / "out" / "clip_boxes.txt")
    np.testing.assert_array_equal(np.loadtxt(tmp_path / "out" / "clip_boxes.txt", delimiter=","), BOXES)
    with pytest.raises(ConfigError, match="boxes.txt holds one target, not 2: save to mot.csv"):
        save_tracks(video, tmp_path / "boxes.txt")


def test_motchallenge_counts_from_one(video, tmp_path):
    save_tracks(video, tmp_path / "mot.csv")
    rows = np.loadtxt(tmp_path / "mot.csv", delimiter=",")
    assert rows[:, :2].tolist() == [[1, 1], [2, 1], [2, 2], [3, 2], [4, 1]]
    np.testing.assert_array_equal(rows[0, 2:], [11, 21, 30, 40, 1, -1, -1, -1])
    np.testing.assert_array_equal(rows[2, 2:7], [101, 51, 20, 10, 0.5])


def test_coco_is_read_by_pycocotools(video, tmp_path):
    save_tracks(video, tmp_path / "coco.json")
    coco = pytest.importorskip("pycocotools.coco").COCO(str(tmp_path / "coco.json"))
    assert sorted(category["name"] for category in coco.loadCats(coco.getCatIds())) == ["cat", "dog"]
    assert len(coco.getImgIds()) == 4
    found = coco.loadAnns(coco.getAnnIds(imgIds=[2]))
    assert [(a["track_id"], a["bbox"], a["score"]) for a in found] == [
        (1, [11.5, 21.0, 30.0, 40.0], 0.9), (2, [100.0, 50.0, 20.0, 10.0], 0.5)
    ]  # fmt: skip
    assert coco.loadAnns(coco.getAnnIds(imgIds=[3]))[0]["area"] == 200


def test_cvat_has_a_track_for_each_target_that_ends_where_it_leaves(video, tmp_path):
    save_tracks(video, tmp_path / "cvat.xml")
    root = ElementTree.parse(tmp_path / "cvat.xml").getroot()
    assert root.findtext("version") == "1.1" and root.findtext("meta/task/size") == "4"
    tracks = {
        track.get("label"): [
            (int(b.get("frame")), int(b.get("outside")), float(b.get("xtl")), float(b.get("xbr"))) for b in track
        ]
        for track in root.iter("track")
    }
    assert tracks["dog"] == [(0, 0, 10, 40), (1, 0, 11.5, 41.5), (2, 1, 11.5, 41.5), (3, 0, 14, 46)]
    assert tracks["cat"] == [(1, 0, 100, 120), (2, 0, 101, 121), (3, 1, 101, 121)]


def test_label_studio_has_percentages_and_ends_where_the_target_leaves(video, tmp_path):
    save_tracks(video, tmp_path / "labelstudio.json")
    (task,) = json.loads((tmp_path / "labelstudio.json").read_text())
    dog, cat = (result["value"] for result in task["predictions"][0]["result"])
    assert (dog["framesCount"], dog["duration"], dog["labels"]) == (4, 0.16, ["dog"])
    assert [(key["frame"], key["enabled"]) for key in dog["sequence"]] == [(1, True), (2, False), (4, False)]
    assert {k: cat["sequence"][0][k] for k in ("x", "y", "width", "height", "time")} == {
        "x": 50, "y": 50, "width": 10, "height": 10, "time": 0.04
    }  # fmt: skip


def test_supervision_gets_corners_and_numbers(video):
    pytest.importorskip("supervision")
    found = video.to_supervision(1)
    np.testing.assert_allclose(found.xyxy, [[11.5, 21, 41.5, 61], [100, 50, 120, 60]])
    assert found.tracker_id.tolist() == [1, 2]
    np.testing.assert_allclose(found.confidence, [0.9, 0.5])
    assert len(alone(video).to_supervision(2)) == 0


def test_a_name_says_the_format(tmp_path, video):
    assert find_format(tmp_path / "clip.mot.csv") is FORMATS["mot.csv"]
    for name in ("clip.csv", "xmot.csv", "boxes.json"):
        with pytest.raises(ConfigError, match="must be one of boxes.txt, mot.csv, coco.json, cvat.xml"):
            find_format(tmp_path / name)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        save_tracks(video, tmp_path / "file" / "mot.csv")
    (tmp_path / "coco.json").mkdir()
    with pytest.raises(ConfigError, match=r"coco.json cannot be written, it is a folder or read-only"):
        check_names([tmp_path / "coco.json"], 1)
    check_names([tmp_path / "new" / "coco.json"], 1)
