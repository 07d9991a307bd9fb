"""Training data sets in their official layouts, in miniature, from folders and from lmdbs."""

from __future__ import annotations

import json
import os
import pickle
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.config.experiment import DataConfig
from lib.data.annotations import parse_flags
from lib.data.crops import CropSpec, PairSpec
from lib.data.datasets import BENCHMARKS, TRAINING, BenchmarkSpec, TrainingSpec
from lib.data.layouts import Layout, SequenceEntry, SequenceFiles, SequenceSet
from lib.data.listings import by_folder, got10k_indices, lasot_train, numbers_by_class
from lib.data.lmdb_pack import pack_folder
from lib.data.registry import NAMES, lmdb_jobs, open_dataset
from lib.data.storage import FolderStorage
from lib.data.tracks import FrameKind
from lib.data.video_io import VideoFile, VideoWriter
from lib.test.evaluation.benchmarks import get_dataset
from lib.test.evaluation.environment import EnvSettings
from lib.train.admin.environment import EnvironmentSettings, env_settings
from lib.train.data.samples import open_source
from lib.utils.errors import ConfigError, DataError, ImageError
from tests import miniature

WRITTEN = ("LASOT", "GOT10K_train_full", "GOT10K_official_val", "COCO17", "TRACKINGNET", "VID", "TNL2K", "VASTTRACK")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Every data set as folders and as lmdb: the settings, and the boxes that were written."""
    env = miniature.environment(tmp_path_factory.mktemp("data"))
    boxes = miniature.write_all(env)
    for job in {job for name in WRITTEN for job in lmdb_jobs(name, env)}:
        pack_folder(*job)
    return env, boxes


def by_name(dataset):
    return {dataset.sequence_name(i): i for i in range(len(dataset))}


def hidden(dataset, name):
    return np.flatnonzero(~dataset.sequence(by_name(dataset)[name]).visible).tolist()


@pytest.mark.parametrize("name", [*WRITTEN, "FOLDER"])
def test_boxes_are_those_that_were_written_and_lie_where_the_target_is(world, name):
    env, boxes = world[0], world[1][name]
    dataset = open_dataset(name, env)
    assert set(by_name(dataset)) == set(boxes) and len(dataset) == len(boxes)
    for sequence, index in by_name(dataset).items():
        info = dataset.sequence(index)
        np.testing.assert_array_equal(info.bbox, boxes[sequence])
        assert info.bbox.dtype == np.float64
        np.testing.assert_array_equal(info.valid, (boxes[sequence][:, 2:] > 0).all(1))
        if name == "COCO17" and not sequence.endswith("0"):
            continue  # the small object, of which nothing is drawn
        for t in np.flatnonzero(info.visible)[[0, len(info.bbox) // 2 if dataset.is_video else 0, -1]]:
            x, y, w, h = info.bbox[t].round().astype(int)
            frame = dataset.frame(index, int(t))
            inside = frame[y + 2 : y + h - 2, x + 2 : x + w - 2]
            assert frame.dtype == np.uint8 and inside.mean() > 150 and inside.min() > 110
            assert frame[:, : max(x - 2, 1)].mean() < 110 or x < 4


@pytest.mark.parametrize("name", WRITTEN)
def test_an_lmdb_holds_the_same_data_set(world, name):
    folder, database = (open_dataset(name, world[0], use_lmdb) for use_lmdb in (False, True))
    for key, value in vars(folder.table).items():
        np.testing.assert_array_equal(getattr(database.table, key), value)
    for index in range(len(folder)):
        last = folder.length(index) - 1
        np.testing.assert_array_equal(database.frame(index, last), folder.frame(index, last))


def test_a_frame_that_an_lmdb_lacks_is_named(world):
    with pytest.raises(ImageError, match="got10k_lmdb:train/GOT-10k_Train_000001/00001001.jpg is not in the lmdb"):
        open_dataset("GOT10K_train_full", world[0], use_lmdb=True).frame(0, 1000)


def test_frames_in_which_the_target_cannot_be_seen(world):
    env = world[0]
    assert hidden(open_dataset("LASOT", env), "airplane/airplane-2") == [3, 5]
    assert hidden(open_dataset("GOT10K_train_full", env), "GOT-10k_Train_000003") == [4, 6]
    assert hidden(open_dataset("VASTTRACK", env), "Zebra/Zebra-12") == [7]
    assert hidden(open_dataset("FOLDER", env), "folder/pictures") == [2]
    assert hidden(open_dataset("FOLDER", env), "folder/clip") == []
    assert hidden(open_dataset("TRACKINGNET", env), "TRAIN_11/video11_0") == []


def test_pairs_show_the_target(world):
    for name in ("LASOT", "COCO17", "FOLDER"):
        source = open_source(name, world[0], DataConfig(), use_lmdb=name == "LASOT")
        rng = np.random.default_rng(3)
        for _ in range(4):
            pair = source.draw_pair(rng, PairSpec(CropSpec(64, 2, 0, 0, 1), CropSpec(128, 4, 0, 0, 1)))
            assert pair.dataset == name
            if "_" in pair.source and not pair.source.split()[0].endswith("0") and name == "COCO17":
                continue
            for crop in (*pair.template, *pair.search):
                x, y, w, h = crop.box * len(crop.image)
                inside = crop.image[round(y) + 3 : round(y + h) - 3, round(x) + 3 : round(x + w) - 3]
                assert inside.mean() > 150


def test_a_data_set_can_be_handed_to_a_worker(world):
    for name, use_lmdb in (("TRACKINGNET", True), ("FOLDER", False)):
        dataset = open_dataset(name, world[0], use_lmdb)
        copy = pickle.loads(pickle.dumps(dataset))
        np.testing.assert_array_equal(copy.frame(1, 5), dataset.frame(1, 5))


# Splits


def test_lasot_training_split_is_1120_sequences_that_are_not_tested():
    names = lasot_train()
    test = {f"{group}-{n}" for group, numbers in numbers_by_class("lasot_test.txt").items() for n in numbers}
    assert len(names) == len(set(names)) == 1120
    assert len(test) == 280 and not test & set(names)
    assert {"airplane-2", "airplane-20", "zebra-1"} <= set(names) and "airplane-1" in test
    assert len({name.rpartition("-")[0] for name in names}) == 70


def test_lasot_leaves_out_the_test_sequences_in_its_folder(tmp_path, caplog):
    env = miniature.environment(tmp_path)
    miniature.write_lasot(Path(env.lasot_dir), ["airplane/airplane-1", "airplane/airplane-2"])
    assert list(by_name(open_dataset("LASOT", env))) == ["airplane/airplane-2"]
    assert "1 of the 1120 training sequences" in caplog.text


def test_got10k_splits_have_nothing_forbidden_in_them():
    train, val = got10k_indices("vottrain"), got10k_indices("votval")
    assert (len(train), len(val)) == (7086, 1249)
    assert not set(train) & set(val)
    assert 1 in val and not {4, 13, 34} & {*train, *val}
    assert got10k_indices("vottrain", 6) == [0, 2, 3, 5]


def test_got10k_split_of_a_shortened_list_is_cut_to_it(world, caplog):
    names = {split: list(by_name(open_dataset(f"GOT10K_{split}", world[0]))) for split in ("vottrain", "votval")}
    assert [int(name[-1]) - 1 for name in names["vottrain"]] == [0, 2, 3, 5]
    assert [int(name[-1]) - 1 for name in names["votval"]] == [1]
    assert "6 of the 9335" in caplog.text


def test_trackingnet_sets_may_be_chosen(world, tmp_path):
    for name, sets in (("TRACKINGNET[3]", [3]), ("TRACKINGNET[0, 5-7,11]", [0, 5, 6, 7, 11])):
        for use_lmdb in (False, True):
            dataset = open_dataset(name, world[0], use_lmdb)
            assert [dataset.sequence_name(i).split("/")[0] for i in range(len(dataset))] == [f"TRAIN_{n}" for n in sets]
            assert dataset.name == name
    env = miniature.environment(tmp_path)
    miniature.write_trackingnet(Path(env.trackingnet_dir), [0, 1])
    assert len(open_dataset("TRACKINGNET[0-1]", env)) == 2
    with pytest.raises(DataError, match=r"TRACKINGNET: .*TRAIN_2 has no anno.*name them: TRACKINGNET\[0,1,4-7\]"):
        open_dataset("TRACKINGNET", env)
    for bad in ("TRACKINGNET[]", "TRACKINGNET[12]", "TRACKINGNET[a]", "TRACKINGNET[3-1]"):
        with pytest.raises(ConfigError, match="expected sets from 0 to 11"):
            open_dataset(bad, env)


# Layouts


def test_got10k_labels_are_optional_and_boxes_without_area_invisible(tmp_path):
    env = miniature.environment(tmp_path)
    root = Path(env.got10k_dir)
    (boxes, _) = miniature.write_got10k(root, 2).values()
    boxes[21, 2], boxes[22] = 0, np.nan
    miniature.write_rows(root / "GOT-10k_Train_000001/groundtruth.txt", boxes)
    for name in ("absence.label", "cover.label"):
        (root / "GOT-10k_Train_000001" / name).unlink()
    dataset = open_dataset("GOT10K_train_full", env)
    assert hidden(dataset, "GOT-10k_Train_000001") == [21, 22]
    assert np.flatnonzero(~dataset.sequence(0).valid).tolist() == [21, 22]
    with pytest.raises(ImageError, match="00000025.jpg cannot be read"):
        dataset.frame(0, 24)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: (root / "list.txt").unlink(), r"list.txt cannot be read.*; set got10k_dir in lib/train"),
        (lambda root: (root / "a" / "groundtruth.txt").unlink(), r"groundtruth.txt cannot be read"),
        (lambda root: (root / "a" / "groundtruth.txt").write_text("1,2,3\n"), r"txt, line 1: expected four .* '1 2 3'"),
        (lambda root: (root / "a" / "groundtruth.txt").write_bytes(b"\xff\xfe"), r"groundtruth.txt is not a text"),
        (lambda root: (root / "a" / "absence.label").write_text("0\n0\n"), r"absence.label has 2 flags for the 24"),
        (lambda root: (root / "a" / "absence.label").write_text("2\n" * 24), r"absence.label: expected flags 0 and 1"),
        (lambda root: (root / "a" / "cover.label").write_text("x\n" * 24), r"cover.label, line 1"),
        (lambda root: (root / "list.txt").write_text(""), "there is no sequence in it"),
    ],
)  # fmt: skip
def test_damage_is_one_error_that_names_data_set_and_file(tmp_path, damage, message):
    env = miniature.environment(tmp_path)
    root = Path(env.got10k_dir)
    miniature.write_got10k(root, 1)
    (root / "GOT-10k_Train_000001").rename(root / "a")
    (root / "list.txt").write_text("a\n")
    damage(root)
    with pytest.raises(DataError, match=f"^GOT10K_train_full: .*{message}"):
        open_dataset("GOT10K_train_full", env)


def test_lasot_needs_its_flags(tmp_path):
    env = miniature.environment(tmp_path)
    miniature.write_lasot(Path(env.lasot_dir), ["cat/cat-2"])
    (Path(env.lasot_dir) / "cat/cat-2/out_of_view.txt").unlink()
    with pytest.raises(DataError, match="LASOT: .*out_of_view.txt cannot be read"):
        open_dataset("LASOT", env)


def test_coco_leaves_out_crowds_and_keeps_small_objects(world):
    dataset = open_dataset("COCO17", world[0])
    assert not dataset.is_video and len(dataset) == 8
    small = dataset.sequence(by_name(dataset)["000000000002_21"])
    np.testing.assert_array_equal(small.bbox, [[1.5, 2.5, 30.25, 60]])
    assert small.visible.tolist() == [True]
    assert dataset.frame_key(by_name(dataset)["000000000002_21"], 0) == "images/train2017/000000000002.jpg"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not a COCO annotation file"),
        ('{"images": []}', "is not a COCO annotation file: KeyError 'annotations'"),
        ('{"images": [], "annotations": []}', "has no annotation"),
        (
            '{"images": [], "annotations": [{"image_id": 1, "id": 1, "bbox": [1, 2, 3, 4]}]}',
            "is not a COCO annotation file: KeyError 1",
        ),
        (
            '{"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"image_id": 1, "id": 1, "bbox": [1, 2]}]}',
            "is not a COCO annotation file: ValueError",
        ),
    ],
)
def test_a_damaged_coco_file_is_one_error(tmp_path, content, message):
    path = tmp_path / "coco/annotations/instances_train2017.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(DataError, match=f"COCO17: .*instances_train2017.json {message}"):
        open_dataset("COCO17", miniature.environment(tmp_path))


def test_vid_tracks_end_at_a_gap_and_may_not_fill_the_picture(tmp_path):
    env = miniature.environment(tmp_path)
    root = Path(env.imagenet_dir)
    boxes = miniature.write_vid(root, videos=1)
    place = "VID/train/ILSVRC2015_VID_train_0000/ILSVRC2015_train_00000000"
    path = root / "Annotations" / place / "000010.xml"
    third = {2: np.array([0, 0, *miniature.SIZE]), 3: np.array([1, 0, *miniature.SIZE]) - [0, 0, 1, 0]}
    x, y, w, h = boxes["ILSVRC2015_VID_train_0000/ILSVRC2015_train_00000000/0"][10]
    path.write_text(miniature._vid_xml({0: np.array([x, y, w, h]), **third}, occluded=False))  # track 1 has a gap here
    dataset = open_dataset("VID", env)
    lengths = {name.rpartition("/")[2]: dataset.length(index) for name, index in by_name(dataset).items()}
    assert lengths == {"0": 28, "1": 8, "3": 1}
    assert hidden(dataset, "ILSVRC2015_VID_train_0000/ILSVRC2015_train_00000000/0") == [2]
    second = by_name(dataset)["ILSVRC2015_VID_train_0000/ILSVRC2015_train_00000000/1"]
    assert dataset.frame_key(second, 0) == f"Data/{place}/000002.JPEG"
    text = path.read_text()
    path.unlink()  # a frame without annotation is a gap of all tracks
    dataset = open_dataset("VID", env)
    lengths = {name.rpartition("/")[2]: dataset.length(index) for name, index in by_name(dataset).items()}
    assert lengths == {"0": 10, "1": 8}
    np.testing.assert_allclose(dataset.sequence(0).bbox[9], boxes[dataset.sequence_name(0)][9], atol=1)
    path.with_name("notes.xml").write_text(text)
    with pytest.raises(DataError, match="notes.xml is .* a number, like 000000.xml"):
        open_dataset("VID", env)
    path.with_name("notes.xml").unlink()
    path.write_text("<annotation><object></object></annotation>")
    with pytest.raises(DataError, match="VID: .*000010.xml is not an annotation of ImageNet VID"):
        open_dataset("VID", env)


def test_vid_reads_the_list_that_published_lmdbs_hold(world, tmp_path):
    dataset = open_dataset("VID", world[0])
    env = miniature.environment(tmp_path)
    rows = []
    for index in range(len(dataset)):
        info, start = dataset.sequence(index), int(dataset.table.firsts[index])
        row = {"set_id": 0, "vid_id": index // 2, "start_frame": start, "image_size": miniature.SIZE}
        rows.append({**row, "anno": info.bbox.tolist(), "target_visible": info.visible.tolist(), "class_name": "n"})
    filling = {**rows[0], "anno": [[0, 0, *miniature.SIZE]], "target_visible": [True]}
    Path(env.imagenet_dir).mkdir()
    (Path(env.imagenet_dir) / "cache.json").write_text(json.dumps([*rows, filling]))
    published = open_dataset("VID", env)
    for key in ("keys", "firsts", "starts", "bbox", "visible", "valid"):
        np.testing.assert_array_equal(getattr(published.table, key), getattr(dataset.table, key))
    (Path(env.imagenet_dir) / "cache.json").write_text(json.dumps([{**rows[0], "target_visible": [True]}]))
    with pytest.raises(DataError, match="cache.json is not the list of tracks"):
        open_dataset("VID", env)


def test_a_sequence_of_other_frames_than_boxes_is_left_out(tmp_path, caplog):
    env = miniature.environment(tmp_path)
    miniature.write_tnl2k(Path(env.tnl2k_dir))
    miniature.write_folder(Path(env.folder_dir))
    (Path(env.tnl2k_dir) / "part_9/INF_box/imgs/60i.jpg").unlink()
    miniature.write_rows(Path(env.folder_dir) / "clip/groundtruth.txt", np.ones((10, 4)))
    assert list(by_name(open_dataset("TNL2K", env))) == ["Arrow_video_done"]
    assert "INF_box/imgs is left out: 23 frames but 24 boxes" in caplog.text
    assert list(by_name(open_dataset("FOLDER", env))) == ["folder/pictures"]
    assert "clip.mp4 is left out: 24 frames but 10 boxes" in caplog.text


def test_names_with_braces_are_taken_as_they_are(tmp_path):
    env = miniature.environment(tmp_path)
    miniature.write_vasttrack(Path(env.vasttrack_dir), ["{0}/{0}-1"])
    dataset = open_dataset("VASTTRACK", env)
    assert dataset.frame_key(0, 2) == "{0}/{0}-1/imgs/00003.jpg"
    assert dataset.frame(0, 2).shape == (72, 96, 3)


# Videos


def test_a_video_is_read_at_random_as_in_order(world):
    dataset = open_dataset("FOLDER", world[0])
    index = by_name(dataset)["folder/clip"]
    frames = list(dataset.video(index))
    assert dataset.table.kinds[index] == FrameKind.VIDEO and len(frames) == 24
    for t in (23, 0, 11, 12, 5):
        np.testing.assert_array_equal(dataset.frame(index, t), frames[t])
    with pytest.raises(ImageError, match="clip.mp4 has no frame 24"):
        dataset.frame(index, 24)


def test_a_video_that_seeks_wrongly_is_decoded_from_the_start(tmp_path, monkeypatch, caplog):
    env = miniature.environment(tmp_path)
    miniature.write_folder(Path(env.folder_dir))
    seek = VideoFile.seek
    assert VideoFile(Path(env.folder_dir) / "clip/clip.mp4").seeks_exactly()
    monkeypatch.setattr(VideoFile, "seek", lambda video, t: seek(video, min(t + (t > 15), 23)))
    assert not VideoFile(Path(env.folder_dir) / "clip/clip.mp4").seeks_exactly()
    dataset = open_dataset("FOLDER", env)
    index = by_name(dataset)["folder/clip"]
    assert dataset.table.kinds[index] == FrameKind.SLOW_VIDEO
    assert "seeking is inexact" in caplog.text
    np.testing.assert_array_equal(dataset.frame(index, 20), list(dataset.video(index))[20])


# Settings and names


def test_folder_takes_several_folders_or_one_sequence(world, tmp_path):
    root = Path(world[0].folder_dir)
    env = replace(world[0], folder_dir=[str(root), str(root / "pictures")], cache_dir=str(tmp_path))
    assert list(by_name(open_dataset("FOLDER", env))) == ["folder/clip", "folder/pictures", "pictures"]
    with pytest.raises(ConfigError, match="FOLDER: set folder_dir in"):
        open_dataset("FOLDER", replace(env, folder_dir=""))
    with pytest.raises(DataError, match="FOLDER: .*none.*no such folder"):
        open_dataset("FOLDER", replace(env, folder_dir=str(tmp_path / "none")))


@pytest.mark.parametrize("name", [name for name in TRAINING])
@pytest.mark.parametrize("use_lmdb", [False, True])
def test_a_missing_folder_is_named_with_its_setting(tmp_path, name, use_lmdb):
    setting = TRAINING[name].lmdb_setting if use_lmdb else TRAINING[name].setting
    env = miniature.environment(tmp_path)
    with pytest.raises(DataError, match=f"^{name}: there is no folder {getattr(env, setting)}; set {setting} in"):
        open_dataset(name, env, use_lmdb)
    Path(getattr(env, setting)).mkdir(parents=True)
    with pytest.raises(DataError, match=f"^{name}: .*{getattr(env, setting)}.*"):
        open_dataset(name, env, use_lmdb)


def test_an_unknown_name_is_an_error_with_the_nearest_one():
    for name, hint in (("COCO", "did you mean COCO17"), ("nothing", "known are LASOT, .*IMAGES")):
        with pytest.raises(ConfigError, match=f"unknown training data set '{name}': {hint}"):
            open_source(name, EnvironmentSettings(), DataConfig())
    assert {"LASOT", "GOT10K_vottrain", "GOT10K_votval", "GOT10K_train_full", "GOT10K_official_val", "COCO17", "VID",
            "TRACKINGNET", "IMAGES", "FOLDER", "PICTURES", "TNL2K", "VASTTRACK"} == set(NAMES)  # fmt: skip


def test_local_file_wins_over_defaults_and_may_hold_more(tmp_path):
    local = tmp_path / "local.py"
    local.write_text(
        "class EnvironmentSettings:\n    def __init__(self):\n        self.got10k_dir = '/data/got'\n"
        "        self.images_dir = ['/a', '/b']\n        self.davis_dir = '/unused'\n        self.lasot_dir = ''\n"
    )
    env = env_settings(local)
    assert (env.got10k_dir, env.images_dir) == ("/data/got", ["/a", "/b"])
    assert env.lasot_dir == EnvironmentSettings().lasot_dir
    assert not hasattr(env, "davis_dir")
    local.write_text("images_dir = '/a'\n")
    with pytest.raises(ConfigError, match="local.py cannot be used"):
        env_settings(local)


# The cache


@pytest.fixture
def got10k(tmp_path):
    env = miniature.environment(tmp_path)
    miniature.write_got10k(Path(env.got10k_dir), 3)
    return env


def test_annotation_is_parsed_once(got10k, monkeypatch):
    first = open_dataset("GOT10K_train_full", got10k)
    monkeypatch.setattr(SequenceFiles, "track", lambda *_: pytest.fail("the annotation was parsed again"))
    second = open_dataset("GOT10K_train_full", got10k)
    for key, value in vars(first.table).items():
        np.testing.assert_array_equal(getattr(second.table, key), value)
        assert getattr(second.table, key).dtype == value.dtype
    assert [path.suffix for path in Path(got10k.cache_dir).iterdir()] == [".npz"]


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "groundtruth.txt").write_text("5,6,7,8\n" * 24),
        lambda folder: (folder / "absence.label").unlink(),
        lambda folder: (folder.parent / "list.txt").write_text(folder.name + "\n"),
    ],
)
def test_annotation_that_changed_is_parsed_again(got10k, change):
    before = open_dataset("GOT10K_train_full", got10k)
    change(Path(got10k.got10k_dir) / "GOT-10k_Train_000002")
    after = open_dataset("GOT10K_train_full", got10k)
    assert len(after) != len(before) or not (
        np.array_equal(after.table.bbox, before.table.bbox)
        and np.array_equal(after.table.visible, before.table.visible)
    )
    assert len(list(Path(got10k.cache_dir).iterdir())) == 1


def test_the_same_size_but_another_time_is_a_change(got10k):
    path = Path(got10k.got10k_dir) / "GOT-10k_Train_000001/groundtruth.txt"
    open_dataset("GOT10K_train_full", got10k)
    text = path.read_text()
    path.write_text(text.replace("32.0000", "31.0000"))
    os.utime(path, ns=(1, 1))
    assert open_dataset("GOT10K_train_full", got10k).sequence(0).bbox[0, 2] == 31


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:-200], lambda data: b"PK" + data[100:]])
def test_a_damaged_cache_is_made_anew(got10k, damage, caplog):
    boxes = open_dataset("GOT10K_train_full", got10k).table.bbox
    (path,) = Path(got10k.cache_dir).iterdir()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    np.testing.assert_array_equal(open_dataset("GOT10K_train_full", got10k).table.bbox, boxes)
    assert "is damaged" in caplog.text
    assert path.read_bytes() == whole


def test_a_cache_that_cannot_be_written_is_a_warning(got10k, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    env = replace(got10k, cache_dir=str(tmp_path / "file"))
    assert len(open_dataset("GOT10K_train_full", env)) == 3
    assert "cannot be written" in caplog.text and "set cache_dir" in caplog.text


def test_two_places_have_two_caches(got10k, tmp_path):
    other = replace(got10k, got10k_dir=str(tmp_path / "other"))
    miniature.write_got10k(tmp_path / "other", 2)
    assert [len(open_dataset("GOT10K_train_full", env)) for env in (got10k, other, got10k)] == [3, 2, 3]
    assert len(list(Path(got10k.cache_dir).iterdir())) == 2


def test_a_layout_and_a_row_for_each_half_are_all_that_a_new_data_set_needs(tmp_path, monkeypatch):
    layout = Layout(("{name}/color",), ("{name}/gt.txt",), hidden=(("{name}/gone.txt", parse_flags),))
    row = TrainingSpec("got10k_dir", "mine", SequenceSet(by_folder, layout), "got10k_lmdb_dir")
    monkeypatch.setitem(TRAINING, "MINE", row)
    monkeypatch.setitem(BENCHMARKS, "mine", BenchmarkSpec(by_folder, 1, layout, "my_", "mine", "mine_path", "mine"))
    env = replace(miniature.environment(tmp_path), got10k_dir=str(tmp_path / "mine"))
    boxes = miniature.moving_boxes(3)
    folder = Path(env.got10k_dir) / "one"
    miniature.write_frames([folder / "color" / f"f{n}.png" for n in (8, 9, 10)], boxes)
    miniature.write_rows(folder / "gt.txt", boxes)
    (folder / "gone.txt").write_text("0,1,0")
    dataset = open_dataset("MINE", env)
    (sequence,) = get_dataset("mine", env=EnvSettings(tmp_path, tmp_path, tmp_path))
    assert (dataset.sequence_name(0), sequence.name) == ("one", "my_one")
    last = cv2.imread(str(folder / "color/f10.png"))[..., ::-1]
    for info, frame in (
        (dataset.sequence(0).bbox, dataset.frame(0, 2)),
        (sequence.ground_truth, sequence.frames.frame(2)),
    ):
        np.testing.assert_array_equal(info, boxes)
        np.testing.assert_array_equal(frame, last)
    assert dataset.sequence(0).visible.tolist() == sequence.visible.tolist() == [True, False, True]


def test_a_layout_of_videos_and_one_of_listed_frames_can_be_trained_on(tmp_path):
    boxes = miniature.moving_boxes(6)
    with VideoWriter(tmp_path / "a/clip.mp4") as writer:
        for box in boxes:
            writer.write(miniature.draw(box))
    names = [f"{n:04d}.png" for n in range(6)]
    miniature.write_frames([tmp_path / "a" / name for name in names], boxes)
    miniature.write_rows(tmp_path / "a/gt.txt", boxes)
    storage = FolderStorage(str(tmp_path))
    video = SequenceFiles(Layout(("{name}/clip.mp4",), ("{name}/gt.txt",)), storage, SequenceEntry("a")).track()
    assert (video.kind, video.key) == (FrameKind.VIDEO, "a/clip.mp4")
    entry = SequenceEntry("a", label="x/a", frames=tuple(names[2:]), omitted=2)
    listed = SequenceFiles(Layout(boxes=("{name}/gt.txt",)), storage, entry).track()
    assert (listed.name, listed.kind, listed.files) == ("x/a", FrameKind.LISTED, tuple(names[2:]))
    np.testing.assert_array_equal(listed.info.bbox, boxes[2:])


def test_ground_truth_of_a_folder_may_be_polygons(tmp_path):
    env = miniature.environment(tmp_path)
    boxes = miniature.write_folder(Path(env.folder_dir))["folder/pictures"]
    x, y, w, h = boxes.T
    miniature.write_rows(
        Path(env.folder_dir) / "pictures/groundtruth.txt", np.stack((x, y, x + w, y, x + w, y + h, x, y + h), 1)
    )
    dataset = open_dataset("FOLDER", env)
    np.testing.assert_array_equal(dataset.sequence(by_name(dataset)["folder/pictures"]).bbox, boxes)
