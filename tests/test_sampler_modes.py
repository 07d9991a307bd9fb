"""Frames of the sampling modes, and negatives of the classification variant."""

import itertools
from collections import Counter

import numpy as np
import pytest
import torch

from lib.config import load_config
from lib.config.ostrack import OSTrackConfig
from lib.data.crops import Crop, CropPair, CropSpec, JointAugmentation, PairSpec
from lib.data.tracks import SequenceInfo
from lib.drawing.pairs import ImagesDataset
from lib.train.data.augmentation import center_box
from lib.train.data.loader import collate
from lib.train.data.sampler import PairSampling, causal_frames, trident_frames
from lib.train.data.samples import AnnotatedPairs, SampleSpec, TrackingDataset
from lib.utils.errors import ConfigError, DataError

TEMPLATE, SEARCH = CropSpec(32, 2.0, 0.0, 0.0, 1), CropSpec(64, 4.0, 0.0, 0.0, 1)
PLAIN = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


class Colors:
    """Sequences whose frames have one gray level each, 10 x sequence + 1; with flags of one's own."""

    def __init__(self, name="COLORS", visible=None, sequences=2, frames=30):
        self.name, self.is_video = name, True
        self.visible = np.ones(frames, bool) if visible is None else visible
        self.valid = np.ones_like(self.visible)
        self.sequences = sequences

    def __len__(self):
        return self.sequences

    def sequence(self, index):
        box = np.tile([30.0, 20.0, 16.0, 16.0], (len(self.visible), 1))
        box[~self.valid] = np.nan
        return SequenceInfo(box, self.visible, self.valid)

    def sequence_name(self, index):
        return f"{index}"

    def frame(self, index, frame):
        return np.full((80, 120, 3), 10 * index + 1 + 100 * (not self.visible[frame]), np.uint8)


