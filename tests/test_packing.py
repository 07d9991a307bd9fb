"""Training data packed for another machine."""

import itertools
import json
import shutil
import zipfile

import numpy as np
import pytest

from lib.data.image_io import read_image, write_image
from lib.data.packing import PackSpec, jobs_of, pack, pack_cutout, pack_photo, surroundings, unpack
from lib.data.registry import open_dataset
from lib.train.admin.environment import EnvironmentSettings
from lib.utils.crop import CropWindow
from lib.utils.errors import ConfigError, DataError
from tests.factories import run_program

SPEC = PackSpec(frames=24, side=96, factor=6.0, quality=90)
GREEN = np.array((20, 200, 40), np.uint8)


def drawn_frame(size, box):
    """A gray frame (H, W) with a green target."""
    image = np.full((*size, 3), 128, np.uint8)
    x, y, w, h = box
    image[y : y + h, x : x + w] = GREEN
    return image


@pytest.fixture
def data(tmp_path):
    """A large moving target that hides in three frames, a small one, one in the corner; a set of two pictures."""
    tracks = {
        "large": [(30 + 3 * t, 40, 60, 60) for t in range(40)],
        "small": [(100 + t, 80, 6, 6) for t in range(24)],
        "corner": [(0, 0, 20 + t % 3, 20) for t in range(24)],
    }
    for name, boxes in tracks.items():
        rows = [",".join(map(str, box)) for box in boxes]
        for t, box in enumerate(boxes):
            write_image(tmp_path / f"tracks/{name}/img/{t:04d}.png", drawn_frame((160, 240), box))
        if name == "large":
            rows[0] = rows[20] = rows[21] = "nan,nan,nan,nan"
        (tmp_path / f"tracks/{name}/groundtruth.txt").write_text("\n".join(rows) + "\n")
    boxes = [[20, 30, 40, 20], [5, 5, 10, 10]]
    for number, box in enumerate(boxes):
        write_image(tmp_path / f"pictures/set/images/{number}.png", drawn_frame((120, 200), box))
    content = {
        "images": [{"id": n, "file_name": f"{n}.png", "width": 200, "height": 120} for n in range(2)],
        "annotations": [{"id": n, "image_id": n, "category_id": 1, "bbox": box} for n, box in enumerate(boxes)],
    }
    (tmp_path / "pictures/set/annotations.json").write_text(json.dumps(content))
    return tmp_path


def opened(root, name):
    """``FOLDER`` of ``root/tracks`` or ``root/video``, or ``PICTURES`` of ``root/pictures``."""
    video = root / ("video" if (root / "video").exists() else "tracks")
    env = EnvironmentSettings(folder_dir=str(video), pictures_dir=str(root / "pictures"), cache_dir=str(root / "cache"))
    return open_dataset(name, env)


def packed(data, size=10**6, folder="parts"):
    """Pack everything into a folder; its parts, and a folder to unpack them to."""
    rng = np.random.default_rng(0)
    jobs = [job for name in ("FOLDER", "PICTURES") for job in jobs_of(opened(data, name), rng, 9, SPEC, {}).values()]
    parts = list(pack(jobs, data / folder, itertools.repeat(size), rng))
    return parts, data / "out"


def by_name(dataset):
    return {dataset.sequence_name(index): index for index in range(len(dataset))}


def contrast(image, box):
    """Mean green over the box, less one pixel, and over a ring around it, of a frame."""
    x, y, w, h = box
    inner = image[round(y) + 1 : round(y + h) - 1, round(x) + 1 : round(x + w) - 1, 1].mean()
    ring = image[max(round(y) - 4, 0) : round(y + h) + 4, max(round(x) - 4, 0) : round(x + w) + 4, 1].astype(float)
    return inner, (ring.sum() - inner * w * h) / (ring.size - w * h)


def test_boxes_lie_on_their_targets_again(data):
    parts, out = packed(data)
    assert unpack(parts, out) == {"video": 3, "pictures": 2, "photos": 0, "cutouts": 0}
    for name in ("FOLDER", "PICTURES"):
        dataset = opened(out, name)
        for index in range(len(dataset)):
            info = dataset.sequence(index)
            for t in np.flatnonzero(info.visible):
                inner, around = contrast(dataset.frame(index, t), info.bbox[t])
                assert inner == pytest.approx(200, abs=25)
                assert around == pytest.approx(128, abs=25)


