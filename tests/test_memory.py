"""OSTrack with a memory: its parts, its training on clips, its tracker's rules, and how presence is judged."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml

from benchmarks import presence
from benchmarks.presence import (
    TrackedSequence,
    auroc,
    calibration,
    fit_calibration,
    presence_report,
    returns_of,
)
from lib.config.ostrack_memory import MemoryRules
from lib.data.crops import Crop, CropPair, CropSpec, PairSpec, jitter_box
from lib.data.image_io import read_image
from lib.data.tracks import SequenceInfo
from lib.drawing.assets import load_assets
from lib.drawing.sequences import SEQUENCE_SETTINGS, draw_sequence
from lib.models.family import find_family, load_experiment
from lib.models.ostrack_memory.inference import MemoryInferenceModel
from lib.models.weights import load_matching
from lib.test.evaluation.benchmarks import get_dataset
from lib.test.evaluation.results import provenance_path, result_path, write_scores
from lib.test.tracker.backends import exported_network
from lib.test.tracker.build import tracking_model
from lib.test.tracker.inspected import InspectedTracker
from lib.test.tracker.ostrack_memory import MemoryTracker, least_presence, search_boxes, seen_box, updates_template
from lib.test.tracker.tracker import SearchResult, Tracker
from lib.train.actors import build_actor
from lib.train.actors.ostrack import OSTrackActor
from lib.train.actors.ostrack_memory import OSTrackMemoryActor
from lib.train.data.augmentation import cover, finish_pair
from lib.train.data.sampler import PairSampling, clip_frames
from lib.train.data.samples import SampleSpec, TrackingDataset, boxes_to_crop
from lib.train.other_experiments import load_teacher
from lib.utils.checkpoint import load_checkpoint, save_checkpoint
from lib.utils.crop import crop_window
from lib.utils.errors import ConfigError, DataError
from tests.conftest import load_script
from tests.miniature import draw, moving_boxes, write_frames, write_rows
from tests.small_training import small_batch
from tests.train_processes import TINY, assert_same_run, in_process

FAMILY = "ostrack_memory"


def experiment_file(folder, **memory):
    values = yaml.safe_load(yaml.safe_dump(TINY))
    values["DATA"]["TEMPLATE"]["NUMBER"] = 1 + memory.get("DYNAMIC_TEMPLATE", True)
    values["DATA"]["SEARCH"]["NUMBER"] = 2
    values["DATA"] |= {"SAMPLER_MODE": "clip", "ABSENT": 0.5}
    values["MODEL"]["MEMORY"] = {"DYNAMIC_SIZE": 32, **memory}
    values["MODEL"]["BACKBONE"]["TOKEN_TYPES"] = True
    values["TEST"]["MEMORY"] = {"UPDATE_INTERVAL": 2, "UPDATE_THRESHOLD": 0.0}
    path = folder / "tiny.yaml"
    folder.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture
def cfg(tmp_path):
    return load_experiment(experiment_file(tmp_path), family=FAMILY)


def random_model(cfg, seed=0):
    """Random weights, those that training starts from zero with not zero."""
    torch.manual_seed(seed)
    model = tracking_model(cfg).eval()
    for name, parameter in model.named_parameters():
        if "memory" in name or "token_types" in name:
            torch.nn.init.normal_(parameter, 0, 0.2)
    return model


def clip_batch():
    """Two templates and two search frames, all different."""
    batch = small_batch()
    for name in ("template_images", "template_anno", "search_images", "search_anno"):
        batch[name] = torch.cat([batch[name], batch[name].flip(1) * 0.9])
    return batch


def follow(tracker, *seeds, frames=7):
    """Boxes, presences and final targets of clips that are tracked together."""
    clips = []
    for seed in seeds:
        boxes = moving_boxes(frames, seed=seed)
        clips.append(([draw(box, seed=seed) for box in boxes], boxes))
    targets = [tracker.start(images[0], boxes[0].tolist()) for images, boxes in clips]
    steps = [tracker.step([images[t] for images, _ in clips], targets) for t in range(1, frames)]
    return np.array([step.boxes for step in steps]), np.array([step.presence for step in steps]), targets


@pytest.mark.parametrize(
    "memory",
    [{}, {"DYNAMIC_TEMPLATE": False}, {"TOKEN": False}, {"PRESENCE": False}],
    ids=lambda m: "-".join(m) or "all",
)
def test_each_part_can_be_left_out_and_all_forms_agree(tmp_path, memory):
    cfg = load_experiment(experiment_file(tmp_path, **memory), family=FAMILY)
    model, family = random_model(cfg), find_family(FAMILY)
    generator = torch.Generator().manual_seed(0)
    crops, search = (torch.randint(0, 256, (2, s, s, 3), dtype=torch.uint8, generator=generator) for s in (32, 64))
    boxes = torch.tensor([[0.25, 0.25, 0.5, 0.5], [0.1, 0.3, 0.8, 0.4]])
    found = []
    for form in (family.plain(cfg, model), family.tracking_form(cfg, model, torch.float32, torch.device("cpu"))):
        state = form.prepare(family.initial_state(cfg, crops, boxes))
        with torch.no_grad():
            _, changed = form.run(state, search)
            maps, changed = form.run({**state, **changed}, search.flip(0))
        found.append((maps["score_map"], changed))
    assert isinstance(form, MemoryInferenceModel)
    (plain, state), (fast, other) = found
    torch.testing.assert_close(plain, fast, atol=1e-5, rtol=1e-4)
    names = {name for name, key in (("token", "TOKEN"), ("presence", "PRESENCE")) if memory.get(key, True)}
    assert state.keys() == other.keys() == names
    for name in names:
        torch.testing.assert_close(state[name], other[name], atol=1e-4, rtol=1e-4)


def test_what_is_carried_and_the_dynamic_template_change_what_is_found(cfg):
    model, batch = random_model(cfg), clip_batch()
    templates, boxes, search = batch["template_images"], batch["template_anno"], batch["search_images"][0]
    with torch.no_grad():
        first = model(templates[0], search, templates[1], boxes=(boxes[0], boxes[1]))
        memory = {"token": first["token"], "presence": torch.ones(4, 1)}
        absent = memory | {"presence": torch.zeros(4, 1)}
        carried = model(templates[0], search, templates[1], memory, boxes=(boxes[0], boxes[1]))
        gone = model(templates[0], search, templates[1], absent, boxes=(boxes[0], boxes[1]))
        same = model(templates[0], search, templates[0], boxes=(boxes[0], boxes[0]))
    assert (carried["score_map"] - first["score_map"]).abs().max() > 1e-4
    assert (same["score_map"] - first["score_map"]).abs().max() > 1e-4
    torch.testing.assert_close(gone["score_map"], first["score_map"])  # a token of an absent target counts for nothing
    with pytest.raises(ValueError, match="DYNAMIC_TEMPLATE"):
        model(templates[0], search, boxes=(boxes[0], boxes[1]))


def test_weights_of_ostrack_are_taken_and_give_the_same_without_a_memory(tmp_path):
    parts = dict.fromkeys(("DYNAMIC_TEMPLATE", "TOKEN", "PRESENCE"), False)
    cfg = load_experiment(experiment_file(tmp_path, **parts), family=FAMILY)
    torch.manual_seed(1)
    plain_cfg = load_experiment(experiment_file(tmp_path, DYNAMIC_TEMPLATE=False), ["MODEL.MEMORY.TOKEN=false"], FAMILY)
    assert not any(name.startswith("memory.") for name in tracking_model(cfg).state_dict())
    ostrack = find_family("ostrack").build(cfg).eval()
    model = tracking_model(plain_cfg).eval()
    load_matching(model, ostrack.state_dict(), tmp_path / "w.pth")
    batch = clip_batch()
    template, box, search = batch["template_images"][0], batch["template_anno"][0], batch["search_images"][0]
    with torch.no_grad():
        want = ostrack(template, search, template_box=box)
        got = model(template, search, boxes=(box, None))
    torch.testing.assert_close(got["score_map"], want["score_map"], atol=0, rtol=0)


def test_training_along_a_clip_is_what_the_tracker_does(cfg):
    model, family, batch = random_model(cfg), find_family(FAMILY), clip_batch()
    actor = build_actor(model, cfg)
    assert isinstance(actor, OSTrackMemoryActor)
    with torch.no_grad():
        found = actor.forward(batch, None)
        form = family.plain(cfg, model)
        templates, boxes = batch["template_images"], batch["template_anno"]
        state = family.initial_state(cfg, torch.zeros(4, 32, 32, 3, dtype=torch.uint8), boxes[0])
        state |= {"template": templates[0], "dynamic": templates[1], "dynamic_box": boxes[1]}
        form._normalized = lambda crops: crops  # the batch is normalized already
        for t in range(2):
            maps, changed = form.run(state, batch["search_images"][t])
            state |= changed
            torch.testing.assert_close(found["score_map"][4 * t : 4 * t + 4], maps["score_map"])
            torch.testing.assert_close(found["presence_logit"][4 * t : 4 * t + 4].sigmoid(), changed["presence"])


def test_a_tracker_without_a_memory_teaches_its_tokens(tmp_path):
    taught_cfg = load_experiment(experiment_file(tmp_path, DYNAMIC_TEMPLATE=False), family=FAMILY)
    cfg = load_experiment(experiment_file(tmp_path), ["TRAIN.DISTILL.FEATURE_WEIGHT=3"], FAMILY)
    torch.manual_seed(2)
    teacher = OSTrackActor(find_family("ostrack").build(taught_cfg).eval(), taught_cfg)
    actor, batch = build_actor(random_model(cfg), cfg, teacher=teacher), clip_batch()
    with torch.no_grad():
        total, stats = actor(batch, 1)
        usual = build_actor(actor.net, cfg)(batch, 1)[0]
        ours, theirs = actor.forward(batch, 1)["backbone_feat"], teacher.forward(batch, None)["backbone_feat"]
    by_hand = ((ours - theirs) ** 2).mean() / (theirs**2).mean()  # of template and search tokens, no others
    assert stats["Loss/distill_feature"].item() == pytest.approx(by_hand.item(), rel=1e-5)
    others = sum(stats[f"Loss/distill_{name}"].item() for name in ("score", "size", "offset"))
    assert total.item() == pytest.approx(usual.item() + others + 3 * by_hand.item(), rel=1e-5)


def test_a_teacher_may_take_fewer_templates_and_not_more(tmp_path):
    family = find_family(FAMILY)
    one, two = experiment_file(tmp_path / "one", DYNAMIC_TEMPLATE=False), experiment_file(tmp_path / "two")
    for path in (one, two):
        model = family.build(load_experiment(path, family=FAMILY))
        folder = tmp_path / "checkpoints/train" / FAMILY / "tiny"
        save_checkpoint({"net": model.state_dict()}, folder / "OSTrack_ep0004.pth.tar")
        student = load_experiment(two if path == one else one, family=FAMILY)
        if path == one:
            assert load_teacher(path, tmp_path, student, "cpu", script=FAMILY).cfg.DATA.TEMPLATE.NUMBER == 1
        else:
            with pytest.raises(ConfigError, match="its DATA.TEMPLATE.NUMBER is 2, the student's 1"):
                load_teacher(path, tmp_path, student, "cpu", script=FAMILY)


def test_presence_is_learned_with_gradients_through_the_state_and_boxes_of_absent_targets_do_not_count(cfg):
    model, batch = random_model(cfg), clip_batch()
    batch["label"] = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 1.0, 1.0, 0.0]])
    actor = build_actor(model, cfg)
    loss, stats = actor(batch, 1)
    loss.backward()
    assert model.memory.carry.weight.grad.abs().sum() > 0
    logit = actor.forward(batch, 1)["presence_logit"][:, 0].detach()
    label = batch["label"].flatten()
    want = -(label * logit.sigmoid().log() + (1 - label) * (1 - logit.sigmoid()).log()).mean()
    torch.testing.assert_close(stats["Loss/presence"], want)
    assert stats["presence_accuracy"] == ((logit > 0) == (label > 0.5)).float().mean()
    moved = batch | {"search_anno": batch["search_anno"].clone()}
    moved["search_anno"][0, 3] = torch.tensor([0.6, 0.6, 0.3, 0.3])  # of an absent one
    assert actor(moved, 1)[0] == actor(batch, 1)[0]


def test_a_batch_is_its_parts_and_a_new_start_forgets(cfg):
    tracker = MemoryTracker(cfg, random_model(cfg))
    together, sure, targets = follow(tracker, 1, 2)
    for i, seed in enumerate((1, 2)):
        boxes, alone, (target,) = follow(tracker, seed)
        np.testing.assert_allclose(together[:, i], boxes[:, 0], atol=1e-3)
        np.testing.assert_allclose(sure[:, i], alone[:, 0], atol=1e-4)
        assert target.frames == targets[i].frames == 6
    np.testing.assert_array_equal(follow(tracker, 1)[0], follow(tracker, 1)[0])


def test_the_dynamic_template_is_of_every_nth_frame_that_is_sure(cfg):
    tracker = MemoryTracker(cfg, random_model(cfg))
    boxes = moving_boxes(5)
    images = [draw(box) for box in boxes]
    target = tracker.start(images[0], boxes[0].tolist())
    first = target.state["dynamic"]
    taken = []
    for t in range(1, 5):
        before = target.state["dynamic"]
        tracker.step([images[t]], [target])
        taken.append(not torch.equal(before, target.state["dynamic"]))
    assert taken == [False, True, False, True]
    state = tracker.network.prepare(tracker.first_state(images[4], target.box))
    torch.testing.assert_close(target.state["dynamic"], state["dynamic"])
    torch.testing.assert_close(target.state["template"], first)  # the first one stays
    rules = MemoryRules(UPDATE_INTERVAL=25, UPDATE_THRESHOLD=0.7)
    for frame, score, sure, updates in (
        *((25, 0.1, 0.7, True), (25, 0.9, 0.6, False), (26, 0.9, 0.9, False)),
        *((50, 0.7, math.nan, True), (50, 0.6, math.nan, False)),
    ):
        assert updates_template(rules, frame, SearchResult([], score, {}, sure)) == updates


class Sure(MemoryTracker):
    """Tells presence by where it looks: it sees the target in the search region around one place alone."""

    target_at = (0.0, 0.0)

    def search(self, images, targets, around):
        found, crop, network = super().search(images, targets, around)
        for one, box in zip(found, around, strict=True):
            center = np.array(box[:2]) + np.array(box[2:]) / 2
            near = np.abs(center - self.target_at).max() < 30
            one.presence = 0.9 if near else 0.1
            if near:
                one.box = [*(self.target_at - np.array(box[2:]) / 2), *box[2:]]
        return found, crop, network


def test_a_lost_target_keeps_its_box_and_is_found_elsewhere_by_presence_alone(cfg):
    cfg = replace(cfg, TEST=replace(cfg.TEST, MEMORY=MemoryRules(LOOKS=3)))
    tracker = Sure(cfg, random_model(cfg))
    image = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    target = tracker.start(image, [20, 20, 20, 20])
    tracker.target_at = np.array((-500.0, -500.0))
    for n in range(1, 4):
        step = tracker.step([image], [target])
        assert step.boxes == [[20, 20, 20, 20]] and step.presence == [0.1] and target.lost == n
    tracker.target_at = np.array((110.0, 70.0))
    for _ in range(10):
        step = tracker.step([image], [target])
        if not target.lost:
            break
    assert step.boxes[0] == [100.0, 60.0, 20.0, 20.0] and step.presence == [0.9] and target.lost == 0
    assert target.box == [100.0, 60.0, 20.0, 20.0]


def test_a_lost_target_that_is_not_held_follows_what_is_found_near_it(cfg):
    rules = MemoryRules(HOLD=False, LOST_THRESHOLD=0.3, FOUND_THRESHOLD=0.95)
    cfg = replace(cfg, TEST=replace(cfg.TEST, MEMORY=rules))
    model = random_model(cfg)
    tracker, plain = Sure(cfg, model), Sure(replace(cfg, TEST=replace(cfg.TEST, MEMORY=MemoryRules())), model)
    image = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    target, free = (one.start(image, [20, 20, 20, 20]) for one in (tracker, plain))
    tracker.target_at = plain.target_at = np.array((-500.0, -500.0))
    near = plain.search([image], [free], [free.box])[0][0].box
    before = {name: value.clone() for name, value in target.state.items()}
    assert tracker.step([image], [target]).boxes == [near] != [[20, 20, 20, 20]] and target.lost == 1
    for name, value in before.items():
        torch.testing.assert_close(target.state[name], value)
    tracker.target_at = np.array(near[:2]) + np.array(near[2:]) / 2
    tracker.step([image], [target])  # its presence is 0.9: enough here, not elsewhere
    assert target.lost == 0


def test_a_lost_target_is_looked_for_at_the_size_at_which_it_was_last_seen_whole(cfg):
    rules = MemoryRules(HOLD=False, LOST_THRESHOLD=0.3, FOUND_THRESHOLD=0.9, LOOKS=1)
    tracker = Sure(replace(cfg, TEST=replace(cfg.TEST, MEMORY=rules)), random_model(cfg))
    image = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    target = tracker.start(image, [20, 20, 20, 20])
    target.box = [130.0, 40.0, 24.0, 16.0]
    tracker.target_at = np.array((142.0, 48.0))
    tracker.step([image], [target])  # sure and whole
    assert target.seen == [130, 40, 24, 16]
    target.seen = seen_box(target.seen, SearchResult([150, 44, 10, 16], 0.5, {}, 0.95, whole=False))  # on its way out
    assert target.seen == [143, 44, 24, 16]
    tracker.target_at = np.array((-500.0, -500.0))
    looked = []
    search = tracker.search

    def recorded(images, targets, around):
        looked.extend(around)
        return search(images, targets, around)

    tracker.search = recorded
    for _ in range(2):
        tracker.step([image], [target])  # a box with little presence is not where the target was seen
    assert target.box != target.seen == [143, 44, 24, 16]
    side = crop_window(target.seen, cfg.TEST.SEARCH_FACTOR).side
    first, second = np.array(looked[1]), np.array(looked[3])
    assert first[2:].tolist() == second[2:].tolist() == [24, 16]
    assert sorted(np.abs(first - target.seen)[:2]) == [0, side / 2]


def test_a_box_is_whole_unless_it_touches_a_border_of_the_image(cfg):
    tracker = MemoryTracker(cfg, random_model(cfg))
    image = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    inside = tracker.search([image], [tracker.start(image, [70, 50, 20, 20])], [[70, 50, 20, 20]])[0][0]
    beyond = tracker.search([image], [tracker.start(image, [0, 0, 20, 20])], [[-60, -60, 20, 20]])[0][0]
    assert inside.whole and not beyond.whole and beyond.box[:2] == [0, 0]


def test_a_tiny_target_that_is_lost_is_looked_for_in_few_places_and_kept_inside(cfg):
    tracker = Sure(cfg, random_model(cfg))
    tracker.target_at = np.array((-500.0, -500.0))
    image = np.zeros((1080, 1920, 3), np.uint8)
    target = tracker.start(image, [-1e6, 40, 1e6 + 5, 1])
    assert tracker.step([image], [target]).boxes == [[0, 40, 10, 10]]  # by TEST.MIN_SIZE, as any box
    assert tracker.step([image[:20, :30]], [target]).boxes == [[0, 10, 10, 10]]  # inside a smaller frame


def test_views_show_the_region_around_the_last_box_also_while_the_target_is_lost(cfg):
    model, rng = random_model(cfg), np.random.default_rng(0)
    image = rng.integers(0, 255, (120, 160, 3), np.uint8)
    shown = []
    for looks in (0, 2):
        rules = replace(cfg, TEST=replace(cfg.TEST, MEMORY=MemoryRules(LOOKS=looks)))
        watched = InspectedTracker(Sure(rules, model), screen=None)
        watched.tracker.target_at = np.array((-500.0, -500.0))
        targets = [watched.start(image, [x, 20, 20, 20]) for x in (20, 60, 100)]
        watched.step([image] * 3, targets)
        assert [one.target.lost for one in targets] == [1, 1, 1]
        shown.append([watched.view(1, one).maps for one in targets])
    for alone, with_looks in zip(*shown, strict=True):
        assert alone.keys() == with_looks.keys() and alone
        for name, values in alone.items():
            np.testing.assert_array_equal(values, with_looks[name])
    first = next(iter(shown[0][0]))
    assert np.abs(shown[0][0][first] - shown[0][1][first]).max() > 0


def test_where_it_looks():
    around = search_boxes((120, 160), [20, 20, 20, 20], 4.0)
    assert around[0][2:] == [20, 20] and [20, 20, 20, 20] not in around
    distances = [np.hypot(x - 20, y - 20) for x, y, _, _ in around]
    assert distances == sorted(distances) and distances[0] == 40
    centers = np.array(around)[:, :2] + 10
    assert (centers >= 0).all() and (centers <= (160, 120)).all()
    assert least_presence(MemoryRules(), 0) == 0.3 and least_presence(MemoryRules(), 5) == 0.6
    assert least_presence(MemoryRules(HOLD=False), 5) == 0.3


def test_track_tells_presence(cfg):
    tracker = MemoryTracker(cfg, random_model(cfg))
    boxes = moving_boxes(2)
    tracker.initialize(draw(boxes[0]), {"init_bbox": boxes[0].tolist()})
    found = tracker.track(draw(boxes[1]))
    assert set(found) == {"target_bbox", "best_score", "presence"} and 0 < found["presence"] < 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("MODEL.MEMORY.DYNAMIC_SIZE=48", "MODEL.MEMORY.DYNAMIC_SIZE"),
        ("DATA.TEMPLATE.NUMBER=1", "DATA.TEMPLATE.NUMBER is 1; it must be 2"),
        ("TEST.MEMORY.LOST_THRESHOLD=0.9", "TEST.MEMORY.LOST_THRESHOLD"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path, override, message):
    with pytest.raises(ConfigError, match=message):
        load_experiment(experiment_file(tmp_path), [override], FAMILY)


def test_it_trains_on_clips_and_resumes_exactly(tmp_path, monkeypatch):
    in_process(tmp_path, monkeypatch)  # drawn pictures
    path = experiment_file(tmp_path)
    train = load_script("train")

    def run(out):
        options = ["--script", FAMILY, "--config", str(path), "--save_dir", str(tmp_path / out), "--device", "cpu"]
        monkeypatch.setattr(
            "sys.argv", ["train.py", *options, "TRAIN.EPOCH=2", "TRAIN.CHECKPOINT_INTERVAL=1", "TEST.EPOCH=2"]
        )
        assert train.main() == 0
        return tmp_path / out / f"checkpoints/train/{FAMILY}/tiny"

    whole, parts = run("whole"), run("parts")
    (parts / "OSTrack_ep0002.pth.tar").unlink()
    run("parts")
    states = [load_checkpoint(folder / "OSTrack_ep0002.pth.tar") for folder in (whole, parts)]
    assert_same_run(*states)
    assert states[0]["net"]["memory.carry.weight"].abs().sum() > 0


def test_it_exports_with_its_state_as_inputs_and_outputs(cfg, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = random_model(cfg)
    network = exported_network(cfg, model, "onnxruntime", "float32", tmp_path)
    import onnxruntime

    session = onnxruntime.InferenceSession(next(tmp_path.glob("*.onnx")))
    state = {"template", "box", "dynamic", "dynamic_box", "token", "presence"}
    assert {entry.name for entry in session.get_inputs()} == {*state, "search"}
    assert [entry.name for entry in session.get_outputs()][-2:] == ["next_token", "next_presence"]
    for want, got in zip(
        follow(MemoryTracker(cfg, model), 3)[:2], follow(MemoryTracker(cfg, network), 3)[:2], strict=True
    ):
        np.testing.assert_allclose(got, want, atol=1e-2)


def test_presence_without_a_token_is_an_output_of_the_file_alone(tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    parts = {"DYNAMIC_TEMPLATE": False, "TOKEN": False}
    cfg = load_experiment(experiment_file(tmp_path, **parts), ["DATA.TEMPLATE.NUMBER=1"], FAMILY)
    model = random_model(cfg)
    tracker = MemoryTracker(cfg, exported_network(cfg, model, "onnxruntime", "float32", tmp_path))
    for want, got in zip(follow(MemoryTracker(cfg, model), 3)[:2], follow(tracker, 3)[:2], strict=True):
        np.testing.assert_allclose(got, want, atol=1e-2)


def test_a_clip_follows_time_and_may_lose_its_target():
    visible = np.ones(40, bool)
    visible[15:20] = False
    for seed in range(200):
        (first, dynamic), search = clip_frames(visible, 2, 4, 30, np.random.default_rng(seed))
        strides = np.diff(search)
        assert visible[first] and visible[dynamic] and visible[search[0]]
        assert len(set(strides)) == 1 and strides[0] >= 1 and search[-1] < 40 and search[-1] - search[0] <= 30
        assert dynamic == first or 0 < search[0] - dynamic < 30
    sampling = PairSampling("clip", 30, 2, 4)
    drawn = [sampling.draw(info(visible), np.random.default_rng(seed))[1] for seed in range(200)]
    assert any(not visible[t].all() for t in drawn) and len({t[1] - t[0] for t in drawn}) > 5
    (first, dynamic), search = clip_frames(np.ones(20, bool), 2, 1, 5, np.random.default_rng(1))
    assert len(search) == 1


def info(visible):
    boxes = np.arange(len(visible) * 4, dtype=float).reshape(-1, 4) + 1
    return SequenceInfo(bbox=boxes, valid=np.ones(len(visible), bool), visible=visible)


def test_where_a_target_was_last_seen():
    visible = np.array([True, True, False, False, True, False])
    np.testing.assert_array_equal(boxes_to_crop(info(visible), range(6))[:, 0], [1, 5, 5, 5, 17, 17])
    np.testing.assert_array_equal(boxes_to_crop(info(visible), [1, 4])[:, 0], info(visible).bbox[:, 0])
    np.testing.assert_array_equal(boxes_to_crop(info(visible), [1, 3])[:, 0], [1, 5, 9, 5, 17, 21])  # a template in 2


def test_a_share_of_the_search_crops_looks_past_the_target():
    spec, rng = CropSpec(64, 4.0, 3.0, 0.25, 1, away=0.5), np.random.default_rng(0)
    box, past = np.array([50.0, 40.0, 20.0, 10.0]), []
    for _ in range(400):
        around = jitter_box(box, spec, rng)
        side = spec.factor * np.sqrt(around[2:].prod())
        corner = around[:2] + 0.5 * around[2:] - 0.5 * side
        fractions = np.concatenate(((box[:2] - corner) / side, box[2:] / side)).astype(np.float32)
        past.append(not Crop(np.zeros((4, 4, 3), np.uint8), fractions, np.zeros((4, 4), bool)).present)
    assert 0.42 < np.mean(past) < 0.58
    same = [np.random.default_rng(5) for _ in range(2)]
    np.testing.assert_array_equal(  # without that share no number is drawn for it
        jitter_box(box, replace(spec, away=0.0), same[0]), jitter_box(box, CropSpec(64, 4.0, 3.0, 0.25, 1), same[1])
    )


def test_a_covered_target_is_not_to_be_seen():
    image = np.full((64, 64, 3), 50, np.uint8)
    image[20:40, 24:44] = 200
    padding = np.zeros((64, 64), bool)
    padding[:5] = True
    image[:5] = 0
    crop = Crop(image, np.array([24, 20, 20, 20], np.float32) / 64, padding)
    hidden = cover(crop, np.random.default_rng(0))
    assert hidden.hidden and not hidden.present and crop.present
    assert (hidden.image[~padding] == 50).all() and (hidden.image[:5] == 0).all() and (crop.image == 200).any()
    whole = Crop(image, np.array([0, 0, 1, 1], np.float32), padding)
    assert cover(whole, np.random.default_rng(0)) is whole  # nothing is beside it


class OneCrop:
    """A source whose target is in the middle of every crop."""

    name, single = "ONE", False

    def draw_pair(self, rng, spec, positive=True):
        def crop(size):
            image = rng.integers(0, 255, (size, size, 3), np.uint8)
            return Crop(image, np.array([0.4, 0.4, 0.2, 0.2], np.float32), np.zeros((size, size), bool))

        templates, searches = ([crop(s.size) for _ in range(s.number)] for s in (spec.template, spec.search))
        return CropPair(templates, searches, "ONE", "")


def test_samples_tell_of_each_search_frame_whether_it_shows_the_target(cfg):
    spec = SampleSpec.of(cfg, stream=0)
    assert (spec.presence, spec.search.away) == (True, 0.25)
    assert 0.25 + 0.75 * spec.covered == pytest.approx(0.5)  # DATA.ABSENT is the share of both together
    dataset = TrackingDataset([OneCrop()], [1], spec)
    labels = torch.stack([dataset[0, i]["label"] for i in range(200)])
    assert labels.shape == (200, 2) and 0.6 < labels.mean() < 0.75  # a third is covered, of those that show it
    pair = OneCrop().draw_pair(np.random.default_rng(0), PairSpec(spec.template, spec.search))
    assert "label" not in finish_pair(pair, None, np.random.default_rng(0))


class TwoTargets(OneCrop):
    """A source of two targets, which are areas of gray value 100 and 200."""

    def draw_pair(self, rng, spec, positive=True):
        return self._draw(rng, spec, int(rng.integers(2)))

    def draw_search(self, rng, spec, besides):
        return self._draw(rng, spec, 1 - besides)

    def _draw(self, rng, spec, sequence):
        pair = super().draw_pair(rng, spec)
        pair.sequence = sequence
        for crop in (*pair.template, *pair.search):
            crop.image[:] = 100 * (1 + sequence)
        return pair


def test_search_frames_can_show_another_target(cfg):
    spec = replace(SampleSpec.of(cfg, stream=0), normalize=None, covered=0.0, other_target=0.4)
    pairs = [TrackingDataset([TwoTargets()], [1], spec)._draw(np.random.default_rng(i)) for i in range(200)]
    values = np.array([[crop.image[0, 0, 0] for crop in (pair.template[0], *pair.search)] for pair in pairs])
    other = values[:, 1:] != values[:, :1]
    assert 0.3 < other.mean() < 0.5
    np.testing.assert_array_equal(other, [[crop.hidden for crop in pair.search] for pair in pairs])
    dataset = TrackingDataset([TwoTargets()], [1], spec)
    labels = torch.stack([dataset[0, i]["label"] for i in range(200)])
    assert labels.shape == (200, 2) and 0.5 < labels.mean() < 0.7
    assert SampleSpec.of(cfg, stream=0).other_target == 0


def test_presence_is_judged_by_rank_by_calibration_and_by_returns():
    score, there = np.array([0.9, 0.8, 0.8, 0.1]), np.array([True, True, False, False])
    assert auroc(score, there) == pytest.approx((1 + 1 + 0.5 + 1) / 4)
    assert np.isnan(auroc(score, np.ones(4, bool)))
    bins, error = calibration(np.array([0.95, 0.95, 0.15, 1.0]), np.array([True, False, False, True]))
    np.testing.assert_allclose(bins[9], [2.9 / 3, 2 / 3, 3])
    assert error == pytest.approx(3 / 4 * 0.3 + 1 / 4 * 0.15)
    assert returns_of(np.array([1, 1, 0, 0, 0, 1, 0, 1], bool), 3) == [5]
    visible = np.array([1, 1, 0, 0, 0, 1, 1, 1], bool)
    truth = np.tile([10.0, 10, 10, 10], (8, 1))
    boxes = truth.copy()
    boxes[5] += 100
    report = presence_report(
        [TrackedSequence(boxes, truth, visible, np.array([1, 0.9, 0.7, 0.1, 0.1, 0.2, 0.9, 0.9]))], within=2
    )
    assert (report.returns, report.found, report.absent, report.false_finds) == (1, 1, 3, 1)
    assert presence_report([TrackedSequence(boxes, truth, visible, np.ones(8))], within=1).found == 0


def test_the_tracker_of_the_family_is_built(cfg):
    assert find_family(FAMILY).tracker.endswith(MemoryTracker.__name__) and issubclass(MemoryTracker, Tracker)


LAST = presence.LAST_LAYER


def test_a_calibration_undoes_what_is_known_to_be_wrong():
    rng = np.random.default_rng(0)
    logit = rng.normal(0, 2, 20000)
    positive = rng.random(20000) < 1 / (1 + np.exp(-logit))
    shown = 1 / (1 + np.exp(-(2 * logit - 1)))  # too sure of itself, and too low
    scale, offset = fit_calibration(shown, positive)
    assert scale == pytest.approx(0.5, abs=0.03) and offset == pytest.approx(0.5, abs=0.05)
    low = 1 / (1 + np.exp(-(logit - 8)))  # so far off that Newton's method goes to infinity
    scale, offset = fit_calibration(low, positive)
    assert scale == pytest.approx(1, abs=0.05) and offset == pytest.approx(8, abs=0.4)


def test_the_benchmark_of_presence_reads_results(tmp_path, monkeypatch, capsys):
    boxes = moving_boxes(8)
    write_frames([tmp_path / f"set/one/img/{t:08d}.jpg" for t in range(1, 9)], boxes)
    write_rows(tmp_path / "set/one/groundtruth.txt", boxes)
    write_rows(tmp_path / "set/one/absence.label", np.array([[0], [0], [1], [1], [1], [0], [0], [0]]))
    (sequence,) = get_dataset(f"folder:{tmp_path / 'set'}")
    path = result_path(tmp_path / "out/test/tracking_results", "any", "one", sequence)
    write_rows(path, boxes)
    write_scores(path, [1, 0.9, 0.2, 0.7, 0.1, 0.6, 0.8, 0.9])
    options = ["--dataset", f"folder:{tmp_path / 'set'}", "--save_dir", str(tmp_path / "out")]
    extra = ["--json", str(tmp_path / "p.json"), "--plot", str(tmp_path / "p.png")]
    monkeypatch.setattr("sys.argv", ["presence.py", "any", "one", *options, *extra])
    presence.main()
    printed = capsys.readouterr().out
    assert "AUROC of confidence: 0.917" in printed and "coming back: 1 of 1 (100%)" in printed
    assert "it was sure: 1 of 3 (33.3%)" in printed
    assert json.loads((tmp_path / "p.json").read_text())["one"]["false_finds"] == 1
    assert read_image(tmp_path / "p.png").shape[2] == 3
    cfg = load_experiment(experiment_file(tmp_path), family=FAMILY)
    weights, out = tmp_path / "w.pth.tar", tmp_path / "c.pth.tar"
    save_checkpoint({"net": random_model(cfg).state_dict()}, weights)
    monkeypatch.setattr("sys.argv", ["presence.py", "any", "one", *options, "--calibrate", str(weights), str(out)])
    presence.main()
    scale, offset = fit_calibration(np.array([0.9, 0.2, 0.7, 0.1, 0.6, 0.8, 0.9]), np.array([1, 0, 0, 0, 1, 1, 1]))
    assert f"presence times {scale:.3f}, and {offset:+.3f}" in capsys.readouterr().out
    provenance_path(path).write_text(json.dumps({"checkpoint_sha256": "0" * 16}))
    with pytest.raises(DataError, match="one.txt is of other weights than .*w.pth.tar"):
        presence.main()
    provenance_path(path).unlink()
    (tmp_path / "set/one/absence.label").unlink()
    with pytest.raises(DataError, match="the target is there in 7 of 7 frames: presence is calibrated on sequences"):
        presence.main()
    before, after = (load_checkpoint(path)["net"] for path in (weights, out))
    torch.testing.assert_close(after[LAST + "weight"], scale * before[LAST + "weight"])
    torch.testing.assert_close(after[LAST + "bias"], scale * before[LAST + "bias"] + offset)
    monkeypatch.setattr("sys.argv", ["presence.py", "any", "two", *options])
    with pytest.raises(DataError, match="one.txt: track one with tracking/test.py first"):
        presence.main()


def test_a_drawn_target_leaves_the_frame_and_comes_back():
    assets = load_assets((), (), replace(SEQUENCE_SETTINGS, EXIT=1.0, VIEW=0.0, OCCLUDER=0.0))
    left = 0
    for seed in range(3):
        frames = list(draw_sequence(np.random.default_rng(seed), assets, 40))
        seen = np.array([frame.visible for frame in frames])
        assert seen[0] > 0.9 and seen[-1] > 0.5
        gone = np.flatnonzero(seen == 0)
        assert all((frames[t].box == 0).all() for t in gone)
        left += len(gone) > 0
    assert left == 3
