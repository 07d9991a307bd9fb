"""The page of a report, opened in a real browser: what it shows is what the report says, and what a user does works."""

import json
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import pytest

from lib.data.sequence import Annotations, Sequence
from lib.test.analysis.html import (
    NO_SCORE,
    NO_TARGET,
    page_data,
    picture_region,
    score_strip,
    small_jpeg,
    strip,
    worst_frames,
    write_html,
)
from lib.test.analysis.plots import COLORS
from lib.test.analysis.protocols import PROTOCOLS
from lib.test.analysis.report import Report, score_tracker
from lib.test.evaluation.results import write_scores
from lib.utils.errors import DataError, ImageError
from tests.browser import CHROMIUM, Browser

LENGTHS = {"a<b>&\"c'</script>": 60, "boat-1": 24, "boat-2": 700, "car": 40, "<!--<script>": 30}
ATTRIBUTES = {"boat-1": ("Fast motion",), "boat-2": ("Fast motion", "<i>Blur</i>"), "car": ("<i>Blur</i>",)}
ABSENT = {"boat-1": range(12, 18), "boat-2": range(350, 400)}
TRACKERS = ("best/tracker", "middle/tracker", "worst/</script><b>tracker")


@dataclass
class Frames:
    """Gray pictures of 96 x 64, each of another brightness, unless they are broken; counts what is read."""

    length: int
    broken: bool = False
    read: Counter = field(default_factory=Counter)

    def __len__(self):
        return self.length

    def frame(self, t):
        self.read[t] += 1
        if self.broken:
            raise ImageError("there are no <frames>")
        return np.full((64, 96, 3), 40 + t % 200, np.uint8)


def make_report(trackers=TRACKERS, lengths=LENGTHS, broken=()):
    """Trackers that sway around a target that moves to the right; the later ones more."""
    rules = PROTOCOLS["pytracking"].rules("folder")
    data, truths = [], []
    for name, length in lengths.items():
        truth = np.tile([10.0, 20, 24, 16], (length, 1))
        truth[:, 0] += 40 * np.arange(length) / length
        truth[list(ABSENT.get(name, ()))] = np.nan
        truths.append(truth)
        frames = Frames(length, name in broken)
        attributes = partial(tuple, ATTRIBUTES.get(name, ()))
        data.append(Sequence(name, "folder", frames, partial(Annotations, truth), read_attributes=attributes))
    reports = []
    for number, label in enumerate(trackers):
        rng = np.random.default_rng(number)
        predictions = []
        for truth in truths:
            boxes = np.nan_to_num(truth, nan=10.0)
            boxes[:, 0] += (3 + 4 * number) * np.sin(np.arange(len(boxes)) / 3) + rng.normal(0, 1, len(boxes))
            predictions.append(boxes)
        reports.append(score_tracker(label, predictions, data, rules, [label] * len(data)))
    assert [one.scores()["AUC"] for one in reports] == sorted((one.scores()["AUC"] for one in reports), reverse=True)
    differences = ("protocol <official>, one: AUC 1.00 (-0.50)", "  AUC -0.50: a reason")
    return Report("folder:<x>&", "pytracking", data, reports, {TRACKERS[0]: ["left & out"]}, differences)


@pytest.fixture(scope="module")
def report():
    return make_report()


@pytest.fixture(scope="module")
def page(report, tmp_path_factory):
    return write_html(report, tmp_path_factory.mktemp("page") / "new/report.html")


@pytest.fixture(scope="module")
def window():
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    with Browser() as browser:
        yield browser


@pytest.fixture
def browser(window, page):
    """The browser with the page just opened; at the end nothing went wrong in it, and nothing else was loaded."""
    window.requests.clear()
    window.resize(1200, 900)
    window.page.emulate_media(color_scheme="light")
    window.open(page)
    yield window
    assert window.errors == []
    assert {address.split(":")[0] for address in window.requests} == {"file"}
    assert {address.rsplit("/")[-1] for address in window.requests} == {"report.html"}


def two(value):
    return f"{value:.2f}"


def column(browser, section, number):
    """The cells that are shown of a column of a section's table, from 1."""
    return browser.texts(f"#{section} tbody > tr:not(.detail) > td:nth-child({number})")


def row_of(browser, name):
    names = column(browser, "sequences", 1)
    return names.index(name) + 1


def open_sequence(browser, name):
    browser.click(f"#sequences tbody > tr:nth-child({row_of(browser, name)}) > td:nth-child(2)")


# --- the numbers that go into the page


