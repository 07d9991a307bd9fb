"""The benchmark that changes one setting of a tracker at a time."""

import json

import pytest

from benchmarks import sensitivity
from lib.data.image_io import read_image
from lib.test.evaluation.results import read_result
from lib.test.spec import TrackerSpec
from lib.utils.errors import ConfigError
from tests.factories import SMALL, TINY, drawn_weights, write_clip

FACTOR, SIZE = "TEST.SEARCH_FACTOR", "TEST.MIN_SIZE"


@pytest.fixture
def arguments(tmp_path):
    """Two sequences, one of which loses its target, weights, and where everything goes."""
    for number in range(2):
        write_clip(tmp_path / f"set/{number}", 6, first=8 * number)
    (tmp_path / "set/1/absence.label").write_text("0\n0\n0\n1\n1\n0\n")
    weights = drawn_weights(tmp_path / "w.pth.tar", overrides=SMALL)
    return ["ostrack", TINY, "--dataset", f"folder:{tmp_path / 'set'}", "--checkpoint", weights, "--save_dir", tmp_path]


def run(patch, arguments):
    patch.setattr("sys.argv", ["sensitivity.py", *map(str, arguments), *SMALL])
    sensitivity.main()


def test_each_setting_is_changed_alone_and_compared(arguments, tmp_path, monkeypatch, capsys):
    more = ["--scales", "0.5", "6", "--json", tmp_path / "s.json", "--plot", tmp_path / "s.png"]
    run(monkeypatch, [*arguments, "--keys", FACTOR, SIZE, *more])
    printed = capsys.readouterr().out.splitlines()
    assert [text.split(" AUC")[0].strip() for text in printed] == [
        "as it is", f"{FACTOR} = 2", f"{FACTOR} = 24", f"{SIZE} = 5", f"{SIZE} = 60",
    ]  # fmt: skip
    rows = json.loads((tmp_path / "s.json").read_text())
    assert rows[0]["change"] == 0
    assert rows[0]["presence"]["absent"] == 2
    assert "of 2" in printed[0]
    for row in rows[1:]:
        assert row["change"] == pytest.approx(row["auc"] - rows[0]["auc"])
        assert row["low"] <= row["change"] <= row["high"]
    assert read_image(tmp_path / "s.png").shape[2] == 3
    least = {path.parts[-5]: read_result(path)[1:, 2:].min() for path in (tmp_path / "sensitivity").rglob("1.txt")}
    assert least[f"{SIZE}_60"] == 60  # the override counts, and alone
    assert least[f"{FACTOR}_2"] == 10 < least["as_it_is"] < 60


def spec(name=TINY):
    return TrackerSpec(name, "ostrack", overrides=SMALL)


def test_a_variant_for_each_number_that_is_another_and_allowed():
    keys = ["DATA.MAX_SAMPLE_INTERVAL", SIZE]
    chosen, refused = sensitivity.variants_of(spec(), keys, [0.001, 20])
    assert [one.overrides for one in chosen] == [(), (f"{keys[0]}=4000",), (f"{keys[1]}=200",)]
    assert [reason.split(":")[0] for reason in refused] == [f"{key} times 0.001" for key in keys]
    chosen, refused = sensitivity.variants_of(spec(), ["MODEL.BACKBONE.DEPTH"], [0.9, 1.1, 1.5, 1.6])
    assert [one.value for one in chosen[1:]] == [4, 5]
    assert not refused


@pytest.mark.parametrize(("key", "message"), [("TEST.NOTHING", "no such setting"), ("DATA.MEAN", "only numbers")])
def test_what_cannot_be_multiplied_is_refused(key, message):
    with pytest.raises(ConfigError, match=f"--keys {key}: .*{message}"):
        sensitivity.variants_of(spec(), [key], [0.5])
