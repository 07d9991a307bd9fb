"""Experiment files: what they resolve to, and what is refused."""

import argparse
import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace
from typing import get_args, get_type_hints

import pytest

from lib.config import add_overrides, config_hash, drawn_datasets, load_config, to_plain, unused_keys, validated_epochs
from lib.config.experiment import HeadConfig, ModelConfig, TrainConfig
from lib.config.ostrack import OSTrackConfig
from lib.models.layers.head import HEADS
from lib.utils.errors import ConfigError
from tests.conftest import REPOSITORY

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
    assert to_plain(load_config(OSTrackConfig, name)) == golden("configs.json")[name]


def test_overrides_are_no_required_argument(capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument("video")
    add_overrides(parser)
    assert parser.parse_intermixed_args(["a.mp4"]).overrides == []
    assert parser.parse_intermixed_args(["a.mp4", "TEST.EPOCH=1"]).overrides == ["TEST.EPOCH=1"]
    with pytest.raises(SystemExit):
        parser.parse_intermixed_args([])
    assert capsys.readouterr().err.endswith("required: video\n")


def test_overrides_win_and_are_typed():
    overrides = ["TRAIN.LR=1e-3", "MODEL.BACKBONE.CE_KEEP_RATIO=[0.5, 0.6, 1]", "TRAIN.ACCUM_STEPS=4", "TRAIN.LR=1e-2"]
    cfg = load_config(OSTrackConfig, NAME, overrides)
    assert cfg.TRAIN.LR == 0.01
    assert cfg.MODEL.BACKBONE.CE_KEEP_RATIO == (0.5, 0.6, 1)
    assert cfg.TRAIN.ACCUM_STEPS == 4
    assert cfg.name == NAME


def test_extensions_have_defaults_and_enter_the_resolved_configuration_where_they_are_set():
    cfg = load_config(OSTrackConfig, NAME)
    assert cfg.TRAIN.ACCUM_STEPS == 1 and cfg.TRAIN.SCHEDULER.MILESTONES == () and cfg.MODEL.HEAD.CORRELATION is False
    changed = load_config(OSTrackConfig, NAME, ["TRAIN.ACCUM_STEPS=1", "TRAIN.DISTILL.SIZE_WEIGHT=2"])
    expected = to_plain(cfg)
    expected["TRAIN"] |= {"ACCUM_STEPS": 1, "DISTILL": {"SIZE_WEIGHT": 2}}
    assert to_plain(changed) == expected
    distill = {"SCORE_WEIGHT": 1, "SIZE_WEIGHT": 1, "OFFSET_WEIGHT": 1, "FEATURE_WEIGHT": 0}
    assert to_plain(cfg, complete=True)["TRAIN"]["DISTILL"] == distill
    assert to_plain(replace(cfg.TEST, SIZE_SMOOTHING=0.5))["SIZE_SMOOTHING"] == 0.5
    with pytest.raises(AttributeError, match="ACUM_STEPS"):
        cfg.TRAIN.ACUM_STEPS  # noqa: B018


def test_published_keys_without_effect_keep_their_value():
    cfg = load_config(OSTrackConfig, NAME)
    model, backbone = cfg.MODEL, cfg.MODEL.BACKBONE
    assert (model.EXTRA_MERGER, model.RETURN_INTER, model.RETURN_STAGES) == (False, False, ())
    assert (backbone.MID_PE, backbone.MERGE_LAYER, backbone.ADD_CLS_TOKEN) == (False, 0, False)
    assert (backbone.CLS_TOKEN_USE_MODE, backbone.CAT_MODE, cfg.TRAIN.OPTIMIZER) == ("ignore", "direct", "ADAMW")


def test_a_loaded_config_is_frozen():
    cfg = load_config(OSTrackConfig, NAME)
    for section, key in ((cfg, "TRAIN"), (cfg.TRAIN, "LR"), (cfg.MODEL.BACKBONE, "CE_LOC"), (cfg.DATA.DRAW, "VIEW")):
        with pytest.raises(FrozenInstanceError, match=key):
            setattr(section, key, getattr(section, key))


def test_a_config_travels_to_another_process():
    cfg = load_config(OSTrackConfig, NAME, ["TRAIN.SEED=42"])
    copy = pickle.loads(pickle.dumps(cfg))
    assert copy == cfg != load_config(OSTrackConfig, NAME, ["TRAIN.SEED=7"])
    assert (copy.name, copy.TRAIN.SEED, to_plain(copy)) == (NAME, 42, to_plain(cfg))


def test_the_hash_follows_the_values():
    assert config_hash(load_config(OSTrackConfig, NAME)) == config_hash(load_config(OSTrackConfig, NAME))
    assert config_hash(load_config(OSTrackConfig, NAME)) != config_hash(
        load_config(OSTrackConfig, NAME, ["TRAIN.LR=0.1"])
    )


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
        ("MODEL.RETURN_STAGES=[1]", ["MODEL.RETURN_STAGES is [1]", "[]"]),
        ("TRAIN.OPTIMIZER=SGD", ["TRAIN.OPTIMIZER", "ADAMW"]),
        ("MODEL.HEAD.TYPE=CENTRE", ["MODEL.HEAD.TYPE", "CORNER", "did you mean CENTER"]),
        ("DATA.STD=[1, 0, 1]", ["DATA.STD[1] is 0", "greater than 0"]),
        ("TRAIN.EMA_DECAY=1", ["TRAIN.EMA_DECAY", "[0, 1)"]),
        ("TRAIN.FREEZE_LAYERS=[13]", ["TRAIN.FREEZE_LAYERS is [13]", "1 to 12"]),
        ("TRAIN.FREEZE_LAYERS=[x]", ["TRAIN.FREEZE_LAYERS[0]", "whole number"]),
        ("DATA.MEAN=0.5", ["DATA.MEAN", "a list"]),
        ("DATA.MEAN=[0.5]", ["DATA.MEAN", "3 values"]),
        ("DATA.MEAN=[123.675, 116.28, 103.53]", ["DATA.MEAN[0] is 123.675", "from 0 to 1"]),
        ("TRAIN.LR=-1", ["TRAIN.LR", "greater than 0"]),
        ("TRAIN.LR_DROP_EPOCH=0", ["TRAIN.LR_DROP_EPOCH", "greater than 0"]),
        ("MODEL.HEAD.NUM_CHANNELS=7", ["MODEL.HEAD.NUM_CHANNELS", "8 or more"]),
        ("TRAIN.SCHEDULER.DECAY_RATE=-0.1", ["TRAIN.SCHEDULER.DECAY_RATE", "0 or more"]),
        ("TRAIN.SCHEDULER={TYPE: Mstep, GAMMA: -0.1}", ["TRAIN.SCHEDULER.GAMMA", "0 or more"]),
        ("TRAIN.SCHEDULER={TYPE: Mstep, MILESTONES: [0]}", ["TRAIN.SCHEDULER.MILESTONES[0]", "greater than 0"]),
        ("TRAIN.SCHEDULER.TYPE=Mstep", ["TRAIN.SCHEDULER.MILESTONES is []", "name the epochs", "Mstep"]),
        ("TRAIN.SEED=-1", ["TRAIN.SEED", "from 0 to"]),
        ("MODEL.BACKBONE.MLP_RATIO=0.0006", ["MODEL.BACKBONE.MLP_RATIO", "1/768"]),
        ("DATA.TRAIN.DATASETS_RATIO=[1, 2]", ["DATA.TRAIN.DATASETS_RATIO", "DATASETS_NAME"]),
        ("DATA.TRAIN.DATASETS_RATIO=[0, 0, 0, 0]", ["DATA.TRAIN.DATASETS_RATIO", "not all 0"]),
        ("DATA.SEARCH.SIZE=250", ["DATA.SEARCH.SIZE", "multiple", "16"]),
        ("TEST.SEARCH_SIZE=240", ["TEST.SEARCH_SIZE", "DATA.SEARCH.SIZE = 256", "multiple of 32"]),
        ("TEST.SEARCH_SIZE=0", ["TEST.SEARCH_SIZE", "greater than 0"]),
        ("TEST.TEMPLATE_SIZE=64", ["TEST.TEMPLATE_SIZE", "equal DATA.TEMPLATE.SIZE = 128"]),
        ("MODEL.BACKBONE.CE_KEEP_RATIO=[0.7, 0.7, 1.2]", ["MODEL.BACKBONE.CE_KEEP_RATIO", "(0, 1]"]),
        ("MODEL.BACKBONE.CE_KEEP_RATIO=[0.7]", ["MODEL.BACKBONE.CE_KEEP_RATIO", "one ratio for each"]),
        ("MODEL.BACKBONE.CE_LOC=[3, 6, 12]", ["MODEL.BACKBONE.CE_LOC", "0 to 11"]),
        ("MODEL.BACKBONE.TYPE=vit_base_patch16", ["MODEL.BACKBONE.TYPE", "did you mean vit_base_patch16_224"]),
        ("MODEL.BACKBONE.TYPE=vit_base_patch16_224", ["MODEL.BACKBONE.CE_LOC", "vit_base_patch16_224_ce"]),
        ("MODEL.BACKBONE.ADD_CLS_TOKEN=true", ["MODEL.BACKBONE.ADD_CLS_TOKEN", "False"]),
        ("TRAIN.LR", ["KEY.SUB=value"]),
        ("MODEL.PRETRAIN_FILE=2021-13-45", ["override 'MODEL.PRETRAIN_FILE=2021-13-45'", "not valid YAML", "month"]),
        ("TEST.MIN_SIZE=!!bool x", ["not valid YAML"]),
        ("DATA={MEAN: [0, 0, 0], MEAN: [1, 1, 1]}", ["the key MEAN is there twice"]),
    ],
)
def test_impossible_values_are_refused_by_name(override, words):
    with pytest.raises(ConfigError) as error:
        load_config(OSTrackConfig, NAME, [override])
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["TRAIN.SCHEDULER={MILESTONES: [20], GAMMA: 0.5}"], "TRAIN.SCHEDULER.GAMMA and TRAIN.SCHEDULER.MILESTONES"),
        (["TRAIN.DISTILL.SCORE_WEIGHT=2"], "TRAIN.DISTILL changes nothing without a teacher"),
        (["DATA.DRAW.TURN=0.5"], "DATA.DRAW changes nothing"),
    ],
)
def test_keys_without_effect_are_told(overrides, words):
    lines = unused_keys(load_config(OSTrackConfig, NAME, overrides))
    assert len(lines) == 1 and lines[0].startswith(words)