def test_strip_has_the_mean_of_the_frames_of_each_column():
    assert list(strip(np.array([1, 0.254, -1, 0]), 600)) == [100, 25, NO_TARGET, 0]
    overlap = np.array([1, 0.5, -1, -1, 0.2, -1, 0.9])  # columns of 2, 2 and 3 frames
    assert list(strip(overlap, 3)) == [75, NO_TARGET, 55]


def test_score_strip_has_the_lowest_of_each_column_and_marks_low_ones():
    scores = np.array([1, 0.254, np.nan, 0.302, 1.7, -0.2])
    assert list(score_strip(scores, 600, 0.3)) == [100, 25 + 101, NO_SCORE, 30, 100, 0 + 101]
    assert list(score_strip(scores, 3, 0.31)) == [25 + 101, 30 + 101, 0 + 101]  # of two frames each
    assert list(score_strip(scores[2:3], 600, 0.3)) == [NO_SCORE]


def test_worst_frames_are_low_and_apart_and_never_the_first_or_without_target():
    overlap = np.full(100, 0.9)
    overlap[[0, 10, 11, 12, 50, 99]] = [0, 0.31, 0.1, 0.32, 0.2, -1]
    assert worst_frames(overlap, 3) == [11, 50, 98]  # 10 and 12 are close to 11; of the others the farthest
    assert worst_frames(overlap, 1) == [11]
    lost = np.where(np.arange(100) < 40, 0.8, 0.0)
    assert worst_frames(lost, 3) == [40, 69, 99]
    assert worst_frames(np.array([1.0]), 6) == worst_frames(np.full(5, -1.0), 6) == []
    assert worst_frames(np.array([1.0, 0.5, 0.4]), 6) == [1, 2]


def test_picture_shows_all_boxes_in_the_shape_of_the_frame():
    assert picture_region([[0, 0, 300, 90]], (300, 90)) == (0, 0, 300, 90)
    assert picture_region([[145, 40, 10, 10]], (300, 90)) == (100, 30, 100, 30)  # a third, around it
    assert picture_region([[290, -50, 500, 60]], (300, 90)) == (200, 0, 100, 30)  # what lies outside does not count
    x, y, w, h = picture_region([[20, 20, 10, 10], [120, 30, 10, 10]], (300, 90))
    assert (x, w, h) == (0, 154, 46) and y <= 20 and y + h >= 40


def test_jpeg_shrinks_until_it_fits():
    noise = np.random.default_rng(0).integers(0, 256, (270, 480, 3), np.uint8)
    large, small = small_jpeg(noise, 10**9), small_jpeg(noise, 15_000)
    assert len(small) <= 15_000 < len(large)


def test_page_stays_small_for_many_trackers_and_sequences(tmp_path):
    lengths = {f"sequence{number:03d}": 1500 for number in range(60)}
    data = page_data(make_report(tuple(f"tracker/{number}" for number in range(20)), lengths), 0)
    one = data["sequences"][0]
    assert len(one["strips"]) == 20 and len(one["strips"][0]) == 800  # 600 columns in base64
    assert len(json.dumps(data)) < 1.2e6
    assert len(data["trackers"]) == 20 and {tracker["color"] for tracker in data["trackers"]} == set(COLORS)
    assert len({(tracker["color"], tracker["dash"]) for tracker in data["trackers"]}) == 20


def test_page_stands_alone_and_data_cannot_end_its_element(report, page):
    text = page.read_text(encoding="utf-8")
    assert text.count("</script>") == 2  # that of the data and that of the scripts
    assert set(re.findall(r"https?://[^\"'\s]*", text)) == {"http://www.w3.org/2000/svg"}  # a name, not loaded
    assert "default-src 'none'" in text  # the browser would refuse to
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])
    assert [one["name"] for one in data["sequences"]] == report.sequences
    assert [one["label"] for one in data["trackers"]] == list(TRACKERS)


def test_no_thumbnails_read_no_frames(tmp_path):
    report = make_report()
    data = page_data(report, 0)
    assert all(not one.frames.read for one in report.data)
    assert all(one["pictures"] == [] for one in data["sequences"]) and "no pictures" not in str(data["notes"])


def test_frames_that_cannot_be_read_are_noted(caplog):
    data = page_data(make_report(broken=("car", "boat-1")), 2)
    assert [len(one["pictures"]) for one in data["sequences"]] == [2, 0, 2, 0, 2]
    assert data["notes"][-1] == "no pictures of 2 of 5 sequences; boat-1: there are no <frames>"
    assert "no pictures of 2 of 5" in caplog.text


