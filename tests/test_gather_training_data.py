"""Sets of pictures from clones of repositories, small ones that are drawn here."""

import json
import shutil
import subprocess

import cv2
import numpy as np
import pytest
import yaml

from lib.data.gather_pictures import FORMS, gather
from lib.data.gather_table import read_table
from lib.data.image_io import read_image
from lib.data.registry import open_dataset
from lib.train.admin.environment import EnvironmentSettings
from lib.utils.errors import DataError
from tests.conftest import REPOSITORY, load_script


def write_photo(path, size=(80, 60), seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8))


def write_voc(path, objects, size=(80, 60)):
    """Corners as VOC counts them."""
    text = ""
    for name, *corners in objects:
        sides = "".join(
            f"<{tag}>{at}</{tag}>" for tag, at in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
        )
        text += f"<object><name> {name} </name><bndbox>{sides}</bndbox></object>"
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    sizes = f"<size><width>{width}</width><height>{height}</height></size>"
    path.write_text(f"<annotation>{sizes}{text}</annotation>")


def write_coco(path, boxes, **more):
    """A picture for each list of boxes."""
    items = [{"image_id": n, "category_id": 7, "bbox": box, **more} for n, group in enumerate(boxes) for box in group]
    images = [{"id": n, "file_name": f"a/{n}.png", "width": 80, "height": 60} for n in range(len(boxes))]
    path.write_text(json.dumps({"images": images, "annotations": items, "categories": [{"id": 7, "name": "fish"}]}))


def gathered(tmp_path, form, **options):
    """The counts, and by file name the classes and boxes of the set ``things`` from the clone ``tmp_path/clone``."""
    counts = gather("things", form, options, [tmp_path / "clone"], tmp_path / "out")
    content = json.loads((tmp_path / "out/pictures/things/annotations.json").read_text())
    names = {item["id"]: item["name"] for item in content["categories"]}
    boxes = {image["file_name"]: [] for image in content["images"]}
    for item in content["annotations"]:
        boxes[content["images"][item["image_id"] - 1]["file_name"]].append((names[item["category_id"]], item["bbox"]))
    return counts, boxes


def test_voc(tmp_path):
    clone = tmp_path / "clone"
    for number in range(3):
        write_photo(clone / f"JPEGImages/{number}.jpg", seed=number)
    write_voc(clone / "Annotations/0.xml", [("cat", 11, 21, 30, 50), ("dog", 1, 1, 10, 12)])
    write_voc(clone / "Annotations/1.xml", [("dog", 41, 31, 80, 60)], size=(0, 0))
    counts, boxes = gathered(tmp_path, "voc", images="JPEGImages", labels="Annotations")
    assert counts == (2, 3)
    assert boxes == {
        "000001.jpg": [("cat", [10, 20, 20, 30]), ("dog", [0, 0, 10, 12])],
        "000002.jpg": [("dog", [40, 30, 40, 30])],
    }
    assert sorted(path.name for path in (tmp_path / "out/pictures/things/images").iterdir()) == sorted(boxes)


def test_yolo_with_boxes_outlines_and_confidences(tmp_path):
    write_photo(tmp_path / "clone/train/0.png")
    write_photo(tmp_path / "clone/val/0.png", seed=1)
    (tmp_path / "clone/train/0.txt").write_text("0 0.5 0.5 0.25 0.5\n\n2 0.25 0.25 0.5 0.25 0.75 0.5\n")
    (tmp_path / "clone/labels").mkdir()
    (tmp_path / "clone/labels/0.txt").write_text("1 0.5 0.5 0.25 0.5 0.9\n")
    options = {"images": ["train", "val"], "labels": ["train", "labels"], "names": ["cat", "dog"]}
    counts, boxes = gathered(tmp_path, "yolo", **options)
    assert counts == (2, 3)
    assert boxes == {
        "000001.jpg": [("cat", [30, 15, 20, 30]), ("2", [20, 15, 40, 15])],
        "000002.jpg": [("dog", [30, 15, 20, 30])],
    }


