"""Drawing, checked pixel by pixel."""

import numpy as np
import pytest

from lib.utils.errors import DataError
from lib.vis.draw import contact_sheet, draw_box, ink_on, line_width

RED = (230, 20, 30)


def canvas(height=100, width=160, value=90):
    return np.full((height, width, 3), value, np.uint8)


def mask(image, color):
    return (image == color).all(axis=-1)


def test_frame_lies_around_the_box_and_the_inside_is_untouched():
    image = canvas()
    drawn = draw_box(image, [40, 30, 50, 20], RED, thickness=3)
    expected = np.zeros((100, 160), bool)
    expected[27:53, 37:93] = True
    expected[30:50, 40:90] = False
    np.testing.assert_array_equal(mask(drawn, RED), expected)
    assert (drawn[30:50, 40:90] == 90).all()
    rim = mask(drawn, (0, 0, 0))
    assert rim[26, 36:94].all() and rim[53, 36:94].all() and rim[26:54, 36].all() and rim[26:54, 93].all()
    assert rim.sum() == 2 * 58 + 2 * 26
    assert (image == 90).all(), "the input must not change"


def test_frame_stays_inside_of_the_image():
    drawn = draw_box(canvas(), [-20, -30, 500, 600], RED, thickness=2)
    painted = mask(drawn, RED)
    assert painted[:2].all() and painted[-2:].all() and painted[:, :2].all() and painted[:, -2:].all()
    assert (drawn[2:-2, 2:-2] == 90).all()


def test_box_outside_of_the_image_marks_the_border():
    painted = mask(draw_box(canvas(), [1e9, 40, 10, 10], RED, thickness=2), RED)
    assert painted[45, -4:].all() and not painted[:, :-4].any()


def test_line_width_follows_the_image():
    assert [line_width(canvas(h, w)) for h, w in ((60, 80), (480, 640), (1080, 1920))] == [2, 3, 7]
    painted = mask(draw_box(canvas(1080, 1920), [600, 400, 300, 200], RED), RED)
    assert painted[500, 593:600].all() and not painted[500, 592] and not painted[500, 600]


def test_label_does_not_hide_a_small_box_at_the_upper_border():
    """A lost target often ends there."""
    box, bare = [-20, -20, 30, 30], draw_box(canvas(200, 300), [-20, -20, 30, 30], RED, thickness=2)
    drawn = draw_box(canvas(200, 300), box, RED, "lost", thickness=2)
    assert (drawn[:12] == bare[:12]).all() and mask(drawn[12:30, :12], RED).mean() > 0.5
    filling = draw_box(canvas(200, 300), [0, 0, 300, 200], RED, "whole", thickness=2)
    assert mask(filling[2:18, 2:8], RED).mean() > 0.5  # no room but inside


def test_label_stands_on_the_box_in_readable_ink():
    drawn = draw_box(canvas(200, 300), [100, 100, 60, 40], RED, "KCF 0.8", thickness=2)
    assert mask(drawn, RED)[97, 98:130].all()  # the foot of the tag touches the frame
    assert ink_on(RED) == (255, 255, 255)
    bright = (
        drawn.min(axis=2) > 120
    )  # neither the gray of the picture nor the red of the tag: text, smooth at its edges
    assert 30 < bright[78:98, 98:200].sum() < 400 and bright.sum() == bright[78:98, 98:200].sum()
    assert (drawn[100:140, 100:160] == 90).all()


@pytest.mark.parametrize("box", [[5, 3, 60, 40], [280, 3, 30, 30], [250, 180, 60, 40]])
def test_label_never_leaves_the_image(box):
    inner = draw_box(canvas(200, 300), box, RED, "a long label", thickness=2)
    plain = draw_box(canvas(200, 300), box, RED, thickness=2)
    wider = draw_box(canvas(600, 900), [box[0] + 300, box[1] + 300, *box[2:]], RED, "a long label", thickness=2)
    plain_wider = draw_box(canvas(600, 900), [box[0] + 300, box[1] + 300, *box[2:]], RED, thickness=2)
    changed, changed_wider = (inner != plain).any(axis=2), (wider != plain_wider).any(axis=2)
    tag = [np.ptp(np.nonzero(changed)[axis]) for axis in (0, 1)]
    whole = [np.ptp(np.nonzero(changed_wider)[axis]) for axis in (0, 1)]
    assert np.abs(np.subtract(tag, whole)).max() <= 3  # as large as with all the room in the world


@pytest.mark.parametrize("box", [[1, 2, 3], [1, 2, np.nan, 4], [np.inf, 0, 1, 1]])
def test_bad_box_is_an_error(box):
    with pytest.raises(DataError, match="cannot draw the box"):
        draw_box(canvas(), box)


def test_ink_is_black_on_bright_and_white_on_dark():
    assert ink_on((255, 220, 0)) == (0, 0, 0) and ink_on((90, 10, 160)) == (255, 255, 255)


def test_contact_sheet_places_images_row_by_row():
    images = [np.full((50, 100, 3), value, np.uint8) for value in (40, 80, 120)]
    sheet = contact_sheet(images, columns=2, tile_width=60)
    assert sheet.shape == (2 * (30 + 4) + 4, 2 * (60 + 4) + 4, 3) and sheet.dtype == np.uint8
    assert (sheet[4:34, 4:64] == 40).all() and (sheet[4:34, 68:128] == 80).all() and (sheet[38:68, 4:64] == 120).all()
    background = (24, 24, 27)
    assert mask(sheet[38:68, 68:128], background).all() and mask(sheet[:4], background).all()
    assert mask(sheet[:, 64:68], background).all()


def test_contact_sheet_keeps_shapes_and_centers():
    wide, tall = np.full((20, 80, 3), 200, np.uint8), np.full((80, 80, 3), 100, np.uint8)
    sheet = contact_sheet([wide, tall], columns=2, tile_width=40)
    assert sheet.shape == (48, 92, 3)
    assert (sheet[19:29, 4:44] == 200).all() and mask(sheet[4:19, 4:44], (24, 24, 27)).all()
    assert (sheet[4:44, 48:88] == 100).all()


def test_contact_sheet_of_nothing_is_an_error():
    with pytest.raises(DataError, match="no images"):
        contact_sheet([], 3, 100)
