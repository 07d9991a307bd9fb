"""Cutting objects out of COCO's pictures."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lib.data.image_io import read_image, write_image
from lib.drawing.cutouts import cut_out_coco
from lib.utils.errors import DataError

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