def test_names_frames_and_absences_are_kept(data):
    parts, out = packed(data)
    unpack(parts, out)
    old, new = opened(data, "FOLDER"), opened(out, "FOLDER")
    assert sorted(name.split("/")[-1] for name in by_name(new)) == ["corner", "large", "small"]
    lengths = {name.split("/")[-1]: len(new.sequence(index).bbox) for name, index in by_name(new).items()}
    assert lengths == {"corner": 24, "large": 24, "small": 24}  # of 24, 40 and 24
    visible = new.sequence(by_name(new)["video/large"]).visible
    assert visible[0]  # begins where the target is first seen
    chosen = np.linspace(1, 39, 24).round().astype(int)
    np.testing.assert_array_equal(visible, old.sequence(by_name(old)["tracks/large"]).visible[chosen])
    assert not visible.all()
    assert sorted(by_name(opened(out, "PICTURES"))) == ["set/0_0_0", "set/1_0_0"]


def test_targets_are_as_fine_as_a_crop_shows_them(data):
    parts, out = packed(data)
    unpack(parts, out)
    dataset = opened(out, "FOLDER")
    sizes = {name.split("/")[-1]: dataset.sequence(index).bbox[3, 2:] for name, index in by_name(dataset).items()}
    np.testing.assert_allclose(sizes["small"], (6, 6))  # never enlarged
    np.testing.assert_allclose(sizes["large"], (16, 16), atol=0.2)  # a sixth of the side
    pictures = opened(out, "PICTURES")
    assert max(pictures.frame(by_name(pictures)["set/0_0_0"], 0).shape) == SPEC.side


def test_surroundings_end_with_the_frame():
    frame = drawn_frame((100, 100), (0, 90, 10, 10))
    view = surroundings(frame, np.array((0.0, 90.0, 10.0, 10.0)), 6.0)
    assert view.image.shape == (35, 35, 3)
    np.testing.assert_array_equal(view.box, (0, 25, 10, 10))
    assert view.window == CropWindow(-25, 65, 60)


def test_parts_hold_their_size_and_can_be_used_alone(data):
    whole = sum(path.stat().st_size for path in packed(data, folder="whole")[0])
    parts, out = packed(data, size=int(0.6 * whole) + 1000)
    assert len(parts) > 1
    assert all(path.stat().st_size <= 0.6 * whole + 1000 for path in parts)
    names = [set(json.loads(zipfile.ZipFile(path).read("index.json"))) for path in parts]
    assert len(set.union(*names)) == sum(map(len, names)) == 5
    unpack(parts[:1], out)
    found = {f"{path.parts[-2]}/{path.stem}" for path in out.rglob("*/*") if path.is_dir() or path.suffix == ".jpg"}
    assert {name.split("/")[1].removesuffix(".avif") for name in names[0] if name.startswith("video")} <= {
        entry.split("/")[1] for entry in found
    }
    unpack(parts, out)
    assert len(opened(out, "FOLDER")) == 3
    assert len(opened(out, "PICTURES")) == 2


def test_a_part_that_is_too_small_for_a_file(data):
    with pytest.raises(DataError, match="does not fit into a part of 2000 bytes"):
        packed(data, size=2000)


def test_pictures_and_cutouts_for_drawn_pairs(tmp_path):
    rng = np.random.default_rng(1)
    photo = np.kron(rng.integers(0, 256, (4, 6, 3)), np.ones((32, 32, 1))).astype(np.uint8)
    cutout = np.dstack((photo, np.full(photo.shape[:2], 255, np.uint8)))
    cutout[:64, :, 3] = 0
    write_image(tmp_path / "photo.png", photo)
    write_image(tmp_path / "cutout.png", cutout)
    jobs = [lambda: pack_photo(3, tmp_path / "photo.png", SPEC), lambda: pack_cutout(4, tmp_path / "cutout.png", SPEC)]
    found = [job() for job in jobs]
    with zipfile.ZipFile(tmp_path / "part_1.zip", "w") as part:
        for one in found:
            part.writestr(one.name, one.data)
        part.writestr("index.json", json.dumps({one.name: {} for one in found}))
    assert unpack([tmp_path / "part_1.zip"], tmp_path)["photos"] == 1
    small = read_image(tmp_path / "photos/000003.jpg")
    assert small.shape == (64, 96, 3)
    np.testing.assert_allclose(small[8::16, 8::16], photo[16::32, 16::32], atol=30)
    alpha = read_image(tmp_path / "cutouts/000004.png", alpha=True)[..., 3]
    assert alpha.shape == (32, 48)
    assert alpha[:14].max() < 20
    assert alpha[18:].min() > 235


