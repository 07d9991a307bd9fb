"""Images that cannot be read, and worker processes that die: replaced, counted, or one clear error; never a hang."""

import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
import torch

from lib.data.crops import CropSpec, PairSpec
from lib.data.image_io import decode_image, read_image, write_image
from lib.data.tracks import SequenceInfo
from lib.train.data.loader import BrokenImages, PairLoader, batches, collate, start_worker
from lib.train.data.sampler import EpochSampler, PairSampling
from lib.train.data.samples import AnnotatedPairs, SampleSpec, TrackingDataset
from lib.utils.errors import DataError, ImageError, WorkerError

TEMPLATE, SEARCH = CropSpec(32, 2.0, 0.0, 0.0, 1), CropSpec(64, 4.0, 0.0, 0.0, 1)
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")
PLAIN = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


class Folder:
    """One sequence of 24 written JPEGs of noise."""

    name, is_video = "FOLDER", True

    def __init__(self, root):
        self.root = root
        noise = np.random.default_rng(0).integers(0, 255, (24, 80, 120, 3), np.uint8)
        for t in range(24):
            write_image(self.path(t), noise[t])

    def path(self, t):
        return self.root / f"{t:02d}.jpg"

    def __len__(self):
        return 1

    def sequence(self, index):
        return SequenceInfo(np.tile([30.0, 20, 16, 16], (24, 1)), np.ones(24, bool), np.ones(24, bool))

    def sequence_name(self, index):
        return "s"

    def frame(self, index, t):
        return read_image(self.path(t))


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def samples_of(dataset):
    source = AnnotatedPairs(dataset, PairSampling("causal", 200, 1, 1))
    return TrackingDataset([source], [1], SampleSpec(TEMPLATE, SEARCH, PLAIN, 16, 0, 0))


def loader_of(samples, workers=0, count=40, max_share=1.0):
    loader = PairLoader(samples, batch_size=4, sampler=EpochSampler(count, 4), num_workers=workers, collate_fn=collate,
                        worker_init_fn=start_worker)  # fmt: skip
    loader.broken = BrokenImages(max_share)
    return loader


def truncate(path):
    path.write_bytes(path.read_bytes()[:-200])


def frames_of(source):
    return {int(word) for word in source.replace("[", " ").replace("]", " ").split() if word.isdigit()}


class TestReading:
    def test_pixels_are_rgb_whatever_the_file_stores(self, tmp_path):
        colors = np.zeros((16, 24, 3), np.uint8)
        colors[:] = 200, 100, 30
        write_image(tmp_path / "a.png", colors)
        np.testing.assert_array_equal(read_image(tmp_path / "a.png"), colors)
        write_image(tmp_path / "a.jpg", colors)
        assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - colors).max() <= 3
        cv2.imwrite(str(tmp_path / "gray.jpg"), np.full((16, 24), 70, np.uint8))
        np.testing.assert_array_equal(read_image(tmp_path / "gray.jpg"), np.full((16, 24, 3), 70))

    def test_a_jpeg_is_truncated_when_its_last_scan_does_not_end(self, folder):
        whole = folder.path(0).read_bytes()
        scan = whole.index(b"\xff\xda")
        decode_image(whole + b"trailing bytes", "x")
        decode_image(whole[:2] + b"\xff\xe1\x00\x06" + b"\xff\xda\xff\xd9" + whole[2:], "x")  # as in a preview
        for cut in (whole[:-2], whole[: scan + 40], whole[:2] + b"\xff\xe1\x00\x06\xff\xda\xff\xd9" + whole[2:-50]):
            with pytest.raises(ImageError, match="image x is truncated"):
                decode_image(cut, "x")
        for junk in (b"", b"no picture", whole[: scan - 1]):
            with pytest.raises(ImageError, match="image x cannot be decoded"):
                decode_image(junk, "x")


class TestReplacement:
    def test_a_sample_with_a_broken_image_is_replaced_by_the_same_other_each_time(self, folder):
        plain = [samples_of(folder)[1, index] for index in range(60)]
        assert all(sample["broken"] == [] for sample in plain)
        truncate(folder.path(5))
        folder.path(6).unlink()
        samples = samples_of(folder)
        replaced = 0
        for index, before in enumerate(plain):
            sample, again = samples[1, index], samples[1, index]
            for key in ("template_images", "search_images", "source", "broken"):
                assert np.array_equal(sample[key], again[key])
            assert not frames_of(sample["source"]) & {5, 6}
            if frames_of(before["source"]) & {5, 6}:
                replaced += 1
                assert any(f"{t:02d}.jpg" in sample["broken"][0] for t in (5, 6))
            else:
                assert sample["broken"] == [] and torch.equal(sample["search_images"], before["search_images"])
        assert 3 < replaced < 30

    @pytest.mark.parametrize("workers", [0, 2])
    def test_each_file_is_logged_once_with_its_path(self, folder, workers, caplog):
        truncate(folder.path(5))
        loader = loader_of(samples_of(folder), workers)
        with caplog.at_level("WARNING"):
            for epoch in (1, 2):
                loader.sampler.epoch = epoch
                assert sum(len(batch["source"]) for batch in batches(loader)) == 40
        assert [record.message for record in caplog.records] == [
            f"image {folder.path(5)} is truncated: copy or download it again; it is replaced by another sample"
        ]
        assert loader.broken.drawn == 80
        assert 2 < loader.broken.replaced < 20

    def test_a_data_set_that_is_gone_ends_after_a_bounded_number_of_draws(self, folder):
        for t in range(24):
            folder.path(t).unlink()
        with pytest.raises(DataError, match=r"100 draws in a row .*, 100 for their images: .*jpg cannot be read"):
            samples_of(folder)[1, 0]

    def test_another_error_of_the_data_stops_at_once(self, folder):
        folder.sequence_name = lambda index: (_ for _ in ()).throw(DataError("groundtruth.txt is damaged"))
        with pytest.raises(DataError, match=r"^groundtruth.txt is damaged$"):
            samples_of(folder)[1, 0]

    def test_whatever_a_frame_raises_is_an_error_of_that_image(self, folder):
        folder.frame = lambda index, t: (_ for _ in ()).throw(DataError(f"no key {t} in data.mdb"))
        source = AnnotatedPairs(folder, PairSampling("causal", 200, 1, 1))
        with pytest.raises(ImageError, match="no key .* in data.mdb"):
            source.draw_pair(np.random.default_rng(0), PairSpec(TEMPLATE, SEARCH))


