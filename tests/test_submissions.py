"""Packages for the servers of benchmarks: what is in them, and what is not let through."""

from __future__ import annotations

import json
import runpy
import zipfile
from pathlib import Path

import numpy as np
import pytest

from lib.test.evaluation.environment import EnvSettings
from lib.test.evaluation.results import file_hash
from lib.test.utils import packing
from lib.test.utils.packing import (
    SERVERS,
    RawResult,
    check_package,
    pack,
    pack_nt_vot211,
    pack_trackingnet,
    rounded,
)
from lib.utils.errors import ConfigError, DataError
from tests.conftest import REPOSITORY

FRAMES = 4
GOT10K = [f"GOT-10k_Test_{number:06d}" for number in range(1, 181)]


def boxes_of(index: int) -> np.ndarray:
    return np.array([[index + 0.25 * t, 1.5, 20.125, 30.6] for t in range(FRAMES)])


def write_results(folder: Path, names: list[str], times: bool = True) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(names):
        lines = ("\t".join(f"{value:.4f}" for value in row) for row in boxes_of(index))
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
        if times:
            (folder / f"{name}_time.txt").write_text("0.010000\n" * FRAMES)
            (folder / f"{name}_scores.txt").write_text("0.9\n" * FRAMES)


def write_frames(folder: Path, count: int = FRAMES) -> None:
    folder.mkdir(parents=True)
    for t in range(count):
        (folder / f"{t + 1:08d}.jpg").touch()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def env(tmp_path: Path) -> EnvSettings:
    return EnvSettings(tmp_path, tmp_path / "data", tmp_path / "output")


@pytest.fixture
def got10k(env: EnvSettings) -> Path:
    """Results of all 180 sequences, without the benchmark."""
    folder = Path(env.results_path) / "ostrack/base/got10k"
    write_results(folder, GOT10K)
    return folder


def test_got10k_package(env: EnvSettings, got10k: Path) -> None:
    before = contents(got10k)
    path = pack("got10k", "ostrack", "base", env=env)
    assert path == Path(env.got_packed_results_path) / "ostrack_base.zip"
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        assert len(names) == 360 and f"{GOT10K[7]}/{GOT10K[7]}_001.txt" in names
        lines = archive.read(f"{GOT10K[7]}/{GOT10K[7]}_001.txt").decode().splitlines()
        assert lines[:2] == ["7.0000,1.5000,20.1250,30.6000", "7.2500,1.5000,20.1250,30.6000"] and len(lines) == FRAMES
        assert archive.read(f"{GOT10K[7]}/{GOT10K[7]}_time.txt") == b"0.010000\n" * FRAMES
    assert contents(got10k) == before  # the results stay
    assert sorted(item.name for item in path.parent.iterdir()) == ["ostrack_base.zip"]


def test_got10k_other_results_beside_do_not_matter(env: EnvSettings, got10k: Path) -> None:
    write_results(got10k, ["GOT-10k_Val_000001"])
    with zipfile.ZipFile(pack("got10k", "ostrack", "base", decimals=1, env=env)) as archive:
        assert not any("Val" in name for name in archive.namelist())
        assert archive.read(f"{GOT10K[0]}/{GOT10K[0]}_001.txt").startswith(b"0.0,1.5,20.1,30.6\n")