def test_keys_with_effect_are_not_told():
    overrides = [
        "TRAIN.SCHEDULER={TYPE: Mstep, MILESTONES: [20], GAMMA: 0.5}", "TRAIN.DISTILL.SCORE_WEIGHT=2",
        "DATA.DRAW.TURN=0.5", "DATA.AUGMENT=0.5",
    ]  # fmt: skip
    assert unused_keys(load_config(OSTrackConfig, NAME, overrides), "vits_192") == []
    images = ["DATA.DRAW.TURN=0.5", "DATA.TRAIN={DATASETS_NAME: [IMAGES], DATASETS_RATIO: [1]}"]
    assert unused_keys(load_config(OSTrackConfig, NAME, images)) == []
    assert unused_keys(load_config(OSTrackConfig, NAME)) == []


def test_which_epochs_are_validated():
    def epochs(interval, last=7):
        return validated_epochs(
            load_config(OSTrackConfig, NAME, [f"TRAIN.VAL_EPOCH_INTERVAL={interval}", f"TRAIN.EPOCH={last}"]).TRAIN
        )

    assert (epochs(3), epochs(1, 3), epochs(9), epochs(0)) == ([3, 6, 7], [1, 2, 3], [7], [])


def test_which_data_sets_are_drawn_from():
    names = "DATA.{0}.DATASETS_NAME=[A, B, A, C]", "DATA.{0}.DATASETS_RATIO=[1, 0, 2, 0.5]"
    cfg = load_config(OSTrackConfig, NAME, [text.format(split) for split in ("TRAIN", "VAL") for text in names])
    assert drawn_datasets(cfg, "TRAIN") == drawn_datasets(cfg, "VAL") == {"A": 3, "C": 0.5}
    for never in ("TRAIN.VAL_EPOCH_INTERVAL=0", "DATA.VAL.DATASETS_NAME=[]", "DATA.VAL.SAMPLE_PER_EPOCH=0"):
        cfg = load_config(OSTrackConfig, NAME, [never])
        assert drawn_datasets(cfg, "VAL") == {} and drawn_datasets(cfg, "TRAIN")


