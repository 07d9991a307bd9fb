"""Data sets on disk: their folder layouts, and the tables of training sets and benchmarks.

To add a data set, describe its layout here and add a row to ``TRAINING``, ``BENCHMARKS`` or both. Its folder is the
``setting`` in the user's file of paths, by default ``data/FOLDER``. If its sequences are not all those in the folder,
add a list to ``lib/data/data_specs``. docs/add_a_data_set.md shows how.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from lib.data import imagenet_vid, pictures
from lib.data.annotations import parse_cover, parse_exist, parse_flags, parse_vot
from lib.data.layouts import Layout, Listing, Plan, SequenceSet
from lib.data.listings import (
    by_annotated_folder,
    by_annotation,
    by_class_folder,
    by_class_list,
    by_folder,
    by_range_file,
    by_table,
    by_table_every_third,
    got10k_held_out,
    got10k_split,
    lasot_training_split,
    trackingnet_sets,
)
from lib.data.storage import Storage

# Layouts shared by training and evaluation

LASOT = Layout(
    frames=("{group}/{name}/img",),
    boxes=("{group}/{name}/groundtruth.txt",),
    numbered="{:08d}.jpg",
    hidden=(("{group}/{name}/full_occlusion.txt", parse_flags), ("{group}/{name}/out_of_view.txt", parse_flags)),
    language="{group}/{name}/nlp.txt",
    attributes="annos/att/{name}.txt",
    attribute_names=tuple("IV POC DEF MB CM ROT BC VC SV FOC FM OV LR ARC".split()),
)
GOT10K = Layout(
    numbered="{:08d}.jpg",
    hidden=(("{name}/absence.label", parse_flags), ("{name}/cover.label", parse_cover)),
    hidden_optional=True,
    official_hidden=("{name}/cover.label", parse_cover),  # its own evaluator leaves out frames of cover 0
    meta="{name}/meta_info.ini",
    as_stored=True,
)
TRACKINGNET = Layout(
    frames=("{group}/frames/{name}",), boxes=("{group}/anno/{name}.txt",), numbered="{:d}.jpg", first=0
)
TNL2K = Layout(
    frames=("{folder}/imgs",),
    boxes=("{folder}/groundtruth.txt",),
    official_hidden=("annos/absent/{name}.txt", parse_flags),
    language="{folder}/language.txt",
    attributes="annos/att/{name}_attribute.txt",
    attribute_names=tuple("CM ROT DEF FOC IV OV POC VC SV BC MB ARC LR FM AS TC MS".split()),
)
VASTTRACK = Layout(
    frames=("{group}/{name}/imgs", "{group}/{name}/img"),
    boxes=("{group}/{name}/Groundtruth.txt",),
    numbered="{:05d}.jpg",
    zero_is_absent=True,
    language="{group}/{name}/nlp.txt",
    attributes="annos/att/{name}.txt",
    attribute_names=tuple("LR SV FM ARC IV INV DEF ROT BC MB".split()),
)


@dataclass(frozen=True)
class TrainingSpec:
    """One training set."""

    setting: str  # the entry of ``lib/train/admin/local.py`` for its folder
    folder: str  # its default folder, below ``data``
    plan: Callable[[Storage], Plan]  # finds its sequences and defines how to read their annotations
    lmdb_setting: str  # the entry for its lmdb
    lmdb_folder: str = ""  # prefix of the keys of the lmdb
    content: tuple[str, ...] = ()  # sub-folders and files that belong to it; empty = all
    lmdb_per_folder: bool = False  # each folder of ``content`` has its own lmdb, called ``FOLDER_lmdb``
    is_video: bool = True  # sequences of frames, not still images
    counted: bool = True  # a folder of frames has as many images as its sequence has boxes

    def default_folders(self) -> dict[str, str]:
        """Return the default folders of data and lmdb, below ``data``, by setting."""
        return {self.setting: self.folder, self.lmdb_setting: f"{self.folder.partition('/')[0]}_lmdb"}


def _got10k(split: str, setting: str = "got10k_dir", part: str = "train") -> TrainingSpec:
    sequences = SequenceSet(partial(got10k_split, split=split), GOT10K)
    return TrainingSpec(setting, f"got10k/{part}", sequences, "got10k_lmdb_dir", lmdb_folder=part)


def trackingnet(sets: tuple[int, ...]) -> TrainingSpec:
    """Describe some of TrackingNet's 12 training sets."""
    return TrainingSpec(
        "trackingnet_dir",
        "trackingnet",
        SequenceSet(partial(trackingnet_sets, sets=sets), TRACKINGNET),
        "trackingnet_lmdb_dir",
        content=tuple(f"TRAIN_{number}" for number in sets),
        lmdb_per_folder=True,
    )