# --- the page in the browser


@pytest.mark.end_to_end
def test_header_and_notes(browser):
    assert browser.texts("h1") == ["folder:<x>& (5 of 6 sequences)"]
    assert browser.texts("#scope") == ["854 frames, 3 trackers, protocol pytracking"]
    assert browser.evaluate("document.title") == "folder:<x>&, pytracking"
    assert browser.texts("#summary .notes li") == ["left out, no results of best/tracker: left & out"]
    assert browser.texts("#differences .lines p") == [
        "protocol <official>, one: AUC 1.00 (-0.50)",
        "AUC -0.50: a reason",
    ]
    assert browser.texts("#differences .reason") == ["AUC -0.50: a reason"]


@pytest.mark.end_to_end
def test_summary_shows_the_scores_and_sorts(browser, report):
    expected = [
        [two(score) + " to ".join(map(two, tracker.intervals()[name])) for name, score in tracker.scores().items()]
        for tracker in report.trackers
    ]
    columns = range(2, 2 + len(report.score_names))
    shown = [column(browser, "summary", number) for number in columns]
    assert [list(row) for row in zip(*shown, strict=True)] == expected
    assert column(browser, "summary", 1) == list(TRACKERS)
    table = np.array([[float(two(score)) for score in tracker.scores().values()] for tracker in report.trackers])
    assert browser.texts("#summary td strong") == [two(score) for score in table[table == table.max(axis=0)]]

    order = "[...document.querySelectorAll('#summary th')].map((e) => e.ariaSort)"
    assert browser.evaluate(order) == ["none", "descending", "none", "none", "none", "none"]
    browser.click("#summary th:nth-child(4) button")  # OP75, from the highest
    values = [tracker.scores()["OP75"] for tracker in report.trackers]
    best_first = sorted(range(3), key=lambda k: -values[k])
    assert column(browser, "summary", 1) == [TRACKERS[k] for k in best_first]
    browser.press("Enter")  # the button has the focus: the other way round
    assert column(browser, "summary", 1) == [TRACKERS[k] for k in reversed(best_first)]
    assert browser.evaluate(order) == ["none", "none", "none", "ascending", "none", "none"]


@pytest.mark.end_to_end
def test_repeated_runs_have_a_row(window, tmp_path):
    report = make_report(("t/c_000", "t/c_001"), {"car": 20, "boat-1": 24})
    trackers = [replace(one, run=("t/c", one.label[-3:])) for one in report.trackers]
    window.open(write_html(replace(report, trackers=trackers), tmp_path / "report.html"))
    aucs = np.array([one.scores()["AUC"] for one in trackers])
    middle = column(window, "summary", 1).index("t/c (mean of 2 runs)")
    assert middle == 1  # between them, by its score
    shown = f"{two(aucs.mean())} \N{PLUS-MINUS SIGN} {two(aucs.std(ddof=1))}"
    assert column(window, "summary", 2)[middle].startswith(shown)
    window.click("#summary th:nth-child(1) button")
    assert sorted(column(window, "summary", 1)) == ["t/c (mean of 2 runs)", "t/c_000", "t/c_001"]
    assert len(column(window, "comparison", 1)) == 1 and window.errors == []


@pytest.mark.end_to_end
def test_comparison_is_that_of_the_report(browser, report):
    first, second = (tracker.sequence_scores()[:, 0] for tracker in report.trackers[:2])
    difference = np.mean(second - first)
    cell = column(browser, "comparison", 2)[0]
    assert cell.startswith(f"\N{MINUS SIGN}{abs(difference):.2f}\N{MINUS SIGN}")
    assert column(browser, "comparison", 3)[0] == "0.0625"  # 2 of 2^5 sign flips: worse on all five
    assert [column(browser, "comparison", number)[0] for number in (4, 5, 6)] == ["0", "5", "too few sequences"]


