"""The drawn data set: geometry of targets and crops, repeatability, bad files, sequences."""

import logging
from dataclasses import fields, replace

import cv2
import numpy as np
import pytest

from lib.config.drawing import DrawSettings
from lib.data.crops import CropPair, CropSpec, PairSpec
from lib.data.registry import open_dataset
from lib.drawing import assets as assets_module
from lib.drawing.assets import AssetLibrary, Part, cut, draw_scene_spec, load_assets, scaled
from lib.drawing.motion import CHANGES, Frame, deformation_spread, deformed, draw_frames
from lib.drawing.outlines import box_of, clip_outline, fill, largest_outline, random_outline
from lib.drawing.pairs import ImagesDataset, crop_frame
from lib.drawing.photometric import Look, apply_look, line_kernel
from lib.drawing.pictures import load_cutouts, load_pictures, make_picture
from lib.drawing.sequences import SEQUENCE_SETTINGS, cover_label, make_images_sequences, smooth_path
from lib.drawing.textures import procedural_textures
from lib.drawing.warp import BEND_SIZE, Placed, Pose, Sprite, from_frame, paint_background, to_frame
from lib.test.evaluation.benchmarks import get_dataset
from lib.test.evaluation.environment import EnvSettings
from lib.train.admin.environment import EnvironmentSettings
from lib.utils.crop import sample_target
from lib.utils.errors import DataError
from tests.factories import run_program

TEMPLATE = CropSpec(size=128, factor=2.0, center_jitter=0.0, scale_jitter=0.0, number=1)
SEARCH = CropSpec(size=256, factor=4.0, center_jitter=3.0, scale_jitter=0.25, number=1)
NEUTRAL = Look(np.zeros(6))
WHOLE = np.array(((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)))
FRAME = (320, 240)


@pytest.fixture(scope="module")
def assets() -> AssetLibrary:
    textures = enumerate(procedural_textures(12, 200))
    return AssetLibrary([make_picture(image, f"texture {i}", i) for i, image in textures], [], DrawSettings())


def write_photo(path, seed: int, size=(150, 120)) -> None:
    texture = procedural_textures(1, max(size), seed)[0]
    cv2.imwrite(str(path), texture[: size[1], : size[0]])


def write_cutout(path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = np.full((90, 110, 4), rng.integers(60, 255, 4), np.uint8)
    image[..., 3] = fill((0.1 + 0.8 * random_outline(rng)) * (110, 90), 110, 90)
    cv2.imwrite(str(path), image)


def black_frame(target: Placed, above=(), look: Look = NEUTRAL) -> Frame:
    backdrop = Sprite(np.zeros((FRAME[1], FRAME[0], 3), np.uint8), WHOLE)
    center, size = np.array(FRAME) / 2, np.array(FRAME, np.float64)
    return Frame(FRAME, Placed(backdrop, Pose(center, size)), target, True, [], above, look)


def square(center, side: float, value: int = 255) -> Placed:
    image = np.full((40, 40, 4), value, np.uint8)
    image[..., 3] = 255
    return Placed(Sprite(image, WHOLE), Pose(np.array(center, np.float64), np.array((side, side), np.float64)))


def extents(mask: np.ndarray, level: float) -> np.ndarray:
    """x1, y1, x2, y2 at which the mask (H, W) crosses a level, between pixels, in the box's pixels (centers whole)."""
    ends = []
    for profile in (mask.max(0).astype(float), mask.max(1).astype(float)):
        inside = np.nonzero(profile > level)[0]
        first, last = inside[0], inside[-1]
        low = first - (profile[first] - level) / (profile[first] - profile[first - 1])
        high = last + (profile[last] - level) / (profile[last] - profile[last + 1])
        ends.append((low, high))
    return np.array(ends).T.ravel()


def box_ends(box: np.ndarray, size: int) -> np.ndarray:
    """The same of a box in fractions of a crop of ``size`` pixels."""
    x, y, w, h = box.astype(float) * size
    return np.array((x, y, x + w, y + h))


def assert_equal_pairs(first: CropPair, second: CropPair) -> None:
    assert first.source == second.source
    for a, b in zip(first.template + first.search, second.template + second.search, strict=True):
        for field in fields(a):
            np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name))


# Drawing a pair


