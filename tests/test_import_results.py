"""Results of other trackers, in the forms in which they are shared."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import io

from lib.test.evaluation.environment import EnvSettings
from lib.test.evaluation.results import file_hash, read_result, read_scores
from lib.test.utils.importing import ImportOptions, ImportReport, import_results
from lib.utils.errors import ConfigError, DataError
from tests.conftest import load_script

FRAMES = {"Deer": 71, "Jogging_1": 307, "Tiger1": 349}  # sequences of OTB, and their lengths here
REST = {"Jumping": 313}


def track(name: str, frames: int | None = None) -> np.ndarray:
    """Boxes with fractions that differ between sequences."""
    frames = frames or (FRAMES | REST)[name]
    t = np.arange(frames)[:, None]
    return np.hstack((10 + t / 3, 20 + t / 7, np.full((frames, 1), 30.1), np.full((frames, 1), 40.0 + len(name))))


def text(boxes: np.ndarray, separator: str = ",") -> str:
    return "".join(separator.join(map(repr, row)) + "\n" for row in boxes.tolist())


@pytest.fixture
def env(tmp_path: Path) -> EnvSettings:
    """OTB with ground truth for a few sequences, which is what :func:`track` says, and no frames."""
    env = EnvSettings(tmp_path, tmp_path / "data", tmp_path / "output")
    for name in FRAMES | REST:
        folder, end = (name.split("_") + [""])[:2]
        path = Path(env.otb_path) / folder / f"groundtruth_rect{'.' + end if end else ''}.txt"
        path.parent.mkdir(parents=True)
        late = 5 if name == "Tiger1" else 0
        path.write_text(text(np.vstack((np.ones((late, 4)), track(name)))))
    return env


def run(source: Path, env: EnvSettings, **options: object) -> ImportReport:
    return import_results(source, "KCF", "hog", "otb", ImportOptions(**options), env)


def check(env: EnvSettings, report: ImportReport, shift: float = 0) -> None:
    """All three sequences have exactly the boxes of :func:`track`, up to ``shift``."""
    assert sorted(report.written) == sorted(FRAMES)
    folder = Path(env.results_path) / "KCF/hog"
    for name in FRAMES:
        expected = track(name) - [shift, shift, 0, 0]
        np.testing.assert_array_equal(read_result(folder / f"{name}.txt"), expected)
        record = json.loads((folder / f"{name}.json").read_text())
        assert record["result_sha256"] == file_hash(folder / f"{name}.txt")
        assert record["imported_from"] and record["dataset"] == "otb" and record["frames"] == FRAMES[name]


@pytest.mark.parametrize("separator", [",", "\t", " ", ", "])
def test_a_folder_of_text(tmp_path: Path, env: EnvSettings, separator: str) -> None:
    source = tmp_path / "KCF_results"
    (source / "OPE").mkdir(parents=True)
    (source / "OPE/deer.txt").write_text(text(track("Deer"), separator))
    (source / "OPE/Jogging.1.TXT").write_text("ignored: another suffix")
    (source / "OPE/jogging-1.txt").write_text(text(track("Jogging_1"), separator))
    (source / "OPE/Tiger1.txt").write_text(text(track("Tiger1"), separator))
    (source / "OPE/Deer_time.txt").write_text("0.1\n" * 71)
    report = run(source, env)
    check(env, report)
    assert not report.complete and len(report.missing) == 97 and "Jumping" in report.missing and not report.extra
    assert "3 of 100 sequences imported" in str(report) and "and 89 more" in str(report)
    record = json.loads((Path(env.results_path) / "KCF/hog/Deer.json").read_text())
    assert record["imported_from"] == "KCF_results" and record["imported_member"] == "OPE/deer"
    assert record["imported_sha256"] == file_hash(source / "OPE/deer.txt")


def scores_of(name: str) -> np.ndarray:
    return 1 - np.arange(FRAMES[name]) / 400


def lines(scores: np.ndarray) -> str:
    return "".join(f"{score:.4f}\n" for score in scores)


def test_scores_that_lie_beside_are_imported(tmp_path: Path, env: EnvSettings) -> None:
    def read(name: str) -> np.ndarray | None:
        return read_scores(Path(env.results_path) / f"KCF/hog/{name}.txt")

    def fresh(kind: str) -> Path:
        source = tmp_path / kind
        for name in FRAMES:
            path = source / (f"{name}/boxes.txt" if kind == "folders" else f"{name}.txt")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text(track(name)))
        return source

    source = fresh("a")
    (source / "Deer_scores.txt").write_text(lines(scores_of("Deer")))
    (source / "Jogging_1_confidence.value").write_text("\n" + lines(scores_of("Jogging_1")[1:]))  # VOT's
    late = np.concatenate((np.ones(5), scores_of("Tiger1")))  # from the first frame of the video
    (source / "Tiger1_object_presence_scores.txt").write_text(lines(late))
    report = run(source, env)
    check(env, report)
    assert sorted(report.scored) == sorted(FRAMES) and not report.unscored and not report.extra
    assert "3 of them with a score for each frame" in str(report)
    for name in FRAMES:
        np.testing.assert_allclose(read(name), scores_of(name), atol=1e-4)

    source = fresh("b")
    (source / "Deer_confidence.txt").write_text(lines(scores_of("Deer")[1:]))  # without the first frame
    (source / "Jogging_1_score.csv").write_text(",".join(map(str, scores_of("Jogging_1"))))
    (source / "Tiger1_scores.txt").write_text("0.5\n" * 7)
    report = run(source, env, force=True)
    check(env, report)
    assert sorted(report.scored) == ["Deer", "Jogging_1"]
    assert "its scores left out: Tiger1: 7 scores for 349 boxes" in str(report)
    np.testing.assert_allclose(read("Deer"), scores_of("Deer"), atol=1e-4)
    np.testing.assert_allclose(read("Jogging_1"), scores_of("Jogging_1"), atol=1e-6)
    assert read("Tiger1") is None  # nor those of what was replaced

    source = fresh("folders")
    for name in FRAMES:
        (source / name / "scores.txt").write_text(lines(scores_of(name)))
    assert sorted(run(source, env, force=True).scored) == sorted(FRAMES)
    np.testing.assert_allclose(read("Deer"), scores_of("Deer"), atol=1e-4)

    (tmp_path / "r.json").write_text(
        json.dumps({name: {"pred": track(name).tolist(), "scores": scores_of(name).tolist()} for name in FRAMES})
    )
    arrays = {name: track(name) for name in FRAMES} | {f"{name}_scores": scores_of(name)[:, None] for name in FRAMES}
    np.savez(tmp_path / "r.npz", **arrays)
    for file in ("r.json", "r.npz"):
        report = run(tmp_path / file, env, force=True)
        check(env, report)
        assert sorted(report.scored) == sorted(FRAMES)
        np.testing.assert_allclose(read("Tiger1"), scores_of("Tiger1"), atol=1e-6)

    (tmp_path / "b/Deer_confidence.txt").write_text("0.5 0.6\n" * 71)
    assert "Deer: " in str(run(tmp_path / "b", env, force=True)) and read("Deer") is None


def test_a_zip_with_late_starts_and_strangers(tmp_path: Path, env: EnvSettings) -> None:
    late = np.vstack((np.zeros((5, 4)), track("Tiger1")))  # from the first frame of the video
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("a/b/Deer.txt", text(track("Deer")))
        archive.writestr("a/b/Jogging_1.txt", text(track("Jogging_1")))
        archive.writestr("a/b/Tiger1.txt", text(late))
        archive.writestr("a/b/uav_deer.txt", text(track("Deer")))  # of another benchmark in the same folder
        archive.writestr("__MACOSX/a/b/._Deer.txt", b"\x00\xff")
    report = run(tmp_path / "all.zip", env)
    check(env, report)
    assert report.extra == ["a/b/uav_deer"]
    assert "not of this benchmark: a/b/uav_deer" in str(report)


def test_mat_files_of_the_otb_toolkit(tmp_path: Path, env: EnvSettings) -> None:
    source = tmp_path / "mats"
    source.mkdir()
    for name in FRAMES:
        other = {"res": np.zeros((3, 4)), "type": "rect"}
        runs = np.empty((1, 2), object)
        runs[0, 0], runs[0, 1] = {"res": track(name), "type": "rect", "fps": 20.0}, other
        io.savemat(source / f"{name.lower()}_Kernel.mat", {"results": runs})
    check(env, run(source, env))
    runs = np.empty((1, 1), object)
    runs[0, 0] = {"res": np.zeros((3, 6)), "type": "ivtAff"}
    io.savemat(source / "deer_Kernel.mat", {"results": runs})
    (source / "tiger1_Kernel.mat").write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(600))
    (source / "jogging_1_Kernel.mat").write_bytes(b"no such thing")
    report = run(source, env, force=True)
    assert "type 'ivtAff'; only boxes" in report.refused["Deer"]
    assert "version 7.3 (HDF5): save it again" in report.refused["Tiger1"]
    assert "holds no results{1}.res" in report.refused["Jogging_1"]
    assert not report.written


@pytest.mark.parametrize("form", ["flat", "tracker", "by_sequence", "wrapped", "otb"])
def test_json(tmp_path: Path, env: EnvSettings, form: str) -> None:
    flat = {name: track(name).tolist() for name in FRAMES}
    content = {
        "flat": flat,
        "tracker": {"kcf": flat, "other": {"Deer": [[0, 0, 1, 1]]}},
        "by_sequence": {name: {"kcf": boxes, "other": [[0, 0, 1, 1]]} for name, boxes in flat.items()},
        "wrapped": {name: {"pred": boxes} for name, boxes in flat.items()} | {"time": [[-1]]},
        "otb": {name: [{"res": boxes, "type": "rect"}] for name, boxes in flat.items()},
    }[form]
    (tmp_path / "r.json").write_text(json.dumps(content))
    check(env, run(tmp_path / "r.json", env))


def test_a_folder_for_each_sequence(tmp_path: Path, env: EnvSettings) -> None:
    for name in FRAMES:
        (tmp_path / "r" / name.lower()).mkdir(parents=True)
        (tmp_path / "r" / name.lower() / "bounding_box.txt").write_text(text(track(name)))
        (tmp_path / "r" / name.lower() / "time.txt").write_text("0.1\n" * FRAMES[name])
    report = run(tmp_path / "r", env)
    check(env, report)
    assert not report.extra


def test_json_that_is_no_result(tmp_path: Path, env: EnvSettings) -> None:
    (tmp_path / "OTB100.json").write_text(json.dumps({"Deer": {"gt_rect": [[1, 2, 3, 4]], "attr": ["MB"]}}))
    with pytest.raises(DataError, match="describes pysot's data set"):
        run(tmp_path / "OTB100.json", env)
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(DataError, match=r"bad\.json is not a readable \.json"):
        run(tmp_path / "bad.json", env)


def test_npz_with_several_trackers(tmp_path: Path, env: EnvSettings) -> None:
    arrays = {f"{who}/{name}": track(name) + (who == "Other") for name in FRAMES for who in ("Kernel", "Other")}
    np.savez(tmp_path / "all.npz", **arrays)
    with pytest.raises(DataError, match="several results for 3 sequences, for .* choose by --member"):
        run(tmp_path / "all.npz", env)
    check(env, run(tmp_path / "all.npz", env, member="Kernel"))
    records = [json.loads((Path(env.results_path) / f"KCF/hog/{name}.json").read_text()) for name in FRAMES]
    assert {one["imported_from"] for one in records} == {f"all.npz (sha256 {file_hash(tmp_path / 'all.npz')})"}
    assert records[0]["imported_member"] == "all/Kernel/Deer"
    with pytest.raises(DataError, match="nothing under 'Kernle'; there are Kernel, Other, all"):
        run(tmp_path / "all.npz", env, member="Kernle")
    (tmp_path / "bad.npz").write_bytes(b"PK nothing")
    with pytest.raises(DataError, match="not a readable"):
        run(tmp_path / "bad.npz", env)


def test_boxes_that_count_from_one(tmp_path: Path, env: EnvSettings) -> None:
    source = tmp_path / "r.json"
    source.write_text(json.dumps({name: (track(name) + [1, 1, 0, 0]).tolist() for name in FRAMES}))
    report = run(source, env)
    (hint,) = report.hints
    assert "+1, +1 pixels off the ground truth in 100 %" in hint and "give --one_based" in hint
    report = run(source, env, one_based=True)  # the same source: no --force needed
    assert not report.hints
    for name in FRAMES:
        np.testing.assert_allclose(read_result(Path(env.results_path) / f"KCF/hog/{name}.txt"), track(name), atol=1e-12)
    source.write_text(json.dumps({name: track(name).tolist() for name in FRAMES}))
    (hint,) = run(source, env, one_based=True, force=True).hints
    assert "leave out --one_based" in hint


def test_results_of_something_else_are_noticed(tmp_path: Path, env: EnvSettings) -> None:
    (tmp_path / "r.json").write_text(json.dumps({"Deer": (track("Deer") + [200, 0, 0, 0]).tolist()}))
    (hint,) = run(tmp_path / "r.json", env).hints
    assert hint.startswith("the first box is far from the ground truth in 1 sequences (Deer)")


def test_what_does_not_fit_is_refused_and_the_rest_written(tmp_path: Path, env: EnvSettings) -> None:
    bad = track("Jogging_1")
    bad[7, 2] = -1
    content = {"Deer": track("Deer", 70), "Jogging_1": bad, "Tiger1": track("Tiger1"), "Jumping": track("Jumping", 105)}
    (tmp_path / "r.json").write_text(json.dumps({name: boxes.tolist() for name, boxes in content.items()}))
    report = run(tmp_path / "r.json", env)
    assert report.written == ["Tiger1"]
    assert report.refused["Deer"] == "70 boxes for 71 frames"
    assert report.refused["Jumping"] == "105 boxes for 313 frames; these are of 10 frames per second"
    assert report.refused["Jogging_1"].startswith("frame 7 is [") and not report.complete
    assert "refused: Deer: 70 boxes for 71 frames" in str(report)
    report = run(tmp_path / "r.json", env, any_length=True)
    assert sorted(report.written) == ["Deer", "Jumping", "Tiger1"]
    assert len(read_result(Path(env.results_path) / "KCF/hog/Deer.txt")) == 70


@pytest.mark.parametrize(
    ("form", "convert", "inside"),
    [
        ("xyxy", lambda b: np.hstack((b[:, :2], b[:, :2] + b[:, 2:])), False),
        ("xyxy", lambda b: np.hstack((b[:, :2], b[:, :2] + b[:, 2:] - 1)), True),
        ("cxcywh", lambda b: np.hstack((b[:, :2] + b[:, 2:] / 2, b[:, 2:])), False),
    ],
)
def test_boxes_of_another_form_are_told_by_the_first(
    tmp_path: Path, env: EnvSettings, form: str, convert: Callable[[np.ndarray], np.ndarray], inside: bool
) -> None:
    (tmp_path / "r").mkdir()
    for name in FRAMES:
        (tmp_path / f"r/{name}.txt").write_text(text(convert(track(name))))
    with pytest.raises(DataError, match=rf"not x, y, width, height, in 3 of 3 sequences: give --form {form}"):
        run(tmp_path / "r", env)
    assert not Path(env.results_path, "KCF").exists()
    report = run(tmp_path / "r", env, form=form)
    assert sorted(report.written) == sorted(FRAMES)
    for name in FRAMES:
        np.testing.assert_allclose(read_result(Path(env.results_path) / f"KCF/hog/{name}.txt"), track(name), atol=1e-9)
    assert ("x2, y2 are the last pixel inside" in str(report)) == inside
    for name in FRAMES:
        (tmp_path / f"r/{name}.txt").write_text(text(track(name)))
    with pytest.raises(DataError, match="are x, y, width, height, not .* give --form xywh"):
        run(tmp_path / "r", env, form=form)


def test_nan_is_refused(tmp_path: Path, env: EnvSettings) -> None:
    boxes = track("Deer")
    boxes[3] = np.nan
    (tmp_path / "Deer.txt").write_text(text(boxes))
    assert run(tmp_path / "Deer.txt", env).refused["Deer"].startswith("frame 3 is [nan")


def test_results_of_another_origin_stay(tmp_path: Path, env: EnvSettings) -> None:
    mine = Path(env.results_path) / "KCF/hog/Deer.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("1 2 3 4\n")
    mine.with_name("Deer_time.txt").write_text("0.5\n")
    (tmp_path / "r.json").write_text(json.dumps({name: track(name).tolist() for name in FRAMES}))
    with pytest.raises(DataError, match=r"1 results of another origin .*Deer\.txt.*--force"):
        run(tmp_path / "r.json", env)
    assert mine.read_text() == "1 2 3 4\n" and not mine.with_name("Tiger1.txt").exists()
    check(env, run(tmp_path / "r.json", env, force=True))
    assert not mine.with_name("Deer_time.txt").exists()  # times of what was replaced
    check(env, run(tmp_path / "r.json", env))  # again from the same source


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a file that is always full is Linux's")
def test_a_full_disk_is_told_with_the_result(tmp_path: Path, env: EnvSettings) -> None:
    (tmp_path / "Deer.txt").write_text(text(track("Deer")))
    path = Path(env.results_path) / "KCF/hog/Deer.txt"
    path.parent.mkdir(parents=True)
    path.with_suffix(".json").symlink_to("/dev/full")
    with pytest.raises(DataError, match=f"{path} cannot be written: No space left on device"):
        run(tmp_path / "Deer.txt", env, force=True)


def test_a_prefix_of_ours_is_optional(tmp_path: Path, env: EnvSettings) -> None:
    anno = Path(env.uav_path) / "anno/UAV123"
    anno.mkdir(parents=True)
    for name in ("car4", "car1_1"):
        (anno / f"{name}.txt").write_text(text(track("Deer", 9)))
    for folder, files in {"plain": ["car4", "Car1-1"], "ours": ["uav_car4", "uav_car1_1", "Car4"]}.items():
        (tmp_path / folder).mkdir()
        for name in files:
            (tmp_path / folder / f"{name}.txt").write_text(text(track("Deer", 9)))
        report = import_results(tmp_path / folder, "KCF", folder, "uav", env=env)
        assert sorted(report.written) == ["uav_car1_1", "uav_car4"]
        assert report.extra == (["Car4"] if folder == "ours" else [])  # OTB's, beside results of UAV123


def test_names_that_only_look_alike(tmp_path: Path, env: EnvSettings) -> None:
    (tmp_path / "r").mkdir()
    for name in ("Deer_2", "Jogging_12", "Tiger1b"):
        (tmp_path / f"r/{name}.txt").write_text(text(track("Deer")))
    report = run(tmp_path / "r", env)
    assert not report.written and len(report.extra) == 3


@pytest.mark.parametrize("name", ["", "..", "a/b", ".x"])
def test_names_that_cannot_be_folders(tmp_path: Path, env: EnvSettings, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be the name of a folder"):
        import_results(tmp_path, name, "hog", "otb", env=env)


def test_nothing_to_import(tmp_path: Path, env: EnvSettings) -> None:
    (tmp_path / "torn.zip").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(DataError, match=r"torn\.zip is no whole zip"):
        run(tmp_path / "torn.zip", env)
    with pytest.raises(DataError, match="there is no file or folder"):
        run(tmp_path / "none", env)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no results; expected files"):
        run(tmp_path / "empty", env)


def test_the_script_says_what_is_missing(
    tmp_path: Path, env: EnvSettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    script = load_script("import_results")
    monkeypatch.setattr(script, "env_settings", lambda: env)
    (tmp_path / "Deer.txt").write_text(text(track("Deer")))
    arguments = ["import_results.py", str(tmp_path / "Deer.txt"), "--tracker", "A", "--config", "b", "--dataset", "otb"]
    monkeypatch.setattr("sys.argv", [*arguments, "--save_dir", str(tmp_path / "elsewhere")])
    assert script.main() == 1
    out = capsys.readouterr().out
    assert "1 of 100 sequences imported" in out
    # Where they are, and only if there are any.
    elsewhere = tmp_path / "elsewhere"
    assert out.endswith(f"next: python tracking/analysis_results.py --dataset otb --save_dir {elsewhere}\n")
    assert (elsewhere / "test/tracking_results/A/b/Deer.txt").is_file()
    (tmp_path / "Deer.txt").write_text("1 2 3 4\n")
    assert script.main() == 1
    out = capsys.readouterr().out
    assert "0 of 100 sequences imported" in out and "next:" not in out