@pytest.mark.end_to_end
@pytest.mark.parametrize(("number", "curve"), [(1, "success"), (2, "precision"), (3, "norm_precision")])
def test_curves_are_read_where_the_mouse_is(browser, report, number, curve):
    figure = f"#curves .plot:nth-child({number})"
    thresholds = report.rules.thresholds(curve)
    index = len(thresholds) * 2 // 5
    # The plot's area lies between 38 and 350 of the 360 units of the drawing.
    browser.move(f"{figure} .axes", (38 + 312 * index / (len(thresholds) - 1)) / 360, 0.5)
    values = {one.label: 100 * getattr(one.mean_curves(), curve)[index] for one in report.trackers}
    expected = sorted(((two(value), label) for label, value in values.items()), key=lambda pair: -float(pair[0]))
    head, *rows = browser.texts(f"{figure} .tip p")
    assert head.endswith(f" {thresholds[index]:g}")
    assert rows == [value + label for value, label in expected]

    box = "document.querySelector('{}').getBoundingClientRect()"
    top, bottom = (
        browser.evaluate(f"{box.format(f'{figure} .grid:nth-of-type({line})')}.y") for line in (6, 1)
    )  # the lines at 100 and 0 percent
    for k, label in enumerate(TRACKERS):
        height = browser.evaluate(
            f"(({box.format(f'{figure} .dot.of-{k}')}.y + {box.format(f'{figure} .dot.of-{k}')}.bottom) / 2)"
        )
        assert 100 * (bottom - height) / (bottom - top) == pytest.approx(values[label], abs=0.5)

    browser.evaluate(f"document.querySelector('{figure} .axes').focus()")
    browser.press("ArrowRight")
    assert browser.texts(f"{figure} .tip p")[0].endswith(f" {thresholds[index + 1]:g}")


@pytest.mark.end_to_end
def test_a_tracker_is_hidden_everywhere_and_shown_again(browser):
    def lines():
        return browser.evaluate(
            "[...document.querySelectorAll('.curve')].filter((e) => !e.hasAttribute('hidden')).length"
        )

    assert lines() == 9 and len(browser.texts("#sequences th")) == 6
    browser.click("#curves .toggle-1")
    assert lines() == 6 and browser.texts("#sequences th")[3:] == [TRACKERS[0], TRACKERS[2]]
    assert browser.evaluate("document.querySelector('#curves .toggle-1').ariaPressed") == "false"
    browser.move("#curves .axes", 0.5)
    assert sorted(re.sub(r"^[\d.]+", "", text) for text in browser.texts(".tip p")[1:]) == [TRACKERS[0], TRACKERS[2]]
    open_sequence(browser, "car")  # what is drawn later follows
    assert len(browser.texts(".strips .value")) == 2
    assert browser.evaluate("document.querySelectorAll('.picture .of-1:not([hidden])').length") == 0
    browser.click("#curves .all:last-child")  # none
    assert lines() == 0
    browser.click(".strips .toggle-1")
    assert lines() == 3 and browser.texts("#sequences th")[3:] == [TRACKERS[1]]


@pytest.mark.end_to_end
def test_sequence_table_shows_the_chosen_score_from_the_worst(browser, report):
    scores = [tracker.sequence_scores() for tracker in report.trackers]

    def check(score):
        order = np.argsort(scores[0][:, score], kind="stable")
        assert column(browser, "sequences", 1) == [report.sequences[index] for index in order]
        assert column(browser, "sequences", 2) == [str(report.frames[index]) for index in order]
        absent = [len(ABSENT.get(report.sequences[index], ())) for index in order]
        assert column(browser, "sequences", 3) == list(map(str, absent))
        for k in range(3):
            assert column(browser, "sequences", 4 + k) == [two(scores[k][index, score]) for index in order]

    check(0)
    select = "document.querySelector('#sequences select')"
    browser.evaluate(f"{select}.value = '3'; {select}.dispatchEvent(new Event('change'))")
    assert report.score_names[3] == "Precision"
    check(3)
    browser.click("#sequences th:nth-child(2) button")
    assert column(browser, "sequences", 2) == ["700", "60", "40", "30", "24"]


@pytest.mark.end_to_end
def test_sequences_are_filtered_by_name_and_attribute(browser):
    browser.type("#sequences input", "BOAT")
    assert sorted(column(browser, "sequences", 1)) == ["boat-1", "boat-2"]
    assert browser.texts("#sequences output") == ["2 of 5 sequences"]
    assert browser.texts("#sequences label:last-of-type option") == []  # options are not on the page until opened
    select = "document.querySelectorAll('#sequences select')[1]"
    assert browser.evaluate(f"[...{select}.options].map((e) => e.textContent)") == [
        "any",
        "<i>Blur</i> (2)",
        "Fast motion (2)",
    ]
    browser.evaluate(f"{select}.value = '1'; {select}.dispatchEvent(new Event('change'))")
    assert column(browser, "sequences", 1) == ["boat-2"]
    browser.evaluate("document.querySelector('#sequences input').select()")
    browser.page.keyboard.insert_text("nothing like it")
    assert column(browser, "sequences", 1) == [] and browser.texts("#sequences output") == ["0 of 5 sequences"]


