"""The doctor of training data sets, and its and the lmdb maker's command lines."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from lib.config.experiment import DataConfig
from lib.data.image_io import write_image
from lib.data.registry import open_dataset
from lib.train.data import check
from lib.train.data.check import check_dataset, decode_spans
from lib.train.data.sampler import PairSampling
from lib.train.data.samples import open_source
from lib.utils.errors import ConfigError, DataError
from tests import miniature
from tests.conftest import load_script


@pytest.fixture
def env(tmp_path):
    env = miniature.environment(tmp_path)
    miniature.write_got10k(Path(env.got10k_dir), 3)
    return env


def folder(env, number=2):
    return Path(env.got10k_dir) / f"GOT-10k_Train_{number:06d}"


def truncate(path):
    path.write_bytes(path.read_bytes()[:-300])


NAME = "GOT10K_train_full"
SIDES = ("xmin", "ymin", "xmax", "ymax")


def test_a_whole_data_set_is_one_line(env):
    report = check_dataset(NAME, env)
    assert (report.sequences, report.frames, report.decoded, report.broken) == (3, 72, 6, [])
    assert report.line() == f"{NAME}: ok, 3 sequences, 72 frames, 6 decoded, in {env.got10k_dir}"
    assert check_dataset(NAME, env, full=True, jobs=2).decoded == 72


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "00000007.jpg").unlink(), r"00000007.jpg is missing \(1 of 24 frames of its sequence are\)"),
        (lambda f: (f / "00000024.jpg").unlink(), r"00000024.jpg is missing \(1 of 24"),
        (lambda f: write_image(f / "00000025.jpg", np.zeros((8, 8, 3), np.uint8)), "has 25 frames but 24 boxes"),
        (lambda f: truncate(f / "00000001.jpg"), "00000001.jpg is truncated"),
        (lambda f: (f / "00000024.jpg").write_bytes(b"no picture"), "00000024.jpg cannot be decoded"),
        (
            lambda f: (f / "groundtruth.txt").write_text("1,2,3,4\nx\n"),
            "groundtruth.txt, line 2: expected four numbers",
        ),
        (lambda f: (f / "cover.label").unlink(), None),
        (lambda f: truncate(f / "00000009.jpg"), None),  # only --full decodes this one
    ],
)
def test_damage_is_found_and_named(env, damage, message):
    damage(folder(env))
    report = check_dataset(NAME, env)
    if message is None:
        assert report.broken == []
    else:
        with pytest.raises(DataError, match=message):
            raise DataError(report.broken[0])
        assert report.line().startswith(f"{NAME}: BROKEN, ")


def test_full_decodes_every_frame_and_names_each_that_is_broken(env):
    for number in (9, 10, 20):
        truncate(folder(env) / f"{number:08d}.jpg")
    report = check_dataset(NAME, env, full=True, jobs=2)
    assert report.decoded == 69
    assert [Path(text.split()[1]).name for text in report.broken] == ["00000009.jpg", "00000010.jpg", "00000020.jpg"]
    assert report.line().endswith("(and 2 more)")


def test_boxes_that_are_not_there_are_noted(env):
    boxes = miniature.moving_boxes(24)
    boxes[3], boxes[8, 2], boxes[9] = np.nan, 0, 0
    miniature.write_rows(folder(env) / "groundtruth.txt", boxes)
    line = check_dataset(NAME, env).line()
    assert "; 1 boxes are NaN and count as invisible (first: GOT-10k_Train_000002 frame 3)" in line
    assert "; 2 boxes have no area and count as invisible (first: GOT-10k_Train_000002 frame 8)" in line
    assert line.startswith(f"{NAME}: ok, ")
    for number in (1, 2, 3):
        (folder(env, number) / "absence.label").write_text("1\n" * 24)
    assert check_dataset(NAME, env).broken == ["the target is visible in no frame at all"]


def test_still_images_are_decoded_once_and_need_no_count(env):
    miniature.write_coco(Path(env.coco_dir))
    report = check_dataset("COCO17", env, full=True)
    assert (report.sequences, report.decoded, report.broken) == (8, 4, [])
    (Path(env.coco_dir) / "images/train2017/000000000003.jpg").unlink()
    assert "000000000003.jpg is missing" in check_dataset("COCO17", env).broken[0]


def test_videos_are_decoded_too(env):
    miniature.write_folder(Path(env.folder_dir))
    report = check_dataset("FOLDER", env, full=True)
    assert (report.sequences, report.frames, report.decoded, report.broken) == (2, 48, 48, [])
    (Path(env.folder_dir) / "clip/clip.mp4").write_bytes(b"no video")
    assert "clip.mp4 cannot be opened" in check_dataset("FOLDER", env).broken[0]


def test_images_are_opened(env, tmp_path):
    assert check_dataset("IMAGES", env).line().endswith("in no folder: procedural textures")
    env.images_dir = str(tmp_path / "photos")
    for number in range(3):
        write_image(tmp_path / f"photos/{number}.png", np.full((90, 90, 3), 40 * number, np.uint8))
    assert check_dataset("IMAGES", env).line().startswith("IMAGES: ok, 3 sequences, 3 frames")
    (tmp_path / "photos/damaged.jpg").write_bytes(b"no picture")
    assert check_dataset("IMAGES", env).line().startswith("IMAGES: PARTLY USABLE, 3 of 4 sequences")
    env.images_dir = str(tmp_path / "none")
    assert "set images_dir" in check_dataset("IMAGES", env).broken[0]


# By training's own rules


def cut(folder, frames):
    """Leave so many frames of a sequence of GOT-10k."""
    for path in sorted(folder.glob("*.jpg"))[frames:]:
        path.unlink()
    for path in (folder / "groundtruth.txt", folder / "absence.label", folder / "cover.label"):
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:frames]))


def test_sequences_that_training_cannot_use_are_named(env, caplog):
    cut(folder(env, 2), 10)
    report = check_dataset(NAME, env)
    assert (report.sequences, report.usable, report.broken) == (3, 2, [])
    needs = "one needs 20 frames, the target visible in 5 of them"
    assert report.line() == (
        f"{NAME}: PARTLY USABLE, 2 of 3 sequences, 58 frames, 6 decoded, in {env.got10k_dir}; "
        f"1 cannot be used, {needs} (first: GOT-10k_Train_000002: 10 frames, visible in 8)"
    )
    assert len(open_source(NAME, env, DataConfig()).usable) == report.usable
    # Visible too seldom for two templates, but not for one.
    (folder(env, 3) / "absence.label").write_text("0\n" * 6 + "1\n" * 18)
    assert check_dataset(NAME, env).usable == 2
    twice = check_dataset(NAME, env, sampling=PairSampling("causal", 200, 2, 1))
    assert "; 2 cannot be used, one needs 20 frames, the target visible in 7 of them (first: " in twice.line()
    # None at all: training refuses the data set, in the same words.
    for number in (1, 3):
        cut(folder(env, number), 19)
    with pytest.raises(DataError) as refused:
        open_source(NAME, env, DataConfig())
    report = check_dataset(NAME, env)
    assert report.broken == [f"none of 3 sequences can be used; {needs}"]
    assert str(refused.value) == f"{NAME}: {report.broken[0]}"


@pytest.mark.parametrize(
    "box", [[200, 20, 30, 30], [20, 160, 30, 30], [-40, 20, 40, 30], [20, -90, 30, 60], [20, 20, 9, 5000]]
)
def test_a_box_wholly_outside_of_its_still_picture_is_not_drawn(env, box):
    miniature.write_coco(Path(env.coco_dir))
    path = Path(env.coco_dir) / "annotations/instances_train2017.json"
    content = json.loads(path.read_text())
    content["annotations"][4]["bbox"] = box
    path.write_text(json.dumps(content))
    report = check_dataset("COCO17", env)
    line = report.line()
    assert line.startswith("COCO17: PARTLY USABLE, 7 of 8 sequences, ") and report.broken == []
    where = "(first: 000000000002_21 frame 0)"
    assert f"; 1 boxes are wholly outside their pictures, or far too large, and count as invisible {where}" in line
    source = open_source("COCO17", env, DataConfig())
    assert "000000000002_21" not in {source.dataset.sequence_name(index) for index in source.usable}
    # The picture itself tells, where the file names no sizes.
    for picture in content["images"]:
        del picture["width"], picture["height"]
    path.write_text(json.dumps(content))
    if min(box) > 0:
        shown = ", ".join(map(str, box))
        assert check_dataset("COCO17", env).broken == [
            "1 boxes are wholly outside their pictures, or far too large (first: 000000000002_21, "
            f"box {shown} in 200 x 160 pixels)"
        ]


def test_pictures_of_ones_own_are_judged_alike(env, tmp_path):
    env.pictures_dir = str(tmp_path / "pictures")
    for name in ("a", "b"):
        write_image(tmp_path / f"pictures/JPEGImages/{name}.jpg", np.zeros((40, 60, 3), np.uint8))
        corners = (1, 1, 20, 20) if name == "a" else (61, 1, 80, 20)
        box = "".join(f"<{side}>{value}</{side}>" for side, value in zip(SIDES, corners, strict=True))
        size = "<size><width>60</width><height>40</height></size>"
        (tmp_path / "pictures/Annotations").mkdir(exist_ok=True)
        xml = f"<annotation>{size}<object><bndbox>{box}</bndbox></object></annotation>"
        (tmp_path / f"pictures/Annotations/{name}.xml").write_text(xml)
    line = check_dataset("PICTURES", env).line()
    assert line.startswith("PICTURES: PARTLY USABLE, 1 of 2 sequences")
    assert "(first: pictures/b_0)" in line
    (tmp_path / "pictures/JPEGImages/b.jpg").unlink()
    for _ in range(2):  # what was left out is kept with the annotation
        line = check_dataset("PICTURES", env).line()
        assert line.startswith("PICTURES: PARTLY USABLE, 1 of 1 sequences")
        assert "; not counted: " in line and "pictures: 1 pictures of its annotation are missing" in line


def test_a_box_outside_of_a_frame_of_a_video_is_noted(env):
    boxes = miniature.moving_boxes(24)
    boxes[0] = 96, 10, 20, 20
    miniature.write_rows(folder(env) / "groundtruth.txt", boxes)
    found = "GOT-10k_Train_000002 frame 0, box 96, 10, 20, 20 in 96 x 72 pixels"
    found = f"; 1 boxes are wholly outside their pictures, or far too large (first: {found})"
    for full in (False, True, True):
        report = check_dataset(NAME, env, full=full)
        assert report.line().startswith(f"{NAME}: ok, ") and found in report.line()


def test_sequences_left_out_for_their_number_of_frames_are_told_every_time(env, caplog):
    miniature.write_folder(Path(env.folder_dir))
    next((Path(env.folder_dir) / "pictures").glob("*.jpg")).unlink()
    for _ in range(2):
        caplog.clear()
        line = check_dataset("FOLDER", env).line()
        assert line.startswith("FOLDER: PARTLY USABLE, 1 of 1 sequences, 24 frames")
        assert "pictures is left out: 23 frames but 24 boxes in the annotation" in line.partition("not counted: ")[2]
        assert caplog.text.count("pictures is left out") == 1
    miniature.write_rows(Path(env.folder_dir) / "clip/groundtruth.txt", miniature.moving_boxes(9))
    assert "there is no sequence in it that can be used: " in check_dataset("FOLDER", env).broken[0]


@pytest.mark.parametrize("use_lmdb", [False, True])
def test_other_capitals_are_accepted(env, use_lmdb, run):
    """As by the benchmarks, one of whose classes comes so."""
    names = ("Air Hockey/Air Hockey-1", "Zebra/Zebra-12", "Zebra/Zebra-13")
    written = miniature.write_vasttrack(Path(env.vasttrack_dir), names)
    odd = Path(env.vasttrack_dir) / "Zebra/Zebra-13"
    (odd / "Groundtruth.txt").rename(odd / "groundtruth.txt")
    (odd / "imgs").rename(odd / "img")
    loud = Path(env.vasttrack_dir) / "Zebra/Zebra-12/imgs"
    for path in loud.iterdir():
        path.rename(path.with_suffix(".JPG"))
    lasot = miniature.write_lasot(Path(env.lasot_dir), ("airplane/airplane-2", "zebra/zebra-1"))
    odd = Path(env.lasot_dir) / "zebra/zebra-1"
    (odd / "groundtruth.txt").rename(odd / "GroundTruth.txt")
    (odd / "out_of_view.txt").rename(odd / "Out_of_view.txt")
    if use_lmdb:
        run("pack_lmdb", "--dataset", "VASTTRACK", "LASOT")
    for name, boxes in (("VASTTRACK", written), ("LASOT", lasot)):
        report = check_dataset(name, env, use_lmdb=use_lmdb, full=True)
        assert report.line().startswith(f"{name}: ok, {len(boxes)} sequences, {24 * len(boxes)} frames"), report.line()
        dataset = open_dataset(name, env, use_lmdb)
        for index in range(len(dataset)):
            np.testing.assert_array_equal(dataset.sequence(index).bbox, boxes[dataset.sequence_name(index)])
            assert dataset.frame(index, 23).shape == (72, 96, 3)
    assert not dataset.sequence(1).visible[5]


# Going on after an interruption


@pytest.fixture
def dataset(env, monkeypatch):
    monkeypatch.setattr(check, "CHUNK", 8)
    return open_dataset(NAME, env)


def spans(dataset):
    return list(check._all_spans(dataset))


def test_an_interrupted_check_goes_on(dataset, tmp_path, caplog):
    caplog.set_level("INFO")
    note = tmp_path / "note"
    started = decode_spans(dataset, spans(dataset), 1, note)
    assert [next(started) for _ in range(4)] == [(8, [], [])] * 4
    started.close()
    with note.open("a") as file:
        file.write("\n5 ")  # the line that a kill cut short
    assert sum(frames for frames, *_ in decode_spans(dataset, spans(dataset), 1, note)) == 72
    assert "4 of 9 parts were decoded before" in caplog.text
    caplog.clear()
    list(decode_spans(dataset, spans(dataset), 1, note))
    assert "9 of 9 parts were decoded before" in caplog.text


def test_what_was_broken_is_decoded_again(dataset, env, tmp_path):
    note, path = tmp_path / "note", folder(env) / "00000009.jpg"
    whole = path.read_bytes()
    truncate(path)
    for _ in range(2):
        broken = [text for _, texts, _ in decode_spans(dataset, spans(dataset), 1, note) for text in texts]
        assert len(broken) == 1 and "00000009.jpg is truncated" in broken[0]
    path.write_bytes(whole)
    assert not any(texts for _, texts, _ in decode_spans(dataset, spans(dataset), 1, note))


def test_what_was_changed_since_is_decoded_again(dataset, env, tmp_path):
    note, path = tmp_path / "note", folder(env) / "00000009.jpg"
    assert not any(texts for _, texts, _ in decode_spans(dataset, spans(dataset), 1, note))
    path.write_bytes(path.read_bytes()[:-200])
    broken = [text for _, texts, _ in decode_spans(dataset, spans(dataset), 1, note) for text in texts]
    assert len(broken) == 1 and "00000009.jpg is truncated" in broken[0]


def test_notes_of_other_data_do_not_count(dataset, env, tmp_path, caplog):
    caplog.set_level("INFO")
    note = tmp_path / "note"
    list(decode_spans(dataset, spans(dataset)[:4], 1, note))
    assert sum(frames for frames, *_ in decode_spans(dataset, spans(dataset), 1, note)) == 72
    assert "decoded before" not in caplog.text
    note.write_bytes(b"\xff\xfe")
    assert sum(frames for frames, *_ in decode_spans(dataset, spans(dataset), 1, note)) == 72
    list(decode_spans(dataset, spans(dataset), 1, tmp_path / "note" / "below a file"))
    assert "if interrupted, the check will start anew" in caplog.text


# The commands


@pytest.fixture
def run(env, monkeypatch, capsys):
    def call(script, *arguments):
        module = load_script(script)
        monkeypatch.setattr(module, "env_settings", lambda: env)
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        status = module.main()
        *lines, last = capsys.readouterr().out.splitlines()
        assert last.startswith("next: ")
        if not status:  # what was packed, or examined so, is trained from so
            assert ("--use_lmdb 1" in last) == (script == "pack_lmdb" or "--use_lmdb" in arguments)
        return status, lines

    return call


def test_the_exit_status_tells_whether_anything_is_broken(run, env):
    assert run("check_data", "--dataset", NAME, "GOT10K_votval", "--jobs", 1)[0] == 0
    (folder(env) / "00000003.jpg").unlink()
    status, lines = run("check_data", "--dataset", NAME, "GOT10K_votval", "LASOT", "--jobs", 1)
    assert status == 1
    assert [line.split(",")[0] for line in lines] == [f"{NAME}: BROKEN", "GOT10K_votval: BROKEN", "LASOT: BROKEN"]
    assert f"there is no folder {env.lasot_dir}; set lasot_dir in lib/train/admin/local.py" in lines[2]


def test_an_experiment_names_its_data_sets(run):
    status, lines = run("check_data", "--config", "vitb_256_mae_ce_32x4_ep300", "--jobs", 1)
    assert status == 1
    assert [line.split(":")[0] for line in lines] == [
        "LASOT",
        "GOT10K_vottrain",
        "COCO17",
        "TRACKINGNET",
        "GOT10K_votval",
    ]
    with pytest.raises(ConfigError, match="name an experiment with --config or data sets"):
        run("check_data")


def test_an_experiment_is_checked_as_it_trains(run, env, monkeypatch):
    """Only what it draws from, and by the number of its templates."""
    (folder(env, 3) / "absence.label").write_text("0\n" * 6 + "1\n" * 18)
    changes = (
        f"DATA.TRAIN.DATASETS_NAME=[{NAME}, LASOT]",
        "DATA.TRAIN.DATASETS_RATIO=[1, 0]",
        "DATA.VAL.DATASETS_NAME=[]",
    )
    config = ("--config", "vitb_256_mae_ce_32x4_ep300", "--jobs", 1)
    status, lines = run("check_data", *config, *changes)
    assert (status, len(lines)) == (0, 1) and lines[0].startswith(f"{NAME}: ok, 3 sequences")
    status, lines = run("check_data", *config, *changes, "DATA.TEMPLATE.NUMBER=2")
    assert status == 0 and lines[0].startswith(f"{NAME}: PARTLY USABLE, 2 of 3 sequences")
    with pytest.raises(ConfigError, match="DATA.TEMPLATE.NUMBER=2 changes an experiment: name one with --config"):
        run("check_data", "DATA.TEMPLATE.NUMBER=2", "--dataset", NAME)


def test_lmdbs_are_made_and_checked_by_name(run, env):
    miniature.write_trackingnet(Path(env.trackingnet_dir), [2, 3])
    status, lines = run("pack_lmdb", "--dataset", NAME, "TRACKINGNET[2-3]")
    assert status is None
    packed = {85: env.got10k_dir, 25: f"{env.trackingnet_dir}/TRAIN_2"}  # 3 x (24 frames + 4 files) and a list; 24 + 1
    for line, (count, place) in zip(lines, packed.items(), strict=False):
        assert line.endswith(f": {count} files of {place}, verified")
    assert len(lines) == 3
    status, lines = run("check_data", "--dataset", NAME, "TRACKINGNET[2-3]", "--use_lmdb", 1, "--full", "--jobs", 1)
    assert status == 0
    assert [line.split(", ")[1:4] for line in lines] == [
        ["3 sequences", "72 frames", "72 decoded"], ["2 sequences", "48 frames", "48 decoded"],
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="name data sets with --dataset, or a folder"):
        run("pack_lmdb", "--folder", env.got10k_dir)
    with pytest.raises(ConfigError, match="name data sets with --dataset, or a folder"):
        run("pack_lmdb", "--dataset", NAME, "--prefix", "train")