def test_coco_without_crowds_and_missing_pictures(tmp_path):
    write_photo(tmp_path / "clone/train/0.png")
    labels = tmp_path / "clone/labels.json"
    write_coco(labels, [[[10, 20, 30, 40], [20, 20, 30, 50]], [[1, 2, 30, 40]]])
    assert gathered(tmp_path, "coco", images="train", labels="labels.json") == (
        (1, 2), {"000001.jpg": [("fish", [10, 20, 30, 40]), ("fish", [20, 20, 30, 40])]}
    )  # fmt: skip
    write_coco(labels, [[[10, 20, 30, 40]]], iscrowd=1)
    with pytest.raises(DataError, match="things: no usable picture in .*train"):
        gathered(tmp_path, "coco", images="train", labels="labels.json")


def test_a_table_of_boxes(tmp_path):
    write_photo(tmp_path / "clone/train/0.png")
    lines = [
        "filename,width,height,class,xmin,ymin,xmax,ymax",
        "0.png,160,120,bus,20,40,80,100",
        "1.png,8,8,bus,0,0,8,8",
    ]
    (tmp_path / "clone/train/_annotations.csv").write_text("\n".join(lines))
    counts, boxes = gathered(tmp_path, "csv", images="train", labels="train/_annotations.csv")
    assert (counts, boxes) == ((1, 1), {"000001.jpg": [("bus", [10, 20, 30, 30])]})


def test_photographs_below_a_folder(tmp_path):
    write_photo(tmp_path / "clone/a/b/0.jpg", size=(1280, 960))
    write_photo(tmp_path / "clone/a/1.png", seed=1)
    assert gather("views", "photos", {"images": "a"}, [tmp_path / "clone"], tmp_path / "out") == (2, 0)
    assert read_image(tmp_path / "out/photos/views/000001.jpg").shape == (60, 80, 3)
    assert read_image(tmp_path / "out/photos/views/000002.jpg").shape == (480, 640, 3)


def test_large_pictures_shrink_with_their_boxes(tmp_path):
    write_photo(tmp_path / "clone/0.png", size=(1280, 960))
    write_voc(tmp_path / "clone/0.xml", [("cat", 101, 201, 300, 400), ("flea", 1, 1, 15, 100)], size=(2560, 1920))
    assert gathered(tmp_path, "voc", images=".")[1] == {"000001.jpg": [("cat", [25, 50, 50, 50])]}
    assert read_image(tmp_path / "out/pictures/things/images/000001.jpg").shape == (480, 640, 3)


def test_what_is_not_worth_learning_is_left_out(tmp_path):
    objects = {
        "small": [("cat", 1, 1, 7, 30), ("cat", 75, 1, 90, 30)],  # the second has 6 pixels within the picture
        "large": [("cat", 1, 1, 80, 59)],
        "dropped": [("sky", 1, 1, 40, 40)],
        "kept": [("cat", 1, 1, 8, 8), ("cat", 1, 1, 76, 60), ("sky", 1, 1, 40, 40)],
        "none": [],
    }
    for seed, (name, group) in enumerate(objects.items()):
        write_photo(tmp_path / f"clone/{name}.png", seed=seed)
        write_voc(tmp_path / f"clone/{name}.xml", group)
    assert gathered(tmp_path, "voc", images=".", drop="sky") == (
        (1, 2), {"000001.jpg": [("cat", [0, 0, 8, 8]), ("cat", [0, 0, 76, 60])]}
    )  # fmt: skip


def test_copies_versions_other_shapes_and_damaged_files_are_left_out(tmp_path):
    clone = tmp_path / "clone"
    for name, seed in (("a", 0), ("copy", 0), ("b_jpg.rf.1", 1), ("b_jpg.rf.2", 2), ("other", 3), ("cut", 4), ("x", 5)):
        write_photo(clone / f"{name}.png", seed=seed)
        write_voc(clone / f"{name}.xml", [("cat", 1, 1, 20, 20)], size=(60, 80) if name == "other" else (80, 60))
    (clone / "cut.png").write_bytes((clone / "cut.png").read_bytes()[:300])
    (clone / "x.xml").write_text("<annotation>")
    assert gathered(tmp_path, "voc", images=".")[0] == (2, 2)


