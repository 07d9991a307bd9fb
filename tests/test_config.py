"""Experiment files: what they resolve to, and what is refused."""

import pickle

import pytest

from lib.config.ostrack import config_hash, drawn_datasets, load_config, to_plain, validated_epochs
from lib.utils.errors import ConfigError

PUBLISHED = [
    "vitb_256_mae_32x4_ep300",
    "vitb_256_mae_ce_32x4_ep300",
    "vitb_256_mae_ce_32x4_got10k_ep100",
    "vitb_384_mae_32x4_ep300",
    "vitb_384_mae_ce_32x4_ep300",
    "vitb_384_mae_ce_32x4_got10k_ep100",
]
NAME = "vitb_256_mae_ce_32x4_ep300"


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_experiments_resolve_to_the_published_values(name, golden):
    assert to_plain(load_config(name)) == golden("configs.json")[name]


def test_each_call_gives_a_fresh_object():
    assert load_config(NAME) is not load_config(NAME)


def test_overrides_win_and_are_typed():
    cfg = load_config(NAME, ["TRAIN.LR=1e-3", "MODEL.BACKBONE.CE_KEEP_RATIO=[0.5, 0.6, 1]", "TRAIN.ACCUM_STEPS=4"])
    assert cfg.TRAIN.LR == 0.001
    assert cfg.MODEL.BACKBONE.CE_KEEP_RATIO == [0.5, 0.6, 1]
    assert cfg["TRAIN"]["ACCUM_STEPS"] == 4


def test_extension_keys_have_defaults_but_are_no_items_until_set():
    cfg = load_config(NAME)
    assert cfg.TRAIN.ACCUM_STEPS == 1 and cfg.TRAIN.SCHEDULER.MILESTONES == [] and cfg.MODEL.HEAD.CORRELATION is False
    assert "ACCUM_STEPS" not in cfg.TRAIN
    with pytest.raises(AttributeError, match="ACUM_STEPS"):
        cfg.TRAIN.ACUM_STEPS  # noqa: B018


def test_a_loaded_config_is_frozen():
    cfg = load_config(NAME)
    for change in (
        lambda: setattr(cfg.TRAIN, "LR", 1.0),
        lambda: cfg.TRAIN.update(LR=1.0),
        lambda: cfg["TRAIN"].pop("LR"),
        lambda: cfg.DATA.MEAN.append(1.0),
        lambda: cfg.TRAIN.__delitem__("LR"),
    ):
        with pytest.raises(TypeError, match="frozen"):
            change()
    assert cfg == load_config(NAME)


def test_a_config_travels_to_another_process():
    cfg = pickle.loads(pickle.dumps(load_config(NAME, ["TRAIN.SEED=7"])))
    assert cfg == load_config(NAME, ["TRAIN.SEED=7"])
    assert (cfg.TRAIN.SEED, cfg.TRAIN.ACCUM_STEPS) == (7, 1)