TRACKINGNET_SETS = tuple(range(12))
# fmt: off
TRAINING = {
    "LASOT": TrainingSpec("lasot_dir", "lasot", SequenceSet(lasot_training_split, LASOT), "lasot_lmdb_dir"),
    "GOT10K_vottrain": _got10k("vottrain"),
    "GOT10K_votval": _got10k("votval"),
    "GOT10K_train_full": _got10k(""),
    "GOT10K_official_val": _got10k("", "got10k_val_dir", "val"),
    "COCO17": TrainingSpec("coco_dir", "coco", pictures.plan_coco, "coco_lmdb_dir",
                           content=(pictures.ANNOTATION, pictures.IMAGES), is_video=False, counted=False),
    "VID": TrainingSpec("imagenet_dir", "vid", imagenet_vid.plan_vid, "imagenet_lmdb_dir",
                        content=(imagenet_vid.ANNOTATIONS, imagenet_vid.FRAMES), counted=False),
    "TRACKINGNET": trackingnet(TRACKINGNET_SETS),
    "TNL2K": TrainingSpec("tnl2k_dir", "tnl2k/train",
                          SequenceSet(partial(by_annotated_folder, depth=1, test=False), TNL2K), "tnl2k_lmdb_dir"),
    "VASTTRACK": TrainingSpec("vasttrack_dir", "vasttrack/train", SequenceSet(by_class_folder, VASTTRACK),
                              "vasttrack_lmdb_dir"),
}
# fmt: on


@dataclass(frozen=True)
class BenchmarkSpec:
    """One benchmark. Names that are left empty are derived from its key."""

    find: Listing  # lists its sequences
    expected: int = 0  # the number of its sequences; 0 if it is up to the user
    layout: Layout = Layout()  # layout of their files
    prefix: str = ""  # prefix of the names of its sequences, if other benchmarks have sequences of the same names
    dataset: str = ""  # the tag of its metric rules; by default its key
    setting: str = ""  # the entry of ``lib/test/evaluation/local.py`` for its folder; by default ``KEY_path``
    folder: str = ""  # its default folder, below ``data``; by default its key
    subfolder: str = ""  # sub-folder with its sequences
    lmdb: bool = False  # the files are in an lmdb
    note: str = ""  # remarks for the user


# fmt: off
_LISTED = partial(by_folder, listed="list.txt")
_LASOT = BenchmarkSpec(partial(by_class_list, listed="lasot_test.txt"), 280, LASOT,
                       note="attributes: copy annos/att of LaSOT's evaluation toolkit into the folder")
# The published protocol scores GOT-10k without its labels.
_GOT10K = BenchmarkSpec(_LISTED, 180, replace(GOT10K, hidden=()),
                        dataset="got10k", setting="got10k_path", folder="got10k")
_TABLE = Layout(("{frames}",), ("{boxes}",))
_UAV_ATTRIBUTES = tuple("SV ARC LR FM FOC POC OV BC IV VC CM SOB".split())
_UAV = BenchmarkSpec(partial(by_table, listed="uav.csv"), 123,
                     replace(_TABLE, attributes="{boxes_folder}/att/{boxes_name}", attribute_names=_UAV_ATTRIBUTES),
                     prefix="uav_")
