"""Every row of the table of benchmarks, on a miniature of what its users have on disk."""

from __future__ import annotations

import logging
import pickle
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.data.annotations import DATA_SPECS, parse_exist, parse_region_boxes
from lib.data.datasets import BENCHMARKS
from lib.data.layouts import attribute_list
from lib.data.video_io import VideoWriter
from lib.test.analysis.analyze import complete_benchmarks
from lib.test.evaluation.benchmarks import benchmark_status, describe_benchmarks, get_dataset
from lib.test.evaluation.environment import EnvSettings
from lib.utils.errors import DataError
from tests.conftest import REPOSITORY

PUBLISHED = (
    "otb nfs uav tc128 tc128ce trackingnet got10k_test got10k_val got10k_ltrval lasot lasot_lmdb vot18 vot20 vot22 itb "
    "tnl2k lasot_extension_subset"
)
BOXES = np.array([[1, 2, 3, 4], [2, 2, 3, 4], [0, 0, 0, 0]], np.float64)


def rows(separator: str = ",") -> str:
    return "".join(separator.join(f"{value:g}" for value in box) + "\n" for box in BOXES)


@dataclass
class Case:
    """A benchmark in miniature: one sequence of three frames, and what is expected of it.

    Attributes:
        frames: the pictures' paths, with ``%`` for their number.
        files: annotation and other files.
        name: of the sequence.
        first: number of the first picture.
        visible, official: flags for ``pytracking`` and ``official``.
    """

    frames: str
    files: dict[str, str]
    name: str
    dataset: str
    first: int = 1
    visible: list[bool] | None = None
    official: list[bool] | None = None
    language: str | None = None
    attributes: tuple[str, ...] = ()
    object_class: str | None = None
    extra: dict[str, str] = field(default_factory=dict)  # files that must not become sequences


