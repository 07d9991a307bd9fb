"""Sequences tracked during training: their AUC is the evaluation's, and training is the same without them."""

from functools import partial

import numpy as np
import pytest

from lib.config import load_config
from lib.config.ostrack import OSTrackConfig
from lib.models.ostrack import build_ostrack
from lib.test.analysis.report import evaluate
from lib.test.evaluation.evaluate import RunOptions, track_benchmarks
from lib.test.spec import TrackerSpec
from lib.test.validation import score_sequences, validation_sequences
from lib.train import run_training as run_training_module
from lib.utils.checkpoint import load_checkpoint
from lib.utils.dist_info import ALONE, DistInfo
from lib.utils.errors import DataError
from tests.conftest import load_script
from tests.factories import write_clip
from tests.train_processes import assert_same_run, in_process


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    root = tmp_path_factory.mktemp("clips")
    for offset, name in enumerate("abc"):
        write_clip(root / name, 4 + offset, (120, 160), offset)
    return root


def test_a_run_tells_the_auc_of_its_checkpoint_and_trains_as_without(tmp_path, monkeypatch, clips, whole_run):
    in_process(tmp_path, monkeypatch)
    scorer = load_script("train").sequence_scorer(f"folder:{clips}")
    options = run_training_module.TrainOptions(save_dir=str(tmp_path / "out"), device="cpu")
    last = run_training_module.run_training(str(tmp_path / "tiny.yaml"), (), options, scorer)
    state = load_checkpoint(last)
    auc = state["stats"]["val"].pop("AUC")
    assert len(auc) == 2  # after epochs 3 and 4
    assert_same_run(state, whole_run())

    spec = TrackerSpec(tmp_path / "tiny.yaml", "ostrack", last, device="cpu", backend="plain")
    track_benchmarks(spec, [f"folder:{clips}"], RunOptions(results_dir=tmp_path / "results"))
    report = evaluate([("ostrack", "tiny")], f"folder:{clips}", tmp_path / "results")
    assert auc[-1] == pytest.approx(report.trackers[0].scores()["AUC"], abs=1e-3)
    assert "[sequences: 4] AUC: " in (tmp_path / "out/logs/ostrack-tiny.log").read_text()


def test_ranks_share_the_sequences(clips, tmp_path, monkeypatch):
    in_process(tmp_path, monkeypatch)
    cfg = load_config(OSTrackConfig, tmp_path / "tiny.yaml")
    score = partial(score_sequences, cfg, build_ostrack(cfg), sequences=validation_sequences(f"folder:{clips}"))
    alone = list(score(ALONE))
    shares = [list(score(DistInfo(rank, 2))) for rank in range(2)]
    assert [len(share) for share in shares] == [2, 1]
    np.testing.assert_allclose([shares[0][0], shares[1][0], shares[0][1]], alone)


def test_only_what_can_be_scored_is_tracked(tmp_path):
    write_clip(tmp_path / "whole", 3, (40, 60))
    write_clip(tmp_path / "first", 3, (40, 60))
    (tmp_path / "first/groundtruth.txt").write_text("1,2,30,20\n")
    assert [sequence.name for sequence in validation_sequences(f"folder:{tmp_path}")] == ["whole"]
    (tmp_path / "whole/groundtruth.txt").write_text("1,2,30,20\n")
    with pytest.raises(DataError, match="no sequence has boxes of more than its first frame"):
        validation_sequences(f"folder:{tmp_path}")
