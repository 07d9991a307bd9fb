"""What every family of trackers gets from the project, tried on OSTrack and on a family outside of it with a memory."""

import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import yaml

from lib.config import ExperimentConfig
from lib.data.video_io import VideoWriter
from lib.models.family import (
    _FOUND,
    DEFAULT_FAMILY,
    Family,
    experiment_family,
    family_names,
    find_family,
    load_experiment,
)
from lib.models.layers.head import CenterHead
from lib.models.layers.score_map import gaussian_maps
from lib.test.evaluation.evaluate import track_benchmarks
from lib.test.export import ExportOptions, export_network
from lib.test.export.graph import NetworkGraph, network_hash
from lib.test.export.int8 import smooth
from lib.test.profiling import profile
from lib.test.spec import TrackerSpec
from lib.test.tracker import Tracker
from lib.test.tracker.backends import exported_network, kept_file
from lib.test.tracker.build import tracking_model
from lib.test.video_demo import track_video
from lib.test.video_loop import VideoOptions
from lib.train.actors import build_actor
from lib.train.optim import build_optimizer, freeze_layers, parameter_groups
from lib.utils.checkpoint import load_checkpoint, save_checkpoint
from lib.utils.errors import ConfigError, OSTrackError
from tests.conftest import REPOSITORY
from tests.factories import run_command
from tests.miniature import draw, moving_boxes, write_frames, write_rows
from tests.small_training import small_batch
from tests.train_processes import TINY, assert_same_run, in_process

MEMORY = "tests.mean_memory"
FAMILIES = (DEFAULT_FAMILY, MEMORY)


@pytest.fixture
def experiment(tmp_path):
    """A tiny experiment with two search frames in a sample, in a file outside of the project."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY | {"DATA": TINY["DATA"] | {"SEARCH": {**TINY["DATA"]["SEARCH"], "NUMBER": 2}}}))
    return path


@pytest.fixture
def weights(experiment, tmp_path):
    """Random weights of each family, those of the memory's projection not zero."""
    files = {}
    for name in FAMILIES:
        torch.manual_seed(0)
        model = tracking_model(load_experiment(experiment, family=name))
        state = {
            key: value.normal_(0, 0.05) if "project" in key else value for key, value in model.state_dict().items()
        }
        files[name] = tmp_path / f"{name}.pth.tar"
        save_checkpoint({"net": state}, files[name])
    return files


def clip(frames=8, seed=0):
    boxes = moving_boxes(frames, seed=seed)
    return [draw(box, seed=seed) for box in boxes], boxes


def follow(tracker: Tracker, *clips):
    """The boxes of all targets in every frame, tracked together, and their states at the end."""
    targets = [tracker.start(images[0], boxes[0].tolist()) for images, boxes in clips]
    found = [tracker.step([images[t] for images, _ in clips], targets).boxes for t in range(1, len(clips[0][0]))]
    return np.array(found), [target.state for target in targets]


def test_a_family_is_found_by_its_name_its_module_or_the_folder_of_an_experiment(tmp_path):
    assert DEFAULT_FAMILY in family_names()
    own = find_family(MEMORY)
    assert isinstance(own, Family) and own.name == "mean_memory" and find_family("mean_memory") is own
    assert experiment_family("vits_256_ce_images").name == DEFAULT_FAMILY
    assert experiment_family(tmp_path / "x.yaml").name == DEFAULT_FAMILY
    assert experiment_family(tmp_path / "x.yaml", MEMORY) is own
    for name, message in (
        ("ostrak", "did you mean ostrack?"),
        ("tests.none", "unknown family"),
        ("zzz", "there is ostrack"),
        ("./my.py", "unknown family"),
    ):
        with pytest.raises(ConfigError, match=message):
            find_family(name)
    with pytest.raises(ConfigError, match=r"tests\.miniature has no FAMILY"):
        find_family("tests.miniature")


@pytest.mark.parametrize("name", FAMILIES)
def test_a_batch_gives_what_its_targets_give_alone_and_a_new_start_forgets(experiment, weights, name):
    tracker = TrackerSpec(experiment, name, weights[name]).build()
    first, second = clip(seed=1), clip(seed=2)
    together, states = follow(tracker, first, second)
    for i, one in enumerate((first, second)):
        alone, (state,) = follow(tracker, one)
        np.testing.assert_allclose(together[:, i], alone[:, 0], atol=1e-3)
        assert state.keys() == states[i].keys()
        for key, value in state.items():
            torch.testing.assert_close(value, states[i][key], atol=1e-4, rtol=1e-4)
    np.testing.assert_array_equal(follow(tracker, first)[0], follow(tracker, first)[0])
    if name == MEMORY:
        assert states[0]["memory"].abs().mean() > 0.1