def test_the_hash_follows_the_values():
    assert config_hash(load_config(NAME)) == config_hash(load_config(NAME))
    assert config_hash(load_config(NAME)) != config_hash(load_config(NAME, ["TRAIN.LR=0.1"]))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("TRAIN.LRR=1", ["unknown key TRAIN.LRR", "TRAIN.LR"]),
        ("TRAIN.BATCHSIZE=1", ["TRAIN.BATCHSIZE", "TRAIN.BATCH_SIZE"]),
        ("SEARCH.SIZE=256", ["unknown key SEARCH", "DATA.SEARCH"]),
        ("TRAIN.LR=fast", ["TRAIN.LR", "'fast'", "a number"]),
        ("TRAIN.LR=.nan", ["TRAIN.LR", "finite"]),
        ("TRAIN.EPOCH=1.5", ["TRAIN.EPOCH", "whole number"]),
        ("TRAIN.EPOCH=true", ["TRAIN.EPOCH", "whole number"]),
        ("TRAIN.AMP=1", ["TRAIN.AMP", "bf16"]),
        ("TRAIN=3", ["TRAIN must be a section"]),
        ("DATA.MEAN=0.5", ["DATA.MEAN", "a list"]),
        ("DATA.MEAN=[0.5]", ["DATA.MEAN", "three"]),
        ("TRAIN.LR=-1", ["TRAIN.LR", "greater than 0"]),
        ("DATA.TRAIN.DATASETS_RATIO=[1, 2]", ["DATA.TRAIN.DATASETS_RATIO", "DATASETS_NAME"]),
        ("DATA.TRAIN.DATASETS_RATIO=[0, 0, 0, 0]", ["DATA.TRAIN.DATASETS_RATIO", "not all 0"]),
        ("DATA.SEARCH.SIZE=250", ["DATA.SEARCH.SIZE", "multiple", "16"]),
        ("TEST.SEARCH_SIZE=384", ["TEST.SEARCH_SIZE", "DATA.SEARCH.SIZE = 256", "multiple of 32"]),
        ("TEST.SEARCH_SIZE=240", ["TEST.SEARCH_SIZE", "multiple of 32"]),
        ("TEST.SEARCH_SIZE=0", ["TEST.SEARCH_SIZE", "multiple of 32"]),
        ("TEST.TEMPLATE_SIZE=64", ["TEST.TEMPLATE_SIZE", "equal DATA.TEMPLATE.SIZE = 128"]),
        ("MODEL.BACKBONE.CE_KEEP_RATIO=[0.7, 0.7, 1.2]", ["MODEL.BACKBONE.CE_KEEP_RATIO", "(0, 1]"]),
        ("MODEL.BACKBONE.CE_KEEP_RATIO=[0.7]", ["MODEL.BACKBONE.CE_KEEP_RATIO", "one ratio for each"]),
        ("MODEL.BACKBONE.CE_LOC=[3, 6, 12]", ["MODEL.BACKBONE.CE_LOC", "0 to 11"]),
        ("MODEL.BACKBONE.TYPE=vit_base_patch16", ["MODEL.BACKBONE.TYPE", "nearest: vit_base_patch16_224"]),
        ("MODEL.BACKBONE.TYPE=vit_base_patch16_224", ["MODEL.BACKBONE.CE_LOC", "vit_base_patch16_224_ce"]),
        ("MODEL.BACKBONE.ADD_CLS_TOKEN=true", ["MODEL.BACKBONE.ADD_CLS_TOKEN", "False"]),
        ("TRAIN.LR", ["KEY.SUB=value"]),
    ],
)
def test_impossible_values_are_refused_by_name(override, words):
    with pytest.raises(ConfigError) as error:
        load_config(NAME, [override])
    for word in words:
        assert word in str(error.value)


def test_which_epochs_are_validated():
    def epochs(interval, last=7):
        return validated_epochs(
            load_config(NAME, [f"TRAIN.VAL_EPOCH_INTERVAL={interval}", f"TRAIN.EPOCH={last}"]).TRAIN
        )

    assert (epochs(3), epochs(1, 3), epochs(9), epochs(0)) == ([3, 6, 7], [1, 2, 3], [7], [])


def test_which_data_sets_are_drawn_from():
    names = "DATA.{0}.DATASETS_NAME=[A, B, A, C]", "DATA.{0}.DATASETS_RATIO=[1, 0, 2, 0.5]"
    cfg = load_config(NAME, [text.format(split) for split in ("TRAIN", "VAL") for text in names])
    assert drawn_datasets(cfg, "TRAIN") == drawn_datasets(cfg, "VAL") == {"A": 3, "C": 0.5}
    for never in ("TRAIN.VAL_EPOCH_INTERVAL=0", "DATA.VAL.DATASETS_NAME=[]", "DATA.VAL.SAMPLE_PER_EPOCH=0"):
        cfg = load_config(NAME, [never])
        assert drawn_datasets(cfg, "VAL") == {} and drawn_datasets(cfg, "TRAIN")


def test_files_that_cannot_be_used_are_named(tmp_path):
    with pytest.raises(ConfigError, match="vitb_256_mae_ce_32x4_ep300"):
        load_config("vitb_256_mae_ce_32x4_ep30")
    with pytest.raises(ConfigError, match="nowhere.yaml does not exist"):
        load_config(tmp_path / "nowhere.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("TRAIN: [1, 2")
    with pytest.raises(ConfigError, match="broken.yaml is not valid YAML"):
        load_config(broken)
    empty = tmp_path / "empty.yaml"
    for text in ("", "# only this\n---\n", "{}", "TRAIN:\nMODEL: {BACKBONE: {}}\n"):
        empty.write_text(text)
        with pytest.raises(ConfigError, match=r"empty.yaml is empty, it sets no key: copy one of "):
            load_config(empty, ["TRAIN.EPOCH=3"])
    unknown = tmp_path / "unknown.yaml"
    unknown.write_text("MODEL:\n  BACKBONE:\n    CE_LOCS: [3]\n")
    with pytest.raises(
        ConfigError, match=r"unknown.yaml: unknown key MODEL.BACKBONE.CE_LOCS; .* MODEL.BACKBONE.CE_LOC"
    ):
        load_config(unknown)