LASOT = {
    "zebra/zebra-17/groundtruth.txt": rows(),
    "zebra/zebra-17/full_occlusion.txt": "0,1,0",
    "zebra/zebra-17/out_of_view.txt": "0,0,1",
    "zebra/zebra-17/nlp.txt": "zebra on grass\n",
    "annos/att/zebra-17.txt": "0,1,0,0,0,1,0,0,1,0,0,0,1,0\n",
}
SEEN = [True, False, False]
EXIST = '{"exist": [1, 1, 0], "gt_rect": [[1, 2, 3, 4], [2, 2, 3, 4], []]}'
ANTIUAV = {f"test/20190925_101846_1_1/{kind}.json": EXIST for kind in ("visible", "infrared")}
LASHER = {f"testingset/1blackteacher/{name}.txt": rows() for name in ("init", "visible", "infrared")}
VOT = {
    "list.txt": "agility\n",
    "agility/groundtruth.txt": "1,2,4,2,4,6,1,6\nm2,2,3,4,0,12\n0\n",
    "agility/color.tag": "1",
}
CASES = {
    "lasot": Case(
        "zebra/zebra-17/img/%08d.jpg",
        LASOT,
        "zebra-17",
        "lasot",
        visible=SEEN,
        official=SEEN,
        language="zebra on grass",
        attributes=("POC", "ROT", "SV", "LR"),
        object_class="zebra",
    ),
    "lasot_extension_subset": Case(
        "atv/atv-1/img/%08d.jpg",
        {key.replace("zebra-17", "atv-1").replace("zebra/", "atv/"): text for key, text in LASOT.items()},
        "atv-1",
        "lasot_extension_subset",
        visible=SEEN,
        official=SEEN,
        language="zebra on grass",
        attributes=("POC", "ROT", "SV", "LR"),
        object_class="atv",
    ),
    "got10k_val": Case(
        "val/GOT-10k_Val_000001/%08d.jpg",
        {
            "val/list.txt": "GOT-10k_Val_000001\n",
            "val/GOT-10k_Val_000001/groundtruth.txt": rows(),
            "val/GOT-10k_Val_000001/absence.label": "0\n1\n0\n",
            "val/GOT-10k_Val_000001/cover.label": "8\n3\n0\n",
            "val/GOT-10k_Val_000001/meta_info.ini": "[METAINFO]\nurl: a/%20b\nobject_class: boar\nmotion_class: run\n",
        },
        "GOT-10k_Val_000001",
        "got10k",
        official=[True, True, False],
        attributes=("boar", "run"),
    ),
    "trackingnet": Case(
        "TEST/frames/abc_1/%d.jpg", {"TEST/anno/abc_1.txt": rows()}, "abc_1", "trackingnet", first=0
    ),
    "otb": Case("Deer/img/%04d.jpg", {"Deer/groundtruth_rect.txt": rows("\t")}, "Deer", "otb", 1),
    "nfs": Case("sequences/dog_2/%05d.jpg", {"anno/nfs_dog_2.txt": rows("\t")}, "nfs_dog_2", "nfs"),
    "uav": Case(
        "data_seq/UAV123/uav1/%06d.jpg",
        {"anno/UAV123/uav1_1.txt": rows(), "anno/UAV123/att/uav1_1.txt": "1,0,0,0,0,0,0,0,0,0,0,1"},
        "uav_uav1_1",
        "uav",
        attributes=("SV", "SOB"),
        object_class="aircraft",
    ),
    "uav123_10fps": Case(
        "data_seq/UAV123_10fps/bike1/%06d.jpg",
        {"anno/UAV123_10fps/bike1.txt": rows(), "anno/UAV123_10fps/att/bike1.txt": "0,0,0,0,0,0,0,0,0,0,1,0"},
        "uav10fps_bike1",
        "uav123_10fps",
        attributes=("CM",),
        object_class="vehicle",
    ),
    "uav20l": Case(
        "data_seq/UAV123/group3/%06d.jpg",
        {"anno/UAV20L/group3.txt": rows()},
        "uav20l_group3",
        "uav20l",
        object_class="person",
    ),
    "dtb70": Case("BMX2/img/%05d.jpg", {"BMX2/groundtruth_rect.txt": rows()}, "dtb70_BMX2", "dtb70"),
    "uavtrack112": Case(
        "data_seq/bus1-n/%05d.jpg", {"anno/bus1-n.txt": rows()}, "uavtrack112_bus1-n", "uavtrack112"
    ),
    "tc128": Case(
        "Bike_ce1/img/%04d.jpg",
        {"Bike_ce1/Bike_ce1_gt.txt": rows(), "Bike_ce1/bike_ce1_frames.txt": "4,6\n"},
        "tc128_Bike_ce1",
        "tc128",
        first=4,
        extra={"Bike_ce1/img/0003.jpg": ""},
    ),
    "tnl2k": Case(
        "part_1/CM_bus/imgs/%d.png",
        {
            "part_1/CM_bus/groundtruth.txt": rows(),
            "part_1/CM_bus/language.txt": "the bus",
            "annos/absent/CM_bus.txt": "0\n0\n1\n",
            "annos/att/CM_bus_attribute.txt": "1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,1",
        },
        "CM_bus",
        "tnl2k",
        official=[True, True, False],
        language="the bus",
        attributes=("CM", "MS"),
        first=9,
    ),
    "itb": Case("3d-animals/bear1/%05d.jpg", {"3d-animals/bear1/groundtruth.txt": rows(" ")}, "bear1", "itb"),
    "vot18": Case("agility/%08d.jpg", VOT, "vot18_agility", "vot18"),
    "vot20": Case("agility/color/%08d.jpg", VOT, "vot20_agility", "vot20"),
    "vot22": Case("agility/color/%08d.jpg", VOT, "vot22_agility", "vot22"),
    "didi": Case("agility/color/%08d.jpg", VOT, "didi_agility", "didi"),
    "avist": Case(
        "sequences/polar_bear/img_%05d.jpg",
        {
            "anno/polar_bear.txt": rows(" "),
            "full_occlusion/polar_bear_full_occlusion.txt": "0,1,0",
            "out_of_view/polar_bear_out_of_view.txt": "0,0,0",
        },
        "polar_bear",
        "avist",
        visible=[True, False, True],
        official=[True, False, True],
        attributes=("WC", "CM"),
    ),
    "vasttrack": Case(
        "Air Hockey/Air Hockey-12/imgs/%05d.jpg",
        {
            "Air Hockey/Air Hockey-12/Groundtruth.txt": rows(),
            "Air Hockey/Air Hockey-12/nlp.txt": "puck",
            "annos/att/Air Hockey-12.txt": "1,0,0,0,0,0,0,0,0,1",
        },
        "Air Hockey-12",
        "vasttrack",
        visible=[True, True, False],
        official=[True, True, False],
        language="puck",
        attributes=("LR", "MB"),
        object_class="Air Hockey",
    ),
    "uavtrack112_l": Case(
        "data_seq/air conditioning box2/%05d.jpg",
        {"anno_l/air conditioning box2.txt": rows(), "anno/bus1-n.txt": rows()},
        "uavtrack112l_air conditioning box2",
        "uavtrack112_l",
    ),
    "uavdt": Case(
        "UAV-benchmark-S/S0101/img%06d.jpg",
        {"UAV-benchmark-SOT_v1.0/anno/S0101_gt.txt": rows(), "UAV-benchmark-SOT_v1.0/anno/att/S0101_att.txt": "1"},
        "S0101",
        "uavdt",
    ),
    "visdrone": Case(
        "sequences/uav0000011_00000_s/img%07d.jpg",
        {
            "annotations/uav0000011_00000_s.txt": rows(),
            "attributes/uav0000011_00000_s_attr.txt": "1,0,0,0,0,0,0,0,0,0,1,0",
        },
        "uav0000011_00000_s",
        "visdrone",
        attributes=("ARC", "SV"),
    ),
    "antiuav_rgb": Case(
        "test/20190925_101846_1_1/visible/visibleI%04d.jpg",
        ANTIUAV | {"train/20190925_101846_1_2/visible.json": EXIST},
        "antiuav_rgb_20190925_101846_1_1",
        "antiuav_rgb",
        visible=[True, True, False],
        official=[True, True, False],
    ),
    "antiuav_tir": Case(
        "test/20190925_101846_1_1/infrared/infraredI%04d.jpg",
        ANTIUAV,
        "antiuav_tir_20190925_101846_1_1",
        "antiuav_tir",
        visible=[True, True, False],
        official=[True, True, False],
    ),
    "antiuav410": Case(
        "test/02_6319_1500-2999/%06d.jpg",
        {
            "test/02_6319_1500-2999/IR_label.json": EXIST,
            "annos/test/att/02_6319_1500-2999.txt": "1,0,0,0,1,1,1,1,0,0",
        },
        "antiuav410_02_6319_1500-2999",
        "antiuav410",
        visible=[True, True, False],
        official=[True, True, False],
        attributes=("TC", "OC", "DBC", "TS", "SS"),
    ),
    "lasher_rgb": Case(
        "testingset/1blackteacher/visible/v%06d.jpg",
        LASHER | {"trainingset/2boys/visible.txt": rows()},
        "lasher_rgb_1blackteacher",
        "lasher_rgb",
    ),
    "lasher_tir": Case(
        "testingset/1blackteacher/infrared/i%06d.jpg", LASHER, "lasher_tir_1blackteacher", "lasher_tir"
    ),
    "nt_vot211": Case(
        "sequences/lovers_outside the window/img_%05d.jpg",
        {"GT/lovers_outside the window.txt": rows(" ")},
        "lovers_outside the window",
        "nt_vot211",
    ),
    "images_val": Case(
        "val/a/%08d.jpg", {"val/a/groundtruth.txt": rows(), "val/a/absence.label": "0\n0\n1\n"}, "a", "images_val",
        visible=[True, True, False], official=[True, True, False],
    ),
}  # fmt: skip
CASES["tc128ce"] = CASES["tc128"]
CASES["got10k_test"] = Case(
    "test/GOT-10k_Test_000001/%08d.jpg",
    {"test/GOT-10k_Test_000001/groundtruth.txt": rows()},
    "GOT-10k_Test_000001",
    "got10k",
)
ROOTS = {"got10k_val": "got10k", "got10k_test": "got10k", "images_val": "images"}


