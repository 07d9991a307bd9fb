"""Workspaces of the VOT toolkit: the registry that makes a tracker known to it, and sequences of one's own."""

from __future__ import annotations

import configparser
import re
import shlex
from collections.abc import Sequence as Row
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from tqdm import tqdm

from lib.data.sequence import ImageFrames, Sequence
from lib.data.storage import FolderStorage
from lib.utils.errors import ConfigError, DataError

REGISTRY, STACK = "trackers.ini", "stack.yaml"
ANCHOR_STEP = 50  # frames between the starts of a multi-start experiment, as in VOT2020
_TIMEOUT = 300  # seconds that the toolkit waits for an answer; the first one needs the weights
_FPS = 30  # that the real-time experiment takes sequences to have


def register_tracker(workspace: Path, name: str, label: str, command: Row[str]) -> Path:
    """Write the tracker ``name`` into the workspace's registry, in place of one of that name; others stay.

    Args:
        label: shown in reports.
        command: program and arguments; the toolkit runs it in a folder of its own, so paths must be absolute.

    Raises:
        ConfigError: the name is not possible; the workspace has results of that name by another command, which the
            toolkit would take for this one's; or there is a registry that cannot be read or written.
    """
    if not re.fullmatch("[A-Za-z0-9_-]+", name) or name == configparser.DEFAULTSECT:
        taken = f"letters, digits, '-' and '_' only, and not {configparser.DEFAULTSECT}"
        raise ConfigError(f"tracker name {name!r}: the VOT toolkit takes {taken}")
    path = workspace / REGISTRY
    registry = configparser.ConfigParser()
    entry = {
        "label": label.replace("%", "%%"),
        "protocol": "trax",
        "command": shlex.join(command).replace("%", "%%"),
        "timeout": str(_TIMEOUT),
    }
    results = workspace / "results" / name
    try:
        registry.read(path)
        known = registry[name].get("command", raw=True) if name in registry else entry["command"]
        if known != entry["command"] and results.is_dir():
            raise ConfigError(f"{results} has results of {name} by another command ({known}): choose another --name")
        registry[name] = entry
        workspace.mkdir(parents=True, exist_ok=True)
        with path.open("w") as file:
            registry.write(file)
    except (configparser.Error, OSError, UnicodeError) as error:
        raise ConfigError(f"the registry {path} cannot be read or written: {error}") from error
    return path


def add_sequences(workspace: Path, sequences: Row[Sequence]) -> Path:
    """Put sequences into a workspace that has none, and write a short-term stack for them.

    Pictures are linked, not copied. A frame in which the target is absent has no ground truth. The stack has VOT2022's
    experiments on boxes; EAO is averaged over run lengths from the shortest to the longest run of these sequences (one
    length, where all are equal), so that its value can be compared on them only.

    Returns:
        The stack file.

    Raises:
        DataError: a sequence is no folder of pictures of one type, lacks a box for each frame, has one frame only, or
            shows its target nowhere; two have one name; or the workspace has sequences.
        OSError: it cannot be written.
    """
    folder = workspace / "sequences"
    if folder.exists():  # also of a run that was interrupted
        raise DataError(f"{folder} is there already; choose another workspace, or remove that folder")
    contents = {sequence.name: (_pictures(sequence), _boxes(sequence)) for sequence in sequences}
    if len(contents) < len(sequences):
        raise DataError("two sequences have the same name; put them into different workspaces")
    runs = []
    for name, (pictures, boxes) in tqdm(contents.items(), "sequences", delay=2, leave=False):
        anchors = place_anchors(np.isfinite(boxes).all(1))
        _write_sequence(folder / name, pictures, boxes, anchors)
        forward, backward = np.flatnonzero(anchors > 0), np.flatnonzero(anchors < 0)
        runs += [*(len(boxes) - forward).tolist(), *(backward + 1).tolist()]
    stack = workspace / STACK
    stack.write_text(yaml.safe_dump(short_term_stack(min(runs), max(runs)), sort_keys=False))
    (folder / "list.txt").write_text("".join(f"{name}\n" for name in contents))
    return stack


