"""Tables in every format, scores by attribute, and the comparison of two trackers."""

import csv
import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from lib.data.own_folder import folder_label
from lib.data.sequence import Annotations, Sequence
from lib.test.analysis import plots
from lib.test.analysis.analyze import AnalysisOptions, analyze, comparison_text, folder_name
from lib.test.analysis.plots import (
    draw_attribute_curves,
    draw_attributes,
    draw_plot,
    plotted_scores,
    write_plots,
)
from lib.test.analysis.protocols import PROTOCOLS
from lib.test.analysis.report import Report, score_tracker
from lib.test.analysis.tables import (
    Table,
    attribute_table,
    latex,
    markdown,
    sequence_table,
    summary_table,
    summary_text,
    text,
    write_csv,
    write_tables,
)
from lib.test.evaluation.environment import EnvSettings
from lib.test.evaluation.results import file_hash, run_of
from lib.utils.errors import ConfigError, DataError

TRUTH = np.array([[10.0, 10, 20, 20]] * 5)
HALF = TRUTH + [[0] * 4, *[[0, 0, 0, 20]] * 4]  # overlap 1/2, and 1 in the first frame
ATTRIBUTES = {"boat": ("OV", "SV"), "car": ("SV",), "dog": ()}


def sequences(tag="otb", official=None):
    return [
        Sequence(
            name,
            tag,
            None,
            lambda: Annotations(TRUTH),
            read_official=lambda: official,
            read_attributes=lambda found=found: found,
        )
        for name, found in ATTRIBUTES.items()
    ]


def report(*trackers, protocol="official", tag="otb", **options):
    """Of trackers given as ``(label, predictions)``."""
    data = sequences(tag, options.pop("official", None))
    rules = PROTOCOLS[protocol].rules(tag)
    scored = [score_tracker(label, boxes, data, rules, list(ATTRIBUTES)) for label, boxes in trackers]
    return Report(tag, protocol, data, scored, **options)


def header(table):
    return tuple(table.frame)


def rows(table):
    return table.frame.to_numpy().tolist()


@pytest.fixture
def two():
    return report(("net/good_1", [TRUTH, TRUTH, HALF]), ("net/half", [HALF] * 3))


def test_summary_names_protocol_and_interval(two):
    table = summary_table(two)
    assert table.title == "otb (3 sequences), 15 frames, protocol official"
    assert header(table) == ("Tracker", "AUC", "OP50", "Precision", "AUC 95%")
    good, half = 100 * 20 / 21, 100 * (20 + 4 * 10) / 105
    assert rows(table)[1][:2] == ["net/half", pytest.approx(half)]
    assert rows(table)[0][1] == pytest.approx((2 * good + half) / 3)
    np.testing.assert_allclose(rows(table)[0][-1], (half, good), rtol=1e-6)  # three sequences: all of one or the other
    assert text(table).splitlines()[-1].split() == ["net/half", "57.14", "20.00", "100.00", "57.14..57.14"]


def test_markdown(two):
    assert markdown(summary_table(two)).splitlines() == [
        "otb (3 sequences), 15 frames, protocol official",
        "",
        "| Tracker | AUC | OP50 | Precision | AUC 95% |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| net/good_1 | 82.54 | 73.33 | 100.00 | 57.14..95.24 |",
        "| net/half | 57.14 | 20.00 | 100.00 | 57.14..57.14 |",
    ]
    assert r"a\|b" in markdown(Table("t", pd.DataFrame({"x": ["a|b"]})))


def test_latex_escapes_and_sets_the_best_in_bold(two):
    lines = latex(summary_table(two)).splitlines()
    assert r"\caption{otb (3 sequences), 15 frames, protocol official}" in lines
    assert r"\begin{tabular}{lrrrr}" in lines
    assert r"Tracker & AUC & OP50 & Precision & AUC 95\% \\" in lines
    assert r"net/good\_1 & \textbf{82.54} & \textbf{73.33} & \textbf{100.00} & 57.14--95.24 \\" in lines
    assert r"net/half & 57.14 & 20.00 & \textbf{100.00} & 57.14--57.14 \\" in lines


