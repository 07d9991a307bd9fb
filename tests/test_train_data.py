"""Transforms, crops, frame sampling, and the loader's determinism."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.config import load_config
from lib.config.ostrack import OSTrackConfig
from lib.data.crops import (
    Crop,
    CropPair,
    CropSpec,
    JointAugmentation,
    PairSpec,
    flip_box_fraction,
    flip_crop,
    flip_image,
    jitter_box,
    to_grayscale,
)
from lib.data.tracks import SequenceInfo
from lib.drawing.pairs import ImagesDataset
from lib.train.actors.ostrack import OSTrackActor
from lib.train.admin.environment import EnvironmentSettings
from lib.train.data.augmentation import (
    cut_crop,
    draw_joint_augmentation,
    finish_pair,
    flip_box_pixels,
    is_usable,
    normalized,
)
from lib.train.data.loader import PairLoader, batches, build_loader, open_sources
from lib.train.data.sampler import EpochSampler, PairSampling
from lib.train.data.samples import AnnotatedPairs, SampleSpec, TrackingDataset
from lib.utils.dist_info import DistInfo
from lib.utils.errors import ConfigError, DataError
from tests.golden.fixtures import clip_frame

GOLDEN = np.load(Path(__file__).parent / "golden" / "transforms.npz")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TEMPLATE, SEARCH = CropSpec(64, 2.0, 0.0, 0.0, 1), CropSpec(128, 4.0, 3.0, 0.25, 1)
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")
PLAIN = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@pytest.fixture
def image():
    return np.ascontiguousarray(clip_frame(0)[0][:64, :96])


class ClipDataset:
    """Two sequences of the procedural clip; ``hidden`` frames of each are not visible."""

    name = "CLIP"

    def __init__(self, frames=24, hidden=(), is_video=True):
        self.is_video = is_video
        bbox = np.array([clip_frame(t)[1] for t in range(frames)])
        visible = ~np.isin(np.arange(frames), hidden)
        self.info = SequenceInfo(bbox, visible, np.ones(frames, bool))

    def __len__(self):
        return 2

    def sequence(self, index):
        return self.info

    def sequence_name(self, index):
        return f"clip{index}"

    def frame(self, index, frame):
        return clip_frame(frame)[0]


class TestTransforms:
    def test_brightness_and_normalization(self, image):
        both = torch.from_numpy(np.stack((image, image)))
        jittered = normalized(both, torch.tensor([1.13, 1.0]).double(), (0.0,) * 3, (1.0,) * 3)
        np.testing.assert_allclose(jittered[0, :, ::7, ::9].numpy(), GOLDEN["jitter_1.13"], atol=1e-5)
        np.testing.assert_allclose(jittered[1].numpy() * 255, image.transpose(2, 0, 1), atol=1e-4)
        found = normalized(torch.from_numpy(image), torch.tensor(1.0), MEAN, STD)
        assert found.is_contiguous()
        np.testing.assert_allclose(found[..., ::7, ::9].numpy(), GOLDEN["normalize"], atol=1e-5)

    def test_brightness_is_clamped(self):
        white = torch.full((2, 2, 3), 255, dtype=torch.uint8)
        assert normalized(white, torch.tensor(1.2), (0, 0, 0), (1, 1, 1)).max() == 1

    def test_grayscale_and_flip(self, image):
        np.testing.assert_array_equal(to_grayscale(image)[::7, ::9], GOLDEN["gray"])
        np.testing.assert_array_equal(flip_image(image)[::7, ::9], GOLDEN["flip_img"])

    def test_flipped_boxes(self):
        pixels = flip_box_pixels(np.array([10.0, 12, 30, 20]), 96)
        np.testing.assert_allclose(pixels, GOLDEN["flip_box_pixels"])
        fraction = flip_box_fraction(np.array([0.1, 0.2, 0.3, 0.4], np.float32))
        np.testing.assert_allclose(fraction, GOLDEN["flip_box_norm"], atol=1e-6)
        assert fraction.dtype == np.float32


class TestProcessing:
    def test_jitter_keeps_the_box_when_there_is_none(self):
        box = np.array([10.0, 20, 30, 40])
        np.testing.assert_allclose(jitter_box(box, TEMPLATE, np.random.default_rng(0)), box)

    def test_jitter_has_the_published_spread(self):
        rng, box = np.random.default_rng(0), np.array([100.0, 100, 50, 50])
        jittered = np.array([jitter_box(box, SEARCH, rng) for _ in range(4000)])
        logs = np.log(jittered[:, 2:] / 50)
        assert logs.std() == pytest.approx(0.25, rel=0.05)
        shift = (jittered[:, :2] + jittered[:, 2:] / 2 - 125) / np.sqrt(jittered[:, 2:].prod(1))[:, None]
        assert np.abs(shift).max() <= 1.5 + 1e-9
        assert shift.std() == pytest.approx(3 / np.sqrt(12), rel=0.05)

    def test_crop_of_a_box_that_is_not_jittered_is_centered(self):
        frame, box = clip_frame(0)
        crop = cut_crop(frame, np.array(box), TEMPLATE, np.random.default_rng(0))
        assert crop.image.shape == (64, 64, 3)
        assert crop.box.dtype == np.float32
        # Quirk of the published crop: the center is (size - 1) / 2.
        np.testing.assert_allclose(crop.box[:2] + crop.box[2:] / 2, 63 / 2 / 64, atol=1e-6)
        assert crop.box[2] * crop.box[3] == pytest.approx(0.25, rel=0.05)

    @pytest.mark.parametrize("box", [[20.0, 30, 50, 40], [-30, -20, 70, 60], [70, 40, 200, 180], [50, 40, 9, 9]])
    @pytest.mark.parametrize("spec", [TEMPLATE, SEARCH])
    def test_joint_augmentation_is_that_of_the_whole_frame(self, box, spec):
        frame, box = clip_frame(0)[0], np.array(box)
        flipped, where = flip_image(frame), flip_box_pixels(box, frame.shape[1])
        expected = cut_crop(flipped, where, spec, np.random.default_rng(7))
        crop = cut_crop(frame, box, spec, np.random.default_rng(7), JointAugmentation(flip=True))
        for kind in ("image", "box", "padding"):
            np.testing.assert_array_equal(getattr(crop, kind), getattr(expected, kind))
        gray = cut_crop(to_grayscale(flipped), where, spec, np.random.default_rng(7))
        crop = cut_crop(frame, box, spec, np.random.default_rng(7), JointAugmentation(gray=True, flip=True))
        assert np.abs(crop.image.astype(int) - gray.image).max() <= 1  # rounded after and not before resizing

    def test_joint_augmentation_is_drawn_as_published(self):
        rng = np.random.default_rng(0)
        drawn = [draw_joint_augmentation(rng) for _ in range(4000)]
        assert np.mean([joint.gray for joint in drawn]) == pytest.approx(0.05, abs=0.015)
        assert np.mean([joint.flip for joint in drawn]) == pytest.approx(0.5, abs=0.03)

    def test_a_crop_with_image_only_between_the_grid_points_is_not_usable(self):
        padding = np.ones((64, 64), bool)
        padding[1:16, 1:16] = False
        crop = Crop(np.zeros((64, 64, 3), np.uint8), np.zeros(4, np.float32), padding)
        assert not is_usable(crop, 16)
        padding[16, 16] = False
        assert is_usable(crop, 16)

    def test_flip_moves_image_box_and_padding_together(self):
        image = np.zeros((8, 8, 3), np.uint8)
        image[2:4, 1:3] = 9
        padding = np.zeros((8, 8), bool)
        padding[:, 7] = True
        flipped = flip_crop(Crop(image, np.array([1 / 8, 2 / 8, 2 / 8, 2 / 8], np.float32), padding))
        assert (flipped.image[2:4, 5:7] == 9).all()
        assert flipped.image.sum() == image.sum()
        assert flipped.padding[:, 0].all()
        np.testing.assert_allclose(flipped.box, [5 / 8, 2 / 8, 2 / 8, 2 / 8])

    def test_finished_sample_shapes_types_and_independent_flips(self):
        crop = Crop(np.arange(192, dtype=np.uint8).reshape(8, 8, 3), np.array([0, 0, 0.25, 1], np.float32),
                    np.zeros((8, 8), bool))  # fmt: skip
        pair = CropPair([crop], [crop, crop], "SET", "what")
        rng, seen = np.random.default_rng(0), set()
        for _ in range(60):
            sample = finish_pair(pair, PLAIN, rng)
            seen.add((sample["template_anno"][0, 0].item() > 0, sample["search_anno"][0, 0].item() > 0))
        assert seen == {(False, False), (False, True), (True, False), (True, True)}
        assert sample["search_images"].shape == (2, 3, 8, 8)
        assert sample["search_images"].dtype == sample["search_anno"].dtype == torch.float32
        assert sample["template_att"].shape == (1, 8, 8)
        assert sample["template_att"].dtype == torch.bool
        assert (sample["dataset"], sample["source"]) == ("SET", "what")


class TestSampler:
    def test_sequences_that_cannot_be_used_are_an_error(self):
        with pytest.raises(DataError, match="CLIP: none of 2 sequences"):
            AnnotatedPairs(ClipDataset(frames=19), PairSampling("causal", 200, 1, 1))
        with pytest.raises(DataError, match="visible in 5 of them"):
            AnnotatedPairs(ClipDataset(hidden=range(4, 24)), PairSampling("causal", 200, 1, 1))
        assert AnnotatedPairs(ClipDataset(hidden=range(5, 24)), PairSampling("causal", 200, 1, 1)).usable == [0, 1]

    def test_still_images_repeat_the_image(self):
        pairs = AnnotatedPairs(ClipDataset(frames=1, is_video=False), PairSampling("causal", 200, 1, 1))
        pair = pairs.draw_pair(np.random.default_rng(0), PairSpec(TEMPLATE, TEMPLATE))
        np.testing.assert_array_equal(pair.template[0].image, pair.search[0].image)

    def test_a_frame_that_comes_twice_is_decoded_once(self):
        dataset, read = ClipDataset(frames=1, is_video=False), []
        dataset.frame = lambda index, frame: (read.append(frame), clip_frame(frame)[0])[1]
        AnnotatedPairs(dataset, PairSampling("causal", 200, 1, 1)).draw_pair(
            np.random.default_rng(0), PairSpec(TEMPLATE, SEARCH)
        )
        assert read == [0]

    @pytest.mark.parametrize(
        "joint",
        [
            JointAugmentation(),
            JointAugmentation(gray=True),
            JointAugmentation(flip=True),
            JointAugmentation(True, True),
        ],
    )
    def test_the_joint_step_is_the_same_for_all_crops(self, joint):
        pairs = AnnotatedPairs(ClipDataset(frames=1, is_video=False), PairSampling("causal", 200, 1, 1))
        pair = pairs.draw_pair(np.random.default_rng(0), PairSpec(TEMPLATE, TEMPLATE, joint))
        expected = cut_crop(*map(np.array, clip_frame(0)), TEMPLATE, np.random.default_rng(0), joint)
        for crop in (*pair.template, *pair.search):
            np.testing.assert_array_equal(crop.image, expected.image)
            np.testing.assert_array_equal(crop.box, expected.box)

    def test_drawn_pairs_get_the_joint_step_on_their_crops(self):
        class Drawn(ImagesDataset):
            def draw_plain(self, rng, template, search):
                noise = np.random.default_rng(1).integers(0, 255, (8, 8, 3)).astype(np.uint8)
                crop = Crop(noise, np.array([0, 0, 0.25, 1], np.float32), np.zeros((8, 8), bool))
                return CropPair([crop], [crop], "DRAWN", "noise")

        def draw(joint):
            pair = Drawn(None).draw_pair(np.random.default_rng(0), PairSpec(TEMPLATE, SEARCH, joint))
            np.testing.assert_array_equal(pair.template[0].image, pair.search[0].image)
            return pair.search[0]

        plain, both = draw(JointAugmentation()), draw(JointAugmentation(gray=True, flip=True))
        np.testing.assert_array_equal(both.image, to_grayscale(plain.image)[:, ::-1])
        np.testing.assert_allclose(both.box, [0.75, 0, 0.25, 1])


def config(*overrides):
    return load_config(OSTrackConfig, 
        "vitb_256_mae_ce_32x4_ep300",
        [
            "DATA.TRAIN.DATASETS_NAME=[IMAGES]", "DATA.TRAIN.DATASETS_RATIO=[1]", "DATA.TRAIN.SAMPLE_PER_EPOCH=10",
            "DATA.VAL.DATASETS_NAME=[IMAGES]", "DATA.VAL.DATASETS_RATIO=[1]", "DATA.VAL.SAMPLE_PER_EPOCH=10",
            "TRAIN.BATCH_SIZE=4", *overrides,
        ],
    )  # fmt: skip


def loader_for(cfg, split, **ranks):
    return build_loader(cfg, split, procedural(cfg), DistInfo(**ranks))


@pytest.fixture(autouse=True)
def many_cpus(monkeypatch):
    """Worker processes as asked for, however few CPUs there are."""
    monkeypatch.setattr("lib.train.data.loader.cpu_count", lambda: 8)


@cache
def procedural_pictures():
    return open_sources(config(), EnvironmentSettings())


def procedural(cfg):
    """Procedural pictures, made once; other data sets are opened as they are."""
    pictures = procedural_pictures()
    return pictures if set(cfg.DATA.TRAIN.DATASETS_NAME) <= set(pictures) else open_sources(cfg, EnvironmentSettings())


class TestLoader:
    def test_batches_are_the_same_for_any_number_of_workers(self):
        epochs = []
        for workers in (0, 1, 2, 3):
            loader = loader_for(config(f"TRAIN.NUM_WORKER={workers}"), "TRAIN")
            runs = []
            for epoch in (1, 2, 1):
                loader.sampler.epoch = epoch
                runs.append(list(batches(loader)))
            epochs.append(runs)
        for runs in epochs:
            assert len(runs[0]) == 2  # ten samples are two whole batches of four
            for run in runs:
                for batch, reference in zip(run, epochs[0][0] if run is not runs[1] else epochs[0][1], strict=True):
                    assert batch["source"] == reference["source"]
                    for key in ("template_images", "search_images", "template_anno", "search_anno", "search_att"):
                        assert torch.equal(batch[key], reference[key])
        assert not torch.equal(epochs[0][0][0]["search_images"], epochs[0][1][0]["search_images"])

    def test_crops_that_travel_as_bytes_are_normalized_to_the_same(self):
        loaders = [
            loader_for(config("TRAIN.NUM_WORKER=0", f"DATA.NORMALIZE_ON_DEVICE={v}"), "TRAIN")
            for v in ("false", "true")
        ]
        for loader in loaders:
            loader.sampler.epoch = 1
        actor = OSTrackActor(torch.nn.Linear(1, 1), config())
        for whole, packed in zip(*map(batches, loaders), strict=True):
            for kind, side in (("template", 128), ("search", 256)):
                assert packed[f"{kind}_images"].shape == (1, 4, side, side, 3)
                assert packed[f"{kind}_images"].dtype == torch.uint8
                assert packed[f"{kind}_brightness"].unique().numel() == 4
            moved = actor.to_device(packed)
            assert moved.keys() == actor.to_device(whole).keys()
            for key, value in actor.to_device(moved).items():
                assert torch.equal(value, whole[key])

    def test_batch_layout_and_last_validation_batch(self):
        loader = loader_for(config("TRAIN.NUM_WORKER=0"), "VAL")
        sizes = [batch["search_images"].shape for batch in loader]
        assert sizes == [(1, 4, 3, 256, 256), (1, 4, 3, 256, 256), (1, 2, 3, 256, 256)]
        batch = next(iter(loader))
        assert batch["template_images"].shape == (1, 4, 3, 128, 128)
        assert batch["template_anno"].shape == (1, 4, 4)
        assert batch["search_att"].shape == (1, 4, 256, 256)

    def test_training_and_validation_draw_different_samples(self):
        train, val = (loader_for(config("TRAIN.NUM_WORKER=0"), s) for s in ("TRAIN", "VAL"))
        assert not torch.equal(next(iter(train))["search_images"], next(iter(val))["search_images"])

    def test_seed_changes_the_samples(self):
        first, second = (
            next(iter(loader_for(config("TRAIN.NUM_WORKER=0", f"TRAIN.SEED={s}"), "TRAIN"))) for s in (1, 2)
        )
        assert not torch.equal(first["search_images"], second["search_images"])

    def test_too_few_samples_for_one_step(self):
        with pytest.raises(ConfigError, match="less than the 12 samples"):
            loader_for(config("TRAIN.ACCUM_STEPS=3"), "TRAIN")

    @pytest.mark.parametrize(
        "overrides",
        [
            ("DATA.TRAIN.DATASETS_NAME=[IMAGES, LASOT]", "DATA.TRAIN.DATASETS_RATIO=[1, 0]"),
            ("DATA.VAL.DATASETS_NAME=[IMAGES, LASOT]", "DATA.VAL.DATASETS_RATIO=[1, 0]"),
            ("DATA.VAL.DATASETS_NAME=[LASOT]", "TRAIN.VAL_EPOCH_INTERVAL=0"),
        ],
    )
    def test_data_sets_that_nothing_is_drawn_from_are_not_demanded(self, monkeypatch, overrides):
        def source(name, *_, **__):
            if name == "LASOT":
                raise DataError("LASOT: there is no folder lasot")
            return name

        monkeypatch.setattr("lib.train.data.loader.open_source", source)
        env = EnvironmentSettings()
        assert open_sources(config(*overrides), env) == {"IMAGES": "IMAGES"}
        with pytest.raises(DataError, match=r"folder lasot; or train without validation: DATA.VAL.DATASETS_NAME=\[\]$"):
            open_sources(config("DATA.VAL.DATASETS_NAME=[LASOT]"), env)
        with pytest.raises(DataError, match="folder lasot$"):
            open_sources(config("DATA.TRAIN.DATASETS_NAME=[LASOT]", "DATA.VAL.DATASETS_NAME=[LASOT]"), env)

    def test_a_data_set_of_ratio_0_changes_no_sample(self):
        loaders = [
            build_loader(config("TRAIN.NUM_WORKER=0", *more), "TRAIN", procedural(config()))
            for more in ((), ("DATA.TRAIN.DATASETS_NAME=[LASOT, IMAGES]", "DATA.TRAIN.DATASETS_RATIO=[0, 3]"))
        ]
        first, second = (next(iter(loader)) for loader in loaders)
        assert torch.equal(first["search_images"], second["search_images"])

    def test_unknown_data_set(self):
        with pytest.raises(ConfigError, match="NOPE.*GOT10K_vottrain.*IMAGES"):
            loader_for(config("DATA.TRAIN.DATASETS_NAME=[NOPE]"), "TRAIN")

    @pytest.mark.parametrize("workers", [0, 1])
    def test_an_error_in_a_worker_arrives_as_one_line(self, workers):
        class Broken:
            name = "BROKEN"

            def draw_pair(self, *args):
                raise DataError("image /data/17.jpg is truncated")

        samples = TrackingDataset([Broken()], [1], SampleSpec(TEMPLATE, SEARCH, PLAIN, 16, 0, 0))
        loader = PairLoader(samples, sampler=[(0, 0)], num_workers=workers, persistent_workers=workers > 0)
        with pytest.raises(DataError, match=r"^image /data/17.jpg is truncated$"):
            list(batches(loader))
        loader.end_workers()

    def test_nothing_but_padding_ends_after_a_bounded_number_of_tries(self):
        class Empty:
            name, tries = "EMPTY", 0

            def draw_pair(self, *args):
                self.tries += 1
                crop = Crop(np.zeros((64, 64, 3), np.uint8), np.zeros(4, np.float32), np.ones((64, 64), bool))
                return CropPair([crop], [crop], "EMPTY", "nothing")

        source = Empty()
        samples = TrackingDataset([source], [1], SampleSpec(TEMPLATE, SEARCH, PLAIN, 16, 0, 0))
        with pytest.raises(DataError, match="EMPTY: 100 samples in a row"):
            samples[1, 0]
        assert source.tries == 100

    def test_ratios_choose_the_data_sets(self):
        class Fixed:
            def __init__(self, name):
                self.name = name

            def draw_pair(self, *args):
                crop = Crop(np.zeros((64, 64, 3), np.uint8), np.zeros(4, np.float32), np.zeros((64, 64), bool))
                return CropPair([crop], [crop], self.name, "")

        samples = TrackingDataset(
            [Fixed("A"), Fixed("B"), Fixed("C")], [3, 1, 0], SampleSpec(TEMPLATE, SEARCH, PLAIN, 16, 0, 0)
        )
        names = [samples[1, index]["dataset"] for index in range(400)]
        assert names.count("C") == 0
        assert 260 < names.count("A") < 340

    def test_start_step_draws_the_rest_of_the_epoch_with_living_workers(self):
        loader = loader_for(config("TRAIN.NUM_WORKER=2", "TRAIN.BATCH_SIZE=1", "TRAIN.ACCUM_STEPS=2"), "TRAIN")
        loader.sampler.epoch = 4
        whole = [batch["source"] for batch in batches(loader)]
        loader.sampler.start_step = 3
        assert len(loader) == 4
        assert [batch["source"] for batch in batches(loader)] == whole[6:]
        loader.sampler.start_step = 0
        assert len(loader) == 10

    def test_ranks_together_draw_what_one_process_draws(self):
        cfg = config("TRAIN.NUM_WORKER=1", "TRAIN.BATCH_SIZE=2")
        joined = next(batches(loader_for(config("TRAIN.NUM_WORKER=0"), "TRAIN")))
        ranks = [next(batches(loader_for(cfg, "TRAIN", rank=rank, world=2))) for rank in range(2)]
        for key in ("template_images", "search_images", "search_anno"):
            assert torch.equal(torch.cat([batch[key] for batch in ranks], dim=1), joined[key])
        assert ranks[0]["source"] + ranks[1]["source"] == joined["source"]


class TestEpochKeys:
    @staticmethod
    def steps(count, batch_size, world, accumulate, start_step=0):
        """Indices drawn in each step, over all ranks and micro-batches."""
        shares = []
        for rank in range(world):
            keys = EpochSampler(count, batch_size, rank, world, accumulate)
            keys.epoch, keys.start_step = 3, start_step
            drawn = list(keys)
            assert len(drawn) == len(keys)
            assert {epoch for epoch, _ in drawn} <= {3}
            shares.append([index for _, index in drawn])
        size = batch_size * accumulate
        return [sorted(sum((share[i : i + size] for share in shares), [])) for i in range(0, len(shares[0]), size)]

    def test_order(self):
        keys = EpochSampler(24, 2, rank=1, world=3, accumulate=2)
        assert [index for _, index in keys] == [2, 3, 8, 9, 14, 15, 20, 21]

    @pytest.mark.parametrize("start_step", [0, 2, 3])
    def test_a_step_has_the_same_samples_however_they_are_shared_out(self, start_step):
        expected = [list(range(8 * step, 8 * step + 8)) for step in range(start_step, 3)]
        for batch_size, world, accumulate in ((8, 1, 1), (4, 2, 1), (4, 1, 2), (2, 2, 2), (1, 4, 2), (2, 1, 4)):
            assert self.steps(24, batch_size, world, accumulate, start_step) == expected

    @pytest.mark.parametrize("world", [1, 2, 3, 5])
    def test_validation_draws_each_sample_once(self, world):
        shares = [list(EpochSampler(10, 4, rank, world)) for rank in range(world)]
        assert sorted(index for share in shares for _, index in share) == list(range(10))
        assert [len(share) for share in shares] == {1: [10], 2: [6, 4], 3: [4, 4, 2], 5: [4, 4, 2, 0, 0]}[world]

    def test_samples_of_an_epoch_are_those_of_all_ranks(self):
        cfg = config("TRAIN.NUM_WORKER=0", "DATA.TRAIN.SAMPLE_PER_EPOCH=26", "TRAIN.ACCUM_STEPS=3")
        assert [len(loader_for(cfg, "TRAIN", rank=rank, world=2)) for rank in range(2)] == [3, 3]
        with pytest.raises(ConfigError, match=r"less than the 36 samples of one step .* 4 x .* 3 x 3 processes"):
            loader_for(cfg, "TRAIN", world=3)
