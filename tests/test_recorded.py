"""A network that is recorded and replayed: what surrounds the recording, which itself needs a GPU."""

import pytest
import torch

from lib.models.ostrack.inference import prepare_inference
from lib.test.tracker import Tracker
from lib.test.tracker.build import choose_precision
from lib.test.tracker.networks import ModelNetwork
from lib.utils.errors import ConfigError
from tests.factories import SMALL, TINY, drawn_model, track_clip
from tests.test_inference import case


class Tape:
    """Stands for :func:`cuda_graph`: a replay does the work again on the recorded inputs and writes to the result."""

    def __init__(self):
        self.recorded = []

    def __call__(self, function, inputs):
        self.recorded.append(inputs)
        result = function(*inputs)

        def replay():
            for static, found in zip(result, function(*inputs), strict=True):
                for name, value in found.items():
                    static[name].copy_(value)

        return replay, result


@pytest.fixture
def tape(monkeypatch):
    tape = Tape()
    monkeypatch.setattr("lib.test.tracker.networks.cuda_graph", tape)
    return tape


@torch.inference_mode()
def test_a_replay_takes_what_it_is_given_now(tape):
    cfg, model, template, search = case(batch=3)
    form = prepare_inference(cfg, model)
    network, plain = ModelNetwork(form, recorded=True), ModelNetwork(form)
    tokens = network.prepare({"template": template})["tokens"]
    both = {"tokens": tokens, "mask": torch.rand(3, 16) > 0.5}
    for order in ([0, 1, 2], [2, 0, 1], [1], [0], [2, 1], [0, 0, 0]):
        for whole in (both, {"tokens": tokens}):
            state = {name: value[order] for name, value in whole.items()}
            before = {name: value.clone() for name, value in state.items()}
            found = {name: value.clone() for name, value in network.run(state, search[order])[0].items()}
            for name, value in plain.run(state, search[order])[0].items():
                torch.testing.assert_close(found[name], value, rtol=0, atol=0)
            assert all(value.equal(before[name]) for name, value in state.items())
    assert len(tape.recorded) == 6  # three batch sizes, with a mask and without


def test_a_tracker_gives_the_same_boxes(tape):
    cfg, model = drawn_model(TINY, SMALL)
    expected = track_clip(Tracker(cfg, ModelNetwork(prepare_inference(cfg, model))), 5)
    assert track_clip(Tracker(cfg, ModelNetwork(prepare_inference(cfg, model), recorded=True)), 5) == expected
    assert len(tape.recorded) == 1


def test_it_is_for_a_gpu():
    assert choose_precision("fp16", "cuda:0", "cudagraph") == "fp16"
    with pytest.raises(ConfigError, match="backend cudagraph runs on a GPU: use --device cuda"):
        choose_precision("auto", "cpu", "cudagraph")
