"""From result files to tables, CSV and plots, on drawn sequences; and the script that does it all."""

import csv
import itertools
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.data.own_folder import folder_label
from lib.test.analysis.analyze import AnalysisOptions, analyze, choose_trackers, folder_name
from lib.test.analysis.plots import CURVES, draw_plot, write_plots
from lib.test.analysis.protocols import AUC
from lib.test.analysis.report import evaluate
from lib.test.analysis.tables import sequence_table, summary_text, text
from lib.test.evaluation.environment import EnvSettings
from lib.test.evaluation.results import IDENTITY, file_hash
from lib.utils.errors import DataError
from tests.factories import run_program

OF_A_SEQUENCE = ("dataset", "frames", "init_box")  # of what identifies a result
TRUTH = {
    "boat": np.array([[10.0 + 2 * t, 20, 16, 16] for t in range(4)]),
    "car": np.array([[30.0, 5 + t, 20, 10] for t in range(6)]),
}


def write_boxes(path, boxes, separator="\t"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(separator.join(f"{v:g}" for v in box) + "\n" for box in boxes))


def write_result(folder, config, sequence, boxes, tracker="ostrack"):
    path = results_of(folder, config, tracker) / f"{sequence}.txt"
    write_boxes(path, boxes)
    return path


def results_of(folder, config, tracker="ostrack"):
    return folder / "output/test/tracking_results" / tracker / config / folder_label(folder / "seqs")


def write_provenance(path, **record):
    path.with_suffix(".json").write_text(json.dumps({"result_sha256": file_hash(path)} | record))


@pytest.fixture
def workspace(tmp_path):
    """Two sequences and the results of a perfect tracker and of one that never moves."""
    for name, boxes in TRUTH.items():
        sequence = tmp_path / "seqs" / name
        write_boxes(sequence / "groundtruth.txt", boxes, ",")
        for t in range(len(boxes)):
            cv2.imwrite(str(sequence / f"{t + 1:08d}.jpg"), np.zeros((48, 64, 3), np.uint8))
        write_result(tmp_path, "perfect", name, boxes)
        write_result(tmp_path, "still", name, np.tile(boxes[:1], (len(boxes), 1)))
    return tmp_path


@pytest.fixture
def env(workspace):
    return EnvSettings(data_dir=workspace / "data", save_dir=workspace / "output")


def score(workspace, env, *configs, **options):
    return evaluate([("ostrack", config) for config in configs], f"folder:{workspace / 'seqs'}", env=env, **options)


def expected_still():
    """Scores of the tracker that never moves, by plain counting."""
    rows = []
    for boxes in TRUTH.values():
        step = np.abs(boxes - boxes[0])
        w, h = boxes[0, 2:]
        intersection = (w - step[:, 0]) * (h - step[:, 1])
        overlap = intersection / (2 * w * h - intersection)
        norm = np.hypot(step[:, 0] / w, step[:, 1] / h)
        success = [(overlap > t).mean() for t in np.arange(21) / 20]
        rows.append([np.mean(success), (overlap > 0.5).mean(), (overlap > 0.75).mean(), 1, (norm <= 0.2).mean()])
    return 100 * np.array(rows)


def test_evaluate_scores_every_tracker_on_every_sequence(workspace, env):
    report = score(workspace, env, "still", "perfect")
    assert (report.sequences, report.frames, report.protocol) == (["boat", "car"], [4, 6], "pytracking")
    assert [tracker.label for tracker in report.trackers] == ["ostrack/perfect", "ostrack/still"]  # best first
    still = report.trackers[1]
    np.testing.assert_allclose(still.sequence_scores(), expected_still())
    summary = {tracker.label: tracker.scores() for tracker in report.trackers}
    np.testing.assert_allclose(list(summary["ostrack/still"].values()), expected_still().mean(axis=0))
    np.testing.assert_allclose(list(summary["ostrack/perfect"].values()), [100 * 20 / 21, 100, 100, 100, 100])
    assert (
        tuple(summary["ostrack/still"]) == report.score_names == ("AUC", "OP50", "OP75", "Precision", "Norm Precision")
    )
    assert still.errors[0].overlap.shape == (4,) and still.curves.precision.shape == (2, 51)


def test_missing_results_are_an_error_that_lists_them(workspace, env):
    write_result(workspace, "half", "car", TRUTH["car"])
    with pytest.raises(DataError, match=r"ostrack/half: 1 of 2 sequences of folder:.*: boat\n.*--skip_missing"):
        score(workspace, env, "half", "perfect")


