"""Calibration inputs for the int8 export of a network, from drawn (synthesized) sequences."""

from __future__ import annotations

import numpy as np
from tqdm import tqdm

from lib.config import ExperimentConfig
from lib.drawing.assets import load_assets
from lib.drawing.sequences import SEQUENCE_SETTINGS, draw_sequence
from lib.models.family import family_of, resolve
from lib.test.tracker.backends import ExportedNetwork

_SEQUENCES, _FRAMES = 8, 6


def drawn_inputs(cfg: ExperimentConfig) -> list[dict[str, np.ndarray]]:
    """Return network inputs, of one target each, as an accurate tracker gets them on drawn sequences."""

    def no_run(inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        raise AssertionError("only crops are wanted")

    tracker = resolve(family_of(cfg).tracker)(cfg, ExportedNetwork(no_run, ()))  # it leaves crops unchanged
    assets, found = load_assets((), (), SEQUENCE_SETTINGS), []
    for number in tqdm(range(_SEQUENCES), "calibration", unit="sequence", delay=2):
        first, *others = draw_sequence(np.random.default_rng(number), assets, _FRAMES)
        target = tracker.start(first.image, first.box.tolist())
        for frame in others:
            search, _ = tracker.crop_search([frame.image], [target.box])
            found.append({name: value.numpy() for name, value in (*target.state.items(), ("search", search))})
            if frame.visible > 0:
                target.box = frame.box.tolist()
    return found