def test_same_seed_same_pair_and_other_seed_other_pair(assets):
    dataset = ImagesDataset(assets)
    pairs = [dataset.draw_pair(np.random.default_rng(seed), PairSpec(TEMPLATE, SEARCH)) for seed in (1, 2, 1)]
    assert_equal_pairs(pairs[0], pairs[2])
    assert (pairs[0].search[0].image != pairs[1].search[0].image).mean() > 0.2


def test_the_form_of_a_pair(assets):
    template, search = replace(TEMPLATE, number=2), replace(SEARCH, size=192, number=3)
    pair = ImagesDataset(assets).draw_pair(np.random.default_rng(5), PairSpec(template, search))
    assert pair.dataset == ImagesDataset.name == "IMAGES"
    assert "texture" in pair.source
    for crops, spec in ((pair.template, template), (pair.search, search)):
        assert len(crops) == spec.number
        for crop in crops:
            assert crop.image.shape == (spec.size, spec.size, 3) and crop.image.dtype == np.uint8
            assert crop.box.shape == (4,) and crop.box.dtype == np.float32 and (crop.box[2:] > 0).all()
            assert crop.padding.shape == (spec.size, spec.size) and crop.padding.dtype == bool


def test_many_pairs_keep_the_promises_of_crops(assets):
    dataset = ImagesDataset(assets)
    offsets, padded = [], 0
    for seed in range(60):
        pair = dataset.draw_pair(np.random.default_rng(seed), PairSpec(TEMPLATE, SEARCH))
        template, search = pair.template[0], pair.search[0]
        middle = (template.box[:2] + 0.5 * template.box[2:]) * TEMPLATE.size
        np.testing.assert_allclose(middle, 63.5, atol=1.5)  # no jitter: centered
        assert np.sqrt(template.box[2:].prod()) == pytest.approx(0.5, abs=0.02)
        offsets.append((search.box[:2] + 0.5 * search.box[2:]) * SEARCH.size - 127.5)
        assert not search.image[search.padding].any()
        assert (search.image[~search.padding].max(1) > 0).mean() > 0.5
        padded += search.padding.any()
        assert not search.padding.all()
    offsets = np.abs(offsets)
    reach = 0.5 * SEARCH.center_jitter / SEARCH.factor * SEARCH.size
    assert offsets.max() <= reach + 1.5
    assert offsets.max() > 0.8 * reach and np.median(offsets) == pytest.approx(0.5 * reach, rel=0.3)
    assert 5 < padded < 60


def test_what_can_never_be_seen_is_replaced_by_an_easy_pair(assets):
    settings = replace(assets.settings, MIN_VISIBLE=2.0)
    pair = ImagesDataset(AssetLibrary(assets.pictures, [], settings)).draw_pair(
        np.random.default_rng(0), PairSpec(TEMPLATE, SEARCH)
    )
    box = pair.template[0].box
    np.testing.assert_allclose((box[:2] + 0.5 * box[2:]) * 128, 63.5, atol=1.5)
    assert pair.search[0].image.any()


def test_all_kinds_of_targets_occur(assets, tmp_path):
    write_cutout(tmp_path / "thing.png", 1)
    dataset = ImagesDataset(AssetLibrary(assets.pictures, load_cutouts([tmp_path]), assets.settings))
    sources = [dataset.draw_pair(np.random.default_rng(seed), PairSpec(TEMPLATE, SEARCH)).source for seed in range(40)]
    assert sum("thing.png over" in source for source in sources) > 5
    assert sum(source.startswith("part of") for source in sources) > 5
    assert sum(source.startswith("texture") for source in sources) > 5


# The box


def test_box_is_the_extent_of_the_drawn_target(monkeypatch):
    monkeypatch.setattr(assets_module, "_SOFT", 0.0)
    white = make_picture(np.full((240, 320, 3), 255, np.uint8), "white", 0)
    errors = []
    for seed in range(120):
        rng = np.random.default_rng(seed)
        pixels = rng.uniform(60, 90)
        part = Part(white, 60 + random_outline(rng) * rng.uniform(60, 120, 2))
        sprite = cut(rng, part, pixels, None)
        center = np.array(FRAME) / 2 + rng.uniform(-20, 20, 2)
        change = rng.standard_normal(CHANGES) * deformation_spread(DrawSettings())
        pose = deformed(Pose(center, scaled(sprite, pixels)), change, center)
        assert pose.bend.any() and pose.tilt.all()
        frame = black_frame(Placed(sprite, pose))
        crop = crop_frame(frame, frame.target_box, frame.target_box, replace(SEARCH, center_jitter=0))
        errors.append(box_ends(crop.box, 256) - extents(crop.image[..., 0], 100))
    errors = np.abs(errors)
    assert np.quantile(errors, 0.99) < 1.0 and errors.max() < 1.5  # sharp tips are the worst