def root_of(env: EnvSettings, name: str) -> Path:
    """The folder that the setting names, above a split."""
    return Path(getattr(env, BENCHMARKS[name].setting))


def write_case(root: Path, case: Case) -> None:
    for i in range(3):
        path = root / (case.frames % (case.first + i))
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((12, 16, 3), 10 * i, np.uint8))
    for name, text in (case.files | case.extra).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.fixture
def env(tmp_path: Path) -> EnvSettings:
    return EnvSettings(tmp_path, tmp_path / "data", tmp_path / "output")


def check_case(case: Case, sequences: list) -> None:
    (sequence,) = (one for one in sequences if one.name == case.name)
    sequence = pickle.loads(pickle.dumps(sequence))  # as it reaches a worker process
    assert sequence.dataset == case.dataset
    np.testing.assert_array_equal(sequence.ground_truth, BOXES)
    for flags, expected in ((sequence.visible, case.visible), (sequence.official_visible, case.official)):
        assert flags is None if expected is None else flags.tolist() == expected
    assert sequence.language == case.language
    if case.attributes:
        assert sequence.attributes == case.attributes
    if case.object_class:
        assert sequence.object_class == case.object_class
    assert sequence.image_size == (16, 12)
    assert [int(sequence.frames.frame(i).mean()) for i in range(3)] == [0, 10, 20]


