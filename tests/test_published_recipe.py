"""The published experiment on data sets in their official layouts, trained by two processes, killed and resumed."""

import signal
from pathlib import Path

import pytest
import torch

from lib.config import load_config
from lib.config.ostrack import OSTrackConfig
from lib.models.ostrack import build_ostrack
from lib.utils.checkpoint import load_checkpoint
from tests import miniature
from tests.train_processes import Runs, assert_same_run

CONFIG = "vitb_256_mae_ce_32x4_ep300"
# The published file, but for the size of model and pictures, and the length of the run.
SMALLER = (
    "MODEL.BACKBONE.DEPTH=2", "MODEL.BACKBONE.CE_LOC=[1]", "MODEL.BACKBONE.CE_KEEP_RATIO=[0.7]",
    "MODEL.HEAD.NUM_CHANNELS=16", "DATA.SEARCH.SIZE=64", "DATA.TEMPLATE.SIZE=32", "TEST.SEARCH_SIZE=64",
    "TEST.TEMPLATE_SIZE=32", "DATA.TRAIN.SAMPLE_PER_EPOCH=24", "DATA.VAL.SAMPLE_PER_EPOCH=6", "TRAIN.BATCH_SIZE=2",
    "TRAIN.NUM_WORKER=1", "TRAIN.EPOCH=2", "TRAIN.CE_START_EPOCH=0", "TRAIN.CE_WARM_EPOCH=1",
    "TRAIN.VAL_EPOCH_INTERVAL=2", "TRAIN.PRINT_INTERVAL=1", "TRAIN.SAVE_EVERY_STEPS=2",
)  # fmt: skip


@pytest.fixture
def runs(tmp_path):
    env = miniature.environment(tmp_path / "data")
    miniature.write_lasot(Path(env.lasot_dir))
    miniature.write_got10k(Path(env.got10k_dir))
    miniature.write_coco(Path(env.coco_dir))
    miniature.write_trackingnet(Path(env.trackingnet_dir))
    settings = "".join(f"    {name} = {value!r}\n" for name, value in vars(env).items())
    (tmp_path / "no_local.py").write_text(f"class EnvironmentSettings:\n{settings}")
    runs = Runs(tmp_path, CONFIG)
    yield runs
    runs.close()


def write_mae(path):
    """A small checkpoint of the MAE's form: names without ``backbone.``, and a decoder that nobody wants."""
    net = build_ostrack(load_config(OSTrackConfig, CONFIG, list(SMALLER)))
    names = ("patch_embed", "cls_token", "pos_embed", "blocks", "norm")
    state = {n: p for n, p in net.backbone.state_dict().items() if n.startswith(names) and n[-2:] not in ("_x", "_z")}
    torch.save({"model": {**state, "decoder_pos_embed": torch.zeros(1, 197, 8)}}, path)
    return state


@pytest.mark.end_to_end
def test_two_processes_killed_and_resumed_end_where_an_uninterrupted_run_does(runs, tmp_path):
    mae = write_mae(tmp_path / "mae.pth")
    command = ("--mode", "multiple", "--nproc_per_node", "2", *SMALLER, f"MODEL.PRETRAIN_FILE={tmp_path / 'mae.pth'}")
    status, text = runs.run("whole", *command)
    assert status == 0, text
    assert f"mae.pth: loaded {len(mae) + 2} tensors" in text  # the two position embeddings are made from one
    assert "in the file, not in the model: decoder_pos_embed" in text

    partial = "partial_ep0001_step000004.pth.tar"
    process = runs.start("parts", *command, kill=f"{partial} wait")
    runs.wait_for(process, runs.checkpoints("parts") / partial)
    process.send_signal(signal.SIGKILL)
    runs.finish(process)  # the ranks end with their launcher: their output would stay open
    assert not list(runs.checkpoints("parts").glob("OSTrack*.tar"))  # no whole epoch yet
    status, text = runs.run("parts", *command)
    assert status == 0, text
    assert f"{partial}: 0 epochs and 4 steps are done" in text

    whole, parts = (load_checkpoint(runs.checkpoints(out) / "OSTrack_ep0002.pth.tar") for out in ("whole", "parts"))
    assert_same_run(whole, parts)
    assert (whole["step"], whole["world"]) == (12, 2)
    assert [len(group["params"]) for group in whole["optimizer"]["param_groups"]] == [54, 32]
    assert set(whole["stats"]) == {"train", "val"}
