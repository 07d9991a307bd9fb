"""Benchmarks as they lie on disk, in miniature: what get_dataset finds, and what it says when something is missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.data.annotations import parse_flags, read_table
from lib.data.own_folder import folder_label
from lib.data.registry import open_dataset
from lib.data.sequence import ImageFrames
from lib.data.video_io import VideoFile, VideoWriter
from lib.test.evaluation.benchmarks import BENCHMARKS, get_dataset, present_sequences
from lib.test.evaluation.environment import EnvSettings
from lib.utils.errors import ConfigError, DataError
from tests.miniature import environment


def write_frames(folder: Path, names: list[str]) -> None:
    """Pictures whose brightness is 10 times their place in ``names``."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        cv2.imwrite(str(folder / name), np.full((12, 16, 3), 10 * i, np.uint8))


def write_boxes(path: Path, count: int, separator: str = ",") -> None:
    """Boxes ``i+1, 2, 3, 4``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(separator.join((str(i + 1), "2", "3", "4")) + "\n" for i in range(count)))


@pytest.fixture
def env(tmp_path: Path) -> EnvSettings:
    return EnvSettings(tmp_path, tmp_path / "data", tmp_path / "output")


# Box and flag files


@pytest.mark.parametrize("line", ["1,2.5,3,4", "1\t2.5\t3\t4", "1 2.5 3 4", " 1, 2.5,\t3   4 ", "1;2.5;3;4"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", ""])
def test_read_boxes_takes_every_separator(tmp_path: Path, line: str, ending: str) -> None:
    (tmp_path / "boxes.txt").write_bytes((line + "\n" + line + ending).encode())
    boxes = read_table(tmp_path / "boxes.txt", 4)
    assert boxes.dtype == np.float64
    np.testing.assert_array_equal(boxes, [[1, 2.5, 3, 4]] * 2)


def test_read_boxes_keeps_nan_and_ignores_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "boxes.txt").write_bytes(b"\xef\xbb\xbf1,2,3,4\nNaN,nan,NaN,NaN\n\n")
    boxes = read_table(tmp_path / "boxes.txt", 4)
    assert boxes.shape == (2, 4)
    assert np.isnan(boxes).tolist() == [[False] * 4, [True] * 4]


@pytest.mark.parametrize("bad", ["1,2,3", "1,2,3,4,5", "1,2,x,4", "", "1,2,inf,4"])
def test_read_boxes_names_file_and_line(tmp_path: Path, bad: str) -> None:
    (tmp_path / "boxes.txt").write_text(f"1,2,3,4\n{bad}\n1,2,3,4\n")
    with pytest.raises(DataError, match=r"boxes\.txt, line 2: expected four numbers"):
        read_table(tmp_path / "boxes.txt", 4)


def test_read_boxes_reports_missing_empty_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.txt cannot be read: No such file"):
        read_table(tmp_path / "none.txt", 4)
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(DataError, match=r"empty\.txt, line 1"):
        read_table(tmp_path / "empty.txt", 4)
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(DataError, match="not a text file"):
        read_table(tmp_path / "binary.txt", 4)


def test_flags_in_a_line_or_in_lines() -> None:
    for text in ("0,1,0", "0\n1\n0\n", "0 1 0"):
        assert parse_flags(text, "flags").tolist() == [False, True, False]
    with pytest.raises(DataError, match="found '2'"):
        parse_flags("0,2,0", "flags")


# The published benchmarks


@pytest.mark.parametrize(
    ("name", "count", "first", "last"),
    [
        ("lasot", 280, "airplane-1", "zebra-17"),
        ("lasot_extension_subset", 150, "atv-1", "wingsuit-9"),
        ("otb", 100, "Basketball", "Woman"),
        ("uav", 123, "uav_bike1", "uav_wakeboard9"),
        ("nfs", 100, "nfs_Gymnastics", "nfs_zebra_fish"),
    ],
)
def test_listed_benchmarks_are_complete_and_lazy(
    env: EnvSettings, name: str, count: int, first: str, last: str
) -> None:
    env.folder(BENCHMARKS[name]).mkdir(parents=True)  # empty: listing reads no frame and no annotation
    sequences = get_dataset(name, env=env)
    names = [sequence.name for sequence in sequences]
    assert len(names) == len(set(names)) == count
    assert first in names and last in names
    assert {sequence.dataset for sequence in sequences} == {name}
    with pytest.raises(DataError, match=str(env.prj_dir)):
        sequences[0].ground_truth  # noqa: B018


def test_lasot_layout(env: EnvSettings) -> None:
    folder = Path(env.lasot_path) / "airplane" / "airplane-9"
    write_frames(folder / "img", [f"{i:08d}.jpg" for i in range(1, 4)])
    write_boxes(folder / "groundtruth.txt", 3)
    (folder / "full_occlusion.txt").write_text("0,1,0")
    sequence = next(s for s in get_dataset("lasot", env=env) if s.name == "airplane-9")
    assert sequence.object_class == "airplane"
    with pytest.raises(DataError, match=r"out_of_view\.txt cannot be read"):
        sequence.visible  # noqa: B018
    (folder / "out_of_view.txt").write_text("0,0")
    with pytest.raises(DataError, match=r"out_of_view\.txt has 2 flags for the 3 boxes of airplane/"):
        sequence.visible  # noqa: B018
    (folder / "out_of_view.txt").write_text("0,0,1")  # a frame is visible when no file marks it
    assert sequence.visible.tolist() == sequence.official_visible.tolist() == [True, False, False]
    assert sequence.init_box == [1, 2, 3, 4]
    assert len(sequence.frames) == sequence.num_frames == 3
    assert sequence.frames.frame(2).shape == (12, 16, 3)
    assert [int(image.mean()) for image in sequence.frames] == [0, 10, 20]


def test_listed_files_skip_frames_before_the_target_appears(env: EnvSettings) -> None:
    names = [f"{i:04d}.jpg" for i in range(1, 355)]
    write_frames(Path(env.otb_path) / "Tiger1/img", names[:8])
    write_boxes(Path(env.otb_path) / "Tiger1/groundtruth_rect.txt", 354, "\t")
    tiger = next(s for s in get_dataset("otb", env=env) if s.name == "Tiger1")
    assert tiger.frames.files[0] == "0006.jpg" and len(tiger.frames) == 349 and tiger.omitted == 5
    assert tiger.init_box[0] == 6 and len(tiger.ground_truth) == 349
    assert tiger.frames.frame(0).mean() == 50
    tiger.check_length()
    david = next(s for s in get_dataset("otb", env=env) if s.name == "David")
    assert david.frames.files[0] == "0300.jpg" and david.frames.files[-1] == "0770.jpg" and david.omitted == 0


def test_got10k_layout_with_and_without_list(env: EnvSettings) -> None:
    root = Path(env.got10k_path) / "test"
    for name in ("GOT-10k_Test_000001", "GOT-10k_Test_000002", "GOT-10k_Test_000010"):
        write_frames(root / name, [f"{i:08d}.jpg" for i in range(1, 4)])
        write_boxes(root / name / "groundtruth.txt", 1)
        (root / name / "absence.label").write_text("0\n0\n0\n")
    assert [s.name[-2:] for s in get_dataset("got10k_test", env=env)] == ["01", "02", "10"]
    (root / "list.txt").write_text("GOT-10k_Test_000010\nGOT-10k_Test_000001\n")
    sequences = get_dataset("got10k_test", env=env)
    assert [s.name[-2:] for s in sequences] == ["10", "01"]
    assert sequences[0].dataset == "got10k"
    assert sequences[0].visible is None  # the published protocol has no flags here
    assert sequences[0].ground_truth.shape == (1, 4) and sequences[0].num_frames == 3
    sequences[0].check_length()


def test_images_val_reads_absence_where_it_is(env: EnvSettings) -> None:
    for name in ("a", "b"):
        write_frames(Path(env.images_path) / "val" / name, ["00000001.jpg", "00000002.jpg"])
        write_boxes(Path(env.images_path) / "val" / name / "groundtruth.txt", 2)
    (Path(env.images_path) / "val/b/absence.label").write_text("0\n1\n")
    a, b = get_dataset("images_val", env=env)
    assert a.visible is None and b.visible.tolist() == [True, False]


def test_several_names_and_unknown_names(env: EnvSettings) -> None:
    for name in ("otb", "nfs"):
        env.folder(BENCHMARKS[name]).mkdir(parents=True)
    assert len(get_dataset("otb", "nfs", env=env)) == 200
    with pytest.raises(ConfigError, match="unknown data set 'lasto': did you mean lasot"):
        get_dataset("lasto", env=env)
    with pytest.raises(DataError, match=r"uav: there is no folder .*set uav_path in lib/test/evaluation/local\.py"):
        get_dataset("uav", env=env)


def test_of_a_partial_copy_what_is_there_is_taken(env: EnvSettings, caplog: pytest.LogCaptureFixture) -> None:
    root = Path(env.lasot_path)
    root.mkdir(parents=True)
    with pytest.raises(DataError, match="lasot: none of its 280 sequences has frames here"):
        present_sequences("lasot", env)
    for name in ("airplane-1", "zebra-17", "zebra-10"):
        write_frames(root / name.partition("-")[0] / name / "img", ["00000001.jpg"])
    caplog.clear()
    there = [one.name for one in present_sequences("lasot", env)]
    assert there == ["airplane-1", "zebra-10", "zebra-17"]
    (line,) = caplog.messages
    assert line.startswith("lasot: 277 of 280 sequences have no frames here and are left out: airplane-9, ")
    assert line.endswith(" and 265 more") and line.count(",") == 11
    assert len(get_dataset("lasot", env=env)) == 280


def test_frames_and_boxes_must_agree(env: EnvSettings) -> None:
    write_frames(Path(env.images_path) / "val/a", ["1.jpg", "2.jpg", "3.jpg"])
    write_boxes(Path(env.images_path) / "val/a/groundtruth.txt", 2)
    (sequence,) = get_dataset("images_val", env=env)
    with pytest.raises(DataError, match="sequence a: 3 frames but 2 boxes"):
        sequence.check_length()


@pytest.mark.parametrize("box", ["NaN,NaN,NaN,NaN", "5,5,0,10"])
def test_a_first_box_without_area_is_an_error(env: EnvSettings, box: str) -> None:
    write_frames(Path(env.images_path) / "val/a", ["1.jpg"])
    (Path(env.images_path) / "val/a/groundtruth.txt").write_text(box)
    (sequence,) = get_dataset("images_val", env=env)
    with pytest.raises(DataError, match="sequence a: the first box"):
        sequence.init_box  # noqa: B018


# Folders of one's own


def test_own_folder_in_all_its_forms(tmp_path: Path) -> None:
    write_frames(tmp_path / "s1/img", ["1.jpg", "10.jpg", "2.jpg"])
    write_boxes(tmp_path / "s1/groundtruth.txt", 3, "\t")
    write_frames(tmp_path / "s2/imgs", ["a1.PNG", "a2.PNG"])
    write_boxes(tmp_path / "s2/groundtruth_rect.txt", 2, " ")
    write_frames(tmp_path / "s10", ["000.bmp", "001.bmp"])
    (tmp_path / "s10/groundtruth.txt").write_text("1,2,3,4\nNaN,NaN,NaN,NaN\n")
    (tmp_path / "s10/out_of_view.txt").write_text("0,1")
    (tmp_path / ".hidden").mkdir()
    sequences = get_dataset(f"folder:{tmp_path}")
    assert [s.name for s in sequences] == ["s1", "s2", "s10"]
    assert {s.dataset for s in sequences} == {"folder"}
    assert sequences[0].frames.files == ("1.jpg", "2.jpg", "10.jpg")
    assert [len(s.frames) for s in sequences] == [3, 2, 2]
    assert [s.ground_truth.shape for s in sequences] == [(3, 4), (2, 4), (2, 4)]
    assert sequences[2].visible.tolist() == [True, False]
    (tmp_path / "link").symlink_to(tmp_path / "s1")
    for path, name in (("s1", "s1"), ("s2/../s1/", "s1"), ("link", "link")):
        (single,) = get_dataset(f"folder:{tmp_path}/{path}")
        assert single.name == name and len(single.frames) == 3


def test_own_folder_with_boxes_apart(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for frames, boxes in (("sequences", "anno"), ("data_seq", "annotations")):
        root = tmp_path / frames
        write_frames(root / frames / "walk", ["1.jpg", "2.jpg"])
        write_frames(root / frames / "run/img", ["1.jpg", "2.jpg"])
        write_frames(root / frames / "lost", ["1.jpg"])
        draw_video(root / frames / "clip.mp4", 3)
        (root / frames / "list.txt").write_text("walk\n")
        for name, count in (("walk", 2), ("run", 2), ("clip", 3), ("nobody", 1)):
            write_boxes(root / boxes / f"{name}.txt", count)
        (root / "full_occlusion").mkdir()
        (root / "full_occlusion/run_full_occlusion.txt").write_text("0,1")
        sequences = get_dataset(f"folder:{root}")
        assert [(one.name, len(one.frames), len(one.ground_truth)) for one in sequences] == [
            *(("clip", 3, 3), ("run", 2, 2), ("walk", 2, 2)),
        ]
        assert sequences[1].visible.tolist() == [True, False] and sequences[2].visible is None
        assert {one.group for one in sequences} == {folder_label(root)}
        assert caplog.messages[-1] == (
            f"{root}/{frames}/lost is left out: it has no {root}/{boxes}/lost.txt or groundtruth.txt or "
            "groundtruth_rect.txt"
        )
        env = replace(environment(tmp_path), folder_dir=str(root), cache_dir=str(root / "cache"))
        data = open_dataset("FOLDER", env)  # and to train on
        assert [(data.sequence_name(i), data.length(i)) for i in range(3)] == [
            (f"{frames}/{frames}/clip.mp4", 3),
            (f"{frames}/{frames}/run", 2),
            (f"{frames}/{frames}/walk", 2),
        ]
        assert data.sequence(1).visible.tolist() == [True, False]


def test_own_folder_says_what_is_missing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(DataError, match="there is no such folder"):
        get_dataset(f"folder:{tmp_path}/none")
    (tmp_path / "s1").mkdir()
    with pytest.raises(DataError, match="no sequences; expected .*s1: it has no groundtruth.txt"):
        get_dataset(f"folder:{tmp_path}")
    write_boxes(tmp_path / "s1/groundtruth.txt", 3)
    with pytest.raises(DataError, match="s1: expected pictures .* or one video, found 0 videos"):
        get_dataset(f"folder:{tmp_path}")
    write_frames(tmp_path / "s2", ["1.jpg"])
    write_boxes(tmp_path / "s2/groundtruth.txt", 1)
    (tmp_path / "s3").mkdir()
    assert [one.name for one in get_dataset(f"folder:{tmp_path}")] == ["s2"]
    said = [message.partition(" is left out: ")[::2] for message in caplog.messages]
    assert [(Path(folder).name, why[:12]) for folder, why in said] == [("s1", "expected pic"), ("s3", "it has no gr")]
    assert ".jpg, .jpeg, .png, .bmp, .tif" in said[0][1]  # with the types that can be read


def test_image_frames_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no frames in .*none: expected a folder of pictures"):
        len(ImageFrames(tmp_path / "none"))
    with pytest.raises(DataError, match="no frames in"):
        len(ImageFrames(tmp_path))


# Videos


def draw_video(path: Path, count: int = 12) -> None:
    """Frames that get brighter, redder than blue."""
    with VideoWriter(path, fps=10) as writer:
        for i in range(count):
            image = np.zeros((48, 64, 3), np.uint8)
            image[..., 0], image[..., 2] = 20 * i, 10
            writer.write(image)


def test_video_is_read_as_it_was_written(tmp_path: Path) -> None:
    draw_video(tmp_path / "clip.mp4")
    video = VideoFile(tmp_path / "clip.mp4")
    frames = list(video)
    assert len(video) == len(frames) == 12 and video.fps == pytest.approx(10)
    for i in (0, 7, 11):
        assert frames[i].shape == (48, 64, 3) and frames[i].dtype == np.uint8
        assert abs(frames[i][..., 0].mean() - 20 * i) < 6  # red comes first
        assert frames[i][..., 2].mean() < 25
        np.testing.assert_array_equal(video.frame(i), frames[i])
    for t in (12, -1):
        with pytest.raises(DataError, match=f"has no frame {t}"):
            video.frame(t)


def test_a_video_is_a_sequence(tmp_path: Path) -> None:
    draw_video(tmp_path / "clip/clip.mp4")
    write_boxes(tmp_path / "clip/groundtruth.txt", 12)
    (sequence,) = get_dataset(f"folder:{tmp_path}")
    sequence.check_length()
    assert sequence.name == "clip" and sequence.num_frames == 12
    draw_video(tmp_path / "clip/other.mp4")
    with pytest.raises(DataError, match="found 2 videos"):
        get_dataset(f"folder:{tmp_path}")


def test_bad_videos_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.mp4 does not exist"):
        len(VideoFile(tmp_path / "none.mp4"))
    (tmp_path / "empty.mp4").write_bytes(b"")
    with pytest.raises(DataError, match=r"empty\.mp4 cannot be opened"):
        len(VideoFile(tmp_path / "empty.mp4"))
    draw_video(tmp_path / "clip.mp4")
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "clip.mp4").read_bytes()[:-200])  # the index is at the end
    with pytest.raises(DataError, match=r"cut\.mp4 (cannot be opened|has no frame)"):
        list(VideoFile(tmp_path / "cut.mp4"))


def test_a_video_that_breaks_off_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    rng = np.random.default_rng(0)
    for _ in range(40):
        writer.write(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8))
    writer.release()
    assert len(VideoFile(path)) == 40
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match="is damaged or cut short, .* copy or download it again"):
        list(VideoFile(path))


def test_video_writer_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a frame of shape"), VideoWriter(tmp_path / "a.mp4") as writer:
        writer.write(np.zeros((48, 64, 3), np.uint8))
        writer.write(np.zeros((48, 60, 3), np.uint8))
    with pytest.raises(DataError, match="cannot be written"), VideoWriter(tmp_path / "a.unknown") as writer:
        writer.write(np.zeros((48, 64, 3), np.uint8))