def test_what_cannot_be_read_is_left_out(data, caplog):
    (data / "tracks/small/img/0005.png").write_bytes(b"broken")
    parts, out = packed(data)
    assert unpack(parts, out)["video"] == 2
    assert "left out: " in caplog.text
    assert "0005.png" in caplog.text


def test_sequences_of_one_name_are_all_packed(data, tmp_path_factory, caplog):
    other = tmp_path_factory.mktemp("other")
    shutil.copytree(data / "tracks/large", other / "tracks/large")
    rng, sources = np.random.default_rng(0), {}
    first, again, more = (jobs_of(opened(root, "FOLDER"), rng, 9, SPEC, sources) for root in (data, data, other))
    assert sorted(first) == sorted(again) == ["corner", "large", "small"]  # the same sequences in two sets
    assert list(more) == ["large_2"] and more["large_2"]().name == "video/large_2.avif"
    assert "large, so this one is packed as large_2" in caplog.text


def test_parts_of_an_earlier_time_are_not_mixed_in(data):
    parts, _ = packed(data)
    with pytest.raises(ConfigError, match=f"{parts[0]} is there already: delete the parts"):
        packed(data)


def test_the_command_there_and_back(data, monkeypatch, capsys):
    settings = EnvironmentSettings(
        folder_dir=str(data / "tracks"), pictures_dir=str(data / "pictures"), cache_dir=str(data / "cache"),
        images_dir=str(data / "pictures"),
    )  # fmt: skip
    monkeypatch.setattr("lib.train.admin.environment.env_settings", lambda: settings)
    config = data / "mine.yaml"
    config.write_text("DATA: {TRAIN: {DATASETS_NAME: [FOLDER, PICTURES, IMAGES], DATASETS_RATIO: [1, 1, 1]}}")
    words = ["ostrack", config, "--out", data / "the parts", "--part_mb", "1", "--pictures", "1", "--photos", "1"]
    assert run_program(monkeypatch, "pack_training_data", words) == 0
    printed = capsys.readouterr().out
    assert "PICTURES: 1 of 2" in printed and "--unpack 'the parts'/part_*.zip --out" in printed
    words = ["--unpack", data / "the parts/part_1.zip", "--out", data / "out"]
    assert run_program(monkeypatch, "pack_training_data", words) == 0
    printed = capsys.readouterr().out
    assert "3 video, 1 pictures, 1 photos, 0 cutouts" in printed
    assert f'folder_dir = "{data / "out" / "video"}"' in printed
    assert "cutouts_dir" not in printed


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ostrack", "--out", "x"], "--unpack"),
        (["ostrack", "vits_192", "--out", "x", "--frames", "0"], "--frames"),
        (["ostrack", "vits_192", "--out", "x", "--frames", "19"], "takes sequences of 20 frames or more"),
        (["--unpack", "missing.zip", "--out", "x"], "missing.zip"),
    ],
)
def test_wrong_words_end_in_one_error(monkeypatch, capsys, tmp_path, words, expected):
    monkeypatch.chdir(tmp_path)
    assert run_program(monkeypatch, "pack_training_data", words) == 1
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../video/x.avif", "elsewhere/x.avif", "video/../../x.avif"])
def test_a_part_writes_nowhere_else(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "part_1.zip", "w") as part:
        part.writestr(name, b"x")
        part.writestr("index.json", json.dumps({name: {}}))
    with pytest.raises(DataError, match="part_1.zip is not a whole part .*unexpected"):
        unpack([tmp_path / "part_1.zip"], tmp_path / "out")


def test_a_damaged_part(data):
    parts, out = packed(data)
    torn = bytearray(parts[0].read_bytes())
    torn[200:260] = bytes(60)
    parts[0].write_bytes(torn)
    with pytest.raises(DataError, match="part_1.zip is not a whole part"):
        unpack(parts, out)


def test_without_avif_it_says_what_to_install(data, monkeypatch):
    monkeypatch.delattr("cv2.imencodeanimation")
    with pytest.raises(ConfigError, match="no AVIF; pip install -U opencv-python"):
        packed(data)