def test_box_of_a_view_follows_the_camera():
    image = np.zeros((240, 320, 3), np.uint8)
    cv2.ellipse(image, ((150.0, 110.0), (70.0, 50.0), 30.0), (255, 0, 0), -1)
    outline = largest_outline(image[..., 0]) / FRAME - 0.5
    for seed in range(10):
        rng = np.random.default_rng(seed)
        change = rng.standard_normal(CHANGES) * deformation_spread(DrawSettings(BEND=0.0))
        camera = deformed(Pose(np.array((160.0, 120.0)), np.array((320.0, 240.0))), change, np.array((160.0, 120.0)))
        placed = Placed(Sprite(image, outline), camera)
        frame = Frame(FRAME, placed, placed, False, [], [], NEUTRAL)
        crop = crop_frame(frame, frame.target_box, frame.target_box, replace(SEARCH, center_jitter=0))
        np.testing.assert_allclose(box_ends(crop.box, 256), extents(crop.image[..., 0], 127), atol=1.0)


@pytest.mark.parametrize("view", [0.0, 1.0])
def test_drawn_targets_are_turned_by_any_angle_from_the_template(assets, view):
    def turns(share):
        settings = DrawSettings(TURN=share, ROTATION=0.0, CAMERA_ROTATION=0.0, VIEW=view)
        angles = []
        for seed in range(20):
            rng = np.random.default_rng(seed)
            scene = draw_scene_spec(rng, AssetLibrary(assets.pictures, [], settings))
            template, search = draw_frames(rng, scene, 1, 1)
            angles.append(search.target.pose.angle - template.target.pose.angle)
        return np.abs(angles)

    assert turns(0.0).max() == 0
    assert turns(1.0).min() > 0 and 1.2 < turns(1.0).mean() < 2  # half of pi


def test_box_of_a_cutout_is_that_of_its_alpha(tmp_path):
    write_cutout(tmp_path / "a.png", 3)
    sprite = load_cutouts([tmp_path])[0].sprite
    sprite.image[..., :3] = 255
    frame = black_frame(Placed(sprite, Pose(np.array((150.0, 120.0)), scaled(sprite, 70.0), angle=0.4)))
    crop = crop_frame(frame, frame.target_box, frame.target_box, replace(SEARCH, center_jitter=0))
    np.testing.assert_allclose(box_ends(crop.box, 256), extents(crop.image[..., 0], 110), atol=1.0)


def test_box_ends_at_the_border_of_the_frame():
    frame = black_frame(square((10, 120), 60))
    np.testing.assert_allclose(frame.target_box, (0, 90, 40, 60))
    assert frame.visible_fraction() == pytest.approx(2 / 3, abs=0.05)
    outside = black_frame(square((-50, 120), 60))
    assert outside.target_box is None and outside.visible_fraction() == 0


def test_visible_fraction_behind_an_occluder():
    target = square((150, 120), 60)
    assert black_frame(target).visible_fraction() == 1
    assert black_frame(target, [square((180, 120), 60)]).visible_fraction() == pytest.approx(0.5, abs=0.06)
    assert black_frame(target, [square((150, 120), 80)]).visible_fraction() == 0
    assert black_frame(target, [square((150, 220), 60)]).visible_fraction() == 1
    np.testing.assert_allclose(black_frame(target, [square((150, 120), 80)]).target_box, (120, 90, 60, 60))


# Crops


