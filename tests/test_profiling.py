"""Operation counts against the published ones; what is printed against what is written."""

import json
import re
import time

import pytest
import torch
from torch._subclasses import FakeTensorMode

from lib.test import profiling
from lib.test.export.graph import noise_inputs
from lib.test.profiling import count_flops, count_operations, measure, profile
from lib.test.spec import TrackerSpec
from lib.utils.errors import ConfigError
from tests.factories import TINY, reference_model, run_command

pytest.importorskip("thop")
NAMES = [f"vitb_{size}_mae{ce}_32x4_ep300" for size in (256, 384) for ce in ("", "_ce")]


@pytest.mark.parametrize("name", NAMES)
def test_macs_parameters_and_flops_are_the_published_ones(name, golden, monkeypatch):
    expected, (cfg, model) = golden("profile.json")[name], reference_model(name)
    inputs = noise_inputs(cfg, 1)
    monkeypatch.setattr(profiling, "noise_inputs", lambda *_: inputs)
    with FakeTensorMode(allow_non_fake_inputs=True):  # nothing is computed: shapes are enough for PyTorch's counter
        gflops = count_flops(cfg, model)
    # Here CE reads the attention of its template tokens apart from the attention itself, which costs a little.
    assert gflops == pytest.approx(expected["flop_counter_gflops"], rel=1e-4 if "_ce_" in name else 1e-9)
    gmacs, mparams = count_operations(cfg, model)
    assert gmacs == pytest.approx(expected["thop_gmacs"], rel=1e-9)
    assert mparams == pytest.approx(expected["thop_mparams"], rel=1e-9)


def test_the_file_holds_what_the_text_says(tmp_path, monkeypatch, capsys):
    path = tmp_path / "new" / "profile.json"
    arguments = ["--config", TINY, "--frames", 2, "--batch", 2, "--json", path, "MODEL.HEAD.NUM_CHANNELS=16"]
    run_command(monkeypatch, "profile_model", arguments)
    text, found = capsys.readouterr().out, json.loads(path.read_text())
    assert found["name"] == TINY and found["batch"] == 2 and not found["compiled"]
    assert f"vitt_256_ce_images on cpu, {torch.get_num_threads()} CPU threads, torch, float32, batch 2; 2 timed" in text
    for pattern, values in {
        r"MACs +([\d.]+) G": [found["gmacs"]],
        r"FLOPs +([\d.]+) G": [found["gflops"]],
        r"params +([\d.]+) M": [found["mparams"]],
        r"network +([\d.]+) ms median, ([\d.]+) ms.* ([\d.]+) FPS": list(found["network"].values()),
        r"tracker +([\d.]+) ms median, ([\d.]+) ms.* ([\d.]+) FPS": list(found["tracker"].values()),
        r"memory +([\d.]+) MiB": [found["memory_mib"]],
    }.items():
        printed = [float(number) for number in re.search(pattern, text).groups()]
        assert printed == pytest.approx(values, abs=0.051) and min(printed) > 0, pattern
    assert f"(peak, {found['memory_kind']})" in text
    assert found["gflops"] > 2 * found["gmacs"]  # the one counts attention, the other does not


def test_times_are_percentiles_of_the_steps_after_the_warm_up():
    steps = []

    def step(number):
        steps.append(number)
        time.sleep(0.2 if number < 0 else 0.02 if number == 19 else 0.001)

    found = measure(step, 20, batch=3, device=torch.device("cpu"))
    assert steps == list(range(-5, 20))
    assert 1 <= found.p50 < 15 and found.p50 < found.p95 < 200
    assert found.fps == pytest.approx(3000 / found.p50)


def test_bad_numbers_and_devices_are_named():
    with pytest.raises(ConfigError, match="batch 0"):
        profile(TrackerSpec(TINY), batch=0)
    with pytest.raises(ConfigError, match="'gpu'"):
        profile(TrackerSpec(TINY, device="gpu"))
