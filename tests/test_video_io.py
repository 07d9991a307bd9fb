"""Videos whose header tells another number of frames than there are, healthy ones and damaged ones."""

from pathlib import Path

import numpy as np
import pytest

from lib.data.containers import is_broken
from lib.data.registry import open_dataset
from lib.data.tracks import FrameKind
from lib.data.video_io import VideoFile, VideoWriter
from lib.test.evaluation import get_dataset
from lib.train.data.check import check_dataset
from lib.utils.errors import DataError
from tests import miniature
from tests.evaluation_fakes import FakeBatchTracker, run
from tests.video_files import picture, write_avi, write_mkv

# When a recorder of a screen wrote its frames: at once where something moved, late where nothing did.
TIMES = [0, 33, 67, 100, 500, 533, 567, 1200, 1233, 1267, 1300, 2500, 2533, 2600, 2617, 3000, 3500, 3520, 3900, 4000]
BOXES = "".join(f"{4 + t},16,12,12\n" for t in range(len(TIMES)))


def check_whole(path: Path) -> VideoFile:
    """Every frame that :mod:`tests.video_files` drew is there, in order and at random."""
    video = VideoFile(path)
    frames = list(video)
    assert len(video) == len(frames) == video.coded_frames == 20
    for t, frame in enumerate(frames):
        assert np.abs(frame.astype(int) - picture(t)).mean() < 4  # a frame further it is 10
    np.testing.assert_array_equal(video.frame(17), frames[17])
    return video


def test_the_rate_may_vary(tmp_path):
    for name, options in (
        ("a.mkv", {}),
        ("a.webm", {}),
        ("stream.webm", {"duration": 0}),
        ("long.mkv", {"duration": 30_000}),
    ):
        video = check_whole(write_mkv(tmp_path / name, TIMES, **options))
        assert video.fps == pytest.approx(19 / 4) and not video.seeks_exactly()
    video = check_whole(write_mkv(tmp_path / "even.mkv", range(0, 800, 40)))
    assert video.fps == pytest.approx(25) and video.seeks_exactly()
    # One frame comes late: those that are tried when seeking all lie where a constant rate puts them.
    late = [40 * t + 30 * (t == 3) for t in range(25)]
    assert not VideoFile(write_mkv(tmp_path / "late.mkv", late)).seeks_exactly()
    assert VideoFile(write_mkv(tmp_path / "one.mkv", [0])).fps >= 1


@pytest.mark.parametrize("fps", [239.874, 90.333, 29.97])
def test_any_rate_can_be_written(tmp_path, fps):
    with VideoWriter(tmp_path / "fast.mp4", fps) as writer:
        for t in range(8):
            writer.write(picture(t))
    assert VideoFile(tmp_path / "fast.mp4").fps == pytest.approx(fps, rel=1e-3)


def test_a_video_has_its_name_when_it_ends_also_by_an_error(tmp_path):
    path = tmp_path / "clip.mp4"
    for frames in (3, 2):
        with pytest.raises(KeyError), VideoWriter(path) as writer:
            for t in range(frames):
                writer.write(picture(t))
            assert not path.exists() or len(VideoFile(path)) == 3  # what was there before is there still
            raise KeyError
        assert len(VideoFile(path)) == frames
    assert [one.name for one in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_header_may_lie(tmp_path):
    for told in (20, 400, 7, 0):
        assert check_whole(write_avi(tmp_path / "a.avi", 20, told)).fps == pytest.approx(10)


def test_a_long_stretch_of_sound_is_no_end(tmp_path):
    video = VideoFile(write_mkv(tmp_path / "still.mkv", [0, 33, 100_000, 100_033], sound=100_100))
    assert len(video) == len(list(video)) == video.coded_frames == 4


@pytest.mark.parametrize("name", ["a.mkv", "a.avi"])
def test_a_damaged_video_is_told_from_one_that_lies(tmp_path, name):
    path = tmp_path / name
    if name == "a.mkv":
        write_mkv(path, TIMES, duration=60_000)
    else:
        write_avi(path, 20, 400)
    whole = path.read_bytes()
    assert not is_broken(path)
    path.write_bytes(whole[: len(whole) // 2])
    assert is_broken(path)
    with pytest.raises(DataError, match=rf"{name} is damaged or cut short, \d frames of it can be read: copy"):
        list(VideoFile(path))
    # A picture in the middle that is none: the decoder fails, and the file goes on.
    place = whole.index(b"\xff\xd8", len(whole) // 2)
    path.write_bytes(whole[:place] + bytes(300) + whole[place + 300 :])
    with pytest.raises(DataError, match=rf"{name}: frame \d+ cannot be decoded: copy or download it again"):
        len(VideoFile(path))
    assert not is_broken(path)
    if name == "a.mkv":  # the head of a block overwritten: what follows is passed over by the decoder without a word
        place = whole.index(b"\x1f\x43\xb6\x75", len(whole) // 2)
        path.write_bytes(whole[:place] + bytes(range(200, 240)) + whole[place + 40 :])
        with pytest.raises(DataError, match="damaged"):
            len(VideoFile(path))


def test_structures_of_mp4_are_read(tmp_path):
    path = tmp_path / "a.mp4"
    with VideoWriter(path) as writer:
        for t in range(8):
            writer.write(picture(t))
    whole = path.read_bytes()
    assert not is_broken(path)
    path.write_bytes(whole[:-9])
    assert is_broken(path)
    path.write_bytes((1).to_bytes(4, "big") + b"mdat" + (24).to_bytes(8, "big") + bytes(8))  # a length of 64 bits
    assert not is_broken(path)
    path.write_bytes(path.read_bytes()[:-1])
    assert is_broken(path)
    path.write_bytes(bytes(4) + b"mdat" + bytes(9))  # up to the end
    assert not is_broken(path)
    path.write_bytes(b"no container")
    assert not is_broken(path)


def test_a_codec_that_cannot_be_decoded_is_named(tmp_path):
    path = write_mkv(tmp_path / "a.mkv", TIMES)
    path.write_bytes(path.read_bytes().replace(b"V_MJPEG", b"V_SNOW2"))
    with pytest.raises(DataError, match=r"a\.mkv has no frame that can be decoded: .* cannot decode its codec 'snow'"):
        len(VideoFile(path))


def test_such_videos_are_tracked_and_trained_on(tmp_path):
    data = tmp_path / "data"
    write_mkv(data / "screen/screen.webm", TIMES)
    write_avi(data / "lies/lies.avi", 20, 400)
    for name in ("screen", "lies"):
        (data / name / "groundtruth.txt").write_text(BOXES)
    assert [sequence.num_frames for sequence in get_dataset(f"folder:{data}")] == [20, 20]
    summary = run(data, tmp_path / "out", tracker=FakeBatchTracker)
    assert len(summary.done) == 2 and not summary.failed and summary.frames == 38
    assert not list((tmp_path / "out").rglob("*.part"))

    env = miniature.environment(tmp_path / "train")
    env.folder_dir, env.cache_dir = str(data), str(tmp_path / "cache")
    report = check_dataset("FOLDER", env, full=True)
    assert (report.sequences, report.frames, report.decoded, report.broken) == (2, 40, 40, [])
    dataset = open_dataset("FOLDER", env)
    index = [dataset.sequence_name(i) for i in range(2)].index("data/screen")
    assert dataset.table.kinds[index] == FrameKind.SLOW_VIDEO
    assert np.abs(dataset.frame(index, 17).astype(int) - picture(17)).mean() < 4