def test_training_along_a_sample_is_what_the_tracker_does_along_a_clip(experiment, weights):
    cfg = load_experiment(experiment, family=MEMORY)
    model = tracking_model(cfg, weights[MEMORY]).eval()
    batch = small_batch()
    batch["search_images"] = torch.cat([batch["search_images"], batch["search_images"].flip(1)])
    batch["search_anno"] = torch.cat([batch["search_anno"], batch["search_anno"].flip(1)])
    actor = build_actor(model, cfg)
    with torch.no_grad():
        found = actor.forward(batch, 1)
        form = find_family(MEMORY).plain(cfg, model)
        state = {
            "template": batch["template_images"][0],
            "memory": torch.zeros_like(form.model.backbone.pos_embed_z).repeat(4, 1, 1),
        }
        for frame in range(2):
            outputs, state["memory"] = form.model(state["template"], batch["search_images"][frame], state["memory"])
            torch.testing.assert_close(found["score_map"][4 * frame : 4 * frame + 4], outputs["score_map"])
    loss, stats = actor(batch, 1)
    loss.backward()
    assert torch.isfinite(loss) and model.project.weight.grad.abs().sum() > 0  # through the state
    assert list(stats) == ["Loss/total", "Loss/giou", "Loss/l1", "Loss/location", "IoU"]


def test_it_trains_and_resumes_exactly(experiment, tmp_path, monkeypatch):
    in_process(tmp_path, monkeypatch)  # drawn pictures

    def run(out):
        options = ["--script", MEMORY, "--config", experiment, "--save_dir", tmp_path / out, "--device", "cpu"]
        assert run_command(monkeypatch, "train", [*options, "TRAIN.EPOCH=2", "TRAIN.CHECKPOINT_INTERVAL=1"]) == 0
        return tmp_path / out / "checkpoints/train/mean_memory/tiny"

    whole = run("whole")
    parts = run("parts")
    (parts / "OSTrack_ep0002.pth.tar").unlink()
    run("parts")
    assert_same_run(*(load_checkpoint(folder / "OSTrack_ep0002.pth.tar") for folder in (whole, parts)))


