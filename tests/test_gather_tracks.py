"""Tracks from clones of repositories, small ones that are drawn here."""

import json
import zipfile

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from lib.data.gather_pictures import FORMS as PICTURE_FORMS
from lib.data.gather_table import read_table
from lib.data.gather_tracks import FORMS, gather, options_of
from lib.data.image_io import read_image
from lib.data.own_folder import own_sequences
from lib.utils.errors import DataError
from tests.conftest import REPOSITORY
from tests.video_files import write_avi

SIZE = (80, 60)
COUNT = 24


def write_frames(folder, count=COUNT, size=SIZE, first=1, name="{:06d}.png", level=100):
    """Pictures with a bright square at (2t, 10), 12 pixels wide and high."""
    folder.mkdir(parents=True, exist_ok=True)
    for t in range(count):
        image = np.full((size[1], size[0], 3), level, np.uint8)
        image[10:22, 2 * t : 2 * t + 12] = 255
        cv2.imwrite(str(folder / name.format(t + first)), image)


def write_text(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def gathered(tmp_path, form, options, clones=("clone",)):
    """The numbers of frames and tracks of the set ``things``, and the boxes of its tracks by their folders."""
    frames, boxes = gather("things", form, options, [tmp_path / name for name in clones], tmp_path / "out")
    assert frames == boxes
    folders = sorted((tmp_path / "out/video").iterdir())
    return (frames, len(folders)), {
        folder.name: np.loadtxt(folder / "groundtruth.txt", delimiter=",").tolist() for folder in folders
    }


def test_mot(tmp_path):
    """Two objects: one with a gap, of which only the longer part is long enough; one is none."""
    write_frames(tmp_path / "clone/seq/img1")
    rows = [f"{t + 1},1,{2 * t + 1},11,12,12,1,1,1" for t in range(COUNT) if t != 2]
    rows += [f"{t + 1},2,31,31,10,20,0,1,1" for t in range(COUNT)]
    write_text(tmp_path / "clone/seq/gt.txt", rows)
    counts, tracks = gathered(tmp_path, "mot", {"frames": "seq/img1", "boxes": "seq/gt.txt"})
    assert counts == (21, 1)
    assert tracks == {"things_0000": [[2 * t, 10, 12, 12] for t in range(3, 24)]}
    folder = tmp_path / "out/video/things_0000"
    assert sorted(path.name for path in (folder / "img").iterdir()) == [f"{n:08d}.jpg" for n in range(1, 22)]
    assert read_image(folder / "img/00000001.jpg")[16, 12].min() > 240  # frame 3: the square lies at 6
    assert json.loads((folder / "meta.json").read_text()) == {
        "video": str(tmp_path / "clone/seq/img1"), "first_frame": 3, "stride": 1, "frames": 21,
    }  # fmt: skip
    assert [found.name for found in own_sequences(tmp_path / "out/video")] == ["things_0000"]


def test_mot_without_a_mark_of_what_is_an_object(tmp_path):
    write_frames(tmp_path / "clone/img1")
    write_text(tmp_path / "clone/gt.txt", [f"{t + 1},{n},5,5,9,9" for t in range(COUNT) for n in (3, 4)])
    counts, tracks = gathered(tmp_path, "mot", {"frames": "img1", "boxes": "gt.txt"})
    assert counts == (48, 2) and tracks["things_0001"] == [[4, 4, 9, 9]] * COUNT


def test_rows_of_large_frames_by_a_stride(tmp_path):
    """Frames become half as large, boxes are cut at their sides, and rows of zeros are frames without the object."""
    write_frames(tmp_path / "clone/video1", 60, (1280, 640))
    boxes = [[1200, 40, 100, 60]] * 50 + [[0, 0, 0, 0]] * 15
    write_text(tmp_path / "clone/boxes/1.txt", (" ".join(map(str, box)) for box in boxes))
    options = {"frames": ["video1"], "boxes": ["boxes/1.txt"], "stride": 2}
    counts, tracks = gathered(tmp_path, "rows", options)
    assert counts == (25, 1) and tracks == {"things_0000": [[600, 20, 40, 30]] * 25}
    assert read_image(tmp_path / "out/video/things_0000/img/00000025.jpg").shape == (320, 640, 3)
    # The square of frame 48, which is the 25th that was taken, lies at 96: at 48 in a frame of half the size.
    assert read_image(tmp_path / "out/video/things_0000/img/00000025.jpg")[8, 51].min() > 240


def test_frame_files(tmp_path):
    """A text file per frame in an archive; a video without boxes, and boxes without a video, are passed over."""
    write_avi(tmp_path / "videos/data/jump/a_1.avi", 22)
    write_avi(tmp_path / "videos/data/jump/b.avi", 22)
    with zipfile.ZipFile(tmp_path / "boxes.zip", "w") as archive:
        for t in range(22):
            archive.writestr(f"truths/jump_a_1_{t + 1:05d}.txt", f"7 {5 + t} 17 {16 + t} 28\n")
            archive.writestr(f"truths/jump_c_{t + 1:05d}.txt", "7 5 17 16 28\n")
    options = {"frames": "data", "boxes": "boxes.zip"}
    counts, tracks = gathered(tmp_path, "frame_files", options, ("videos", "."))
    assert counts == (22, 1) and tracks == {"things_0000": [[4 + t, 16, 12, 12] for t in range(22)]}
    first = read_image(tmp_path / "out/video/things_0000/img/00000001.jpg")
    assert np.abs(first[18:26, 6:14].mean((0, 1)) - (250, 180, 20)).max() < 12


def test_tubes_drawn_in_frames_of_another_size(tmp_path):
    """UCF101-24 has boxes in frames of 320 x 240; here in frames twice as large as these."""
    write_avi(tmp_path / "videos/v_Walk_g01_c01.avi", 24)
    boxes = np.array([[8 + 2 * t, 32, 24, 24] for t in range(21)], np.uint16)
    annot = {"name": "Walk/v_Walk_g01_c01", "num_imgs": 24, "tubes": [{"sf": 3, "ef": 23, "boxes": boxes}]}
    savemat(tmp_path / "annots.mat", {"annot": [annot, {"name": "Walk/v_Walk_g01_c02", "num_imgs": 9, "tubes": []}]})
    options = {"frames": ".", "boxes": "annots.mat", "size": [128, 96]}
    counts, tracks = gathered(tmp_path, "tubes", options, ("videos", "."))
    assert counts == (21, 1) and tracks == {"things_0000": [[4 + t, 16, 12, 12] for t in range(21)]}
    assert json.loads((tmp_path / "out/video/things_0000/meta.json").read_text())["first_frame"] == 2


def write_yolo(folder, number, objects):
    """Boxes in pixels."""
    lines = []
    for label, (x, y, w, h) in objects:
        values = ((x + w / 2) / SIZE[0], (y + h / 2) / SIZE[1], w / SIZE[0], h / SIZE[1])
        lines.append(" ".join([str(label), *(f"{value:.6f}" for value in values)]))
    write_text(folder / f"frame{number}.txt", lines)


def test_linked_boxes(tmp_path):
    """Boxes are linked within their class and where they overlap most; numbers are counted, not spelt."""
    write_frames(tmp_path / "clone/images", name="frame{}.png", first=0)
    for t in range(COUNT):
        square, other = (2 * t, 10, 12, 12), (2 * t + 3, 12, 12, 12)
        write_yolo(tmp_path / "clone/labels", t, [(0, other), (0, square), (1, (40, 30, 20, 20))][t % 2 :])
    counts, tracks = gathered(tmp_path, "linked_yolo", {"frames": "images", "boxes": "labels"})
    assert counts == (48, 2)
    assert tracks == {  # that which is not there in every second picture is too short
        "things_0000": [[2 * t, 10, 12, 12] for t in range(COUNT)],
        "things_0001": [[40, 30, 20, 20]] * COUNT,
    }
    counts, _ = gathered(tmp_path, "linked_yolo", {"frames": "images", "boxes": "labels", "drop": [0]})
    assert counts == (24, 1) and not (tmp_path / "out/video/things_0000").exists()


@pytest.mark.parametrize("change", ["number", "picture", "size", "damage"])
def test_linked_boxes_end_where_another_video_begins(tmp_path, change):
    images = tmp_path / "clone/images"
    write_frames(images, name="frame{}.png")
    size = (40, 30) if change == "size" else SIZE
    start = 30 if change == "number" else 25
    write_frames(images, 21, size, start, "frame{}.png", level=160 if change == "picture" else 100)
    for number in [*range(1, 25), *range(start, start + 21)]:
        write_yolo(tmp_path / "clone/labels", number, [(0, (10, 10, 12, 12))])
    if change == "damage":
        (images / "frame24.png").write_bytes(b"")
    counts, tracks = gathered(tmp_path, "linked_yolo", {"frames": "images", "boxes": "labels"})
    lengths = [len(boxes) for boxes in tracks.values()]
    assert lengths == ([44] if change == "damage" else [24, 21]) and counts == (sum(lengths), len(lengths))


def test_linked_boxes_of_voc(tmp_path):
    write_frames(tmp_path / "clone/JPEGImages")
    for t in range(COUNT):
        corners = f"<xmin>{2 * t + 1}</xmin><ymin>11</ymin><xmax>{2 * t + 12}</xmax><ymax>22</ymax>"
        thing = f"<object><name>thing</name><bndbox>{corners}</bndbox></object>"
        size = "<size><width>80</width><height>60</height></size>"
        write_text(tmp_path / f"clone/Annotations/{t + 1:06d}.xml", [f"<annotation>{size}{thing}</annotation>"])
    counts, tracks = gathered(tmp_path, "linked_voc", {"frames": "JPEGImages", "boxes": "Annotations"})
    assert counts == (24, 1) and tracks["things_0000"][5] == [10, 10, 12, 12]


def test_earlier_tracks_are_replaced_and_those_of_others_stay(tmp_path):
    write_frames(tmp_path / "clone/img1")
    write_text(tmp_path / "clone/gt.txt", [f"{t + 1},1,5,5,9,9" for t in range(COUNT)])
    for name in ("things_0007", "things_more_0000", "other_0000"):
        (tmp_path / "out/video" / name).mkdir(parents=True)
    gather("things", "mot", {"frames": "img1", "boxes": "gt.txt"}, [tmp_path / "clone"], tmp_path / "out")
    left = sorted(path.name for path in (tmp_path / "out/video").iterdir())
    assert left == ["other_0000", "things_0000", "things_more_0000"]


def test_damaged_videos_are_left_out(tmp_path, caplog):
    caplog.set_level("INFO")
    write_avi(tmp_path / "videos/good.avi", 22)
    write_avi(tmp_path / "videos/short.avi", 20)
    (tmp_path / "videos/broken.avi").write_bytes(b"RIFF")
    with zipfile.ZipFile(tmp_path / "boxes.zip", "w") as archive:
        for name in ("good", "short", "broken"):
            for t in range(22):
                archive.writestr(f"{name}_{t + 1:05d}.txt", "7 5 17 16 28\n")
    counts, tracks = gathered(tmp_path, "frame_files", {"frames": ".", "boxes": "boxes.zip"}, ("videos", "."))
    assert counts == (22, 1) and list(tracks) == ["things_0000"]
    assert "left out: short has fewer frames than boxes" in caplog.messages
    assert any(text.startswith("left out: video") and "broken.avi" in text for text in caplog.messages)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"frames": "a"}, "things: the key boxes is missing"),
        ({"frames": "a", "boxes": "b", "strides": 2}, "things: unknown key strides; did you mean stride?"),
        ({"frames": ["a", "b"], "boxes": "b"}, "things: 2 frames but 1 boxes; give one for each"),
        ({"frames": "a", "boxes": "b", "stride": "two"}, "things: stride is 'two'; expected a whole number, 1 or more"),
        ({"frames": "a", "boxes": "b", "stride": 0}, "things: stride is 0; expected a whole number, 1 or more"),
        ({"frames": "a", "boxes": "b", "drop": ["3"]}, r"things: drop is \['3'\]; expected a list of whole numbers"),
        ({"frames": "a", "boxes": "b", "overlap": "x"}, "things: overlap is 'x'; expected a number"),
    ],
)
def test_options_that_are_wrong(options, problem):
    with pytest.raises(DataError, match=problem):
        options_of("things", options)