def test_pictures_that_are_stored_turned_are_left_out(tmp_path):
    write_photo(tmp_path / "clone/0.jpg")
    write_photo(tmp_path / "clone/1.jpg", seed=1)
    for number in range(2):
        write_voc(tmp_path / f"clone/{number}.xml", [("cat", 1, 1, 20, 20)])
    data = (tmp_path / "clone/0.jpg").read_bytes()
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    (tmp_path / "clone/0.jpg").write_bytes(
        data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:]
    )
    assert gathered(tmp_path, "voc", images=".")[0] == (1, 1)


def test_many_pictures_are_thinned_evenly(tmp_path):
    for number in range(10):
        write_photo(tmp_path / f"clone/{number}.png", seed=number)
        write_voc(tmp_path / f"clone/{number}.xml", [("cat", 1, 1, 20 + number, 20)])
    boxes = gathered(tmp_path, "voc", images=".", most=3)[1]
    assert [box[0][1][2] for box in boxes.values()] == [20, 23, 26]


def test_the_sets_are_read_for_training(tmp_path):
    write_photo(tmp_path / "clone/0.png")
    write_voc(tmp_path / "clone/0.xml", [("cat", 11, 21, 30, 50)])
    gathered(tmp_path, "voc", images=".")
    dataset = open_dataset("PICTURES", EnvironmentSettings(pictures_dir=str(tmp_path / "out/pictures")))
    assert len(dataset) == 1
    assert dataset.sequence(0).bbox.tolist() == [[10, 20, 20, 30]]


@pytest.mark.parametrize(
    "form, options, message",
    [
        ("voc", {"image": "a"}, "things: unknown key image; did you mean images?"),
        ("voc", {}, "things: the key images is missing"),
        ("voc", {"images": "a", "most": "few"}, "things: most is 'few'; expected a whole number, 1 or more"),
        ("voc", {"images": "a", "most": 2.5}, "things: most is 2.5; expected a whole number"),
        ("voc", {"images": "a", "most": True}, "things: most is True; expected a whole number"),
        ("voc", {"images": "a", "most": 0}, "things: most is 0; expected a whole number"),
        ("voc", {"images": {"a": 1}}, "things: images is .*; expected a list"),
        ("voc", {"images": [5]}, r"things: images is \[5\]; expected a list of texts"),
        ("voc", {"images": ["a", "b"], "labels": "a"}, "things: 2 images but 1 labels; give one for each"),
        ("yolo", {"images": "a"}, "clone/a: there is no such folder"),
        ("coco", {"images": ".", "labels": "a.json"}, "a.json is not a COCO annotation file: FileNotFoundError"),
        ("coco", {"images": ".", "labels": "list.json"}, "list.json is not a COCO annotation file: TypeError"),
        ("csv", {"images": ".", "labels": "list.json"}, "things: no usable picture"),
        ("csv", {"images": ".", "labels": "a.csv"}, "a.csv is not a table of boxes: KeyError 'width'"),
    ],
)
def test_rows_that_do_not_fit(tmp_path, form, options, message):
    (tmp_path / "clone").mkdir()
    (tmp_path / "clone/list.json").write_text("[]")
    (tmp_path / "clone/a.csv").write_text("filename,xmin\n0.png,3\n")
    with pytest.raises(DataError, match=message):
        gather("things", form, options, [tmp_path / "clone"], tmp_path / "out")


ROW = {"name": "cats", "repository": "someone/cats", "form": "voc", "images": ".", "license": "none", "kinds": "cats"}