def short_term_stack(low: int, high: int) -> dict[str, Any]:
    """VOT2022's short-term experiments on boxes, with EAO over runs of ``low`` to ``high`` frames (2 at least)."""

    def multistart(**options: Any) -> dict[str, Any]:
        # The toolkit's curve has ``high`` values, the one at j for runs of j frames after the first. It takes the mean
        # of those from its ``low`` on, which is NaN where there are none.
        eao_score = {"type": "multistart_eao_score", "name": "eaoscore", "low": low - 1, "high": high}
        eao_curve = {"type": "multistart_eao_curve", "name": "eaocurve", "high": high}
        accuracy_robustness = {"type": "multistart_average_ar", "name": "ar"}
        return {"type": "multistart", **options, "analyses": [eao_score, eao_curve, accuracy_robustness]}

    accuracy = {"type": "average_accuracy", "name": "accuracy", "burnin": 1}
    return {
        "title": "Short-term tracking of boxes, own sequences",
        "dataset": "",  # nothing to download; the toolkit wants the key
        "experiments": {
            "baseline": multistart(),
            "realtime": multistart(realtime={"grace": 3}),
            "unsupervised": {"type": "unsupervised", "repetitions": 1, "analyses": [accuracy]},
        },
    }


def place_anchors(present: np.ndarray) -> np.ndarray:
    """Choose where the runs of a multi-start experiment begin, and in which direction they go: (N,) int.

    Anchors are the first frame with the target, ``present`` (N,) bool, in every 50. Runs go to the end of the sequence
    that is farther away: 1 stands for forward, -1 for backward, 0 for no anchor.
    """
    anchors = np.zeros(len(present), int)
    for start in range(0, len(present), ANCHOR_STEP):
        seen = np.flatnonzero(present[start : start + ANCHOR_STEP])
        if seen.size:
            frame = start + seen[0]
            anchors[frame] = 1 if 2 * frame < len(present) else -1
    return anchors


def _pictures(sequence: Sequence) -> list[Path]:
    """Return the files of a sequence's frames."""
    frames = sequence.frames
    if not (isinstance(frames, ImageFrames) and isinstance(frames.storage, FolderStorage)):
        raise DataError(f"sequence {sequence.name} is a video or an lmdb; the VOT toolkit takes folders of pictures")
    pictures = [Path(frames.storage.path(name)).resolve() for name in frames.files]
    suffixes = sorted({path.suffix for path in pictures})
    if len(suffixes) > 1:
        raise DataError(f"sequence {sequence.name} mixes {', '.join(suffixes)}; the VOT toolkit takes one type")
    return pictures


def _boxes(sequence: Sequence) -> np.ndarray:
    """Return the ground truth (N, 4), one box for each frame, NaN where the target is absent."""
    boxes = sequence.ground_truth.copy()
    if len(boxes) == 1 and len(sequence.frames) > 1:
        known = f"only the first box of sequence {sequence.name} is known ({sequence.annotation})"
        raise DataError(f"{known}; the VOT toolkit needs one in each frame: leave it out")
    if len(boxes) != len(sequence.frames):
        raise DataError(f"sequence {sequence.name}: {len(sequence.frames)} frames but {len(boxes)} boxes")
    if len(boxes) == 1:
        raise DataError(f"sequence {sequence.name} has one frame only, so nothing is tracked in it: leave it out")
    absent = ~sequence.shown
    if absent.all():
        raise DataError(f"sequence {sequence.name} shows its target in no frame")
    boxes[absent] = np.nan
    return boxes


def _write_sequence(folder: Path, pictures: list[Path], boxes: np.ndarray, anchors: np.ndarray) -> None:
    pattern = f"color/%08d{pictures[0].suffix}"
    (folder / "color").mkdir(parents=True)
    for number, picture in enumerate(pictures, start=1):
        (folder / (pattern % number)).symlink_to(picture)
    np.savetxt(folder / "groundtruth.txt", boxes, "%.4f", ",")
    np.savetxt(folder / "anchor.value", anchors, "%d")
    (folder / "sequence").write_text(f"name={folder.name}\nformat=default\nfps={_FPS}\nchannels.color={pattern}\n")