def test_skip_missing_says_what_was_left_out(workspace, env):
    write_result(workspace, "half", "car", TRUTH["car"])
    report = score(workspace, env, "half", "still", skip_missing=True)
    assert (report.sequences, report.missing) == (["car"], {"ostrack/half": ["boat"]})
    np.testing.assert_allclose(list(report.tracker("ostrack/still").scores().values()), expected_still()[1])
    text = summary_text(report)
    assert "(1 of 2 sequences), 6 frames, protocol pytracking" in text
    assert "left out, no results of ostrack/half: boat" in text


def test_nothing_in_common_is_an_error(workspace, env):
    write_result(workspace, "a", "car", TRUTH["car"])
    write_result(workspace, "b", "boat", TRUTH["boat"])
    with pytest.raises(DataError, match="no sequence has results of every tracker"):
        score(workspace, env, "a", "b", skip_missing=True)


def test_bad_result_names_file_and_sequence(workspace, env):
    path = write_result(workspace, "bad", "boat", TRUTH["boat"] * [1, 1, -1, 1])
    write_result(workspace, "bad", "car", TRUTH["car"])
    with pytest.raises(DataError, match=f"{path}, sequence boat: frame 0"):
        score(workspace, env, "bad")


def test_short_result_is_padded_and_reported(workspace, env, caplog):
    write_result(workspace, "short", "boat", TRUTH["boat"])
    write_result(workspace, "short", "car", TRUTH["car"][:3])
    assert score(workspace, env, "short").trackers[0].sequence_scores()[1, 1] == pytest.approx(50)
    assert "3 boxes for the 6 frames of car" in caplog.text


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a file that is always full is Linux's")
def test_tables_on_a_full_disk_are_told_with_their_folder(workspace, env):
    name = f"folder:{workspace / 'seqs'}"
    folder = Path(env.result_plot_path) / folder_name(name)
    folder.mkdir(parents=True)
    (folder / "per_sequence.csv").symlink_to("/dev/full")
    with pytest.raises(DataError, match=f"{folder} cannot be written: No space left on device"):
        list(analyze(name, env=env, options=AnalysisOptions(plots=False)))


def test_long_result_is_cut_and_reported(workspace, env, caplog):
    write_result(workspace, "long", "boat", TRUTH["boat"])
    path = write_result(workspace, "long", "car", np.concatenate((TRUTH["car"], TRUTH["car"])))
    assert score(workspace, env, "long").trackers[0].sequence_scores()[1, 1] == pytest.approx(100)
    assert caplog.messages == [f"{path}: 12 boxes for the 6 frames of car"]


def test_a_sequence_with_its_first_box_only_is_left_out(workspace, env):
    write_boxes(workspace / "seqs/boat/groundtruth.txt", TRUTH["boat"][:1])
    text = summary_text(score(workspace, env, "still"))
    assert "(1 of 2 sequences), 6 frames" in text and "left out, only their first box is known: boat\n" in text
    assert f"ostrack/still  {expected_still()[1, 0]:.2f}" in text
    write_boxes(workspace / "seqs/car/groundtruth.txt", TRUTH["car"][:1])
    with pytest.raises(DataError, match=r"seqs: only the first box of each sequence is known \(.*/boat/groundtruth"):
        score(workspace, env, "perfect")


def test_origin_of_results_is_shown_and_mixtures_are_called_out(workspace, env):
    results = results_of(workspace, "perfect")
    record = {"config_hash": "c0ffee", "precision": "float32", "checkpoint": "/x/net.pth", "checkpoint_sha256": "abcd"}
    write_provenance(results / "boat.txt", **record)
    write_provenance(results / "car.txt", **record)
    report = score(workspace, env, "perfect", "still")
    assert report.trackers[0].origins == {"net.pth (sha256 abcd), config c0ffee, float32": 2}
    assert report.trackers[1].origins == {"origin unknown": 2}
    assert "WARNING" not in summary_text(report)

    write_provenance(results / "car.txt", **record | {"checkpoint": None})
    text = summary_text(score(workspace, env, "perfect"))
    assert "ostrack/perfect: no weight file, config c0ffee, float32, 1 sequences" in text
    assert "WARNING: the results of ostrack/perfect do not all come from the same model" in text


def test_runs_of_other_settings_have_another_origin(workspace, env):
    values = {"backend": "onnxruntime", "compat_int": True, "annotator": 0.5, "realtime": 30}
    for number, key in enumerate(("none", *(key for key in IDENTITY if key not in ("tracker", *OF_A_SEQUENCE)))):
        for name, boxes in TRUTH.items():
            record = {"config": "c", "checkpoint": "net.pth"} | {key: values.get(key, "changed")}
            write_provenance(write_result(workspace, f"c_{number:03d}", name, boxes), **record)
    origins = [str(one.origins) for one in score(workspace, env, *(f"c_{i:03d}" for i in range(number + 1))).trackers]
    assert number == 8 and len(set(origins)) == 9


