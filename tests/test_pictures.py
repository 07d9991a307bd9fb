"""Still pictures with boxes (``PICTURES``), parts of data sets by name, and the augmentation of annotated pairs."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.config.drawing import DrawSettings
from lib.config.experiment import DataConfig
from lib.data.crops import Crop, CropSpec, PairSpec
from lib.data.own_folder import selected, split_selection
from lib.data.registry import folders, open_dataset
from lib.drawing.outlines import draw_loosening, draw_part_box, draw_part_outline, draw_rectangle, loosen
from lib.drawing.photometric import Look, draw_video_look, tone_table
from lib.train.admin.environment import EnvironmentSettings
from lib.train.data.augmentation import augmented_crops, degrade, warp_crop
from lib.train.data.check import check_dataset
from lib.train.data.sampler import PairSampling
from lib.train.data.samples import AnnotatedPairs, open_source
from lib.utils.errors import ConfigError, DataError, ImageError

SAMPLING = PairSampling("causal", 50, 1, 1)
PLAIN_DRAW = DrawSettings(  # nothing but geometry
    GAIN=0, GAMMA=0, WHITE=0, HUE=0, SATURATION=0, SHADE=0, MOTION_BLUR=0, DEFOCUS=0, NOISE=0, JPEG=0,
    LOW_RESOLUTION=0, GRAY=0,
)  # fmt: skip
QUIET = np.zeros(6)


def write_picture(path, box, size=(80, 60)):
    """A dark picture with a bright red rectangle at ``box``."""
    image = np.full((size[1], size[0], 3), 20, np.uint8)
    x, y, w, h = box
    image[y : y + h, x : x + w] = (30, 30, 220)  # BGR
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)


def write_voc(folder, boxes):
    for number, box in enumerate(boxes):
        write_picture(folder / "JPEGImages" / f"{number:03d}.png", box)
        x, y, w, h = box
        (folder / "Annotations").mkdir(exist_ok=True)
        (folder / "Annotations" / f"{number:03d}.xml").write_text(
            f"<annotation><filename>{number:03d}.jpg</filename><object><name>thing</name><bndbox><xmin>{x + 1}</xmin>"
            f"<ymin>{y + 1}</ymin><xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object></annotation>"
        )


def write_coco(folder, boxes, annotation="annotations.json"):
    for number, box in enumerate(boxes):
        write_picture(folder / "images" / f"{number}.png", box)
    (folder / annotation).parent.mkdir(exist_ok=True)
    (folder / annotation).write_text(json.dumps({
        "images": [{"id": number, "file_name": f"{number}.png"} for number in range(len(boxes))],
        "annotations": [
            *({"id": number, "image_id": number, "bbox": box} for number, box in enumerate(boxes)),
            {"id": 99, "image_id": 0, "bbox": [0, 0, 5, 5], "iscrowd": 1},
        ],
    }))  # fmt: skip


@pytest.fixture
def env(tmp_path):
    """Folders ``voc`` and ``coco`` of pictures with boxes."""
    write_voc(tmp_path / "pictures" / "voc", [(10, 20, 30, 25), (40, 5, 12, 40)])
    write_coco(tmp_path / "pictures" / "coco", [(5, 5, 20, 20)], "annotations/instances.json")
    return EnvironmentSettings(pictures_dir=str(tmp_path / "pictures"), cache_dir=str(tmp_path / "cache"))


def test_both_forms_give_the_boxes_as_they_were_drawn(env):
    dataset = open_dataset("PICTURES", env)
    assert not dataset.is_video
    found = {dataset.sequence_name(i): dataset.sequence(i).bbox[0].tolist() for i in range(len(dataset))}
    assert found == {"voc/000_0": [10, 20, 30, 25], "voc/001_0": [40, 5, 12, 40], "coco/0_0": [5, 5, 20, 20]}
    for i in range(len(dataset)):
        x, y, w, h = dataset.sequence(i).bbox[0].astype(int)
        red = dataset.frame(i, 0)[..., 0] > 150
        assert red.sum() == w * h and red[y : y + h, x : x + w].all()


def test_folders_are_chosen_by_their_names(env):
    assert len(open_dataset("PICTURES[voc]", env)) == 2
    assert len(open_dataset("PICTURES[c*, voc]", env)) == 3
    with pytest.raises(ConfigError, match=r"^PICTURES\[bike\*\] matches none of the 2 names, such as coco, voc$"):
        open_dataset("PICTURES[bike*]", env)
    with pytest.raises(ConfigError, match="of the 9 names, such as a0, a2, b0, b2, b4$"):
        selected([f"{kind}{i}" for kind in "ba" for i in range(5)][:9], ["x"], "FOLDER")
    assert split_selection("FOLDER[a_*, b]") == ("FOLDER", ("a_*", "b")) and split_selection("LASOT") == ("LASOT", ())
    assert selected(["b1", "a", "b2"], ["b?"], "X") == ["b1", "b2"]


def test_folders_of_one_name_are_all_taken(env, tmp_path):
    write_voc(tmp_path / "more" / "voc", [(1, 2, 30, 25)])
    several = replace(env, pictures_dir=[env.pictures_dir, str(tmp_path / "more")])
    found = open_dataset("PICTURES[voc]", several)
    assert [found.sequence(i).bbox[0, 0] for i in range(len(found))] == [10, 40, 1]
    assert len(open_dataset("PICTURES", replace(several, pictures_dir=[env.pictures_dir] * 2))) == 3  # once each


def test_a_setting_takes_folders_in_any_form():
    assert folders("a") == folders(Path("a")) == ["a"] and folders(["a", Path("b")]) == ["a", "b"]
    assert folders("") == folders(None) == folders([]) == []


def test_sequences_of_a_folder_are_chosen_by_their_names(tmp_path):
    for name in ("cars_1", "cars_2", "bike"):
        for number in range(3):
            write_picture(tmp_path / "video" / name / "img" / f"{number}.png", (5, 5, 20, 20))
        (tmp_path / "video" / name / "groundtruth.txt").write_text("5,5,20,20\n" * 3)
    env = EnvironmentSettings(folder_dir=str(tmp_path / "video"), cache_dir=str(tmp_path / "cache"))
    dataset = open_dataset("FOLDER[cars_*]", env)
    assert [dataset.sequence_name(i) for i in range(len(dataset))] == ["video/cars_1", "video/cars_2"]
    assert len(open_dataset("FOLDER", env)) == 3


def test_what_is_missing_or_damaged_is_named(env, tmp_path, caplog):
    with pytest.raises(ConfigError, match="PICTURES: set pictures_dir"):
        open_dataset("PICTURES", EnvironmentSettings())
    (tmp_path / "pictures" / "voc" / "JPEGImages" / "001.png").unlink()
    assert len(open_dataset("PICTURES[voc]", env)) == 1
    assert "1 pictures of its annotation are missing" in caplog.text
    (tmp_path / "pictures" / "voc" / "Annotations" / "000.xml").write_text("<annotation><object>")
    with pytest.raises(DataError, match="000.xml is not a Pascal VOC annotation file"):
        open_dataset("PICTURES[voc]", env)
    (tmp_path / "pictures" / "coco" / "annotations" / "instances.json").write_text('{"images": []}')
    with pytest.raises(DataError, match="instances.json is not a COCO annotation file"):
        open_dataset("PICTURES[coco]", env)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError, match="no pictures with boxes; expected annotations.json"):
        open_dataset("PICTURES", replace(env, pictures_dir=str(tmp_path / "nothing")))


def test_a_box_that_no_crop_can_be_taken_around_names_its_sequence(env):
    dataset = open_dataset("PICTURES[coco]", env)
    dataset.table.bbox[0, 2:] = 1e5
    source = AnnotatedPairs(dataset, SAMPLING)
    with pytest.raises(ImageError, match=r"PICTURES\[coco\]/coco/0_0 frames .*: cannot crop .* far too large"):
        source.draw_pair(np.random.default_rng(0), PairSpec(*[CropSpec(64, 2.0, 0.0, 0.0, 1)] * 2))


def test_the_data_set_is_checked_like_others(env):
    report = check_dataset("PICTURES", env)
    assert (report.sequences, report.broken) == (3, [])


def test_a_warped_crop_shows_the_target_in_its_box():
    image = np.zeros((120, 160, 3), np.uint8)
    image[40:70, 60:100] = 255
    box, settings = np.array([60.0, 40.0, 40.0, 30.0]), replace(PLAIN_DRAW, ROTATION=0.0, ASPECT=0.4)
    spec = CropSpec(96, 2.0, 0.5, 0.1, 1)
    ratios = []
    for seed in range(12):
        crop = warp_crop(image, box, spec, np.random.default_rng(seed), settings, turn=0.0)
        x, y, w, h = crop.box * 96
        rows, columns = np.nonzero(crop.image[..., 0] > 127)
        seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(seen, np.clip([x, y, x + w, y + h], 0, 96), atol=1.1)
        ratios.append(w / h)
    assert min(ratios) < 1.15 < 1.5 < max(ratios)  # 4 : 3 before
    round_box = np.array([60.0, 35.0, 40.0, 40.0])
    turned = warp_crop(image, round_box, replace(spec, center_jitter=0, scale_jitter=0), np.random.default_rng(0),
                       replace(PLAIN_DRAW, ROTATION=40.0, ASPECT=0.0), turn=1.0)  # fmt: skip
    np.testing.assert_allclose(turned.box, [0.25, 0.25, 0.5, 0.5], atol=1e-6)  # the circle in it does not change
    upright = replace(PLAIN_DRAW, ROTATION=0.0, ASPECT=0.0)
    lying = warp_crop(image, box, replace(spec, center_jitter=0, scale_jitter=0), np.random.default_rng(0), upright,
                      turn=np.pi / 2)  # fmt: skip
    assert lying.box[2] / lying.box[3] == pytest.approx(3 / 4)
    outside = warp_crop(image, np.array([140.0, 40.0, 40.0, 30.0]), spec, np.random.default_rng(0), settings, 0.0)
    assert outside.padding.any() and not outside.image[outside.padding].any()


def test_search_frames_of_video_are_turned_by_any_angle_and_templates_are_not():
    frame, boxes = np.zeros((120, 160, 3), np.uint8), np.tile(np.array([70.0, 30.0, 20.0, 60.0]), (2, 1))
    frame[30:90, 70:90] = 255
    wanted = [(0, CropSpec(96, 4.0, 0, 0, 1)), (1, CropSpec(96, 4.0, 0, 0, 1))]

    def ratios(turn):
        settings, rng = replace(PLAIN_DRAW, TURN=turn), np.random.default_rng(0)
        pairs = [augmented_crops(rng, lambda _: frame, boxes, wanted, settings, is_video=True) for _ in range(40)]
        return np.array([[crop.box[2] / crop.box[3] for crop in pair] for pair in pairs])

    np.testing.assert_allclose(ratios(0.0), 1 / 3, rtol=1e-5)
    template, search = ratios(1.0).T
    np.testing.assert_allclose(template, 1 / 3, rtol=1e-5)
    assert search.min() < 0.4 and search.max() > 2.5  # from upright to lying
    upright = np.isclose(ratios(0.25)[:, 1], 1 / 3, rtol=1e-5).mean()
    assert 0.6 < upright < 0.9


def test_extents_lie_where_they_should():
    rng = np.random.default_rng(0)
    box = np.array([10.0, 20.0, 40.0, 30.0])
    assert loosen(box, np.zeros(4)).tolist() == box.tolist()
    np.testing.assert_allclose(loosen(box, np.array([0.1, -0.1, np.log(2), np.log(0.5)])), [-6, 24.5, 80, 15])
    assert draw_loosening(rng, replace(PLAIN_DRAW, LOOSE=0.0)).tolist() == [0] * 4
    for _ in range(20):
        x, y, w, h = draw_part_box(rng, box)
        assert 10 <= x and x + w <= 50 and 20 <= y and y + h <= 50 and 0.3 * 40 <= w <= 0.85 * 40
    disk = 30 + 20 * np.stack((np.cos(np.linspace(0, 6, 40)), np.sin(np.linspace(0, 6, 40))), 1)
    outline = draw_part_outline(rng, disk)
    assert outline.min() >= 10 - 1e-9 and outline.max() <= 50 + 1e-9
    image = np.zeros((100, 100, 3), np.uint8)
    image[60:, 60:] = rng.integers(0, 255, (40, 40, 3))
    centers = [draw_rectangle(rng, image)[:2] + draw_rectangle(rng, image)[2:] / 2 for _ in range(40)]
    assert np.mean([center.min() > 30 for center in centers]) > 0.5  # the textured quarter is preferred


def test_a_degraded_crop_is_dark_or_faded_and_its_padding_black():
    padding = np.zeros((8, 8), bool)
    padding[:, :2] = True
    crop = Crop(np.full((8, 8, 3), 200, np.uint8), np.zeros(4, np.float32), padding)
    dark = degrade(crop, np.random.default_rng(0), PLAIN_DRAW, Look(np.log((0.5, 0.5, 0.5, 1, 1, 1))))
    assert (dark.image[:, 2:] == 100).all() and not dark.image[:, :2].any() and (crop.image == 200).all()
    assert tone_table(QUIET, fade=0.5)[0, [0, 255], 0].tolist() == [64, 191]
    looks = [draw_video_look(np.random.default_rng(i), replace(PLAIN_DRAW, DARK=0.5, FADE=0.5)) for i in range(60)]
    assert 15 < sum(look.fade > 0 for look in looks) < 45
    assert 15 < sum(look.tone[0] < -0.4 for look in looks) < 45


def test_augmented_pairs_of_stills_show_parts_and_rectangles(env):
    dataset = open_dataset("PICTURES[voc]", env)
    spec = CropSpec(64, 3.0, 0.0, 0.0, 1)
    whole = AnnotatedPairs(dataset, SAMPLING, 1.0, replace(PLAIN_DRAW, ROTATION=0.0, ASPECT=0.0))
    parts = AnnotatedPairs(dataset, SAMPLING, 1.0, replace(PLAIN_DRAW, ROTATION=0.0, ASPECT=0.0, SUB_BOX=1.0))

    def share_of_red(source):
        found = []
        for seed in range(8):
            pair = source.draw_pair(np.random.default_rng(seed), PairSpec(spec, spec))
            assert pair.source.endswith("augmented")
            for crop in (*pair.template, *pair.search):
                x, y, w, h = np.rint(crop.box * 64).astype(int)
                inner = crop.image[y + 2 : y + h - 2, x + 2 : x + w - 2, 0]
                found.append((inner > 150).mean() if inner.size else 1.0)
        return np.array(found)

    assert share_of_red(whole).min() > 0.9 and share_of_red(parts).min() > 0.9  # a part is all red as well
    boxes = [parts.draw_pair(np.random.default_rng(seed), PairSpec(spec, spec)).search[0].box for seed in range(8)]
    np.testing.assert_allclose([box[2] * box[3] for box in boxes], 1 / 9, rtol=0.02)  # the crop follows the part
    assert open_source("PICTURES", env, DataConfig(AUGMENT=0.3)).augment == 0.3