def test_it_exports_with_its_state_as_inputs_and_outputs(experiment, weights, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    cfg = load_experiment(experiment, family=MEMORY)
    model = tracking_model(cfg, weights[MEMORY])
    network = exported_network(cfg, model, "onnxruntime", "float32", tmp_path)
    import onnxruntime

    session = onnxruntime.InferenceSession(next(tmp_path.glob("*.onnx")))
    assert {entry.name for entry in session.get_inputs()} == {"template", "memory", "search"}
    assert [entry.name for entry in session.get_outputs()][-1] == "next_memory"
    images = clip()
    np.testing.assert_allclose(
        follow(Tracker(cfg, network), images)[0], follow(Tracker(cfg, model), images)[0], atol=1e-2
    )


def test_it_evaluates_shows_in_the_demo_and_is_profiled(experiment, weights, tmp_path):
    images, boxes = clip()
    write_frames([tmp_path / f"set/one/img/{t:08d}.jpg" for t in range(1, 9)], boxes)
    write_rows(tmp_path / "set/one/groundtruth.txt", boxes)
    spec = TrackerSpec(experiment, MEMORY, weights[MEMORY], save_dir=tmp_path / "out")
    summary = track_benchmarks(spec, [f"folder:{tmp_path / 'set'}"])
    assert (summary.frames, summary.failed) == (7, [])
    (results,) = (tmp_path / "out").rglob("one.txt")
    assert "mean_memory/tiny" in str(results)
    with VideoWriter(tmp_path / "clip.mp4", 10) as writer:
        for image in images:
            writer.write(image)
    shown = track_video(
        spec, tmp_path / "clip.mp4", [boxes[0].tolist()], VideoOptions(display=False, save_results=True)
    )
    assert shown.frames == 8 and list((tmp_path / "out").rglob("mean_memory/tiny/video_clip.txt"))
    measured = profile(TrackerSpec(experiment, MEMORY), frames=1)
    plain = profile(TrackerSpec(experiment, DEFAULT_FAMILY), frames=1)
    assert measured.gmacs > plain.gmacs and measured.name == "tiny"


@pytest.fixture
def own(tmp_path, monkeypatch, experiment):
    """The family with a memory in a package of one's own: the name of its module, and its weights."""
    text = (REPOSITORY / "tests/mean_memory.py").read_text().replace('"mean_memory"', '"own_memory"')
    module = tmp_path / "own_package/family.py"
    module.parent.mkdir()
    module.write_text(text.replace("tests.mean_memory", "own_package.family"))
    monkeypatch.syspath_prepend(tmp_path)
    weights = tmp_path / "own.pth"
    save_checkpoint(
        {"net": tracking_model(load_experiment(experiment, family="own_package.family")).state_dict()}, weights
    )
    yield module, weights
    for name in [name for name in sys.modules if name.startswith("own_package")]:
        del sys.modules[name]
    for name in ("own_memory", "own_package.family"):
        _FOUND.pop(name, None)


def test_results_and_files_of_a_family_outside_are_of_its_code(own, experiment, tmp_path):
    module, weights = own
    family = find_family("own_package.family")
    assert family.own_code() == replace(family, plain=partial(min, key=family.plain)).own_code() == [module]
    assert [find_family(name).own_code() for name in family_names()] == [[]] * len(family_names())
    cfg = load_experiment(experiment, family="own_package.family")
    _, boxes = clip()
    write_frames([tmp_path / f"set/one/img/{t:08d}.jpg" for t in range(1, 9)], boxes)
    write_rows(tmp_path / "set/one/groundtruth.txt", boxes)
    spec = TrackerSpec(experiment, "own_package.family", weights, save_dir=tmp_path / "out")
    assert track_benchmarks(spec, [f"folder:{tmp_path / 'set'}"]).frames == 7
    assert track_benchmarks(spec, [f"folder:{tmp_path / 'set'}"]).skipped == 1
    files = [kept_file(cfg, "0", "torch", "float32", tmp_path)]
    module.write_text(module.read_text().replace("SHARE = 0.2", "SHARE = 0.9"))
    with pytest.raises(OSTrackError, match=r"one\.txt.*code '\w{12}', now '\w{12}'"):
        track_benchmarks(spec, [f"folder:{tmp_path / 'set'}"])
    assert kept_file(cfg, "0", "torch", "float32", tmp_path) != files[0]


def test_what_run_changes_and_reads_must_be_in_the_first_state(experiment, weights, monkeypatch):
    cfg = load_experiment(experiment, family=MEMORY)
    form = find_family(MEMORY).plain

    class Renamed(form):
        def prepare(self, state):
            return {("mean" if name == "memory" else name): value for name, value in super().prepare(state).items()}

        def run(self, state, crops):
            outputs, changed = super().run({**state, "memory": state["mean"]}, crops)
            return outputs, {"mean": changed["memory"]}

    monkeypatch.setitem(_FOUND, "mean_memory", replace(find_family(MEMORY), plain=Renamed))
    with pytest.raises(ConfigError, match=r"run\(\) of mean_memory reads mean again, which initial_state\(\) does not"):
        NetworkGraph(cfg, tracking_model(cfg, weights[MEMORY]))


def test_a_presence_that_run_returns_is_an_output_of_the_tracker_and_no_state(experiment, weights, monkeypatch):
    class Sure(find_family(MEMORY).plain):
        def run(self, state, crops):
            outputs, changed = super().run(state, crops)
            return outputs, {**changed, "presence": outputs["score_map"].amax((2, 3))}

    monkeypatch.setitem(_FOUND, "mean_memory", replace(find_family(MEMORY), plain=Sure))
    cfg = load_experiment(experiment, family=MEMORY)
    model = tracking_model(cfg, weights[MEMORY])
    tracker, (images, boxes) = Tracker(cfg, model), clip()
    tracker.initialize(images[0], {"init_bbox": boxes[0].tolist()})
    assert 0 < tracker.track(images[1])["presence"] < 1
    old, fresh = tracker._target, tracker.start(images[1], boxes[1].tolist())
    for targets in ([old, fresh], [fresh, old]):  # their states have the same entries
        assert len(tracker.step([images[2]] * 2, targets).presence) == 2
    assert NetworkGraph(cfg, model).outputs[-2:] == ("next_memory", "next_presence")


def test_a_head_of_its_own(experiment, monkeypatch):
    """The family of docs/add_a_tracker.md, OSTrack with a second score map."""
    text = (REPOSITORY / "docs/add_a_tracker.md").read_text()
    found: dict = {}
    exec(text.partition("```python head\n")[2].partition("```")[0], found)
    family, head = found["FAMILY"], found["PeakHead"]
    monkeypatch.setitem(_FOUND, "peak", family)
    cfg = load_experiment(experiment, family="peak")
    model, batch = tracking_model(cfg), small_batch()
    actor = build_actor(model, cfg)
    output, boxes = actor.forward(batch, 1), batch["search_anno"][0]
    loss, stats = actor.losses(output, batch)
    loss.backward()
    assert model.box_head.conv1_peak[0].weight.grad.abs().sum() > 0
    usual = CenterHead.location_loss(output, boxes)
    extra = ((output["peak_map"] - gaussian_maps(boxes, 4)[:, None]) ** 2).mean()
    assert stats["Loss/location"].item() == pytest.approx((usual + extra).item(), rel=1e-5)
    graph = NetworkGraph(cfg, model)
    assert graph.outputs == ("score_map", "size_map", "offset_map", "peak_map")
    tracker, (images, boxes) = Tracker(cfg, model), clip()
    tracker.initialize(images[0], {"init_bbox": boxes[0].tolist()})
    assert tracker.track(images[1])["best_score"] > 0.15 and tracker.head is head  # the mean of about 0.01 and 0.5
    with pytest.raises(ConfigError, match=r"MODEL\.HEAD\.TYPE is 'CENTER'; it must be PEAK"):
        load_experiment(experiment, ["MODEL.HEAD.TYPE=CENTER"], "peak")
    monkeypatch.setitem(_FOUND, "peak", replace(family, heads=find_family(DEFAULT_FAMILY).heads))
    with pytest.raises(ConfigError, match=r"MODEL\.HEAD\.TYPE is PEAK, a head that the family peak lacks"):
        tracking_model(cfg)


def test_an_actor_runs_under_autocast_without_asking_for_it(experiment):
    cfg = load_experiment(experiment, family=MEMORY)
    seen: list[torch.dtype] = []
    model = tracking_model(cfg)
    model.project.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    for dtype in (None, torch.bfloat16):
        build_actor(model, cfg, dtype)(small_batch(), 1)
    assert set(seen) == {torch.float32, torch.bfloat16}


def test_a_model_of_any_form_can_be_trained(experiment):
    cfg = load_experiment(experiment, ["TRAIN.LR=0.01", "TRAIN.BACKBONE_MULTIPLIER=0.5"], MEMORY)
    net = torch.nn.Module()
    net.backbone, net.box_head = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3)), torch.nn.Linear(2, 2)
    head, backbone = build_optimizer(net, cfg).param_groups
    assert [len(head["params"]), head["lr"], len(backbone["params"]), backbone["lr"]] == [2, 0.01, 2, 0.005]
    (alone, *others) = parameter_groups(torch.nn.Linear(2, 2), cfg)
    assert len(alone["params"]) == 2 and not others
    with pytest.raises(ConfigError, match="LAYER_DECAY must be 1 for a model without"):
        build_optimizer(net, load_experiment(experiment, ["TRAIN.LAYER_DECAY=0.5"], MEMORY))
    with pytest.raises(ConfigError, match=r"names block 3, the model has 0 in backbone\.blocks"):
        freeze_layers(net, [0, 3])