def test_runs_with_truncated_boxes_among_others_are_called_out(workspace, env):
    for run, settings in (("c_000", {}), ("c_001", {"compat_int": True})):
        for name, boxes in TRUTH.items():
            record = {"config": "c", "config_hash": "c0ffee", "precision": "float32", "checkpoint": None}
            write_provenance(write_result(workspace, run, name, boxes), **record, **settings)
    text = summary_text(score(workspace, env, "c_000", "c_001"))
    assert "ostrack/c_000: no weight file, config c0ffee, float32\n" in text
    assert "ostrack/c_001: no weight file, config c0ffee, float32, boxes of whole pixels\n" in text
    assert "WARNING: the runs of ostrack/c (mean of 2 runs) are not all of one configuration" in text


def test_changed_results_lose_their_origin(workspace, env):
    path = results_of(workspace, "perfect") / "boat.txt"
    write_provenance(path, config_hash="c0ffee", precision="float32")
    write_boxes(path, TRUTH["boat"] + 1)
    assert "origin unknown: changed after it was written" in score(workspace, env, "perfect").trackers[0].origins


def test_results_tracked_from_another_box_are_an_error(workspace, env):
    path = results_of(workspace, "perfect") / "boat.txt"
    write_provenance(path, init_box=[1.0, 2, 3, 4])
    with pytest.raises(DataError, match=r"tracked from \[1.0, 2, 3, 4\], but boat starts at \[10.0"):
        score(workspace, env, "perfect")
    path.with_suffix(".json").write_text("{")
    with pytest.raises(DataError, match=r"boat\.json cannot be read"):
        score(workspace, env, "perfect")


def test_tables_align_and_hold_the_scores(workspace, env):
    one, two = score(workspace, env, "still"), score(workspace, env, "still", "perfect")
    lines = summary_text(two).splitlines()
    assert lines[1].split(maxsplit=4) == [
        *("Tracker", "AUC", "OP50", "OP75"),
        "Precision  Norm Precision       AUC 95%",
    ]
    assert lines[3].split() == ["ostrack/perfect", "95.24", "100.00", "100.00", "100.00", "100.00", "95.24..95.24"]
    assert len({len(line) for line in lines[1:5]}) == 1
    expected = expected_still()
    assert text(sequence_table(one)).splitlines()[3].split() == ["boat", "4", *(f"{v:.2f}" for v in expected[0])]
    assert text(sequence_table(two)).splitlines()[4].split() == ["car", "6", "95.24", f"{expected[1, 0]:.2f}"]


def test_plots_are_written_and_readable(workspace, env, tmp_path):
    files = write_plots(score(workspace, env, "still", "perfect"), tmp_path / "plots")
    assert sorted(file.name for file in files) == sorted(
        f"{name}.{s}" for name, *_ in CURVES.values() for s in ("png", "pdf")
    )
    for file in files:
        if file.suffix == ".pdf":
            assert file.read_bytes().startswith(b"%PDF")
        else:
            picture = cv2.imread(str(file))
            assert picture.shape[0] > 600 and picture.shape[1] > 900
            assert 0.02 < (picture < 250).any(axis=2).mean() < 0.3  # ink, and mostly paper


def test_plot_shows_curves_and_a_legend_sorted_by_its_score(workspace, env):
    from matplotlib.figure import Figure

    report = score(workspace, env, "still", "perfect")
    worst_first = replace(report, trackers=report.trackers[::-1])
    axes = Figure().add_subplot()
    draw_plot(axes, AUC, worst_first)
    still = report.tracker("ostrack/still").scores()["AUC"]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["95.2  ostrack/perfect", f"{still:.1f}  ostrack/still"]
    assert axes.get_legend().get_title().get_text() == "AUC"
    np.testing.assert_allclose(axes.lines[1].get_ydata(), [100] * 20 + [0], atol=1e-9)
    np.testing.assert_allclose(axes.lines[0].get_xdata(), np.arange(21) / 20)
    assert axes.lines[0].get_color() != axes.lines[1].get_color()