def test_csv_has_four_decimals_and_two_columns_for_an_interval(two, tmp_path):
    with write_csv(summary_table(two), tmp_path / "t.csv").open() as file:
        lines = list(csv.reader(file))
    assert lines[0] == ["Tracker", "AUC", "OP50", "Precision", "AUC 95% low", "AUC 95% high"]
    assert lines[2] == ["net/half", "57.1429", "20.0000", "100.0000", "57.1429", "57.1429"]


@pytest.fixture
def runs():
    """Two runs of ``net/c`` and a tracker between them."""
    found = report(("net/c_001", [TRUTH, TRUTH, HALF]), ("other/x", [TRUTH, HALF, HALF]), ("net/c_000", [HALF] * 3))
    numbered = [replace(one, run=("net/c", one.label[-3:])) if "_" in one.label else one for one in found.trackers]
    return replace(found, trackers=numbered)


def test_repeated_runs_have_a_row_of_their_mean_and_spread(runs, tmp_path):
    aucs = np.array([(2 * 2000 / 21 + 1200 / 21) / 3, 1200 / 21])
    label = "net/c (mean of 2 runs)"
    row = rows(summary_table(runs))[-1]
    assert [one[0] for one in rows(summary_table(runs))] == ["net/c_001", "other/x", "net/c_000", label]
    assert (row[1].mean, row[1].deviation) == pytest.approx((aucs.mean(), aucs.std(ddof=1)))
    assert (row[3].mean, row[3].deviation) == pytest.approx((100, 0))
    np.testing.assert_allclose(row[-1], (1200 / 21, (2000 + 1200) / 42), rtol=1e-6)  # of the means by sequence
    shown = f"{aucs.mean():.2f} \N{PLUS-MINUS SIGN} {aucs.std(ddof=1):.2f}"
    assert shown == "69.84 \N{PLUS-MINUS SIGN} 17.96"
    assert f"{label}  {shown}  46.67" in text(summary_table(runs))
    assert markdown(summary_table(runs)).splitlines()[-1].startswith(f"| {label} | {shown} | ")
    assert r"net/c (mean of 2 runs) & 69.84 $\pm$ 17.96 & " in latex(summary_table(runs))
    assert r"net/c\_001 & \textbf{82.54} &" in latex(summary_table(runs))  # of single runs the best
    with write_csv(summary_table(runs), tmp_path / "t.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0])[:5] == ["Tracker", "AUC", "AUC sd", "OP50", "OP50 sd"]
    assert [one["AUC sd"] for one in lines] == ["", "", "", f"{aucs.std(ddof=1):.4f}"]
    assert lines[-1]["AUC"] == f"{aucs.mean():.4f}" and lines[-1]["AUC 95% low"] == "57.1429"
    assert f"{label}: 000, 001, with their standard deviation" in summary_text(runs)
    assert header(attribute_table(runs))[2:] == ("net/c_001", "other/x", "net/c_000", label)
    assert rows(attribute_table(runs))[0][-1].mean == pytest.approx((2000 / 21 + 1200 / 21) / 2)
    write_tables(runs, ("md", "tex", "csv"), tmp_path)
    for suffix in ("md", "tex"):
        assert all(label in (tmp_path / f"{name}.{suffix}").read_text("utf-8") for name in ("summary", "per_sequence"))


@pytest.mark.parametrize(
    ("origins", "warned"),  # the first: of two trainings
    [
        (
            ("a.pth (sha256 1), config 12ab, float32", "b.pth (sha256 2), config 12ab, float32"),
            False,
        ),  # of two trainings
        (("a.pth (sha256 1), config 12ab, float32", "a.pth (sha256 1), config 34cd, float32"), True),
        (("a.pth (sha256 1), config 12ab, float32", "a.pth (sha256 1), config 12ab, bf16"), True),
        (("imported from a.zip (sha256 1)", "imported from b.zip (sha256 2)"), False),
    ],
)
def test_runs_of_other_settings_are_no_silent_mean(runs, origins, warned):
    of_run = {"net/c_000": origins[0], "net/c_001": origins[1], "other/x": "x.pth, config 0, float32"}
    found = replace(runs, trackers=[replace(one, origins={of_run[one.label]: 3}) for one in runs.trackers])
    line = "WARNING: the runs of net/c (mean of 2 runs) are not all of one configuration"
    assert (line in summary_text(found)) == warned


def test_one_run_has_no_mean(runs):
    alone = replace(runs, trackers=runs.trackers[:2])
    assert len(rows(summary_table(alone))) == 2 and "mean of" not in summary_text(alone)


def test_runs_are_told_from_names_with_numbers(tmp_path):
    def found(name, **record):
        path = tmp_path / name / "s.txt"
        path.parent.mkdir()
        if record:
            path.with_suffix(".json").write_text(json.dumps(record))
        return run_of(("t", name), path)

    assert found("c") is found("c_01") is found("c_x") is None
    assert found("c_000") == ("t/c", "000")  # PyTracking's: nothing says what they came from
    assert found("c_007", config="c_007", imported_from="c.zip") == ("t/c", "007")
    assert found("vit_256") is found("vit_384", config="vit_384", imported_from="x") is None
    assert found("vit_256_002", config="vit_256") == ("t/vit_256", "002")
    assert found("d_123", config="d") == ("t/d", "123") and found("d_1234", config="d") == ("t/d", "1234")
    assert found("exp_001", config="exp_001") is None  # of an experiment exp_001.yaml


def test_the_frame_holds_every_score(two):
    frame = two.frame
    assert tuple(frame) == ("Tracker", "Sequence", "Frames", "Valid frames", "AUC", "OP50", "Precision", "Protocol")
    assert frame.loc[5].tolist() == ["net/half", "dog", 5, 5, *map(pytest.approx, (57.142857, 20, 100)), "official"]


def test_attributes_are_scored_over_the_sequences_that_have_them(two):
    table = attribute_table(two)
    assert header(table) == ("Attribute", "Sequences", "net/good_1", "net/half")
    assert table.title == "AUC by attribute, otb (3 sequences), protocol official"
    assert rows(table) == [
        ["OV", 1, pytest.approx(95.238095), pytest.approx(57.142857)],
        ["SV", 2, pytest.approx(95.238095), pytest.approx(57.142857)],
    ]
    single = attribute_table(report(("net/half", [HALF] * 3)))
    assert header(single) == ("Attribute", "Sequences", "AUC", "OP50", "Precision")
    assert rows(single)[0] == ["OV", 1, *map(pytest.approx, (57.142857, 20, 100))]


def test_the_attribute_frame_has_a_row_per_tracker_and_attribute(two):
    frame = two.attribute_frame
    assert tuple(frame) == ("Tracker", "Attribute", "Sequences", "AUC", "OP50", "Precision", "Protocol")
    assert frame[["Tracker", "Attribute", "Sequences"]].to_numpy().tolist() == [
        ["net/good_1", "OV", 1], ["net/good_1", "SV", 2], ["net/half", "OV", 1], ["net/half", "SV", 2]
    ]  # fmt: skip
    np.testing.assert_allclose(frame["AUC"], [95.238095, 95.238095, 57.142857, 57.142857])


def test_attributes_weigh_frames_where_these_are_pooled():
    found = report(("net/half", [HALF, TRUTH, TRUTH]), tag="vot18", official=np.array([1, 1, 0, 0, 0], bool))
    assert rows(attribute_table(found))[1][2] == pytest.approx(75)  # one frame of each


def test_no_attributes_no_table(monkeypatch):
    monkeypatch.setitem(ATTRIBUTES, "boat", ())
    monkeypatch.setitem(ATTRIBUTES, "car", ())
    assert attribute_table(report(("net/half", [HALF] * 3))) is None


def test_all_tables_are_written_in_the_formats_asked_for(two, tmp_path):
    assert [path.name for path in write_tables(two, (), tmp_path / "a")] == ["per_sequence.csv"]
    names = {path.name for path in write_tables(two, ("md", "tex", "csv"), tmp_path / "b")}
    parts = ("summary", "per_sequence", "per_attribute")
    assert names == {f"{part}.{suffix}" for part in parts for suffix in ("md", "tex", "csv")}
    assert names == {path.name for path in (tmp_path / "b").iterdir()}
    assert "| dog | 5 | 57.14 | 57.14 |" in (tmp_path / "b/per_sequence.md").read_text()
    assert r"SV & 2 & \textbf{95.24} & 57.14 \\" in (tmp_path / "b/per_attribute.tex").read_text()
    assert text(sequence_table(two)).splitlines()[0] == "AUC by sequence, otb (3 sequences), protocol official"


def test_missing_flags_are_called_out():
    text_without = summary_text(report(("net/half", [HALF] * 3), tag="lasot"))
    assert "WARNING: no absence flags of 3 sequences (boat, car, dog): scored as always visible" in text_without
    assert "WARNING" not in summary_text(report(("net/half", [HALF] * 3), tag="lasot", official=np.ones(5, bool)))


def test_comparison_says_what_the_difference_means(two):
    lines = comparison_text(two, "good_1", "net/half").splitlines()
    assert lines[0] == "net/good_1 less net/half, AUC, 3 sequences, protocol official"
    # Of the 8 ways to flip the signs of the differences 38.1, 38.1 and 0, four give a sum as large.
    assert lines[1] == "+25.40, 95% interval +0.00..+38.10, p = 0.5000; better on 2 sequences, worse on 0"
    assert lines[2] == "25.40 points of AUC on 2 sequences that differ say nothing yet: the test needs at least 6."
    with pytest.raises(DataError, match="cannot compare net/god: none has that name; did you mean net/good_1"):
        comparison_text(two, "net/god", "half")


def test_comparison_of_a_real_difference():
    data = [Sequence(str(i), "otb", None, lambda: Annotations(TRUTH)) for i in range(8)]
    rules = PROTOCOLS["official"].rules("otb")
    good, half = (
        score_tracker(label, [boxes] * 8, data, rules, ["x"] * 8) for label, boxes in (("a/a", TRUTH), ("a/b", HALF))
    )
    lines = comparison_text(Report("otb", "official", data, [good, half]), "b", "a").splitlines()
    assert "p = 0.0078" in lines[1]  # 2 of 256
    assert lines[2] == "38.10 points of AUC are more than noise: a/a is the better one."


def test_got10k_is_plotted_with_101_thresholds_and_success_only(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    data = sequences("vot18")
    rules = PROTOCOLS["official"].rules("got10k")
    for one in data:
        one.image_size = (640, 480)
    found = Report("got10k_val", "official", data, [score_tracker("n/h", [HALF] * 3, data, rules, ["x"] * 3)])
    assert [score.name for score in plotted_scores(rules)] == ["AO"]
    monkeypatch.setattr(Figure, "savefig", lambda *_, **__: None)
    curves = {path.name for path in write_plots(found, tmp_path) if "attribute" not in path.name}
    assert curves == {"success_plot.png", "success_plot.pdf"}
    axes = Figure().add_subplot()
    draw_plot(axes, rules.scores[0], found)
    np.testing.assert_allclose(axes.lines[0].get_xdata(), np.arange(101) / 100)
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [100] * 50 + [0] * 51)
    assert axes.get_title(loc="left") == "Success on got10k_val (3 sequences), protocol official"


def test_there_are_plots_by_attribute(two, tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    monkeypatch.setattr(plots, "plotted_scores", lambda rules: plotted_scores(rules)[:1])  # the others take their time
    assert {path.name for path in write_plots(two, tmp_path)} >= {"attribute_plot.png", "attribute_curves.pdf"}
    assert all((tmp_path / name).stat().st_size > 5000 for name in ("attribute_plot.png", "attribute_curves.png"))
    axes = Figure().add_subplot()
    draw_attributes(axes, two)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["OV (1)", "SV (2)"]
    assert {line.get_label(): list(line.get_xdata()) for line in axes.lines} == {
        "net/good_1": pytest.approx([95.238095, 95.238095]),
        "net/half": pytest.approx([57.142857, 57.142857]),
    }
    assert axes.get_xlabel() == "AUC [%]"
    figure = Figure()
    draw_attribute_curves(figure, two)
    first, second = figure.axes
    assert (first.get_title(loc="left"), second.get_title(loc="left")) == ("SV (2)", "OV (1)")  # most sequences first
    for axes, indices in ((first, [0, 1]), (second, [0])):
        for tracker, line in zip(two.trackers, axes.lines, strict=True):
            np.testing.assert_allclose(line.get_ydata(), 100 * tracker.curves.success[indices].mean(axis=0))
    monkeypatch.setitem(ATTRIBUTES, "boat", ())
    monkeypatch.setitem(ATTRIBUTES, "car", ())
    monkeypatch.setattr(Figure, "savefig", lambda *_, **__: None)
    none = report(("net/half", [HALF] * 3))
    assert not any("attribute" in path.name for path in write_plots(none, tmp_path / "none"))


def test_protocols_do_not_write_over_each_other():
    assert (folder_name("lasot"), folder_name("lasot", "official")) == ("lasot", "lasot_official")


def test_page_attributes_and_cache_of_the_script(tmp_path, monkeypatch):
    folder = tmp_path / "seqs/boat"
    folder.mkdir(parents=True)
    (folder / "groundtruth.txt").write_text("1,1,4,4\nnan,nan,nan,nan\n")
    (folder / "clip.mp4").write_bytes(b"")
    results = tmp_path / "out/test/tracking_results/net"
    label = folder_label(tmp_path / "seqs")
    for config in ("a", "b"):
        (results / config / label).mkdir(parents=True)
        (results / config / label / "boat.txt").write_text("1 1 4 4\n9 9 9 9\n")
    record = {"imported_from": "results.zip (sha256 12ab)", "result_sha256": file_hash(results / f"a/{label}/boat.txt")}
    (results / f"a/{label}/boat.json").write_text(json.dumps(record))

    with pytest.raises(ConfigError, match="--lost_below nan: this is a score from 0 to 1"):
        AnalysisOptions(lost_below=float("nan"))

    def write_html(report, path, lost_below):
        assert lost_below == 0.3
        path.write_text(report.trackers[0].label)
        return path

    monkeypatch.setitem(sys.modules, "lib.test.analysis.html", SimpleNamespace(write_html=write_html))
    name = f"folder:{tmp_path / 'seqs'}"
    options = {"plots": False, "html": True, "by_attribute": True, "compare": ("a", "b"), "protocol": "official"}
    blocks = list(analyze(name, options=AnalysisOptions(**options), env=EnvSettings(save_dir=tmp_path / "out")))
    assert "origin unknown: net/b\nnet/a: imported from results.zip (sha256 12ab)\n" in blocks[0]
    assert blocks[1] == f"{name} has no attributes, or they were not found beside it"
    assert blocks[2].endswith(
        "0.00 points of AUC on 0 sequences that differ say nothing yet: the test needs at least 6."
    )
    assert blocks[3].endswith(f"{label}_official: per_sequence.csv, report.html")
    assert (tmp_path / f"out/test/result_plots/{label}_official/report.html").read_text() == "net/a"
    assert len(list((tmp_path / "out/test/cache").iterdir())) == 1  # two files of the same content
    assert "from pytracking to official, net/a:" in blocks[0]
    assert "Norm Precision -50.00: a frame without target is never a hit of normalized precision" in blocks[0]