@pytest.mark.end_to_end
def test_attribute_table(browser, report):
    assert column(browser, "attributes", 1) == ["<i>Blur</i>", "Fast motion"]
    assert column(browser, "attributes", 2) == ["2", "2"]
    for k, tracker in enumerate(report.trackers):
        auc = tracker.sequence_scores()[:, 0]
        assert column(browser, "attributes", 3 + k) == [two((auc[2] + auc[3]) / 2), two((auc[1] + auc[2]) / 2)]


@pytest.mark.end_to_end
def test_sequence_opens_with_its_overlaps(browser, report):
    open_sequence(browser, "boat-1")
    assert browser.texts(".detail h3") == ["boat-1"]
    assert browser.texts(".detail .facts")[0] == "24 frames \N{MIDDLE DOT} 6 without target \N{MIDDLE DOT} Fast motion"
    overlaps = [tracker.errors[1].overlap for tracker in report.trackers]
    for t in (0, 5, 23):
        browser.move(".strip", (t + 0.5) / 24)
        assert browser.texts(".readout") == [f"Frame {t}"]
        assert browser.texts(".strips .value") == [two(one[t]) for one in overlaps]
    browser.move(".strip", 14.5 / 24)
    assert browser.texts(".readout") == ["Frame 14, no target"]
    assert browser.texts(".strips .value") == ["\N{EN DASH}"] * 3
    gray = browser.evaluate("document.querySelector('.strip .absent').getBBox()" + ".width")
    assert gray == 6
    browser.evaluate("document.querySelector('.axis').focus()")
    browser.press("ArrowLeft")
    assert browser.texts(".readout") == ["Frame 13, no target"]
    assert "Frame 13, no target: best/tracker" in browser.evaluate("document.querySelector('.axis').ariaValueText")

    open_sequence(browser, "boat-1")  # again: closed
    assert browser.texts(".detail h3") == []


@pytest.mark.end_to_end
def test_long_sequence_has_means(browser, report):
    open_sequence(browser, "boat-2")
    assert "Means over up to 2 frames" in browser.texts(".readout")[0]
    browser.move(".strip", 6.5 / 600)  # column 6 of 600 holds the frames 7 and no other, column 5 has 5 and 6
    assert browser.texts(".readout") == ["Frame 7"]
    browser.move(".strip", 5.5 / 600)
    assert browser.texts(".readout") == ["Frames 5 to 6, mean"]
    means = [round(100 * tracker.errors[2].overlap[5:7].mean()) / 100 for tracker in report.trackers]
    assert browser.texts(".strips .value") == list(map(two, means))


@pytest.mark.end_to_end
def test_sequence_shows_the_scores_that_were_told(window, tmp_path):
    report = make_report(TRACKERS[:2], {"boat-1": 24, "car": 40})
    files = [tmp_path / "boat-1.txt", tmp_path / "car.txt"]
    told = np.where(np.isin(np.arange(24), [5, 6, 7, 20]), 0.1, 0.9)
    write_scores(files[0], told)
    trackers = [replace(report.trackers[0], files=files), report.trackers[1]]
    page = write_html(replace(report, trackers=trackers), tmp_path / "report.html", lost_below=0.4)
    window.open(page)
    lines = window.texts("#summary .notes li")
    assert lines[-1] == "best/tracker: score below 0.4 in 4 of 24 frames"
    open_sequence(window, "boat-1")
    assert window.texts(".facts.low") == ["best/tracker score below 0.4 in 4 of 24 frames: 5 to 7, 20"]
    assert "red below 0.4" in window.texts(".readout")[0]
    overlaps = [tracker.errors[0].overlap for tracker in report.trackers]
    for t in (4, 5, 23):
        window.move(".strip.scores", (t + 0.5) / 24)
        assert window.texts(".readout") == [f"Frame {t}"]
        assert window.texts(".strips .value") == [two(overlaps[0][t]), two(told[t]), two(overlaps[1][t])]
    assert "its score 0.90" in window.evaluate("document.querySelector('.axis').ariaValueText")
    box = "(({ x, width }) => [x, width])(document.querySelector('.strip.scores .low').getBBox())"
    assert window.evaluate(box) == [5, 16]  # frames 5 to 20
    window.click("#curves .toggle-0")
    assert window.texts(".strips .value") == [""] and window.texts(".facts.low") == []
    window.click("#curves .toggle-0")
    open_sequence(window, "boat-1")
    open_sequence(window, "car")  # of which there are none
    assert window.texts(".facts.low") == [] and len(window.texts(".strips .value")) == 2
    assert window.errors == []

    (tmp_path / "boat-1_scores.txt").write_text("0.5\n")
    with pytest.raises(DataError, match=r"boat-1_scores\.txt has 1 scores for 24 boxes: delete it"):
        page_data(replace(report, trackers=trackers), 0)