def test_choose_trackers(workspace, env):
    write_result(workspace, "still", "car", TRUTH["car"], tracker="siamese")
    results = Path(env.results_path)
    assert choose_trackers(results, None, ()) == [("ostrack", "perfect"), ("ostrack", "still"), ("siamese", "still")]
    assert choose_trackers(results, "ostrack", ["still"]) == [("ostrack", "still")]
    with pytest.raises(DataError, match="no results of config stil in .*did you mean still"):
        choose_trackers(results, None, ["stil"])
    with pytest.raises(DataError, match="no results of config perfect .*there are: still"):
        choose_trackers(results, "siamese", ["perfect"])
    with pytest.raises(DataError, match="no results of tracker ostrac .*did you mean ostrack"):
        choose_trackers(results, "ostrac", ())
    with pytest.raises(DataError, match="there are no results in .*test.py"):
        choose_trackers(workspace / "nowhere", None, ())


def test_named_data_set_takes_the_complete_results(workspace, env):
    write_result(workspace, "half", "car", TRUTH["car"])
    blocks = list(
        analyze(f"folder:{workspace / 'seqs'}", env=env, options=AnalysisOptions(by_sequence=True, plots=False))
    )
    assert blocks[0].endswith("seqs: left out ostrack/half (lacks 1 of 2 sequences)")
    assert "ostrack/perfect" in blocks[1] and "ostrack/still" in blocks[1] and "half" not in blocks[1]
    assert blocks[2].startswith("AUC by sequence")
    folder = workspace / "output/test/result_plots" / folder_label(workspace / "seqs")
    assert blocks[3] == f"Written to {folder}: per_sequence.csv"
    with (folder / "per_sequence.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["Tracker"], row["Sequence"], row["Frames"]) for row in rows] == [
        ("ostrack/perfect", "boat", "4"),
        ("ostrack/perfect", "car", "6"),
        ("ostrack/still", "boat", "4"),
        ("ostrack/still", "car", "6"),
    ]
    assert float(rows[3]["AUC"]) == pytest.approx(expected_still()[1, 0], abs=1e-4)

    with_half = list(
        analyze(f"folder:{workspace / 'seqs'}", env=env, options=AnalysisOptions(plots=False, skip_missing=True))
    )
    assert "ostrack/half" in with_half[0] and "(1 of 2 sequences)" in with_half[0]
    with pytest.raises(DataError, match="ostrack/half: 1 of 2"):
        list(analyze(f"folder:{workspace / 'seqs'}", configs=["half"], env=env))


def test_without_data_set_every_complete_benchmark_is_scored(workspace, env):
    (workspace / "data/images").mkdir(parents=True)
    (workspace / "seqs").rename(workspace / "data/images/val")
    for config, name in itertools.product(("perfect", "still"), TRUTH):  # a benchmark's results lie in no subfolder
        (results_of(workspace, config) / f"{name}.txt").rename(results_of(workspace, config).with_name(f"{name}.txt"))
    write_boxes(results_of(workspace, "half").with_name("car.txt"), TRUTH["car"])
    listing, left_out, table, written = analyze(env=env, options=AnalysisOptions(plots=False))
    assert [line.split() for line in listing.splitlines()[3:]] == [
        ["ostrack/half", "1"],
        ["ostrack/perfect", "2"],
        ["ostrack/still", "2"],
    ]
    assert left_out == "images_val: left out ostrack/half (lacks 1 of 2 sequences)"
    assert table.startswith("images_val (2 sequences), 10 frames") and "half" not in table
    assert written.startswith("Written to") and "images_val" in written


def test_a_partial_copy_of_a_benchmark_without_a_list_is_scored_as_what_it_is(workspace, env):
    for name, boxes in TRUTH.items():
        write_boxes(workspace / "data/itb/scene" / name / "groundtruth.txt", boxes)
        write_boxes(results_of(workspace, "perfect").with_name(f"{name}.txt"), boxes)
    (table, _) = analyze("itb", configs=["perfect"], env=env, options=AnalysisOptions(plots=False))
    assert table.startswith("itb (2 of 180 sequences), 10 frames")