def test_what_a_family_cannot_do_is_told(experiment, tmp_path):
    cfg = load_experiment(experiment, ["TEST.SEARCH_SIZE=32"], MEMORY)
    with pytest.raises(ConfigError, match=r"model of tiny has no set_search_size\(\): leave TEST.SEARCH_SIZE at .* 64"):
        tracking_model(cfg)
    other = tmp_path / "other.yaml"
    other.write_text("MODEL: {WIDTH: 3}\n")
    with pytest.raises(ConfigError, match=r"unknown key MODEL.WIDTH.* \(read as of the family ostrack; --script names"):
        load_experiment(other)
    with pytest.raises(ConfigError, match="unknown tracker 'tests.nowhere'"):
        track_benchmarks(TrackerSpec("x.yaml", "tests.nowhere", tmp_path / "a.pth"), ["otb"])
    cfg = load_experiment(experiment, family=MEMORY)
    model = tracking_model(cfg)
    with pytest.raises(ConfigError, match=r"int8 quantizes encoder.blocks, which TrackingForm lacks"):
        smooth(NetworkGraph(cfg, model), [])


def test_a_file_of_lower_precision_leaves_the_model_as_it_is(experiment, weights, tmp_path):
    cfg = load_experiment(experiment, family=MEMORY)
    model = tracking_model(cfg, weights[MEMORY])
    before = network_hash(cfg, model)
    export_network(cfg, model, "torch", tmp_path / "n.pt2", ExportOptions("bf16"))
    assert network_hash(cfg, model) == before and next(model.parameters()).dtype == torch.float32


def test_configs_of_families_say_whose_they_are(experiment):
    assert issubclass(find_family(MEMORY).config, ExperimentConfig)
    assert load_experiment(experiment, family=MEMORY).family == "mean_memory"