@pytest.mark.end_to_end
def test_pictures_show_the_worst_frames_and_all_boxes(browser, report):
    open_sequence(browser, "car")
    frames = worst_frames(report.trackers[0].errors[3].overlap, 6)
    assert len(frames) == 6
    assert browser.texts(".pictures b") == [f"frame {t}" for t in frames]
    captions = [[two(tracker.errors[3].overlap[t]) for tracker in report.trackers] for t in frames]
    assert browser.texts(".pictures figcaption") == [
        f"frame {t}" + "".join(values) for t, values in zip(frames, captions, strict=True)
    ]
    place = "['x', 'y', 'width', 'height'].map((name) => Number(box.getAttribute(name)))"
    read = f"[...document.querySelectorAll('figure:nth-child(2) %s .box')].map((box) => {place})"
    t = frames[1]
    np.testing.assert_allclose(browser.evaluate(read % ".truth"), report.data[3].ground_truth[[t]], atol=0.05)
    for k, tracker in enumerate(report.trackers):
        np.testing.assert_allclose(browser.evaluate(read % f".of-{k}"), tracker.errors[3].boxes[[t]], atol=0.05)
    brightness = browser.evaluate("""(async () => {
        const image = new Image();
        image.src = document.querySelector('figure:nth-child(2) image').getAttribute('href');
        await image.decode();
        const canvas = document.createElement('canvas').getContext('2d');
        canvas.drawImage(image, 0, 0);
        return canvas.getImageData(1, 1, 1, 1).data[0];
    })()""")
    assert abs(brightness - (40 + t)) <= 2  # it is this frame
    browser.move("figure:nth-child(2) .picture")
    assert browser.texts(".readout") == [f"Frame {t}"]


@pytest.mark.end_to_end
def test_names_are_text(browser):
    open_sequence(browser, "a<b>&\"c'</script>")
    assert browser.texts(".detail h3") == ["a<b>&\"c'</script>"]
    assert browser.texts("#sequences tbody .entry")[2] == TRACKERS[2]
    assert browser.evaluate("document.querySelectorAll('script').length") == 2
    assert (
        browser.evaluate(
            "document.querySelectorAll('h1 *, li *, .lines p *, td.text :is(b, i), .entry b, h3 *').length"
        )
        == 0
    )


@pytest.mark.end_to_end
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark(browser, scheme):
    browser.page.emulate_media(color_scheme=scheme)
    open_sequence(browser, "boat-1")

    def luminance(selector, part):
        color = browser.evaluate(f"getComputedStyle(document.querySelector({selector!r})).{part}")
        channels = np.array([int(value) for value in re.findall(r"\d+", color)[:3]]) / 255
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    for text, ground in (("td", "body"), (".hint", "body"), (".readout", "tr.detail"), (".all", "body")):
        values = sorted((luminance(text, "color"), luminance(ground, "backgroundColor")))
        assert (values[1] + 0.05) / (values[0] + 0.05) >= 4.5
    assert (luminance("body", "backgroundColor") < 0.1) == (scheme == "dark")


@pytest.mark.end_to_end
def test_page_fits_a_telephone(browser):
    browser.resize(390, 844)
    open_sequence(browser, "boat-2")
    assert browser.evaluate("document.documentElement.scrollWidth") == 390
    assert browser.evaluate("document.querySelector('.strip').getBoundingClientRect().width") > 200


@pytest.mark.end_to_end
def test_one_tracker_and_one_sequence(window, tmp_path):
    report = make_report(TRACKERS[:1], {"car": 3})
    window.open(write_html(report, tmp_path / "report.html"))
    tracker = report.trackers[0]
    assert [column(window, "sequences", number)[0] for number in range(4, 9)] == [
        two(score) for score in tracker.sequence_scores()[0]
    ]
    assert column(window, "summary", 2) == [two(tracker.scores()["AUC"])]  # no interval of one sequence
    assert window.texts("#comparison h2") == [] and window.texts("button.entry") == []
    open_sequence(window, "car")
    assert window.texts(".pictures b") == ["frame 1", "frame 2"]
    assert window.errors == []