_TC128 = BenchmarkSpec(by_range_file, 129, Layout(("{name}/img",), ("{name}/{boxes}",)),
                       prefix="tc128_", dataset="tc128", setting="tc128_path", folder="TC128")
_LASHER = BenchmarkSpec(partial(by_annotated_folder, listed="testingsetList.txt"), 245,
                        Layout(("{folder}/visible",), ("{folder}/visible.txt", "{folder}/init.txt")),
                        prefix="lasher_rgb_", setting="lasher_path", folder="lasher",
                        note="the pictures of visible light alone")
_ANTIUAV = Layout(("{folder}/visible", "{folder}/visible.mp4", "{folder}/RGB.mp4"),
                  ("{folder}/visible.json", "{folder}/RGB_label.json"), parse_exist, zero_is_absent=True)
_ANTIUAV_RGB = BenchmarkSpec(by_annotated_folder, 91, _ANTIUAV,
                             prefix="antiuav_rgb_", setting="antiuav_path", folder="antiuav",
                             note="Anti-UAV300, the videos of visible light alone")
_ANTIUAV_TIR = replace(_ANTIUAV, frames=("{folder}/infrared", "{folder}/infrared.mp4", "{folder}/IR.mp4"),
                       boxes=("{folder}/infrared.json", "{folder}/IR_label.json"))
_ANTIUAV410 = replace(_ANTIUAV, frames=("{folder}",), boxes=("{folder}/IR_label.json",),
                      attributes="annos/test/att/{name}.txt",
                      attribute_names=tuple("TC OV SV FM OC DBC TS SS MS NS".split()))
_UAVDT = Layout(("UAV-benchmark-S/{name}", "{name}", "sequences/{name}", "data_seq/{name}"),
                ("UAV-benchmark-SOT_v1.0/anno/{name}_gt.txt", "anno/{name}_gt.txt"))
_VISDRONE_FOLDERS = ("", "VisDrone2018-SOT-test-dev/", "VisDrone2019-SOT-test-dev/")
_VISDRONE = Layout(tuple(f"{folder}sequences/{{name}}" for folder in _VISDRONE_FOLDERS),
                   (*(f"{folder}annotations/{{name}}.txt" for folder in _VISDRONE_FOLDERS),
                    "initialization/{name}.txt"),
                   attributes="attributes/{name}_attr.txt",
                   attribute_names=tuple("ARC BC CM FM FOC IV LR OV POC SO SV VC".split()))
_VOT = BenchmarkSpec(_LISTED, 60, Layout(("{name}/color", "{name}"), parse=parse_vot),
                     note="boxes around polygons or masks; the VOT toolkit's own scores need the toolkit")
_AVIST = Layout(("sequences/{name}",), ("anno/{name}.txt",), attributes="avist_attributes.txt",
                hidden=(("full_occlusion/{name}_full_occlusion.txt", parse_flags),
                        ("out_of_view/{name}_out_of_view.txt", parse_flags)))
_IMAGES = Layout(hidden=(("{name}/absence.label", parse_flags),), hidden_optional=True)

