"""Results drawn on frames: which frames, which boxes in which colors, what is said of them, and bad input."""

import cv2
import numpy as np
import pytest

from lib.data.image_io import read_image
from lib.data.own_folder import folder_label
from lib.data.video_io import VideoFile
from lib.test.analysis.analyze import Selection
from lib.test.analysis.on_frames import draw_results, read_track
from lib.test.evaluation import get_dataset
from lib.test.evaluation.environment import EnvSettings
from lib.utils.errors import ConfigError, DataError
from lib.vis.compare import Entry, caption, choose_frames, line, stacked
from lib.vis.draw import COLORS, rgb
from tests.factories import run_command

FRAMES, SIZE = 20, (200, 120)
TRUTH = np.array([[40.0 + 2 * t, 40, 40, 30] for t in range(FRAMES)])


def found(image, color, tolerance=0):
    """How many pixels have this color."""
    return int((np.abs(image.astype(int) - color).max(axis=-1) <= tolerance).sum())


@pytest.fixture
def data(tmp_path):
    """A sequence whose frame 4 has no target, and the results of two trackers: one right, one 40 pixels off at 10."""
    folder = tmp_path / "data" / "walk"
    (folder / "img").mkdir(parents=True)
    for t in range(FRAMES):
        cv2.imwrite(str(folder / f"img/{t:04d}.png"), np.full((SIZE[1], SIZE[0], 3), 90, np.uint8))
    truth = TRUTH.copy()
    truth[4] = np.nan
    np.savetxt(folder / "groundtruth.txt", truth, delimiter=",")
    off = TRUTH.copy()
    off[10, 0] += 40
    off[11:, 3] = 15  # the upper half
    for label, boxes in (("ostrack/good", TRUTH), ("other/bad", off)):
        path = tmp_path / "out/test/tracking_results" / label / "walk.txt"
        path.parent.mkdir(parents=True)
        np.savetxt(path, boxes, delimiter="\t")
    return tmp_path


def draw(data, *arguments, **options):
    """Of the results that ``arguments``, those of :class:`Selection`, name."""
    return draw_sequence(data, "walk", *arguments, **options)


def draw_sequence(data, name, *arguments, **options):
    selection = Selection(f"folder:{data / 'data'}", *arguments)
    return draw_results(selection, name, env=EnvSettings(save_dir=data / "out"), **options)


def test_overlap_and_mean_are_those_of_the_frames_with_a_target(data):
    sequence = get_dataset(f"folder:{data / 'data'}")[0]
    results = data / "out/test/tracking_results"
    track = read_track(results, ("other", "bad"), sequence, 1, "pytracking")
    expected = [1.0] * 4 + [np.nan] + [1.0] * 5 + [0.0] + [0.5] * 9
    np.testing.assert_allclose(track.overlap, expected)
    assert track.mean == f"mean IoU {np.nanmean(expected):.3f}" == "mean IoU 0.711"
    assert track.color == rgb(COLORS[1]) == (0xEE, 0x66, 0x77)
    assert (track.mark(10).text, track.mark(4).text) == ("0.00", "-")


def test_the_sheet_shows_every_box_and_says_how_good_it_is(data):
    path = data / "sheet.png"
    text = draw(data, "ostrack", ["good"], ["other/bad"], output=path, frames=6)
    assert text.splitlines() == [
        f"walk of folder:{data / 'data'}, 20 frames",
        "ostrack/good  mean IoU 1.000  (origin unknown)",
        "other/bad     mean IoU 0.711  (origin unknown)",
        f"Wrote {path}",
    ]
    sheet = read_image(path)
    assert sheet.shape[1] == 3 * 484 + 4
    for color in (rgb(COLORS[0]), rgb(COLORS[1]), (255, 255, 255)):
        assert found(sheet, color) > 100


def test_a_caption_that_is_too_wide_goes_on_in_the_next_line():
    entries = [Entry((200, 0, n), "0.12") for n in range(10)]
    lines = caption(entries, "frame 3, a worst one", 300)
    assert len(lines) == 3 and all(one.shape[1] <= 300 for one in lines)
    assert [sum(found(one, entry.color) > 100 for one in lines) for entry in entries] == [1] * 10
    assert len(caption([], "frame 3", 300)) == 1 and caption([], "", 300) == []


def test_the_default_file_lies_among_the_plots(data):
    text = draw(data)
    path = data / "out/test/result_plots" / folder_label(data / "data") / "walk.png"
    assert text.endswith(f"Wrote {path}") and read_image(path).shape[1] > 1000


def test_the_video_holds_each_frame_with_its_legend(data):
    draw(data, "other", ["bad"], output=data / "clip.mp4")
    frames = list(VideoFile(data / "clip.mp4"))
    height, width = frames[0].shape[:2]
    assert len(frames) == FRAMES and height == SIZE[1] + 2 * 22 and width > SIZE[0]  # the legend is wider

    def box_of(image):
        """Around what is blue, the first color, in a gray picture with a white frame."""
        pixels = image[: SIZE[1], : SIZE[0]].astype(int)
        rows, columns = np.nonzero(pixels[..., 2] - pixels[..., 0] > 50)
        return columns.min(), rows.min(), columns.max() - columns.min(), rows.max() - rows.min()

    for t, expected in ((4, TRUTH[4]), (10, TRUTH[10] + [40, 0, 0, 0]), (15, [70, 40, 40, 15])):
        assert np.abs(np.subtract(box_of(frames[t]), expected)).max() <= 10, t  # video smears the lines
    # The true box is white; in frame 4 there is none.
    assert found(frames[10][: SIZE[1]], (255, 255, 255), 40) > 200 and found(frames[4][: SIZE[1]], (255,) * 3, 40) == 0


