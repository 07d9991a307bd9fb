"""Scores of a network in training, by tracking with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from torch import nn

from lib.config import ExperimentConfig
from lib.data.sequence import Sequence as TrackingSequence
from lib.models.family import family_of, resolve
from lib.test.analysis.metrics import curve_scores, sequence_curves
from lib.test.analysis.protocols import AUC, get_protocol
from lib.test.analysis.report import sequence_errors
from lib.test.evaluation.benchmarks import present_sequences
from lib.test.tracker.video import track_frames
from lib.utils.dist_info import DistInfo
from lib.utils.errors import DataError


def validation_sequences(names: str) -> list[TrackingSequence]:
    """Return the sequences of benchmarks that can be scored here: those with frames, and boxes of more than the first.

    ``names`` are separated by commas. Raises OSTrackError: unknown name, or none of its sequences can be scored.
    """
    found = [sequence for name in names.split(",") for sequence in present_sequences(name) if sequence.has_boxes()]
    scored = [sequence for sequence in found if len(sequence.ground_truth) > 1]
    if not scored:
        raise DataError(f"{names}: no sequence has boxes of more than its first frame, so none can be scored")
    return scored


def score_sequences(
    cfg: ExperimentConfig, net: nn.Module, info: DistInfo, sequences: Sequence[TrackingSequence]
) -> Iterator[float]:
    """Track this rank's share of the sequences, and yield the AUC of each in percent (protocol ``pytracking``).

    They are those that ``tracking/test.py`` and ``tracking/analysis_results.py`` give for the plain network in float32.
    ``net`` is put in evaluation mode and does not change. Raises DataError: frames or boxes cannot be read or scored.
    """
    tracker = resolve(family_of(cfg).tracker)(cfg, net, "the network in training")
    protocol = get_protocol("pytracking")
    for sequence in sequences[info.rank :: info.world]:
        sequence.check_length()
        tracked = track_frames(tracker, sequence.frames, sequence.init_box)
        boxes = np.array([frame.box for frame in tracked])
        rules = protocol.rules(sequence.dataset)
        errors = sequence_errors(boxes, sequence, rules, f"the network in training, sequence {sequence.name}")
        yield float(curve_scores(sequence_curves(errors, rules), (AUC,))[0])