@pytest.mark.parametrize("name", CASES)
def test_layout(env: EnvSettings, name: str) -> None:
    write_case(root_of(env, name), CASES[name])
    check_case(CASES[name], get_dataset(name, env=env))


def test_every_row_is_tested_here_and_every_published_name_is_there() -> None:
    assert set(BENCHMARKS) - set(CASES) == {"lasot_lmdb", "got10k_ltrval"}  # tested below
    assert set(PUBLISHED.split()) <= set(BENCHMARKS)


def test_names_of_sequences_do_not_clash() -> None:
    """Result files are named after sequences: the same name in two benchmarks would be one file."""
    prefixed = [row.prefix for name, row in BENCHMARKS.items() if row.prefix and name != "tc128ce"]
    assert len(prefixed) == len(set(prefixed))


IN_THE_FOLDER = ("list.txt", "vasttrack_test_list.txt", "TNL2K_testing_set.txt", "testingsetList.txt")


def test_every_row_names_a_setting_and_its_lists(env: EnvSettings) -> None:
    for name, row in BENCHMARKS.items():
        assert Path(env.prj_dir) in env.folder(row).parents, name
        for listed in (getattr(row.find, "keywords", {}).get("listed"), row.layout.attributes):
            if listed and "{" not in listed and listed not in IN_THE_FOLDER:
                assert (DATA_SPECS / listed).is_file(), name


@pytest.mark.parametrize("name", ["otb", "avist"])
def test_listed_attributes_are_complete(name: str) -> None:
    listed = attribute_list(f"{name}_attributes.txt")
    assert len(listed) == BENCHMARKS[name].expected
    known = {"otb": "IV SV OCC DEF MB FM IPR OPR OV BC LR", "avist": "WC OE IE TE CM"}[name].split()
    assert {attribute for attributes in listed.values() for attribute in attributes} == set(known)


def test_otb_attributes_belong_to_its_sequences(env: EnvSettings) -> None:
    root_of(env, "otb").mkdir(parents=True)
    by_name = {one.name: one.attributes for one in get_dataset("otb", env=env)}
    assert by_name["Coke"] == ("IV", "OCC", "FM", "IPR", "OPR", "BC")
    assert all(by_name.values())


# Other layouts of the same benchmarks

