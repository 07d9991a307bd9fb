"""``DATA.DRAW``: keys, defaults and limits, that they reach the drawn pairs, and the experiment that sets them."""

from dataclasses import fields

import cv2
import numpy as np
import pytest
import yaml

from lib.config import config_hash, experiments_dir, load_config, to_plain
from lib.config.drawing import DrawSettings
from lib.config.ostrack import OSTrackConfig
from lib.data.crops import CropSpec, PairSpec
from lib.drawing.assets import load_assets
from lib.drawing.pairs import ImagesDataset
from lib.drawing.textures import procedural_textures
from lib.train.admin.environment import EnvironmentSettings
from lib.train.data.loader import build_loader, open_sources
from lib.utils.errors import ConfigError
from tests.conftest import REPOSITORY

NAME = "vits_256_ce_images_stage1"
SPEC = PairSpec(CropSpec(64, 2.0, 0.0, 0.0, 1), CropSpec(128, 4.0, 3.0, 0.25, 1))


@pytest.fixture(scope="module")
def env(tmp_path_factory):
    """Three pictures to draw from."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, image in enumerate(procedural_textures(3, 160)):
        cv2.imwrite(str(folder / f"{number}.png"), image)
    return EnvironmentSettings(images_dir=str(folder))


def pairs(dataset, count=8):
    """Images, boxes and sources of some pairs."""
    drawn = [dataset.draw_pair(np.random.default_rng(seed), SPEC) for seed in range(count)]
    return [
        (crop.image.tobytes(), crop.box.tobytes(), one.source) for one in drawn for crop in one.template + one.search
    ]


def test_every_default_is_within_its_limits():
    defaults = to_plain(DrawSettings(), complete=True)
    assert len(defaults) == len(fields(DrawSettings)) - 1  # all but which keys were given
    overrides = [f"DATA.DRAW={yaml.safe_dump(defaults, default_flow_style=True)}"]
    assert load_config(OSTrackConfig, NAME, overrides).DATA.DRAW == DrawSettings()


def test_an_experiment_without_them_is_what_it_was(env):
    for path in experiments_dir(OSTrackConfig).glob("*.yaml"):
        written = yaml.safe_load(path.read_text())["DATA"]
        assert ("DRAW" in to_plain(load_config(OSTrackConfig, path).DATA)) == ("DRAW" in written), path.stem
    cfg = load_config(OSTrackConfig, NAME)
    assert cfg.DATA.DRAW == DrawSettings()
    assert pairs(open_sources(cfg, env)["IMAGES"]) == pairs(ImagesDataset(load_assets([env.images_dir], [])))


def test_set_keys_change_the_hash_and_leave_the_others_at_their_defaults():
    cfg = load_config(OSTrackConfig, NAME, ["DATA.DRAW.LOW_FACTOR=6", "DATA.DRAW.DISTRACTORS=[0.5, 0.5]"])
    assert cfg.DATA.DRAW == DrawSettings(LOW_FACTOR=6, DISTRACTORS=(0.5, 0.5))
    assert to_plain(cfg)["DATA"]["DRAW"] == {"LOW_FACTOR": 6, "DISTRACTORS": [0.5, 0.5]}
    assert config_hash(cfg) != config_hash(load_config(OSTrackConfig, NAME))


def test_they_apply_to_training_and_validation_alike(env):
    cfg = load_config(OSTrackConfig, NAME, ["DATA.DRAW.VIEW=1", "TRAIN.NUM_WORKER=0", "TRAIN.BATCH_SIZE=4"])
    sources = open_sources(cfg, env)
    for split in ("TRAIN", "VAL"):
        batch = next(iter(build_loader(cfg, split, sources)))
        assert all(source.startswith("part of") for source in batch["source"]), split
    plain = pairs(open_sources(load_config(OSTrackConfig, NAME), env)["IMAGES"])
    assert not all(source.startswith("part of") for *_, source in plain)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("JPEG=1.5", "DATA.DRAW.JPEG is 1.5; it must be from 0 to 1"),
        ("PLACEMENT=-0.1", "DATA.DRAW.PLACEMENT is -0.1; it must be from 0 to 1"),
        ("SCALE=-0.1", "DATA.DRAW.SCALE is -0.1; it must be 0 or more"),
        ("LOW_FACTOR=1", "DATA.DRAW.LOW_FACTOR is 1; it must be 1.2 or more"),
        ("JPEG_QUALITY=96", "DATA.DRAW.JPEG_QUALITY is 96; it must be from 1 to 95"),
        ("JPEG_QUALITY=30.5", "DATA.DRAW.JPEG_QUALITY is 30.5; it must be a whole number"),
        ("HARD=often", "DATA.DRAW.HARD is 'often'; it must be a number"),
        ("BEND=.nan", "DATA.DRAW.BEND is nan; it must be finite"),
        ("DISTRACTORS=0.3", "DATA.DRAW.DISTRACTORS is 0.3; it must be a list"),
        ("DISTRACTORS=[0.5, 0.6]", "DISTRACTORS is [0.5, 0.6]; it must hold probabilities that sum to 1"),
        ("DISTRACTORS=[]", "DISTRACTORS is []; it must hold probabilities that sum to 1"),
        ("DISTRACTORS=[1.5, -0.5]", "DISTRACTORS[0] is 1.5; it must be from 0 to 1"),
        ("MIN_SIZE=0", "DATA.DRAW.MIN_SIZE is 0; it must be from 0.01 to 1"),
        ("MIN_SIZE=0.4", "MIN_SIZE is 0.4; it must be at most DATA.DRAW.MAX_SIZE = 0.32"),
        ("MAX_SIZE=0.05", "MAX_SIZE is 0.05; it must be at least DATA.DRAW.MIN_SIZE = 0.06"),
        ("JPG=0.1", "unknown key DATA.DRAW.JPG; the nearest known key is DATA.DRAW.JPEG"),
    ],
)
def test_what_cannot_be_drawn_is_refused_by_name(override, words):
    with pytest.raises(ConfigError) as error:
        load_config(OSTrackConfig, NAME, [f"DATA.DRAW.{override}"])
    assert words in str(error.value)


def test_a_section_must_be_one():
    with pytest.raises(ConfigError, match="DATA.DRAW must be a section"):
        load_config(OSTrackConfig, NAME, ["DATA.DRAW=3"])


def flat(table, prefix=""):
    parts = [flat(v, f"{prefix}{k}.") if isinstance(v, dict) else {prefix + k: v} for k, v in table.items()]
    return {key: value for part in parts for key, value in part.items()}


def test_the_second_stage_trains_the_model_and_the_crops_of_the_first():
    first, second = (flat(to_plain(load_config(OSTrackConfig, name))) for name in (NAME, NAME.removesuffix("_stage1")))
    different = {key for key in first | second if first.get(key) != second.get(key)}
    assert {".".join(key.split(".")[:-1]) for key in different} == {"TRAIN", "TEST", "DATA.DRAW"}


def test_the_example_in_the_documentation_can_be_loaded(tmp_path):
    text = (REPOSITORY / "docs/data.md").read_text()
    example = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    assert example["DATA"]["DRAW"]
    overrides = [f"DATA.DRAW={yaml.safe_dump(example['DATA']['DRAW'], default_flow_style=True)}"]
    assert load_config(OSTrackConfig, NAME, overrides).DATA.DRAW != DrawSettings()