@pytest.mark.parametrize("around", [(100, 80, 60, 45), (-20, -30, 70, 60), (270, 200, 80, 66), (5.3, 150.7, 61.2, 90)])
def test_crop_is_what_sample_target_cuts_out_of_the_whole_frame(around):
    texture = cv2.GaussianBlur(procedural_textures(1, 320)[0], (0, 0), 1.5)
    backdrop = Placed(Sprite(texture, WHOLE), Pose(np.array((160.0, 130.0)), np.array((330.0, 300.0)), angle=0.2))
    frame = Frame(FRAME, backdrop, square((150, 100), 50), True, [], [], NEUTRAL)
    spec = replace(SEARCH, factor=3.0)
    whole = frame.draw(np.eye(3), FRAME)
    expected, _, padding = sample_target(whole, around, spec.factor, spec.size)
    crop = crop_frame(frame, frame.target_box, np.array(around, np.float64), spec)
    np.testing.assert_array_equal(crop.padding, padding)
    difference = np.abs(crop.image.astype(int) - expected)[~padding]
    assert difference.mean() < 2.5


def test_shrinking_does_not_alias():
    image = np.zeros((256, 256, 3), np.uint8)
    image[::2, ::2] = image[1::2, 1::2] = 255
    pose = Pose(np.array((128.0, 128.0)), np.array((256.0, 256.0)))
    small = paint_background(Placed(Sprite(image, WHOLE), pose), np.diag((0.22, 0.22, 1.0)), (56, 56))
    assert np.abs(small.astype(int) - 128).max() <= 2


# Geometry


def test_from_frame_undoes_to_frame():
    rng = np.random.default_rng(0)
    tilt, bend = np.array((0.2, -0.1)), rng.normal(0, 0.012, BEND_SIZE)
    pose = Pose(np.array((40.0, 70.0)), np.array((90.0, 50.0)), 0.5, tilt, bend)
    points = rng.uniform(-0.5, 0.5, (50, 2))
    moved = to_frame(pose, points)
    assert np.abs(moved - to_frame(replace(pose, bend=np.zeros(BEND_SIZE)), points)).max() > 0.5
    np.testing.assert_allclose(from_frame(pose, moved), points, atol=2e-4)


def test_clip_outline():
    diamond = np.array(((0.0, -5.0), (5.0, 0.0), (0.0, 5.0), (-5.0, 0.0)))
    np.testing.assert_allclose(box_of(clip_outline(diamond + 2, 100, 100)), (0, 0, 7, 7))
    np.testing.assert_allclose(box_of(clip_outline(diamond + (-3, 50), 100, 100)), (0, 48, 2, 4))
    np.testing.assert_allclose(box_of(clip_outline(diamond + (104, 50), 100, 100)), (99, 49, 1, 2))
    assert len(clip_outline(diamond + 200, 100, 100)) == 0


def test_largest_outline_runs_along_the_outer_edges():
    mask = np.zeros((20, 30), np.uint8)
    mask[4:9, 10:22] = 1
    mask[15, 2] = 1
    np.testing.assert_allclose(box_of(largest_outline(mask)), (10, 4, 12, 5))
    assert largest_outline(np.zeros((5, 5), np.uint8)).shape == (0, 2)


def test_random_outlines_fill_the_unit_square():
    for seed in range(30):
        np.testing.assert_allclose(box_of(random_outline(np.random.default_rng(seed))), (0, 0, 1, 1), atol=1e-9)


# Looks


def test_looks():
    image = procedural_textures(1, 96)[0]
    np.testing.assert_array_equal(apply_look(image.copy(), NEUTRAL), image)
    gray = apply_look(image.copy(), replace(NEUTRAL, gray=True))
    assert (gray[..., 0] == gray[..., 2]).all()
    bright = apply_look(
        np.full((8, 8, 3), 50, np.uint8), replace(NEUTRAL, tone=np.array((*np.log((2.0, 1, 0.5)), 0, 0, 0)))
    )
    np.testing.assert_array_equal(bright[0, 0], (100, 50, 25))
    noisy = apply_look(np.full((128, 700, 3), 128, np.uint8), replace(NEUTRAL, noise=8.0, noise_offset=(500, 500)))
    assert noisy.std() == pytest.approx(8, rel=0.1) and noisy.mean() == pytest.approx(128, abs=1)
    red = np.full((64, 64, 3), (220, 40, 40), np.uint8)
    assert np.abs(apply_look(red, replace(NEUTRAL, jpeg=90)).astype(int) - (220, 40, 40)).max() < 8
    for change in ({"blur": line_kernel(9, 0.3)}, {"defocus": 2.0}, {"low_factor": 2.5}):
        dull = apply_look(image.copy(), replace(NEUTRAL, **change))
        assert dull.shape == image.shape
        assert cv2.Laplacian(dull, cv2.CV_32F).var() < 0.7 * cv2.Laplacian(image, cv2.CV_32F).var(), change