_ROWS = {
    "lasot": _LASOT,
    "lasot_lmdb": replace(_LASOT, dataset="lasot", lmdb=True, note="the same sequences in an lmdb"),
    "lasot_extension_subset": replace(_LASOT, find=partial(by_class_list, listed="lasot_extension_subset.txt"),
                                      expected=150),
    "got10k_test": replace(_GOT10K, subfolder="test", note="scored on its server: transform_got10k.py packs results"),
    "got10k_val": replace(_GOT10K, subfolder="val"),
    "got10k_ltrval": replace(_GOT10K, find=got10k_held_out, expected=1401, subfolder="train",
                             note="the held-out part of the training set"),
    "trackingnet": BenchmarkSpec(partial(by_annotation, group="TEST"), 511, TRACKINGNET,
                                 note="scored on its server: transform_trackingnet.py packs results"),
    "otb": BenchmarkSpec(partial(by_table, listed="otb.csv"), 100, replace(_TABLE, attributes="otb_attributes.txt")),
    "nfs": BenchmarkSpec(partial(by_table, listed="nfs.csv"), 100, _TABLE, prefix="nfs_",
                         note="the version of 30 frames per second"),
    "uav": _UAV,
    "uav123_10fps": replace(_UAV, find=partial(by_table_every_third, listed="uav.csv"), prefix="uav10fps_"),
    "uav20l": replace(_UAV, find=partial(by_table, listed="uav20l.csv"), expected=20, prefix="uav20l_", folder="uav",
                      note="in UAV123's folder"),
    "dtb70": BenchmarkSpec(by_folder, 70, Layout(("{name}/img",), ("{name}/groundtruth_rect.txt",)), prefix="dtb70_"),
    "uavtrack112": BenchmarkSpec(by_annotation, 112, Layout(("data_seq/{name}",), ("anno/{name}.txt",)),
                                 prefix="uavtrack112_"),
    "uavtrack112_l": BenchmarkSpec(by_annotation, 45, Layout(("data_seq/{name}",), ("anno_l/{name}.txt",)),
                                   prefix="uavtrack112l_", folder="uavtrack112", note="in UAVTrack112's folder"),
    "uavdt": BenchmarkSpec(by_annotation, 50, _UAVDT, note="the single-object benchmark of UAVDT"),
    "visdrone": BenchmarkSpec(by_annotation, 35, _VISDRONE, note="VisDrone-SOT's test-dev"),
    "antiuav_rgb": _ANTIUAV_RGB,
    "antiuav_tir": replace(_ANTIUAV_RGB, layout=_ANTIUAV_TIR, prefix="antiuav_tir_",
                           note="Anti-UAV300, the thermal videos alone"),
    "antiuav410": BenchmarkSpec(by_annotated_folder, 120, _ANTIUAV410, prefix="antiuav410_",
                                note="attributes: copy annos of its toolkit into the folder"),
    "lasher_rgb": _LASHER,
    "lasher_tir": replace(_LASHER, prefix="lasher_tir_", note="the thermal pictures alone",
                          layout=Layout(("{folder}/infrared",), ("{folder}/infrared.txt", "{folder}/init.txt"))),
    "tc128": _TC128,
    "tc128ce": replace(_TC128, find=partial(by_range_file, only="_ce"), expected=78, note="those not in OTB"),
    "tnl2k": BenchmarkSpec(partial(by_annotated_folder, listed="TNL2K_testing_set.txt"), 700, TNL2K,
                           note="official scores and attributes: copy annos of TNL2K's evaluation toolkit into the "
                                "folder"),
    "itb": BenchmarkSpec(by_annotated_folder, 180, Layout(("{folder}",), ("{folder}/groundtruth.txt",))),
    "vot18": replace(_VOT, prefix="vot18_", folder="vot2018"),
    "vot20": replace(_VOT, prefix="vot20_", folder="vot2020"),
    "vot22": replace(_VOT, expected=62, prefix="vot22_", folder="vot2022"),
    "didi": replace(_VOT, expected=180, prefix="didi_"),
    "avist": BenchmarkSpec(by_annotation, 120, _AVIST),
    "vasttrack": BenchmarkSpec(partial(by_class_folder, listed="vasttrack_test_list.txt", depth=1), 3500, VASTTRACK,
                               note="list and attributes: copy vasttrack_test_list.txt and annos/att of its toolkits "
                                    "into the folder"),
    "nt_vot211": BenchmarkSpec(by_annotation, 211, Layout(("sequences/{name}",), ("GT/{name}.txt",)),
                               note="scored on its server: transform_nt_vot211.py packs results"),
    "images_val": BenchmarkSpec(_LISTED, layout=_IMAGES, setting="images_path", folder="images", subfolder="val",
                                note="drawn by tracking/make_images_dataset.py"),
}
# fmt: on
BENCHMARKS = {
    key: replace(row, dataset=row.dataset or key, setting=row.setting or f"{key}_path", folder=row.folder or key)
    for key, row in _ROWS.items()
}
