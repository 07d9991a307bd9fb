"""Training presence on what a tracker reads while it runs: samples, their labels, the fit, and the command."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from lib.config.ostrack_memory import MemoryRules
from lib.models.family import load_experiment
from lib.models.ostrack_memory.memory import PRESENCE
from lib.test.evaluation.benchmarks import get_dataset
from lib.test.tracker import presence_samples
from lib.test.tracker.ostrack_memory import MemoryTracker
from lib.test.tracker.presence_samples import PresenceSamples, RecordingTracker, record
from lib.train.presence import FitOptions, cross_entropy, fit_presence, labeled
from lib.utils.checkpoint import load_checkpoint, save_checkpoint
from lib.utils.errors import ConfigError, DataError
from tests.conftest import load_script
from tests.miniature import moving_boxes, write_frames, write_rows
from tests.test_memory import FAMILY, experiment_file, random_model

FRAMES = 12


def write_sequences(folder, count, frames=FRAMES):
    """Write sequences whose target is absent in frames 4 to 6."""
    for seed in range(count):
        boxes = moving_boxes(frames, seed=seed)
        boxes[:, 2:] = 12  # there is room to look elsewhere
        write_frames([folder / f"s{seed:02d}/img/{t:08d}.jpg" for t in range(1, frames + 1)], boxes, seed=seed)
        write_rows(folder / f"s{seed:02d}/groundtruth.txt", boxes)
        write_rows(folder / f"s{seed:02d}/absence.label", np.isin(np.arange(frames), (4, 5, 6))[:, None], "%d")
    return get_dataset(f"folder:{folder}")


def recording_tracker(tmp_path, rules, **memory):
    cfg = load_experiment(experiment_file(tmp_path, **memory), family=FAMILY)
    cfg = replace(cfg, TEST=replace(cfg.TEST, MEMORY=rules))
    return RecordingTracker(cfg, random_model(cfg))


SURE = MemoryRules(LOST_THRESHOLD=0.0, FOUND_THRESHOLD=0.0)  # never lost
UNSURE = MemoryRules(LOST_THRESHOLD=1.0, FOUND_THRESHOLD=1.0, HOLD=False, LOOKS=2)  # always


@pytest.mark.parametrize(("rules", "searches"), [(SURE, 2), (UNSURE, 3)])
def test_a_frame_gives_its_own_searches_or_one_more(tmp_path, monkeypatch, rules, searches):
    (sequence,) = write_sequences(tmp_path / "set", 1)
    tracker = recording_tracker(tmp_path, rules)
    samples = record(tracker, sequence, 0)
    dim = tracker.cfg.MODEL.BACKBONE.variant.embed_dim
    assert samples.features.shape == ((FRAMES - 1) * searches, 2 * dim + 1)  # tokens, the carried token and the score
    assert sequence.shown.tolist() == [t not in (4, 5, 6) for t in range(FRAMES)]
    absent = np.repeat(~sequence.shown[1:], searches)
    assert (samples.overlaps[absent] == 0).all() and (samples.overlaps <= 1).all()
    searched = []
    search = tracker.search
    monkeypatch.setattr(tracker, "search", lambda *inputs: (searched.append(inputs), search(*inputs))[1])
    again = record(tracker, sequence, 0)
    np.testing.assert_array_equal(again.features, samples.features)
    found = tracker.search(*searched[-1])[0][-1]  # the last search again: what was recorded is what presence reads
    with torch.inference_mode():
        logit = tracker.network.model.get_submodule("model." + PRESENCE)(torch.from_numpy(again.features[-1:]).float())
    assert found.presence == pytest.approx(float(logit.sigmoid()), abs=2e-3)


def test_overlaps_are_with_the_annotation_of_the_frame(tmp_path, monkeypatch):
    (sequence,) = write_sequences(tmp_path / "set", 1)
    tracker = recording_tracker(tmp_path, SURE)
    truth = sequence.ground_truth
    steps = iter(range(1, FRAMES))

    def search(self, images, targets, around):
        result = MemoryTracker.search(self, images, targets, around)
        if around[0] == targets[0].box:  # near the last box: half of the target is found
            x, y, w, h = truth[next(steps)]
            result[0][0].box = [x, y, w / 2, h]
        else:
            result[0][0].box = [-50.0, -50.0, 5.0, 5.0]
        self.searched.append((np.zeros(3, np.float16), result[0][0].box))
        return result

    monkeypatch.setattr(RecordingTracker, "search", search)
    overlaps = record(tracker, sequence, 0).overlaps.reshape(-1, 2)
    shown = sequence.shown[1:]
    np.testing.assert_allclose(overlaps[:, 0], np.where(shown, 0.5, 0), atol=1e-6)
    assert (overlaps[:, 1] == 0).all()


def test_another_target_is_never_there(tmp_path, monkeypatch):
    first, second = write_sequences(tmp_path / "set", 2)
    monkeypatch.setattr(presence_samples, "_OTHER", 1.0)
    tracker = recording_tracker(tmp_path, SURE)
    samples = record(tracker, second, 0, first)
    shown = second.shown[1:]
    assert len(samples.overlaps) == 2 * (FRAMES - 1) + shown.sum()
    ends = np.cumsum(2 + shown) - 1
    assert (samples.overlaps[ends[shown]] == 0).all()


def test_a_lost_target_is_set_to_its_annotation_in_the_end(tmp_path, monkeypatch):
    (sequence,) = write_sequences(tmp_path / "set", 1)
    monkeypatch.setattr(presence_samples, "_OFF_FRAMES", 2)
    monkeypatch.setattr(presence_samples, "_OFF", 2.0)  # every box is off the target
    tracker = recording_tracker(tmp_path, SURE)
    around = []
    search = tracker.search

    def recorded(images, targets, boxes):
        around.append(list(boxes[0]))
        return search(images, targets, boxes)

    monkeypatch.setattr(tracker, "search", recorded)
    record(tracker, sequence, 0)
    starts = around[::2]  # of frames 1, 2, ...
    assert starts[3] == sequence.ground_truth[3].tolist()  # three frames off
    assert starts[9] == sequence.ground_truth[9].tolist()  # three more after the absence: frames 7, 8 and 9
    assert starts[5] != sequence.ground_truth[5].tolist()


def test_what_cannot_be_recorded_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="tiny has no presence to train, run by PyTorch"):
        recording_tracker(tmp_path, SURE, PRESENCE=False)
    (sequence,) = write_sequences(tmp_path / "set", 1, frames=1)
    with pytest.raises(DataError, match="sequence s00 has one box: presence is trained on boxes of several"):
        record(recording_tracker(tmp_path, SURE), sequence, 0)


def test_samples_are_kept_and_those_of_other_weights_are_refused(tmp_path):
    samples = PresenceSamples(np.ones((2, 3), np.float16), np.array([0, 0.5], np.float32))
    path = tmp_path / "deep/one.npz"
    samples.save(path, "abc")
    read = PresenceSamples.load(path, "abc")
    np.testing.assert_array_equal(read.features, samples.features)
    np.testing.assert_array_equal(read.overlaps, samples.overlaps)
    with pytest.raises(DataError, match="one.npz is of other weights"):
        PresenceSamples.load(path, "abd")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match="one.npz holds no samples .* delete it"):
        PresenceSamples.load(path, "abc")


def layers(width=4):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(width, 16), nn.ReLU(), nn.Linear(16, 1))


def test_the_fit_learns_what_is_there_and_leaves_doubtful_boxes_out():
    torch.manual_seed(1)
    features = torch.randn(2000, 4)
    overlaps = torch.where(features[:, 0] + features[:, 1] > 0, 0.8, 0.1)
    overlaps[:500] = 0.3
    inputs, right = labeled(features.half(), overlaps)
    assert len(right) == 1500 and right.tolist() == (overlaps[500:] == 0.8).float().tolist()
    fitted = []
    for _ in range(2):
        head = layers()
        before = cross_entropy(head, [inputs[:700], inputs[700:]], [right[:700], right[700:]])
        assert before == pytest.approx(cross_entropy(head, [inputs], [right]))
        fit_presence(head, inputs, right, FitOptions(epochs=40, batch=100, lr=0.02))
        fitted.append(head)
    assert cross_entropy(fitted[0], [inputs], [right]) < 0.1 < before
    for one, two in zip(fitted[0].parameters(), fitted[1].parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0)
    for wanted in (right[:99], torch.ones(200)):
        with pytest.raises(DataError, match=f"{len(wanted)} samples.* give more sequences"):
            fit_presence(layers(), inputs[: len(wanted)], wanted, FitOptions(batch=100))


def test_the_command_trains_presence_alone_and_goes_on_where_it_was(tmp_path, monkeypatch, capsys):
    cfg = load_experiment(path := experiment_file(tmp_path), family=FAMILY)
    write_sequences(tmp_path / "set", 11, frames=8)
    (tmp_path / "set/s03/img/00000005.jpg").write_bytes(b"")
    weights, out = tmp_path / "w.pth", tmp_path / "trained.pth"
    save_checkpoint({"net": random_model(cfg).state_dict(), "epoch": 3}, weights)
    script = load_script("train_presence")
    monkeypatch.setattr(script, "FitOptions", lambda epochs, **rest: FitOptions(epochs, batch=16, **rest))
    script.FitOptions.epochs, script.FitOptions.lr = 8, 3e-4

    def half_right(*inputs):  # of random weights every box is wrong
        samples = record(*inputs)
        return PresenceSamples(samples.features, np.arange(len(samples.overlaps), dtype=np.float32) % 2)

    monkeypatch.setattr(script, "record", half_right)
    options = ["--dataset", f"folder:{tmp_path / 'set'}", "--out", str(out), "--checkpoint", str(weights)]
    monkeypatch.setattr(
        "sys.argv", ["train_presence.py", FAMILY, str(path), *options, "--epochs", "2", "--device", "cpu"]
    )
    script.main()
    printed = capsys.readouterr().out
    assert f"wrote {out}: cross entropy of presence on 1 other sequences" in printed
    assert f"--checkpoint {out}" in printed.splitlines()[-1] and "--calibrate" in printed.splitlines()[-1]
    kept = sorted(one.name[-7:-4] for one in (tmp_path / "trained_samples").iterdir())
    assert kept == [f"s{n:02d}" for n in range(11) if n != 3]
    before, after = load_checkpoint(weights), load_checkpoint(out)
    assert after["epoch"] == 3 and before["net"].keys() == after["net"].keys()
    for name, value in before["net"].items():
        assert torch.equal(value, after["net"][name]) == (not name.startswith(PRESENCE)), name
    monkeypatch.setattr(script, "record", lambda *_: (_ for _ in ()).throw(DataError("it is damaged")))
    out.unlink()
    script.main()  # nothing but the damaged sequence is tracked again
    assert all(torch.equal(value, after["net"][name]) for name, value in load_checkpoint(out)["net"].items())
    next((tmp_path / "trained_samples").iterdir()).unlink()
    with pytest.raises(DataError, match="9 sequences could be tracked: presence needs 10 or more"):
        script.main()
    monkeypatch.setattr("sys.argv", ["train_presence.py", FAMILY, str(path), *options, "--backend", "onnxruntime"])
    with pytest.raises(ConfigError, match="--backend onnxruntime does not show what presence reads"):
        script.main()
