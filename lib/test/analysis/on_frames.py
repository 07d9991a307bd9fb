"""Results drawn on the frames of a sequence, for ``tracking/vis_results.py``."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lib.data.image_io import write_image
from lib.data.sequence import Sequence
from lib.data.video_io import VideoWriter
from lib.test.analysis.analyze import Selection, folder_name
from lib.test.analysis.protocols import get_protocol
from lib.test.analysis.report import Tracker, sequence_errors, tracker_label
from lib.test.evaluation.benchmarks import get_dataset
from lib.test.evaluation.environment import EnvSettings, env_settings
from lib.test.evaluation.evaluate import select_sequence
from lib.test.evaluation.results import found_result, read_result, result_origin
from lib.utils.errors import ConfigError, DataError
from lib.vis.compare import Entry, Mark, choose_frames, line, marked_frame, marked_sheet, stacked
from lib.vis.draw import COLORS, TRUTH_AMONG_TRACKERS, Color, fitted, rgb

_FRAME_RATE = 25.0  # of a video of picture files


@dataclass(frozen=True)
class Track:
    """The result of one tracker, ``NAME/CONFIG``, on one sequence."""

    label: str
    color: Color  # in the order of the selection; plots have these colors in the order of the scores
    boxes: np.ndarray  # (frames, 4) as scored: the first is the ground truth, one without area repeats the one before
    overlap: np.ndarray  # (frames,) intersection over union; NaN where there is no true box that counts
    origin: str  # what the result comes from

    @property
    def mean(self) -> str:
        """The mean overlap of the frames with a target, to print."""
        known = self.overlap[np.isfinite(self.overlap)]
        return f"mean IoU {known.mean():.3f}" if len(known) else "no ground truth to score against"

    def mark(self, t: int) -> Mark:
        """Return the box of frame ``t`` with its overlap."""
        known = np.isfinite(self.overlap[t])
        return Mark(self.boxes[t].tolist(), self.color, f"{self.overlap[t]:.2f}" if known else "-")


def draw_results(
    selection: Selection,
    sequence: str,
    output: str | Path | None = None,
    frames: int = 12,
    env: EnvSettings | None = None,
) -> str:
    """Draw the results of trackers on a sequence; return text to print: overlap and origin of each, and the file.

    Args:
        sequence: name of the sequence, or its number in the data set.
        output: file to write: ``.mp4`` for a video, else a picture; by default ``SEQUENCE.png`` among the plots.
        frames: how many frames the picture has, see :func:`choose_frames`.

    Raises:
        OSTrackError: no such sequence or results, results of another length, or a file that cannot be read or written.
    """
    env = env or env_settings()
    dataset, protocol, results_dir = selection.dataset, selection.protocol, Path(env.results_path)
    chosen = select_sequence(get_dataset(dataset, env=env), sequence)
    if frames < 1:
        raise ConfigError(f"a sheet of {frames} frames cannot be drawn")
    trackers = selection.trackers(results_dir, chosen)
    tracks = [read_track(results_dir, one, chosen, i, protocol) for i, one in enumerate(trackers)]
    default = Path(env.result_plot_path) / folder_name(dataset, protocol) / f"{chosen.name}.png"
    path = Path(output) if output else default
    if path.suffix.lower() == ".mp4":
        _write_video(path, chosen, tracks)
    else:
        shown = choose_frames(np.stack([track.overlap for track in tracks]), frames)
        titles = [f"frame {t}{', a worst one' if worst else ''}" for t, worst in shown.items()]
        marks = [frame_marks(chosen, tracks, t) for t in shown]
        write_image(path, marked_sheet(list(chosen_frames(chosen, set(shown))), titles, marks, legend(tracks)))
    width = max(len(track.label) for track in tracks)
    lines = [f"{track.label:{width}}  {track.mean}  ({track.origin})" for track in tracks]
    return "\n".join((f"{chosen.name} of {dataset}, {len(tracks[0].boxes)} frames", *lines, f"Wrote {path}"))


def read_track(results_dir: Path, tracker: Tracker, sequence: Sequence, number: int, protocol: str) -> Track:
    """Read and score the result of ``tracker``, in color ``number``. Raises DataError: none, or of another length."""
    path, label = found_result(results_dir, *tracker, sequence), tracker_label(tracker)
    if not path.is_file():
        raise DataError(f"{label} has no result of {sequence.name}: {path} is missing, tracking/test.py makes it")
    boxes, truth = read_result(path), sequence.ground_truth
    if len(boxes) != sequence.num_frames:
        counts = f"{len(boxes)} boxes, {sequence.name} has {sequence.num_frames} frames"
        raise DataError(f"{path} has {counts}: delete it and track this sequence again")
    overlap = np.full(len(boxes), np.nan)
    if len(truth) == len(boxes):
        errors = sequence_errors(boxes, sequence, get_protocol(protocol).rules(sequence.dataset), str(path))
        boxes, overlap = errors.boxes, np.where(errors.valid, errors.overlap, np.nan)
    return Track(label, rgb(COLORS[number % len(COLORS)]), boxes, overlap, result_origin(path, sequence, frames=True))


def frame_marks(sequence: Sequence, tracks: Seq[Track], t: int) -> list[Mark]:
    """Return the boxes of frame ``t``; the annotated one, where there is one, is below all others."""
    truth = sequence.ground_truth[t] if t < len(sequence.ground_truth) else np.full(4, np.nan)
    there = np.isfinite(truth).all() and min(truth[2:]) > 0
    return [*(track.mark(t) for track in tracks), Mark(truth.tolist() if there else None, TRUTH_AMONG_TRACKERS, "")]


def legend(tracks: Seq[Track]) -> list[Entry]:
    """Return the legend of the colors of :func:`frame_marks`."""
    entries = [Entry(track.color, f"{track.label}  {track.mean}") for track in tracks]
    return [*entries, Entry(TRUTH_AMONG_TRACKERS, "ground truth")]


def chosen_frames(sequence: Sequence, chosen: set[int]) -> Iterator[np.ndarray]:
    """Return the chosen frames in order, each decoded once."""
    if hasattr(sequence.frames, "files"):
        return (sequence.frames.frame(t) for t in sorted(chosen))
    return (image for t, image in enumerate(sequence.frames) if t in chosen)


def _write_video(path: Path, sequence: Sequence, tracks: Seq[Track]) -> None:
    """Write the video whole or not at all. Frames of another size than the first are scaled to fit into it."""
    sequence.check_length()
    # Digits differ in width, the frames of a video must not: the legend has room for the widest.
    width = max(line([Entry(entry.color, f"{entry.text}  now 0.0000")]).shape[1] for entry in legend(tracks))
    rate = getattr(sequence.frames, "fps", _FRAME_RATE)
    with VideoWriter(path, rate, keep=False) as writer:
        size: tuple[int, int] | None = None
        for t, image in enumerate(tqdm(sequence.frames, total=sequence.num_frames, unit="frame")):
            marks = frame_marks(sequence, tracks, t)
            texts = [f"  now {mark.text}" if mark.text else "" for mark in marks]
            entries = [Entry(e.color, e.text + text) for e, text in zip(legend(tracks), texts, strict=True)]
            frame = marked_frame(image, marks)
            size = size or (frame.shape[0], frame.shape[1])
            shown = frame if frame.shape[:2] == size else fitted(frame, *size)
            writer.write(stacked([shown, *(line([entry]) for entry in entries)], width))
