"""A network that is recorded and replayed: what surrounds the recording, which itself needs a GPU."""

import pytest
import torch

from lib.test.tracker import Tracker
from lib.test.tracker.build import choose_precision
from lib.test.tracker.networks import InferenceNetwork
from lib.utils.errors import ConfigError
from tests.test_inference import case
from tests.test_tracker import TINY, reference_model, run


class Tape:
    """Stands for :func:`cuda_graph`: a replay does the work again on the recorded inputs and writes to the result."""

    def __init__(self):
        self.recorded = []

    def __call__(self, function, inputs):
        self.recorded.append(inputs)
        result = function(*inputs)

        def replay():
            for name, value in function(*inputs).items():
                result[name].copy_(value)

        return replay, result


@pytest.fixture
def tape(monkeypatch):
    tape = Tape()
    monkeypatch.setattr("lib.test.tracker.recorded.cuda_graph", tape)
    return tape


@torch.inference_mode()
def test_a_replay_takes_what_it_is_given_now(tape):
    cfg, model, template, search = case(batch=3)
    form = model.for_inference(cfg)
    network, plain = InferenceNetwork(form, recorded=True), InferenceNetwork(form)
    mask = torch.rand(3, 16) > 0.5
    tokens = network.embed_template(template)
    for order in ([0, 1, 2], [2, 0, 1], [1], [0], [2, 1], [0, 0, 0]):
        for chosen in (mask, None):
            inputs = tokens[order], search[order], None if chosen is None else chosen[order]
            before = [None if value is None else value.clone() for value in inputs]
            found = {name: value.clone() for name, value in network.run(*inputs).items()}
            for name, value in plain.run(*inputs).items():
                torch.testing.assert_close(found[name], value, rtol=0, atol=0)
            assert all(a is None or a.equal(b) for a, b in zip(inputs, before, strict=True))
    assert len(tape.recorded) == 6  # three sizes of batch, with a mask and without


def test_a_tracker_gives_the_same_boxes(tape):
    cfg, model = reference_model(TINY)
    expected = run(Tracker(cfg, InferenceNetwork(model.for_inference(cfg))), 5)
    assert run(Tracker(cfg, InferenceNetwork(model.for_inference(cfg), recorded=True)), 5) == expected
    assert len(tape.recorded) == 1


def test_it_is_for_a_gpu():
    assert choose_precision("fp16", "cuda:0", "cudagraph") == "fp16"
    with pytest.raises(ConfigError, match="backend cudagraph runs on a GPU: use --device cuda"):
        choose_precision("auto", "cpu", "cudagraph")