def test_motion_kernel_has_the_length_and_direction_asked_for():
    kernel = line_kernel(7, 0)
    assert kernel.sum() == pytest.approx(1)
    across, along = kernel.sum(1), kernel.sum(0)
    assert (along > 0.05).sum() == 7 and across[len(across) // 2] > 0.95


# Pictures


def test_procedural_textures_are_repeatable_and_not_alike():
    first, again, other = procedural_textures(6, 96), procedural_textures(6, 96), procedural_textures(6, 96, seed=1)
    for a, b, c in zip(first, again, other, strict=True):
        assert a.shape == (96, 96, 3) and a.dtype == np.uint8
        np.testing.assert_array_equal(a, b)
        assert (a != c).mean() > 0.5
        assert a.std() > 5


def test_load_pictures_shrinks_and_skips_the_broken(tmp_path, caplog):
    write_photo(tmp_path / "b.png", 1, (700, 350))
    (tmp_path / "deeper").mkdir()
    write_photo(tmp_path / "deeper" / "c.jpg", 2)
    (tmp_path / "a.jpg").write_bytes(b"this is no picture")
    write_photo(tmp_path / "tiny.png", 3, (40, 30))
    (tmp_path / "notes.txt").write_text("no picture, and not meant to be")
    with caplog.at_level(logging.INFO):
        pictures = load_pictures([tmp_path])
    assert [picture.image.shape for picture in pictures] == [(240, 480, 3), (120, 150, 3)]
    assert str(tmp_path / "a.jpg") in caplog.text and str(tmp_path / "tiny.png") in caplog.text
    assert "2 pictures loaded, 2 skipped" in caplog.text
    assert "notes.txt" not in caplog.text
    for picture in pictures:
        limit = np.array(picture.image.shape[1::-1])
        assert len(picture.boxes) > 0
        assert (picture.boxes[:, :2] >= 0).all() and (picture.boxes[:, :2] + picture.boxes[:, 2:] <= limit + 1e-3).all()


def test_a_disc_on_a_plain_ground_is_found_as_a_segment():
    image = np.full((200, 240, 3), (40, 90, 60), np.uint8)
    cv2.circle(image, (120, 100), 40, (220, 180, 30), -1)
    boxes = [box_of(outline) for outline in make_picture(image, "disc", 0).segments]
    assert len(boxes) == 1
    np.testing.assert_allclose(boxes[0], (79.5, 59.5, 81, 81), atol=5.5)  # found in steps of 4 pixels


def test_folders_that_cannot_be_used(tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        load_assets([tmp_path / "nowhere"], [])
    with pytest.raises(DataError, match="nowhere"):
        load_assets([], [tmp_path / "nowhere"])
    (tmp_path / "x.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=f"no usable picture in {tmp_path}"):
        load_assets([tmp_path], [])
    write_photo(tmp_path / "x.png", 1)
    with pytest.raises(DataError, match="no usable cut-out"):  # it has no alpha
        load_cutouts([tmp_path])


def test_cutouts_without_alpha_are_skipped(tmp_path, caplog):
    write_photo(tmp_path / "plain.png", 1)
    write_cutout(tmp_path / "good.png", 2)
    assert [cutout.source for cutout in load_cutouts([tmp_path])] == [str(tmp_path / "good.png")]
    assert "plain.png has no 8-bit alpha" in caplog.text


def test_a_cast_from_the_background_itself_turns_it_upside_down(assets):
    settings = replace(assets.settings, VIEW=0.0, SAME_PICTURE=1.0, HARMONISE=0.0)
    scene = draw_scene_spec(np.random.default_rng(0), AssetLibrary(assets.pictures[:1], [], settings))
    np.testing.assert_array_equal(scene.background.sprite.image, assets.pictures[0].image[::-1])


# Sequences


def read_split(folder) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_sequences_in_the_layout_of_got10k(tmp_path):
    folder = make_images_sequences(tmp_path, "val", 2, 25, seed=1, frame_size=(160, 120))
    assert (folder / "list.txt").read_text().split() == ["images_val_000001", "images_val_000002"]
    assert "resolution: (160, 120)" in (folder / "images_val_000002" / "meta_info.ini").read_text()
    env = EnvironmentSettings(got10k_val_dir=str(folder), cache_dir=str(tmp_path / "cache"))
    data = open_dataset("GOT10K_official_val", env)
    assert len(data) == 2
    for index in range(2):
        sequence = data.sequence(index)
        assert sequence.bbox.shape == (25, 4) and sequence.valid[0] and sequence.visible[0]
        assert data.frame(index, 24).shape == (120, 160, 3)
        boxes = sequence.bbox[sequence.valid]
        assert (boxes[:, :2] >= 0).all() and (boxes[:, :2] + boxes[:, 2:] <= (160.001, 120.001)).all()
        centers = boxes[:, :2] + 0.5 * boxes[:, 2:]
        step = np.abs(np.diff(centers, axis=0)).max()
        assert 0.05 < step < 20  # it moves, and it does not jump
        assert (data.frame(index, 0) != data.frame(index, 12)).mean() > 0.3


def test_sequences_are_repeatable_and_never_overwritten_silently(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for seed in range(3):
        write_photo(photos / f"{seed}.png", seed)
    common = dict(frames=3, load=lambda: load_assets([photos], [], SEQUENCE_SETTINGS), frame_size=(96, 80))
    first = make_images_sequences(tmp_path / "a", "train", 1, seed=4, **common)
    again = make_images_sequences(tmp_path / "b", "train", 1, seed=4, **common)
    other = make_images_sequences(tmp_path / "c", "train", 1, seed=5, **common)
    test = make_images_sequences(tmp_path / "a", "test", 1, seed=4, **common)
    assert read_split(first) == read_split(again)
    assert read_split(first) != read_split(other)
    before = read_split(first)
    with pytest.raises(DataError, match="exists already"):
        make_images_sequences(tmp_path / "a", "train", 1, seed=5, **common)
    assert read_split(first) == before
    make_images_sequences(tmp_path / "a", "train", 1, seed=5, **common, force=True)
    assert read_split(first) == read_split(other)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["test", "train"]
    frames = [folder / f"images_{folder.name}_000001" / "00000001.jpg" for folder in (again, test)]
    assert frames[0].read_bytes() != frames[1].read_bytes()  # each split has a seed of its own
    with pytest.raises(DataError, match="unknown split"):
        make_images_sequences(tmp_path, "nonsense", 1, 3, seed=5)


def test_the_script_writes_a_split_and_says_what_is_wrong(tmp_path, monkeypatch, capsys):
    write_photo(tmp_path / "photo.png", 1)
    monkeypatch.chdir(tmp_path)

    def run(images: str, *out: str) -> int:
        arguments = [*out, "--sequences", 1, "--frames", 2, "--size", "96x80", "--images", images]
        return run_program(monkeypatch, "make_images_dataset", arguments)

    assert run(".", "--out", "drawn") == 0 and "wrote 1 sequences of 2 frames" in capsys.readouterr().out
    assert (tmp_path / "drawn" / "val" / "images_val_000001" / "00000002.jpg").is_file()
    assert run("nowhere", "--out", "drawn") == 1 and "drawn/val exists already" in capsys.readouterr().err
    (tmp_path / "drawn" / "val").rename(tmp_path / "old")
    assert run("nowhere", "--out", "drawn") == 1 and "nowhere does not exist" in capsys.readouterr().err
    settings = EnvSettings(data_dir=tmp_path / "looked for")
    monkeypatch.setattr("lib.test.evaluation.environment.env_settings", lambda: settings)
    assert run(".") == 0 and len(get_dataset("images_val", env=settings)) == 1


def test_cover_labels():
    shares = (0, 0.01, 0.15, 0.16, 0.31, 0.46, 0.61, 0.76, 0.9, 0.91, 0.999, 1)
    assert [cover_label(share) for share in shares] == [0, 1, 1, 2, 3, 4, 5, 6, 6, 7, 7, 8]


def test_smooth_paths_start_at_zero_and_do_not_jump():
    path = smooth_path(np.random.default_rng(0), 400, 50)
    assert (path[0] == 0).all()
    assert 0.5 < path.std() < 2.5 and np.abs(np.diff(path, axis=0)).max() < 0.3


def test_procedural_stock_is_repeatable():
    first, again = load_assets([], []), load_assets([], [])
    assert len(first.pictures) == 64
    for a, b in zip(first.pictures, again.pictures, strict=True):
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_array_equal(a.boxes, b.boxes)
