"""Small models, weights, clips and calls of commands, as many tests need them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lib.config import load_config
from lib.config.ostrack import OSTrackConfig
from lib.data.image_io import write_image
from lib.models.ostrack import OSTrack, build_ostrack
from lib.models.ostrack.backbone import Backbone
from lib.test.tracker import Tracker
from lib.utils.checkpoint import save_checkpoint
from lib.utils.errors import run_cli
from tests.conftest import load_script
from tests.golden.fixtures import clip_frame, fill_state_dict

TINY = "vitt_256_ce_images"  # ViT-Tiny of twelve blocks
# Of TINY: three blocks on a 4 x 4 and an 8 x 8 grid, one elimination.
SMALL = (
    "DATA.SEARCH.SIZE=128", "DATA.TEMPLATE.SIZE=64", "TEST.SEARCH_SIZE=128", "TEST.TEMPLATE_SIZE=64",
    "MODEL.BACKBONE.DEPTH=3", "MODEL.BACKBONE.CE_LOC=[1]", "MODEL.BACKBONE.CE_KEEP_RATIO=[0.7]",
    "MODEL.HEAD.NUM_CHANNELS=16",
)  # fmt: skip


@cache
def _drawn(name: str, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    return fill_state_dict({name: torch.empty(shape, dtype=dtype)})[name]


def reference_weights(model: OSTrack) -> dict[str, Tensor]:
    """The weights of the reference arrays for a model, a function of names and shapes alone; drawn once each."""
    return {key: _drawn(key, value.shape, value.dtype) for key, value in model.state_dict().items()}


def reference_model(name: str = TINY, overrides: Iterable[str] = ()) -> tuple[OSTrackConfig, OSTrack]:
    """An experiment and its model in evaluation mode, with weights of its own that are the reference ones."""
    cfg = load_config(OSTrackConfig, name, list(overrides))
    with torch.device("meta"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Backbone, "_init_weights", lambda backbone: None)  # they are replaced
        model = build_ostrack(cfg)
    model.load_state_dict({key: value.clone() for key, value in reference_weights(model).items()}, assign=True)
    return cfg, model.eval()


def drawn_model(name: str = TINY, overrides: Iterable[str] = ()) -> tuple[OSTrackConfig, OSTrack]:
    """The same with the weights of the reference trajectories.

    The box is about a quarter of the search region wide, and moves.
    """
    cfg, model = reference_model(name, overrides)
    state = model.state_dict()
    if "box_head.conv5_size.bias" in state:
        state["box_head.conv5_size.bias"].fill_(-1.1)
    return cfg, model


@torch.no_grad()
def spread_scores(model: OSTrack) -> None:
    """Spread the scores of a drawn CENTER head over (0, 1): a few cells are sure, and some others are distractors."""
    state = model.state_dict()
    state["box_head.conv5_ctr.weight"] *= 30
    state["box_head.conv5_ctr.bias"].fill_(-5)


def drawn_weights(path: Path, name: str = TINY, overrides: Iterable[str] = (), spread: bool = False) -> Path:
    """Write the weights of :func:`drawn_model`, with :func:`spread_scores` if ``spread``, as a checkpoint."""
    _, model = drawn_model(name, overrides)
    if spread:
        spread_scores(model)
    save_checkpoint({"net": model.state_dict()}, path)
    return path


def track_clip(tracker: Tracker, frames: int) -> list[dict[str, Any]]:
    """What the tracker gives in each frame of the procedural clip after the first."""
    image, box = clip_frame(0)
    tracker.initialize(image, {"init_bbox": box})
    return [tracker.track(clip_frame(t)[0]) for t in range(1, frames)]


def write_clip(folder: Path, frames: int, size: tuple[int, int] = (240, 320), first: int = 0) -> None:
    """A sequence in ``folder``: frames of the procedural clip as ``img/%d.png``, and their boxes.

    Args:
        size: height and width of the frames.
        first: frame of the clip that the sequence begins with.
    """
    drawn = [clip_frame(t + first, *size) for t in range(frames)]
    for t, (image, _) in enumerate(drawn):
        write_image(folder / f"img/{t}.png", image)
    (folder / "groundtruth.txt").write_text("".join(",".join(map(str, box)) + "\n" for _, box in drawn))


def run_command(patch: pytest.MonkeyPatch, script: str, arguments: Sequence[object]) -> Any:
    """Call ``main()`` of ``tracking/SCRIPT.py`` with these words of a command line; returns what it returns."""
    patch.setattr("sys.argv", [f"{script}.py", *map(str, arguments)])
    return load_script(script).main()


def run_program(patch: pytest.MonkeyPatch, script: str, arguments: Sequence[object]) -> int:
    """The same as a program of its own does it, which prints errors and ends; returns its exit status."""
    with pytest.raises(SystemExit) as ended:
        run_cli(lambda: run_command(patch, script, arguments))
    return ended.value.code