OTHER_LAYOUTS = {  # row, pictures, files
    "UAVDT in one folder": ("uavdt", "S0101/img%06d.jpg", {"anno/S0101_gt.txt": rows()}),
    "UAVDT with sequences": ("uavdt", "sequences/S0101/img%06d.jpg", {"anno/S0101_gt.txt": rows()}),
    "TNL2K, one level": ("tnl2k", "CM_bus/imgs/%d.png", {"CM_bus/groundtruth.txt": rows()}),
    "TNL2K beside its training set": (
        "tnl2k",
        "TNL2K_test_subset/CM_bus/imgs/%d.png",
        {"TNL2K_test_subset/CM_bus/groundtruth.txt": rows(), "TNL2K_train_subset/CM_car/groundtruth.txt": rows()},
    ),
    "TNL2K in parts of the test split": (
        "tnl2k",
        "test/part_1/CM_bus/imgs/%d.png",
        {"test/part_1/CM_bus/groundtruth.txt": rows(), "train/part_1/CM_car/groundtruth.txt": rows()},
    ),
    "TNL2K by its list": (
        "tnl2k",
        "CM_bus/imgs/%d.png",
        {"CM_bus/groundtruth.txt": rows(), "CM_car/groundtruth.txt": rows(), "TNL2K_testing_set.txt": "CM_bus\n"},
    ),
    "VastTrack in parts": (
        "vasttrack",
        "part-2/Air Hockey/Air Hockey-12/imgs/%05d.jpg",
        {"part-2/Air Hockey/Air Hockey-12/Groundtruth.txt": rows()},
    ),
    "VastTrack beside its training set": (
        "vasttrack",
        "test/Air Hockey/Air Hockey-12/imgs/%05d.jpg",
        {
            "test/Air Hockey/Air Hockey-12/Groundtruth.txt": rows(),
            "train/Air Hockey/Air Hockey-13/Groundtruth.txt": rows(),
        },
    ),
    "VastTrack's list over parts": (
        "vasttrack",
        "part-2/Air Hockey/Air Hockey-12/imgs/%05d.jpg",
        {
            "part-2/Air Hockey/Air Hockey-12/Groundtruth.txt": rows(),
            "part-2/Air Hockey/Air Hockey-13/Groundtruth.txt": rows(),
            "vasttrack_test_list.txt": "Air Hockey-12\n",
        },
    ),
    "LaSHeR, nested": (
        "lasher_tir",
        "TestingSet/testingset/boys/infrared/i%d.jpg",
        {"TestingSet/testingset/boys/init.txt": rows()},
    ),
    "LaSHeR, by its list": (
        "lasher_rgb",
        "boys/visible/v%d.jpg",
        {"boys/visible.txt": rows(), "girls/visible.txt": rows(), "testingsetList.txt": "boys\n"},
    ),
    "Anti-UAV's first release": ("antiuav_tir", "test-dev/x/IR.mp4", {"test-dev/x/IR_label.json": EXIST}),
    "VisDrone, one level deeper": (
        "visdrone",
        "VisDrone2019-SOT-test-dev/sequences/x_s/img%07d.jpg",
        {"VisDrone2019-SOT-test-dev/annotations/x_s.txt": rows()},
    ),
    "VisDrone's first boxes": ("visdrone", "sequences/x_s/img%07d.jpg", {"initialization/x_s.txt": "1,2,3,4\n"}),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHER_LAYOUTS)
def test_other_layouts(env: EnvSettings, name: str) -> None:
    row, frames, files = OTHER_LAYOUTS[name]
    for i in range(3 if "%" in frames else 0):
        path = root_of(env, row) / (frames % i)
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((12, 16, 3), 10 * i, np.uint8))
    for file, text in files.items():
        (root_of(env, row) / file).parent.mkdir(parents=True, exist_ok=True)
        (root_of(env, row) / file).write_text(text)
    if frames.endswith(".mp4"):
        with VideoWriter(root_of(env, row) / frames) as writer:
            for i in range(3):
                writer.write(np.full((48, 64, 3), 10 * i, np.uint8))
    (sequence,) = get_dataset(row, env=env)
    assert len(sequence.ground_truth) in (1, 3) and sequence.ground_truth[0].tolist() == [1, 2, 3, 4]
    assert len(sequence.frames) == 3 and abs(int(sequence.frames.frame(2).mean()) - 20) < 5
    assert sequence.has_frames() and sequence.has_boxes()