@pytest.mark.parametrize(
    ("form", "problem"),
    [
        ("mot", "boxes cannot be read"),
        ("frame_files", "boxes is not an archive of boxes"),
        ("tubes", "boxes is not an annotation of UCF101-24: FileNotFoundError"),
        ("linked_voc", "img1: there is no such folder"),
    ],
)
def test_what_is_missing_is_named(tmp_path, form, problem):
    with pytest.raises(DataError, match=problem):
        gather("things", form, {"frames": "img1", "boxes": "boxes"}, [tmp_path], tmp_path / "out")


def test_no_track_is_an_error(tmp_path):
    write_frames(tmp_path / "img1", 5)
    write_text(tmp_path / "gt.txt", [f"{t + 1},1,5,5,9,9" for t in range(5)])
    with pytest.raises(DataError, match="things: no object has a box in 20 frames in a row in .*img1"):
        gather("things", "mot", {"frames": "img1", "boxes": "gt.txt"}, [tmp_path], tmp_path / "out")


def test_the_rows_that_ship():
    rows = read_table(REPOSITORY / "pretrained_models/training_data.yaml", [*PICTURE_FORMS, *FORMS])
    tracks = [row for row in rows if row.form in FORMS]
    assert len(tracks) >= 12
    for row in tracks:
        options_of(row.name, row.options)