def test_a_partial_copy_of_a_benchmark_is_scored_as_what_it_is(workspace, env):
    names = {"boat": "airplane-1", "car": "zebra-17"}
    for sequence, name in names.items():
        folder = workspace / "data/lasot" / name.partition("-")[0] / name
        write_boxes(folder / "groundtruth.txt", TRUTH[sequence], ",")
        for file in ("full_occlusion.txt", "out_of_view.txt"):
            (folder / file).write_text(",".join("0" for _ in TRUTH[sequence]))
        still = np.tile(TRUTH[sequence][:1], (len(TRUTH[sequence]), 1))
        write_boxes(results_of(workspace, "still").with_name(f"{name}.txt"), still)
    (table, _) = analyze("lasot", configs=["still"], env=env, options=AnalysisOptions(plots=False))
    assert table.startswith("lasot (2 of 280 sequences), 10 frames")
    assert "\nleft out, 278 of which there is no annotation here: airplane-9, airplane-13" in table
    assert f"ostrack/still  {expected_still()[:, 0].mean():.2f}" in table
    # The annotation may be there whole, as of an archive of its own, and the frames not: what cannot be tracked here
    # is not asked for, unless some tracker has results of it.
    for name in ("airplane-9", "zebra-10"):
        folder = workspace / "data/lasot" / name.partition("-")[0] / name
        write_boxes(folder / "groundtruth.txt", TRUTH["boat"], ",")
        for file in ("full_occlusion.txt", "out_of_view.txt"):
            (folder / file).write_text(",".join("0" for _ in TRUTH["boat"]))
    (table, _) = analyze("lasot", configs=["still"], env=env, options=AnalysisOptions(plots=False))
    assert table.startswith("lasot (2 of 280 sequences), 10 frames")
    assert "\nleft out, 2 without frames here and without results: airplane-9, zebra-10\n" in table
    write_boxes(results_of(workspace, "other").with_name("zebra-10.txt"), TRUTH["boat"])
    with pytest.raises(DataError, match="ostrack/still: 1 of 3 sequences of lasot: zebra-10\n"):
        list(analyze("lasot", configs=["still", "other"], env=env, options=AnalysisOptions(plots=False)))
    for folder in (workspace / "data/lasot").iterdir():
        folder.rename(folder.with_name(f".{folder.name}"))
    with pytest.raises(DataError, match="lasot: the annotation of no sequence is here; .*airplane-1/"):
        list(analyze("lasot", configs=["still"], env=env, options=AnalysisOptions(plots=False)))


def test_several_data_sets_by_comma(workspace, env):
    (workspace / "data/images/val").mkdir(parents=True)
    (workspace / "seqs/car").rename(workspace / "data/images/val/car")
    for config in ("perfect", "still"):
        (results_of(workspace, config) / "car.txt").rename(results_of(workspace, config).with_name("car.txt"))
    blocks = list(analyze(f"images_val,folder:{workspace / 'seqs'}", env=env, options=AnalysisOptions(plots=False)))
    assert [block.partition(" (1 sequence), ")[2][:9] for block in blocks] == ["6 frames,", "", "4 frames,", ""]


@pytest.mark.parametrize("record", ["[]", "null", "{", "7"])
def test_a_damaged_record_of_origin_is_named(workspace, env, record):
    path = results_of(workspace, "still") / "car.json"
    path.write_text(record)
    with pytest.raises(DataError, match=r"still/folder_seqs_\w+/car\.json .*delete car\.txt"):
        list(analyze(f"folder:{workspace / 'seqs'}", env=env, options=AnalysisOptions(plots=False)))


def test_without_data_set_nothing_complete_is_said(workspace, env):
    assert list(analyze(env=env))[1].startswith("No benchmark is installed and complete")


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("lasot", "lasot"),
        ("folder:/a/b c/seqs", "folder_seqs_9c6a9936"),
        ("folder:/a/../a/b c/", "folder_b_c_626844bb"),
    ],
)
def test_folder_name(name, folder):
    assert folder_name(name) == folder


def test_script_prints_the_table_and_writes_the_plots(workspace, monkeypatch, capsys):
    monkeypatch.chdir(workspace)
    arguments = ["--tracker", "ostrack", "--config", "still", "--dataset", "folder:seqs", "--sequences"]
    status = run_program(monkeypatch, "analysis_results", ["--save_dir", "output", *arguments])
    said = capsys.readouterr()
    # A bar, where plots take longer than two seconds, and nothing else.
    told = [line for line in re.split(r"[\r\n]", said.err) if line.strip() and not line.startswith("plots:")]
    assert (status, told) == (0, [])
    assert "folder:seqs (2 sequences), 10 frames, protocol pytracking" in said.out
    assert f"ostrack/still  {expected_still().mean(axis=0)[0]:.2f}" in said.out
    assert "ostrack/still by sequence" in said.out
    names = {path.name for path in (workspace / "output/test/result_plots").glob("folder_seqs_*/*")}
    assert names == {
        "per_sequence.csv",
        *(f"{name}.{suffix}" for name, *_ in CURVES.values() for suffix in ("png", "pdf")),
    }


def test_script_fails_with_one_clear_message(workspace, monkeypatch, capsys):
    monkeypatch.chdir(workspace)
    arguments = ["--save_dir", "output", "--config", "stil", "--dataset", "folder:seqs"]
    assert run_program(monkeypatch, "analysis_results", arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and "config stil in output/test/tracking_results" in line and "still?" in line