@pytest.mark.parametrize(
    "bad", ["{", "[]", '{"exist": [1]}', '{"exist": [1], "gt_rect": []}', '{"exist": 1, "gt_rect": 1}']
)
def test_bad_json_of_anti_uav_is_named(bad: str) -> None:
    with pytest.raises(DataError, match=r"a\.json: expected JSON with lists exist and gt_rect"):
        parse_exist(bad, "a.json")


# Benchmarks that are made by a rule


def test_uav123_at_10_fps_is_every_third_frame(env: EnvSettings) -> None:
    root_of(env, "uav123_10fps").mkdir(parents=True)
    sequences = {one.name.removeprefix("uav10fps_"): one for one in get_dataset("uav123_10fps", env=env)}
    assert len(sequences) == 123
    limits = {  # as the benchmark lists them
        "bike1": (1, 1029), "bird1_2": (259, 493), "bird1_3": (525, 813), "car1_s": (1, 492), "car2_s": (1, 107),
        "car4_s": (1, 277), "person1_s": (1, 534), "uav1_3": (825, 1157), "wakeboard10": (1, 157),
        "car16_2": (139, 665),
    }  # fmt: skip
    for name, (first, last) in limits.items():
        files = sequences[name].frames.files
        assert (files[0], files[-1]) == (f"{first:06d}.jpg", f"{last:06d}.jpg"), name


def test_uav20l_has_whole_videos(env: EnvSettings) -> None:
    root_of(env, "uav20l").mkdir(parents=True)
    lengths = [len(one.frames) for one in get_dataset("uav20l", env=env)]
    assert len(lengths) == 20 and min(lengths) == 1717 and max(lengths) == 5527 and sum(lengths) == 58670


def test_the_held_out_tenth_of_got10k(env: EnvSettings) -> None:
    train = root_of(env, "got10k_ltrval") / "train"
    train.mkdir(parents=True)
    with pytest.raises(DataError, match=r"list\.txt is missing or empty"):
        get_dataset("got10k_ltrval", env=env)
    (train / "list.txt").write_text("".join(f"GOT-10k_Train_{i + 1:06d}\n" for i in range(9335)))
    names = [one.name for one in get_dataset("got10k_ltrval", env=env)]
    chosen = [int(word) for word in (DATA_SPECS / "got10k_val_ids.txt").read_text().split() if word.isdecimal()]
    assert len(names) == len(set(names)) == 1401
    assert names[0] == f"GOT-10k_Train_{chosen[0] + 1:06d}"


def test_tc128_counts_by_its_files(env: EnvSettings) -> None:
    root = root_of(env, "tc128")
    write_case(root, CASES["tc128"])
    (root / "Bolt").mkdir()
    (root / "Bolt/Bolt_gt.txt").write_text(rows())
    (root / "Bolt/Bolt_frames.txt").write_text("1,3\n")
    assert [one.name for one in get_dataset("tc128", env=env)] == ["tc128_Bike_ce1", "tc128_Bolt"]
    assert [one.name for one in get_dataset("tc128ce", env=env)] == ["tc128_Bike_ce1"]
    (root / "Bolt/Bolt_frames.txt").unlink()
    with pytest.raises(DataError, match="Bolt has no file .*_frames.txt"):
        get_dataset("tc128", env=env)


def test_a_list_in_the_folder_chooses_the_sequences(env: EnvSettings) -> None:
    root = root_of(env, "vasttrack")
    write_case(root, CASES["vasttrack"])
    write_case(root, Case("Cat/Cat-1/imgs/%05d.jpg", {"Cat/Cat-1/Groundtruth.txt": rows()}, "", ""))
    assert [one.name for one in get_dataset("vasttrack", env=env)] == ["Air Hockey-12", "Cat-1"]
    (root / "vasttrack_test_list.txt").write_text("Cat-1\n")
    assert [one.name for one in get_dataset("vasttrack", env=env)] == ["Cat-1"]