def batch_with(broken, sound):
    return {"broken": [[f"image {name} is truncated"] for name in broken] + [[]] * sound}


class TestTally:
    def test_too_large_a_share_stops_with_the_list(self):
        tally = BrokenImages(0.01)
        for i in range(11):
            tally.add(batch_with([f"{i}.jpg"], 99))  # exactly 1 %
        with pytest.raises(
            DataError, match=r"12 of 1101 samples .*MAX_BROKEN_SHARE = 0.01 allows:\n  image 0.jpg"
        ) as error:
            tally.add(batch_with(["0.jpg"], 0))
        assert str(error.value).count("image") == 12  # the heading, and eleven files

    def test_a_few_are_put_up_with_at_any_share(self):
        tally = BrokenImages(0.01)
        tally.add(batch_with([f"{i}.jpg" for i in range(10)], 0))
        with pytest.raises(DataError, match="11 of 11 samples"):
            tally.add(batch_with(["10.jpg"], 0))

    def test_none_is_put_up_with_at_share_zero(self):
        tally = BrokenImages(0.0)
        tally.add(batch_with([], 4))
        with pytest.raises(DataError, match="1 of 5 samples"):
            tally.add(batch_with(["1.jpg"], 0))

    def test_a_long_list_is_cut(self):
        with pytest.raises(DataError, match="and 5 more$"):
            BrokenImages(0.01).add(batch_with([f"{i}.jpg" for i in range(25)], 0))

    def test_the_loader_stops(self, folder):
        for t in range(12):
            truncate(folder.path(t))
        with pytest.raises(DataError, match="MAX_BROKEN_SHARE = 0.1"):
            list(batches(loader_of(samples_of(folder), workers=1, count=80, max_share=0.1)))


class Deadly(torch.utils.data.Dataset):
    """Kills the process that draws sample 9."""

    def __init__(self, kill):
        self.kill = kill

    def __getitem__(self, key):
        if key[1] == 9:
            self.kill(os.getpid())
        return {"broken": [], "pid": os.getpid()}


class TestWorkers:
    @pytest.mark.parametrize("workers", [1, 3])
    def test_a_killed_worker_is_a_clear_error_within_seconds(self, workers):
        start = time.monotonic()
        loader = loader_of(Deadly(lambda pid: os.kill(pid, signal.SIGKILL)), workers)
        with pytest.raises(WorkerError, match=r"DataLoader worker \(pid.*lower TRAIN.NUM_WORKER"):
            list(batches(loader))
        assert time.monotonic() - start < 20

    def test_a_worker_heeds_the_signals_of_its_parent_only(self):
        def send(pid):  # from a process that is not the parent
            for number in ("TERM", "INT"):
                subprocess.run(["kill", f"-{number}", str(pid)], check=True)
            time.sleep(0.2)

        drawn = [len(batch["pid"]) for batch in batches(loader_of(Deadly(send), workers=1))]
        assert drawn == [4] * 10

    @pytest.mark.end_to_end
    def test_an_interrupted_program_ends_its_workers(self, tmp_path):
        program = """
import os, signal, time, torch
from lib.train.data.loader import start_worker, worker_errors
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start background jobs with SIGINT ignored
class Slow(torch.utils.data.Dataset):
    def __getitem__(self, index):
        os.write(1, f"{os.getpid()}\\n".encode())
        time.sleep(0.1)
        return index
    def __len__(self):
        return 10**6
loader = torch.utils.data.DataLoader(Slow(), num_workers=2, worker_init_fn=start_worker, persistent_workers=True)
with worker_errors():
    for batch in loader:
        pass
"""
        process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   text=True, start_new_session=True)  # fmt: skip
        try:
            pids = {int(process.stdout.readline()) for _ in range(8)}
            start = time.monotonic()
            os.killpg(process.pid, signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
        assert time.monotonic() - start < 30
        assert process.returncode == -signal.SIGINT
        assert "KeyboardInterrupt" in errors and "DataLoader worker" not in errors
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and any(map(alive, pids)):
            time.sleep(0.1)
        assert len(pids) == 2 and not any(map(alive, pids))


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