def test_results_of_two_models_are_packed_with_a_warning(
    env: EnvSettings, got10k: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for index, name in enumerate(GOT10K):
        record = {"checkpoint": f"/x/ep{300 if index < 175 else 250}.pth", "config_hash": "c0ffee", "precision": "bf16"}
        record |= {"checkpoint_sha256": "ab", "result_sha256": file_hash(got10k / f"{name}.txt")}
        (got10k / f"{name}.json").write_text(json.dumps(record))
    assert pack("got10k", "ostrack", "base", env=env).is_file()
    counts = "175 of ep300.pth (sha256 ab), config c0ffee, bf16; 5 of ep250.pth (sha256 ab), config c0ffee, bf16"
    assert caplog.messages == [f"the results in {got10k} do not all come from the same model: {counts}"]
    caplog.clear()
    for name in GOT10K:
        (got10k / f"{name}.json").unlink()
    pack("got10k", "ostrack", "base", env=env)
    assert caplog.messages == []


def test_a_negative_number_of_decimals(env: EnvSettings, got10k: Path) -> None:
    with pytest.raises(ConfigError, match="--decimals -2: boxes have 0 decimals or more"):
        pack("got10k", "ostrack", "base", decimals=-2, env=env)


def test_everything_that_is_wrong_is_listed(env: EnvSettings, got10k: Path) -> None:
    (got10k / f"{GOT10K[0]}.txt").unlink()
    (got10k / f"{GOT10K[1]}.txt").write_text("1,2,3,4\nnan,2,3,4\n1,2,3,4\n1,2,3,4\n")
    (got10k / f"{GOT10K[2]}.txt").write_text("1,2,3,4\n1,2,3,-4\n1,2,3,4\n1,2,3,4\n")
    (got10k / f"{GOT10K[3]}_time.txt").unlink()
    (got10k / f"{GOT10K[4]}_time.txt").write_text("0.1\n")
    (got10k / f"{GOT10K[5]}.txt").write_text("1,2,3\n")
    with pytest.raises(DataError) as error:
        pack("got10k", "ostrack", "base", env=env)
    text = str(error.value)
    assert text.startswith("6 of 180 sequences cannot be submitted")
    assert f"{GOT10K[0]}.txt cannot be read" in text
    assert f"{GOT10K[1]}.txt: frame 1 is [nan" in text and f"{GOT10K[2]}.txt: frame 1 is" in text
    assert f"{GOT10K[3]}_time.txt cannot be read" in text
    assert f"{GOT10K[4]}_time.txt: expected 4 times" in text
    assert f"{GOT10K[5]}.txt, line 1: expected four numbers" in text
    assert text.endswith("options of the others: python tracking/test.py ostrack base --dataset got10k_test")
    assert not Path(env.got_packed_results_path).exists()


def test_with_the_benchmark_frames_are_counted(env: EnvSettings, got10k: Path) -> None:
    root = Path(env.got10k_path) / "test"
    for name in GOT10K:
        write_frames(root / name, FRAMES + (name == GOT10K[9]))
        (root / name / "groundtruth.txt").write_text("1,2,3,4\n")
    with pytest.raises(DataError, match=rf"1 of 180 sequences .*\n.*{GOT10K[9]}\.txt: 4 boxes for 5 frames"):
        pack("got10k", "ostrack", "base", env=env)
    (root / GOT10K[9] / f"{FRAMES + 1:08d}.jpg").unlink()
    assert pack("got10k", "ostrack", "base", env=env).is_file()
    (root / "list.txt").write_text("\n".join(GOT10K[:179]))
    with pytest.raises(DataError, match="has 179 of the 180 sequences: complete it first"):
        pack("got10k", "ostrack", "base", env=env)


def test_trackingnet_package(env: EnvSettings) -> None:
    names = [f"video_{number}" for number in range(511)]
    folder = Path(env.results_path) / "ostrack/base/trackingnet"
    write_results(folder, names[:510], times=False)
    with pytest.raises(DataError, match=r"trackingnet has 511 sequences; .* has results of 510"):
        pack("trackingnet", "ostrack", "base", env=env)
    write_results(folder, names, times=False)
    before = contents(folder)
    with zipfile.ZipFile(pack("trackingnet", "ostrack", "base", env=env)) as archive:
        assert sorted(archive.namelist()) == sorted(f"{name}.txt" for name in names)
        assert archive.read("video_3.txt") == b"3,2,20,31\n3,2,20,31\n4,2,20,31\n4,2,20,31\n"  # half to even
    with zipfile.ZipFile(pack("trackingnet", "ostrack", "base", decimals=2, env=env)) as archive:
        assert archive.read("video_3.txt").startswith(b"3.00,1.50,20.12,30.60\n3.25,1.50,20.12,30.60\n")
    assert contents(folder) == before


def write_nt_vot211(env: EnvSettings) -> list[str]:
    names = [f"night walk {number}" for number in range(210)] + ["xju_avenue_1_1.mp4"]
    for name in names:
        write_frames(Path(env.nt_vot211_path) / "sequences" / name)
        (Path(env.nt_vot211_path) / "GT").mkdir(exist_ok=True)
        (Path(env.nt_vot211_path) / "GT" / f"{name}.txt").write_text("1 2 3 4\n")
    return names


@pytest.mark.parametrize("times", [True, False])
def test_nt_vot211_package(env: EnvSettings, times: bool) -> None:
    names = write_nt_vot211(env)
    folder = Path(env.results_path) / "ostrack/base"
    write_results(folder, names, times)
    write_results(folder, ["Basketball"])  # of another benchmark
    path = pack("nt_vot211", "ostrack", "base", env=env)
    content = json.loads(path.read_text())
    assert path.name == "ostrack_base.json" and len(content) == 212 and set(names) | {"time"} == set(content)
    assert content["night walk 5"] == {"pred": [[5, 2, 20, 31], [5, 2, 20, 31], [6, 2, 20, 31], [6, 2, 20, 31]]}
    assert content["time"] == ([[0.01] * FRAMES] * 211 if times else [[-211000]])


def test_nt_vot211_needs_the_benchmark(env: EnvSettings) -> None:
    write_results(Path(env.results_path) / "ostrack/base", ["a"])
    with pytest.raises(DataError, match="nt_vot211 has 211 sequences; .* the benchmark itself, which would tell"):
        pack("nt_vot211", "ostrack", "base", env=env)


def test_no_package_is_left_when_it_does_not_hold_the_results(
    env: EnvSettings, got10k: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "check_package", lambda *_: (_ for _ in ()).throw(DataError("not the boxes")))
    with pytest.raises(DataError, match="not the boxes"):
        pack("got10k", "ostrack", "base", env=env)
    assert list(Path(env.got_packed_results_path).iterdir()) == []


def test_a_package_is_compared_with_the_results() -> None:
    results = [RawResult(name, boxes_of(3), None) for name in ("a", "b")]
    unpack = SERVERS["trackingnet"].unpack
    check_package(unpack(pack_trackingnet(results, 1)), results, 1)
    with pytest.raises(DataError, match="does not hold the boxes of a"):
        check_package(unpack(pack_trackingnet(results, 0)), results, 1)
    with pytest.raises(DataError, match="holds 1 sequences instead of 2"):
        check_package(unpack(pack_trackingnet(results[:1], 1)), results, 1)
    damaged = bytearray(pack_trackingnet(results, 1))
    damaged[35] ^= 255
    with pytest.raises(DataError, match="the package is damaged"):
        check_package(unpack(bytes(damaged)), results, 1)


def test_rounding_has_no_negative_zero() -> None:
    assert str(rounded(np.array([-0.2, 0.5, 1.5]), 0).tolist()) == "[0.0, 0.0, 2.0]"
    (box,) = json.loads(pack_nt_vot211([RawResult("a", np.array([[-0.4, 2.6, 3, 4]]), None)], 0))["a"]["pred"]
    assert box == [0, 3, 3, 4]


@pytest.mark.parametrize("name", SERVERS)
def test_scripts(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    script = str(REPOSITORY / f"lib/test/utils/transform_{name}.py")
    arguments = ["--tracker_name", "ostrack", "--cfg_name", "none", "--save_dir", str(tmp_path)]
    monkeypatch.setattr("sys.argv", [script, *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(script, run_name="__main__")
    assert ended.value.code == 1 and capsys.readouterr().err.startswith("error: ")