class TestCausal:
    @pytest.mark.parametrize(("templates", "searches"), [(1, 1), (2, 2), (3, 1)])
    def test_order_and_gap(self, templates, searches):
        rng, visible = np.random.default_rng(0), np.ones(100, bool)
        visible[40:60] = False
        for _ in range(300):
            shown, sought = causal_frames(visible, templates, searches, 30, rng)
            assert (len(shown), len(sought)) == (templates, searches)
            assert visible[shown].all() and visible[sought].all()
            assert all(0 < t - shown[0] < 30 for t in sought)
            assert all(0 < shown[0] - t <= 30 for t in shown[1:])

    def test_gap_grows_until_a_frame_is_found(self):
        visible = np.zeros(400, bool)
        visible[[0, 380]] = True
        assert causal_frames(visible, 1, 1, 10, np.random.default_rng(0)) == ([0], [380])

    def test_gap_is_respected(self):
        rng = np.random.default_rng(0)
        pairs = [causal_frames(np.ones(500, bool), 1, 1, 20, rng) for _ in range(500)]
        gaps = [sought[0] - shown[0] for shown, sought in pairs]
        assert min(gaps) == 1
        assert max(gaps) == 19

    @pytest.mark.parametrize(("templates", "searches"), [(1, 1), (2, 1), (2, 3)])
    def test_ends_for_every_sequence_that_suits(self, templates, searches):
        sampling = PairSampling("causal", 1, templates, searches)
        for clump in ("start", "end", "ends"):
            visible, n = np.zeros(60, bool), sampling.least_visible
            visible[:n] |= clump == "start"
            visible[-n:] |= clump == "end"
            visible[np.r_[: n // 2, 60 - n + n // 2 : 60]] |= clump == "ends"
            assert sampling.suits(visible)
            for seed in range(40):
                shown, sought = sampling.draw(SequenceInfo(None, visible, visible), np.random.default_rng(seed))
                assert visible[[*shown, *sought]].all() and min(sought) > shown[0]


class TestTrident:
    @staticmethod
    def published(visible, allowed, max_gap):
        """Probability of each (t, further template, s) when t and s are drawn until a further template is found."""
        chances = {}
        frames = np.flatnonzero(visible).tolist()
        for t, s in itertools.product(frames, repeat=2):
            window = range(s, s + max_gap) if t >= s else range(s - max_gap, s)
            near = [f for f in window if 0 <= f < len(allowed) and allowed[f]]
            chances |= {(t, f, s): 1 / len(near) for f in near}
        return {key: chance / sum(chances.values()) for key, chance in chances.items()}

    @pytest.mark.parametrize("allow_hidden", [False, True])
    def test_frames_are_distributed_as_those_of_the_published_loop(self, allow_hidden):
        visible = np.array([1, 1, 0, 0, 0, 0, 1, 0, 1, 1], bool)
        allowed = visible.copy()
        allowed[[3, 5]] = allow_hidden
        rng, draws, found = np.random.default_rng(0), 10000, Counter()
        for _ in range(draws):
            (t, further), (s,) = trident_frames(visible, allowed, 2, 1, 2, rng)
            found[t, further, s] += 1
        expected = self.published(visible, allowed, 2)
        assert found.keys() == expected.keys()
        for key, chance in expected.items():
            assert abs(found[key] - draws * chance) < 4.5 * np.sqrt(draws * chance), key

    @pytest.mark.parametrize(("mode", "hidden_too"), [("trident", False), ("trident_pro", True), ("stark", True)])
    def test_which_frames_the_modes_take(self, mode, hidden_too):
        visible, valid = np.ones(60, bool), np.ones(60, bool)
        visible[20:40], valid[25:30] = False, False
        rng, further = np.random.default_rng(0), set()
        for _ in range(1500):
            shown, sought = PairSampling(mode, 10, 3, 2).draw(SequenceInfo(None, visible, valid), rng)
            assert (len(shown), len(sought)) == (3, 2)
            assert visible[[shown[0], *sought]].all()
            low, high = (0, 9) if shown[0] >= sought[0] else (-10, -1)
            assert all(low <= t - sought[0] <= high for t in shown[1:])
            further.update(shown[1:])
        assert set(np.flatnonzero(visible)) - further <= {0, 59}
        assert further & set(range(20, 40)) == (set(range(20, 25)) | set(range(30, 40)) if hidden_too else set())

    def test_one_template_and_one_search_are_drawn_freely(self):
        visible = np.array([1, 0, 1, 1], bool)
        rng = np.random.default_rng(0)
        counts = Counter((t[0], s[0]) for t, s in (trident_frames(visible, visible, 1, 1, 1, rng) for _ in range(9000)))
        assert counts.keys() == set(itertools.product((0, 2, 3), repeat=2))
        assert all(abs(count - 1000) < 160 for count in counts.values())

    def test_further_templates_exist_even_where_nothing_is_near(self):
        visible = np.zeros(500, bool)
        visible[::50] = True
        for seed in range(50):
            (t, further), (s,) = trident_frames(visible, visible, 2, 1, 5, np.random.default_rng(seed))
            assert t >= s and further == s  # no other visible frame lies within five of s


class TestSequencesLeftOut:
    @pytest.mark.parametrize("mode", ["causal", "trident", "trident_pro", "stark"])
    def test_limits(self, mode):
        sampling = PairSampling(mode, 200, 2, 1)
        enough = np.arange(20) < 7
        assert sampling.suits(enough)
        assert not sampling.suits(np.arange(20) < 6)
        assert not sampling.suits(np.ones(19, bool))
        sampling.draw(SequenceInfo(None, enough, enough), np.random.default_rng(0))

    def test_count_is_logged_and_nothing_left_is_an_error(self, caplog):
        class Mixed(Colors):
            def sequence(self, index):
                info = super().sequence(index)
                return info if index else SequenceInfo(info.bbox, np.zeros(30, bool), info.valid)

        with caplog.at_level("INFO"):
            assert AnnotatedPairs(Mixed(), PairSampling("stark", 200, 1, 1)).usable == [1]
        assert "COLORS: 1 of 2 sequences are left out; one needs 20 frames, the target visible in 5" in caplog.text
        with pytest.raises(DataError, match="COLORS: none of 1 sequences"):
            AnnotatedPairs(Mixed(sequences=1), PairSampling("stark", 200, 1, 1))

    def test_unknown_mode(self):
        with pytest.raises(ConfigError, match="DATA.SAMPLER_MODE is 'spiral'; it must be one of causal, trident"):
            load_config(OSTrackConfig, "vitb_256_mae_ce_32x4_ep300", ["DATA.SAMPLER_MODE=spiral"])


def samples_of(*datasets, ratios=None, templates=1, searches=1, mode="trident", negatives=True):
    sampling = PairSampling(mode, 200, templates, searches)
    sources = [AnnotatedPairs(dataset, sampling) for dataset in datasets]
    specs = (CropSpec(32, 2.0, 0.0, 0.0, templates), CropSpec(64, 4.0, 0.0, 0.0, searches))
    return TrackingDataset(sources, ratios or [1] * len(sources), SampleSpec(*specs, PLAIN, 16, 0, 0, negatives))


def level(images, scale=255):
    """The gray level of the middle of a crop, whatever its brightness factor: only its order of size is exact."""
    return float(images[0, 0, 32 % images.shape[-1], 32 % images.shape[-1]]) * scale


class TestNegatives:
    def test_half_the_samples_have_the_label_0_and_show_another_sequence(self):
        samples = samples_of(Colors(frames=30))
        drawn = [samples[1, index] for index in range(200)]
        labels = [sample["label"].item() for sample in drawn]
        assert 70 < labels.count(0.0) < 130
        for sample, label in zip(drawn, labels, strict=True):
            assert sample["label"].shape == () and sample["label"].dtype == torch.float32
            shown, sought = (level(sample[f"{kind}_images"][:, :, 4:, 4:]) > 5 for kind in ("template", "search"))
            assert (shown == sought) == bool(label)
        batch = collate(drawn[:3])
        assert batch["label"].tolist() == labels[:3]
        assert batch["search_images"].shape == (1, 3, 3, 64, 64)

    def test_frames_without_the_target_come_first(self):
        visible = np.arange(40) < 30
        samples = samples_of(Colors(visible=visible), searches=2)
        for index in range(60):
            sample = samples[1, index]
            hidden = level(sample["search_images"]) > 60  # such frames are lighter by 100
            assert hidden == (sample["label"] == 0)
            assert sample["search_images"].shape[0] == 2

    def test_the_middle_of_such_a_frame_is_cropped(self):
        np.testing.assert_array_equal(center_box((80, 120, 3)), [52, 35, 15, 10])
        np.testing.assert_array_equal(center_box((719, 1281, 3)), [560, 314, 160, 89])

    def test_one_sequence_is_not_enough(self):
        with pytest.raises(ConfigError, match="TRAIN_CLS needs a second sequence; COLORS has only one"):
            samples_of(Colors(sequences=1))

    def test_a_source_with_one_sequence_takes_negatives_from_the_others(self):
        samples = samples_of(Colors("A", sequences=1), Colors("B", sequences=1), ratios=[50, 1])
        seen = set()
        for index in range(60):
            sample = samples[1, index]
            if sample["label"] == 0:
                shown, _, stranger = sample["source"].partition(", not to be found in ")
                assert shown[0] != stranger[0]
                seen.add(stranger[0])
        assert "B" in seen

    @pytest.mark.parametrize("visible", [None, np.arange(40) < 30])
    def test_negatives_are_augmented_like_other_samples(self, visible):
        """Otherwise the quality of the image would tell the label."""
        colors = Colors() if visible is None else Colors(visible=visible)
        source = AnnotatedPairs(colors, PairSampling("trident", 200, 1, 1), augment=1.0)
        specs = CropSpec(32, 2.0, 0.0, 0.0, 1), CropSpec(64, 4.0, 0.0, 0.0, 1)
        samples = TrackingDataset([source], [1], SampleSpec(*specs, PLAIN, 16, 0, 0, negatives=True))
        drawn = [samples[1, index] for index in range(20)]
        assert {float(sample["label"]) for sample in drawn} == {0.0, 1.0}
        for sample in drawn:
            assert all(part.endswith(", augmented") for part in sample["source"].split(", not to be found in "))

    def test_without_the_variant_there_is_no_label(self):
        assert "label" not in samples_of(Colors(), negatives=False)[1, 0]

    def test_drawn_pairs_take_the_search_of_another_pair(self):
        class Counting(ImagesDataset):
            drawn = 0

            def draw_plain(self, rng, template, search):
                self.drawn += 1
                crop = [
                    Crop(np.full((s.size, s.size, 3), self.drawn, np.uint8), np.full(4, 0.25, np.float32),
                         np.zeros((s.size, s.size), bool)) for s in (template, search)
                ]  # fmt: skip
                return CropPair([crop[0]] * template.number, [crop[1]] * search.number, "DRAWN", f"{self.drawn}")

        source = Counting(None)
        two = CropSpec(64, 4.0, 0.0, 0.0, 2)
        samples = TrackingDataset([source], [1], SampleSpec(TEMPLATE, two, PLAIN, 16, 0, 0, negatives=True))
        for index in range(30):
            before = source.drawn
            sample = samples[1, index]
            positive = sample["label"] == 1
            assert source.drawn - before == (1 if positive else 2)
            assert sample["search_images"].shape == (2, 3, 64, 64)
            assert sample["template_images"].shape == (1, 3, 32, 32)
        pair = source.draw_search(np.random.default_rng(0), PairSpec(TEMPLATE, two, JointAugmentation()))
        assert (len(pair.template), len(pair.search)) == (0, 2)