def test_frames_of_several_sizes_make_a_whole_video_and_damaged_ones_none(data):
    folder = data / "data/walk/img"
    for t in (7, 8):  # turned by a quarter, and twice as large
        shape = (SIZE[0], SIZE[1], 3) if t == 7 else (2 * SIZE[1], 2 * SIZE[0], 3)
        cv2.imwrite(str(folder / f"{t:04d}.png"), np.full(shape, 90, np.uint8))
    draw(data, "other", ["bad"], output=data / "clip.mp4")
    frames = list(VideoFile(data / "clip.mp4"))
    assert len(frames) == FRAMES and len({frame.shape for frame in frames}) == 1
    gray = [int((np.abs(frame[: SIZE[1], : SIZE[0]].astype(int) - 90).max(axis=-1) < 12).sum()) for frame in frames]
    assert gray[8] > 0.6 * SIZE[0] * SIZE[1] and 0.2 < gray[7] / gray[0] < 0.5  # 72 of 200 columns
    draw(data, "other", ["bad"], output=data / "sheet.png")
    (folder / "0012.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"0012\.png cannot be decoded"):
        draw(data, "other", ["bad"], output=data / "half.mp4")
    assert not list(data.glob("half*"))  # nor does a failure touch what was there before
    with pytest.raises(DataError, match=r"0012\.png cannot be decoded"):
        draw(data, "other", ["bad"], output=data / "clip.mp4")
    assert len(VideoFile(data / "clip.mp4")) == FRAMES and not list(data.glob("*.part*"))


def test_frames_are_spread_and_the_worst_ones_apart():
    overlaps = np.ones((2, 100))
    overlaps[1, 40:60] = 0.1
    overlaps[0, 81] = 0.5
    overlaps[0, 0] = np.nan
    chosen = choose_frames(overlaps, 8)
    assert [t for t, worst in chosen.items() if not worst] == [0, 33, 66, 99]
    worst = [t for t, is_worst in chosen.items() if is_worst]
    assert worst == [40, 47, 54, 81] and list(chosen) == sorted(chosen)
    assert choose_frames(np.full((1, 100), np.nan), 4) == dict.fromkeys([0, 33, 66, 99], False)
    assert choose_frames(np.ones((1, 3)), 4) == dict.fromkeys(range(3), False)
    assert len(choose_frames(overlaps, 99)) == 99  # closer than the distance where it must be


def test_a_line_is_as_wide_as_its_text_and_shows_its_colors():
    short, long = line([Entry((200, 10, 10), "a")]), line([Entry((200, 10, 10), "a"), Entry((10, 200, 10), "b" * 40)])
    assert short.shape[0] == long.shape[0] == 22 and long.shape[1] > short.shape[1] + 200
    assert found(long, (200, 10, 10)) == found(long, (10, 200, 10)) == 144
    pile = stacked([short, long])
    assert pile.shape[:2] == (44, long.shape[1] + long.shape[1] % 2) and (pile[:22, : short.shape[1]] == short).all()


def test_a_sequence_with_one_annotated_box_is_drawn_without_scores(data):
    truth = data / "data/walk/groundtruth.txt"
    truth.write_text(truth.read_text().splitlines()[0])
    assert "other/bad  no ground truth to score against" in draw(data, "other", output=data / "sheet.png")


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (("other", ["worse"]), {}, DataError, "no results of config worse"),
        (("other", ["bad"], ["ostrack"]), {}, ConfigError, "expected TRACKER/CONFIG"),
        (("other", ["bad"], ["ostrack/god"]), {}, DataError, "did you mean good"),
        (("other", ["bad"]), {"frames": 0}, ConfigError, "0 frames"),
        (("other", ["bad"]), {"output": "sheet.xyz"}, DataError, "sheet.xyz cannot be written"),
    ],
)
def test_what_cannot_be_drawn_is_named(data, arguments, options, error, message):
    with pytest.raises(error, match=message):
        draw(data, *arguments, **options)


def test_missing_and_short_results_are_named(data):
    path = data / "out/test/tracking_results/other/bad/walk.txt"
    np.savetxt(path, TRUTH[:7], delimiter="\t")
    with pytest.raises(DataError, match=r"walk.txt has 7 boxes, walk has 20 frames"):
        draw(data)
    path.rename(path.with_name("run.txt"))
    with pytest.raises(DataError, match=r"other/bad has no result of walk"):
        draw(data, "other")
    assert "other/bad" not in draw(data)  # unless it is asked for, it has nothing to show here
    with pytest.raises(ConfigError, match="no sequence 'run'"):
        draw_sequence(data, "run")


def test_the_command_takes_several_trackers(data, monkeypatch, capsys):
    arguments = ["--dataset", f"folder:{data / 'data'}", "--sequence", 0, "--tracker", "other", "--config", "bad"]
    arguments += ["--compare", "ostrack/good", "--save_dir", data / "out", "--output", data / "two.jpg"]
    run_command(monkeypatch, "vis_results", arguments)
    lines = capsys.readouterr().out.splitlines()
    assert [row.split()[0] for row in lines[1:3]] == ["other/bad", "ostrack/good"]
    assert read_image(data / "two.jpg").ndim == 3