def test_a_listed_sequence_without_files_is_not_dropped(env: EnvSettings) -> None:
    root = root_of(env, "vot20")
    write_case(root, CASES["vot20"])
    (root / "list.txt").write_text("agility\nants1\n")
    agility, ants = get_dataset("vot20", env=env)
    with pytest.raises(DataError, match=r"ants1/groundtruth\.txt cannot be read"):
        ants.ground_truth  # noqa: B018


# lmdb


def test_lasot_from_an_lmdb_is_the_same(env: EnvSettings) -> None:
    lmdb = pytest.importorskip("lmdb")
    folder, packed = root_of(env, "lasot"), root_of(env, "lasot_lmdb")
    write_case(folder, CASES["lasot"])
    packed.mkdir(parents=True)
    with lmdb.open(str(packed), map_size=1 << 20) as database, database.begin(write=True) as transaction:
        for path in folder.rglob("*.*"):
            transaction.put(path.relative_to(folder).as_posix().encode(), path.read_bytes())
    sequences = get_dataset("lasot_lmdb", env=env)
    assert len(sequences) == 280
    check_case(CASES["lasot"], sequences)
    zebra = next(one for one in sequences if one.name == "zebra-17")
    assert len(zebra.frames) == 3
    (entry,) = (one for one in benchmark_status(env) if one.name == "lasot_lmdb")
    assert (entry.found, entry.expected) == (1, 280)
    with pytest.raises(DataError, match=r"airplane/airplane-1/groundtruth\.txt is not in the lmdb"):
        sequences[0].ground_truth  # noqa: B018


# What a copy may lack


def test_missing_flags_of_the_evaluator_are_warned_about(env: EnvSettings, caplog: pytest.LogCaptureFixture) -> None:
    root = root_of(env, "tnl2k")
    case = CASES["tnl2k"]
    write_case(root, case)
    (root / "annos/absent/CM_bus.txt").unlink()
    with caplog.at_level(logging.WARNING):
        (sequence,) = get_dataset("tnl2k", env=env)
        assert sequence.official_visible is None
    assert "tnl2k: official scores without the flags of its evaluator" in caplog.text
    (root / "annos/absent/CM_bus.txt").write_text("0\n1\n")
    (sequence,) = get_dataset("tnl2k", env=env)
    with pytest.raises(DataError, match="CM_bus: 2 official flags for 3 boxes"):
        sequence.official_visible  # noqa: B018


def test_language_and_attributes_are_optional_but_not_damaged(env: EnvSettings) -> None:
    root = root_of(env, "lasot")
    write_case(root, CASES["lasot"])
    (root / "annos/att/zebra-17.txt").write_text("0,1,0\n")
    (root / "zebra/zebra-17/nlp.txt").unlink()
    zebra = next(one for one in get_dataset("lasot", env=env) if one.name == "zebra-17")
    assert zebra.language is None
    with pytest.raises(DataError, match=r"att/zebra-17\.txt: expected 14 attributes, found 3"):
        zebra.attributes  # noqa: B018
    (root / "annos/att/zebra-17.txt").unlink()
    zebra = next(one for one in get_dataset("lasot", env=env) if one.name == "zebra-17")
    assert zebra.attributes == ()


def test_another_number_of_sequences_is_warned_about(env: EnvSettings, caplog: pytest.LogCaptureFixture) -> None:
    write_case(root_of(env, "avist"), CASES["avist"])
    get_dataset("avist", env=env)
    assert "avist has 120 sequences, those in" in caplog.text and "are 1" in caplog.text
    (root_of(env, "avist") / "anno/polar_bear.txt").unlink()
    with pytest.raises(DataError, match=r"avist: there is no sequence in .*docs/benchmarks\.md"):
        get_dataset("avist", env=env)