@pytest.mark.parametrize(
    "rows, only, message",
    [
        ({"cats": ROW}, [], "expected a list of sets"),
        (["cats"], [], "set 1: expected keys and values"),
        ([{**ROW, "repository": "cats"}], [], r"set 1 \(cats\): repository cats is not OWNER/NAME"),
        ([{**ROW, "form": "vok"}], [], r"set 1 \(cats\): unknown form vok; did you mean voc?"),
        ([{key: ROW[key] for key in ROW if key != "license"}], [], r"set 1 \(cats\): the key license is missing"),
        ([ROW, ROW], [], "set 2: there are two sets cats; rename one"),
        ([ROW], ["cat"], "has no set cat; did you mean cats?"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, rows, only, message):
    (tmp_path / "table.yaml").write_text(yaml.safe_dump(rows))
    with pytest.raises(DataError, match=message):
        read_table(tmp_path / "table.yaml", list(FORMS), only)


def test_the_table_that_ships():
    script = load_script("gather_training_data")
    path = REPOSITORY / "pretrained_models/training_data.yaml"
    rows = read_table(path, list(script.MAKERS))
    assert len(rows) > 60
    assert read_table(path, list(script.MAKERS), ["raccoon"])[0].repositories == ("datitran/raccoon_dataset",)


@pytest.fixture
def gather_sets(tmp_path, monkeypatch):
    """Run the command on the table; ``someone/cats`` and ``someone/dogs`` can be cloned."""
    script = load_script("gather_training_data")
    for seed, name in enumerate(("cats", "dogs")):
        repository = tmp_path / f"host/someone/{name}.git"
        write_photo(repository / "0.png", seed=seed)
        write_voc(repository / "0.xml", [(name, 11, 21, 30, 50)])
        settings = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main")
        for step in (("init",), ("add", "."), ("commit", "-m", "Pictures")):
            subprocess.run(["git", *settings, *step], cwd=repository, check=True, capture_output=True)
    monkeypatch.setattr(script, "HOST", (tmp_path / "host").as_uri())

    def run(rows, *arguments):
        (tmp_path / "table.yaml").write_text(yaml.safe_dump(rows))
        places = ["--clones", tmp_path / "clones", "--out", tmp_path / "out", "--table", tmp_path / "table.yaml"]
        monkeypatch.setattr("sys.argv", ["gather_training_data.py", *map(str, places), *arguments])
        script.main()

    return run


def test_sets_are_cloned_made_and_not_made_again(tmp_path, gather_sets, capsys):
    rows = [ROW, {**ROW, "name": "dogs", "repository": "someone/dogs"}]
    gather_sets(rows, "--only", "dogs")
    assert (tmp_path / "clones/someone+dogs/.git").is_dir() and not (tmp_path / "clones/someone+cats").exists()
    gather_sets(rows)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[-5:-1] == [["set", "pictures", "boxes"], ["cats", "1", "1"], ["dogs", "1", "1"], ["total", "2", "2"]]
    made = tmp_path / "out/pictures/dogs/annotations.json"
    shutil.rmtree(made.parent)
    gather_sets(rows)
    made.write_text("looked at")
    gather_sets(rows)
    assert made.read_text() == "looked at"
    gather_sets([ROW, {**rows[1], "most": 1}])
    assert json.loads(made.read_text())["annotations"][0]["bbox"] == [10, 20, 20, 30]


def test_clones_of_ones_own_are_used(tmp_path, gather_sets):
    (tmp_path / "clones/someone").mkdir(parents=True)
    (tmp_path / "host/someone/cats.git").rename(tmp_path / "clones/someone/cats")
    gather_sets([ROW], "--offline")
    assert (tmp_path / "out/pictures/cats/images/000001.jpg").is_file()


def test_what_is_missing_is_said_once_the_rest_is_made(tmp_path, gather_sets, capsys):
    rows = [{**ROW, "name": "birds", "repository": "someone/birds"}, ROW]
    with pytest.raises(DataError, match="1 of 2 sets are missing:\n.*git clone.*someone/birds.git"):
        gather_sets(rows)
    assert capsys.readouterr().out.splitlines()[-1].split() == ["total", "1", "1"]
    with pytest.raises(
        DataError, match=r"birds: there is no clone .*someone\+birds; clone file://.*, or omit --offline"
    ):
        gather_sets(rows, "--offline")
    for damaged in ("{", "[]", '{"birds": 5}'):
        (tmp_path / "out/gathered.json").write_text(damaged)
        with pytest.raises(DataError, match="gathered.json is damaged .*; delete it"):
            gather_sets(rows)


def test_git_is_needed_to_clone(tmp_path, gather_sets, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match="git is not installed; install it, or put clones into --clones"):
        gather_sets([ROW])
