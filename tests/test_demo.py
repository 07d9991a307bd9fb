"""The shipped model on the demo's clip, from its weights to the files that the demo makes."""

import numpy as np
import pytest
import torch

from lib.data.image_io import read_image
from lib.data.video_io import VideoFile
from lib.utils.box_ops import box_xywh_to_xyxy, paired_iou
from tests.conftest import load_script

# The helicopter in three frames, annotated by hand: x, y, w, h. The last two come after the cloud.
HELICOPTER = {60: (93, 180, 130, 86), 150: (280, 131, 118, 84), 199: (427, 225, 102, 81)}


def test_losses_are_told_in_order():
    lost_and_found = load_script("demo").lost_and_found
    assert lost_and_found([1.0, 0.8, 0.3]) == []
    assert lost_and_found([1.0, 0.2, 0.1, 0.55, 0.29]) == [
        "frame 1: lost (score 0.20)",
        "frame 3: found again (score 0.55)",
        "frame 4: lost (score 0.29)",
    ]


def test_a_cloud_hides_the_target_in_some_frames_of_the_clip():
    demo = load_script("demo")
    drawn = list(demo.clip_frames())
    assert len(drawn) == demo.CLIP_FRAMES
    changed = [number for number, frame in enumerate(VideoFile(demo.shipped_file(demo.CLIP))) if number < len(drawn)
               and not np.array_equal(frame, drawn[number])]  # fmt: skip
    assert changed == list(demo.CLOUD_FRAMES)
    assert (drawn[106][120:200, 160:280] > 220).all()  # where the helicopter is


@pytest.mark.end_to_end
def test_the_shipped_model_follows_the_helicopter(tmp_path, monkeypatch, capsys):
    demo = load_script("demo")
    tracked = []

    def remember(*arguments):
        for frame in demo_track_frames(*arguments):
            tracked.append(frame)
            yield frame

    demo_track_frames = demo.track_frames
    monkeypatch.setattr(demo, "track_frames", remember)
    demo.track_clip(tmp_path)
    for number, box in HELICOPTER.items():
        pair = box_xywh_to_xyxy(torch.tensor([tracked[number].box, box], dtype=torch.float32))
        assert paired_iou(pair[:1], pair[1:])[0].item() > 0.6, f"frame {number}"
    printed = capsys.readouterr().out
    assert "frame 100: lost" in printed and ": found again" in printed
    for name in ("demo.mp4", "elimination.mp4"):
        assert len(VideoFile(tmp_path / name)) == len(tracked) == demo.CLIP_FRAMES
        assert f"  {tmp_path / name} " in printed
    assert read_image(tmp_path / "demo.png").shape[1] > 4 * 320