def test_files_that_cannot_be_used_are_named(tmp_path):
    with pytest.raises(ConfigError, match="vitb_256_mae_ce_32x4_ep300"):
        load_config(OSTrackConfig, "vitb_256_mae_ce_32x4_ep30")
    with pytest.raises(ConfigError, match="nowhere.yaml does not exist"):
        load_config(OSTrackConfig, tmp_path / "nowhere.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("TRAIN: [1, 2")
    with pytest.raises(ConfigError, match="broken.yaml is not valid YAML"):
        load_config(OSTrackConfig, broken)
    broken.write_text("TRAIN: {EPOCH: 3}\nDATA: {}\nTRAIN: {LR: 0.1}\n")
    with pytest.raises(ConfigError, match="(?s)broken.yaml is not valid YAML: the key TRAIN is there twice.*line 3"):
        load_config(OSTrackConfig, broken)
    empty = tmp_path / "empty.yaml"
    for text in ("", "# only this\n---\n", "{}", "TRAIN:\nMODEL: {BACKBONE: {}}\n"):
        empty.write_text(text)
        with pytest.raises(ConfigError, match=r"empty.yaml is empty, it sets no key: copy one of "):
            load_config(OSTrackConfig, empty, ["TRAIN.EPOCH=3"])
    unknown = tmp_path / "unknown.yaml"
    unknown.write_text("MODEL:\n  BACKBONE:\n    CE_LOCS: [3]\n")
    with pytest.raises(
        ConfigError, match=r"unknown.yaml: unknown key MODEL.BACKBONE.CE_LOCS; .* MODEL.BACKBONE.CE_LOC"
    ):
        load_config(OSTrackConfig, unknown)


def test_another_family_brings_its_own_keys_as_documented(tmp_path):
    path = tmp_path / "long.yaml"
    path.write_text("MODEL: {FRAMES: 7, PRETRAIN_FILE: x.pth}\n")
    example = (REPOSITORY / "docs/architecture.md").read_text().split("```python\n")[1].split("```")[0]
    namespace = {"__name__": __name__}
    exec(example.replace('"NAME"', repr(str(path))), namespace)
    cfg, memory = namespace["cfg"], namespace["MemoryConfig"]
    assert (cfg.MODEL.FRAMES, cfg.TRAIN, cfg.name, cfg.family) == (5, TrainConfig(), "long", "memory")
    assert to_plain(cfg.MODEL) == to_plain(ModelConfig()) | {"FRAMES": 5, "PRETRAIN_FILE": "x.pth"}
    with pytest.raises(ConfigError, match=r"MODEL\.FRAMES is 0"):
        load_config(memory, path, ["MODEL.FRAMES=0"])
    with pytest.raises(ConfigError, match="unknown key MODEL.FRAMES"):
        load_config(OSTrackConfig, path)
    with pytest.raises(ConfigError, match="experiments/memory"):
        load_config(memory, NAME)


def test_the_names_of_heads_are_those_that_there_are():
    assert set(get_args(get_type_hints(HeadConfig)["TYPE"])) == HEADS.keys()


def test_a_configuration_is_read_without_torch():
    code = (
        "import sys; from lib.config import load_config; from lib.config.ostrack import OSTrackConfig; "
        f"load_config(OSTrackConfig, {NAME!r}); "
        "print(*sorted({'torch', 'timm', 'numpy', 'cv2', 'easydict'} & sys.modules.keys()))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], cwd=REPOSITORY, text=True).split() == []
