"""GOT-10k in its folder layout, and where training data are looked for."""

import cv2
import numpy as np
import pytest

from lib.train.admin.environment import EnvironmentSettings, env_settings
from lib.train.data.pair import CropSpec
from lib.train.data.sampler import PairSampling
from lib.train.dataset.got10k import Got10k, split_indices
from lib.train.dataset.registry import ANNOTATED, open_source
from lib.utils.errors import ConfigError, DataError

SAMPLING = PairSampling("causal", 200, 1, 1)


def write_sequence(root, name, frames=24, absent=(), cover=None, boxes=None):
    folder = root / name
    folder.mkdir(parents=True)
    boxes = boxes or [[10 + t, 12, 20, 16] for t in range(frames)]
    (folder / "groundtruth.txt").write_text("\n".join(",".join(f"{v:.4f}" for v in box) for box in boxes) + "\n")
    if absent is not None:
        (folder / "absence.label").write_text("".join(f"{int(t in absent)}\n" for t in range(frames)))
    if cover is not None:
        (folder / "cover.label").write_text("".join(f"{value}\n" for value in cover))
    for t in range(frames):
        image = np.full((60, 80, 3), t, np.uint8)
        image[12:28, 10 + t : 30 + t] = 200
        cv2.imwrite(str(folder / f"{t + 1:08d}.png"), image)
        (folder / f"{t + 1:08d}.png").rename(folder / f"{t + 1:08d}.jpg")
    return folder


def write_list(root, names):
    (root / "list.txt").write_text("\n".join(names) + "\n")


def test_visible_means_present_uncovered_and_with_area(tmp_path):
    boxes = [[10, 12, 20, 16]] * 21 + [[10, 12, 0, 16], [10, 12, 20, float("nan")], [10, 12, 20, 16]]
    write_sequence(tmp_path, "a", absent=(3,), cover=[8] * 5 + [0] + [1] * 18, boxes=boxes)
    write_list(tmp_path, ["a"])
    info = Got10k("SET", tmp_path, "got10k_dir").sequence(0)
    assert np.flatnonzero(~info.visible).tolist() == [3, 5, 21, 22]
    assert np.flatnonzero(~info.valid).tolist() == [21, 22]
    assert info.bbox.dtype == np.float64
    assert info.bbox.shape == (24, 4)


def test_missing_labels_mean_visible_and_frames_count_from_one(tmp_path):
    write_sequence(tmp_path, "a", absent=None)
    write_list(tmp_path, ["a"])
    dataset = Got10k("SET", tmp_path, "got10k_dir")
    assert dataset.sequence(0).visible.all()
    assert dataset.frame(0, 7)[0, 0].tolist() == [7, 7, 7]
    with pytest.raises(DataError, match="00000025.jpg"):
        dataset.frame(0, 24)


def test_pairs_show_the_target_where_the_box_is(tmp_path):
    write_sequence(tmp_path, "a")
    write_sequence(tmp_path, "short", frames=10)
    write_list(tmp_path, ["a", "short"])
    source = open_source("GOT10K_train_full", EnvironmentSettings(got10k_dir=str(tmp_path)), SAMPLING)
    assert source.usable == [0]
    pair = source.draw_pair(np.random.default_rng(3), CropSpec(64, 2, 0, 0, 1), CropSpec(128, 4, 0, 0, 1))
    assert pair.dataset == "GOT10K_train_full"
    assert pair.source.startswith("GOT10K_train_full/a frames")
    for crop in (*pair.template, *pair.search):
        x, y, w, h = crop.box * len(crop.image)
        inside = crop.image[round(y) + 2 : round(y + h) - 2, round(x) + 2 : round(x + w) - 2]
        assert inside.min() > 150


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: (root / "list.txt").unlink(), r"list.txt does not exist; set got10k_dir in .*local.py"),
        (lambda root: (root / "a" / "groundtruth.txt").unlink(), r"groundtruth.txt cannot be read"),
        (lambda root: (root / "a" / "groundtruth.txt").write_text("1,2,3\n"), r"txt, line 1: expected four .* '1 2 3'"),
        (lambda root: (root / "a" / "groundtruth.txt").write_text("1,2,3,x\n"), r"txt, line 1: .* '1 2 3 x'"),
        (lambda root: (root / "a" / "absence.label").write_text("0\n0\n"), r"absence.label has 2 rows.*24"),
    ],
)  # fmt: skip
def test_damage_is_one_error_that_names_the_file(tmp_path, damage, message):
    write_sequence(tmp_path, "a")
    write_list(tmp_path, ["a"])
    damage(tmp_path)
    with pytest.raises(DataError, match=message):
        ANNOTATED["GOT10K_train_full"](EnvironmentSettings(got10k_dir=str(tmp_path)))


def test_split_sizes_and_that_nothing_forbidden_is_in_them():
    train, val = split_indices("vottrain", 9335), split_indices("votval", 9335)
    assert (len(train), len(val)) == (7086, 1249)
    assert not set(train) & set(val)
    assert 1 in val
    assert not {4, 13, 34} & {*train, *val}
    assert split_indices("vottrain", 6) == [0, 2, 3, 5]


def test_split_of_a_shortened_list_is_cut_to_it(tmp_path, caplog):
    for index in range(6):
        write_sequence(tmp_path, f"s{index}")
    write_list(tmp_path, [f"s{index}" for index in range(6)])
    env = EnvironmentSettings(got10k_dir=str(tmp_path))
    dataset = ANNOTATED["GOT10K_vottrain"](env)
    assert [dataset.sequence_name(i) for i in range(len(dataset))] == ["s0", "s2", "s3", "s5"]
    assert "6 of the 9335" in caplog.text
    assert len(ANNOTATED["GOT10K_train_full"](env)) == 6


class TestEnvironment:
    def test_local_file_wins_over_defaults_and_may_hold_more(self, tmp_path):
        local = tmp_path / "local.py"
        local.write_text(
            "class EnvironmentSettings:\n    def __init__(self):\n        self.got10k_dir = '/data/got'\n"
            "        self.images_dir = ['/a', '/b']\n        self.davis_dir = '/unused'\n"
        )
        env = env_settings(local)
        assert (env.got10k_dir, env.images_dir) == ("/data/got", ["/a", "/b"])
        assert env.lasot_dir == EnvironmentSettings().lasot_dir
        assert not hasattr(env, "davis_dir")

    def test_local_file_without_the_class_is_an_error(self, tmp_path):
        local = tmp_path / "local.py"
        local.write_text("images_dir = '/a'\n")
        with pytest.raises(ConfigError, match="local.py cannot be used"):
            env_settings(local)