def test_presence_counts_sequences_with_boxes_and_frames(env: EnvSettings) -> None:
    write_case(root_of(env, "avist"), CASES["avist"])
    (root_of(env, "avist") / "anno/air_show.txt").write_text(rows(" "))
    write_case(root_of(env, "images_val"), CASES["images_val"])
    found = {one.name: one for one in benchmark_status(env)}
    assert list(found) == list(BENCHMARKS)
    assert (found["avist"].found, found["avist"].expected) == (1, 120)
    assert found["avist"].note == "incomplete: air_show"
    assert (found["images_val"].found, found["images_val"].expected) == (1, 0)
    assert found["otb"].note == "no such folder: set otb_path" and found["otb"].found == 0
    lines = describe_benchmarks(env).splitlines()
    assert len(lines) == len(BENCHMARKS) + 2
    (line,) = (line for line in lines if line.startswith("avist "))
    assert line.split()[:4] == ["avist", "1", "120", str(root_of(env, "avist"))]


def test_a_folder_without_the_benchmark_does_not_stop_the_search_for_complete_results(
    env: EnvSettings, caplog: pytest.LogCaptureFixture
) -> None:
    (root_of(env, "trackingnet") / "TRAIN_0/anno").mkdir(parents=True)  # the training set alone
    write_case(root_of(env, "images_val"), CASES["images_val"])
    result = Path(env.results_path) / "T/c/a.txt"
    result.parent.mkdir(parents=True)
    result.write_text(rows())
    assert complete_benchmarks(Path(env.results_path), [("T", "c")], env) == ["images_val"]
    assert "trackingnet is left out: trackingnet: there is no sequence in" in caplog.text


def test_the_documentation_lists_every_row() -> None:
    text = (REPOSITORY / "docs/benchmarks.md").read_text()
    for name, row in BENCHMARKS.items():
        (line,) = (line for line in text.splitlines() if line.startswith(f"| `{name}` |"))
        assert f"`{row.setting}`" in line and f"| {row.expected or 'any'} |" in line, name
        default = row.folder == row.setting.removesuffix("_path") or f"`data/{row.folder}`" in text
        assert default, name


# VOT's regions


def test_boxes_around_polygons_and_masks() -> None:
    text = "10,20,30,20,30,45.5,9.5,40\n5,6,7,8\nm3,4,4,3,5,2,2,2\nm0,0,4,4,16\n0\nnan,nan,nan,nan\n1,1,2,1,2,9\n"
    nan = [np.nan] * 4
    # The mask's window is 4 wide: 5 zeros, ones at 5 and 6, zeros at 7 and 8, ones at 9 and 10: columns 1-2, rows 1-2.
    expected = [[9.5, 20, 20.5, 25.5], [5, 6, 7, 8], [4, 5, 2, 2], nan, nan, nan, [1, 1, 1, 8]]
    np.testing.assert_array_equal(parse_region_boxes(text, "gt"), expected)
    np.testing.assert_array_equal(parse_region_boxes("1,2,5,2,5,9,1,9\n" * 3, "gt"), [[1, 2, 4, 7]] * 3)
    np.testing.assert_array_equal(parse_region_boxes("m7,8,2,2,1,2\n", "gt"), [[7, 8, 2, 2]])  # runs may end early


@pytest.mark.parametrize(
    "bad", ["1,2,3", "1,2,3,4,5", "m1,2", "m0,0,2,2,9", "m0,0,2,2,-1,3", "1,2,x,4", "m1,2,x,4,5", ""]
)
def test_a_bad_region_is_named(bad: str) -> None:
    with pytest.raises(DataError, match="gt, line 2: expected"):
        parse_region_boxes(f"1,2,3,4\n{bad}\n1,2,3,4\n", "gt")


def test_a_vot_sequence_in_a_folder_of_ones_own(tmp_path: Path) -> None:
    write_case(tmp_path, CASES["vot20"])
    (sequence,) = get_dataset(f"folder:{tmp_path}")
    assert sequence.dataset == "folder" and len(sequence.frames) == 3
    np.testing.assert_array_equal(sequence.ground_truth, [*BOXES[:2], [np.nan] * 4])  # NaN: no target
