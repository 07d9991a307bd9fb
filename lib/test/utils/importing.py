"""Bring the results of other trackers into the form and place of one's own, so that they stand in the same tables."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from lib.data.sequence import Sequence
from lib.test.analysis.metrics import box_overlap
from lib.test.evaluation.benchmarks import FOLDER_PREFIX, get_benchmark, get_dataset
from lib.test.evaluation.environment import EnvSettings, env_settings
from lib.test.evaluation.results import (
    box_problem,
    file_hash,
    finish_result,
    partial_path,
    read_provenance,
    result_path,
    time_path,
    times_path,
    write_scores,
)
from lib.test.utils.shared_results import SharedResult, read_source
from lib.utils.errors import ConfigError, DataError, listed
from lib.utils.replacing import writing

_ALIASES = {"human4": "human4_2"}  # other toolkits' name of a sequence of OTB
_SHOWN = 8
# What the four numbers of a box are.
FORMS = {
    "xywh": "x, y, width, height",
    "xyxy": "x1, y1, x2, y2 (two corners)",
    "cxcywh": "x, y of the center, width, height",
}
_FITS, _CLEARLY = 0.5, 0.2  # overlap with the ground truth, and how much more it has to be than that of another form


@dataclass
class ImportReport:
    """What was done with a source. All entries are names of sequences, ``extra`` of results.

    ``scored`` are those with a score for each frame, ``unscored`` those whose scores do not fit, with the reason.
    """

    folder: Path
    total: int
    written: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    scored: list[str] = field(default_factory=list)
    unscored: dict[str, str] = field(default_factory=dict)
    hints: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether every sequence has its result now."""
        return len(self.written) == self.total

    def __str__(self) -> str:
        lines = [f"{len(self.written)} of {self.total} sequences imported into {self.folder}"]
        lines += [f"{len(self.scored)} of them with a score for each frame"] if self.scored else []
        lines += [f"refused: {name}: {reason}" for name, reason in self.refused.items()]
        lines += [f"its scores left out: {name}: {reason}" for name, reason in self.unscored.items()]
        lines += [f"missing: {listed(self.missing, _SHOWN)}"] if self.missing else []
        lines += [f"not of this benchmark: {listed(self.extra, _SHOWN)}"] if self.extra else []
        return "\n".join(lines + self.hints)


@dataclass(frozen=True)
class ImportOptions:
    """How the files of another tracker are read."""

    member: str | None = None  # take only what lies under a folder or key of this name, in a source of several trackers
    one_based: bool = False  # pixels are counted from 1, as in MATLAB: 1 is taken off x and y
    form: str = "xywh"  # what the four numbers of a box are, a key of FORMS
    any_length: bool = False  # also results with another number of boxes than frames; a protocol pads or cuts them
    force: bool = False  # replace results that come from elsewhere


def import_results(
    source: Path,
    tracker: str,
    config: str,
    dataset: str,
    options: ImportOptions = ImportOptions(),  # noqa: B008 (frozen)
    env: EnvSettings | None = None,
) -> ImportReport:
    """Write ``TRACKER/CONFIG/SEQUENCE.txt`` for the results in ``source``, with a record of where they came from.

    Args:
        source: folder, zip or file, see :func:`lib.test.utils.shared_results.read_source`.
        dataset: the benchmark, or ``folder:PATH``.

    Raises:
        ConfigError: unknown data set, or names that cannot be folders.
        DataError: nothing usable in ``source``, several results for a sequence, boxes of another form, or results of
            another origin in the way.
    """
    env = env or env_settings()
    for name in (tracker, config):
        if not re.fullmatch(r"[\w.+@ -]+", name) or name.startswith("."):
            raise ConfigError(f"{name!r} cannot be the name of a folder of results: use letters, digits, - and _")
    sequences = get_dataset(dataset, env=env)
    matched, extra = _matched(source, tracker, dataset, options.member, sequences)
    report = ImportReport(Path(env.results_path, tracker, config), len(sequences), extra=extra)
    report.missing = [one.name for one in sequences if one.name not in matched]
    written = _load_boxes([one for one in sequences if one.name in matched], matched, options.any_length, report)
    last_pixel = _check_first_boxes(written, sequences, options.form)
    shift = np.array([-options.one_based, -options.one_based, last_pixel, last_pixel])
    boxes = {name: to_xywh(rows, options.form) + shift for name, rows in written.items()}
    report.refused |= {name: problem for name, rows in boxes.items() if (problem := box_problem(rows))}
    ready = [one for one in sequences if one.name in boxes and one.name not in report.refused]
    paths = {one.name: result_path(env.results_path, tracker, config, one) for one in ready}
    origins = _origins(source, {matched[name].file for name in paths})
    if not options.force:
        _refuse_foreign({path: origins[matched[name].file] for name, path in paths.items()})
    for one in ready:
        found, rows = matched[one.name], boxes[one.name]
        record = {"tracker": tracker, "config": config, "dataset": one.dataset, "frames": len(rows)}
        record |= {**origins[found.file], "imported_member": found.where}
        record |= {"one_based": options.one_based, "form": options.form}
        _write(paths[one.name], rows, _load_scores(found, one, len(rows), report), record)
        report.written.append(one.name)
    report.hints = _hints(ready, boxes, options.one_based, last_pixel)
    return report


def _matched(
    source: Path, tracker: str, dataset: str, member: str | None, sequences: Seq[Sequence]
) -> tuple[dict[str, SharedResult], list[str]]:
    """Return the result of each sequence, where there is one, and paths of the others. Raises DataError: several."""
    prefix = "" if dataset.startswith(FOLDER_PREFIX) else get_benchmark(dataset).prefix
    matched, extra = match_results(_select(read_source(source), member, tracker), sequences, prefix)
    several = [name for name, results in matched.items() if len(results) > 1]
    if several:
        choices = f"{several[0]}: {', '.join(result.where for result in matched[several[0]])}"
        raise DataError(f"{source} has several results for {len(several)} sequences, for {choices}; choose by --member")
    return {name: results[0] for name, results in matched.items()}, extra


def _origins(source: Path, files: set[Path]) -> dict[Path, dict[str, str]]:
    """Return the record entries about the file that a result comes from, by this file."""
    hashes = {file: file_hash(file) for file in files}
    # The same text for all results of a source: a report counts the origins of a tracker's results.
    origin = source.resolve().name + (f" (sha256 {hashes[source]})" if source in hashes else "")
    return {file: {"imported_from": origin, "imported_sha256": hash} for file, hash in hashes.items()}


def _load_boxes(
    sequences: Seq[Sequence], matched: dict[str, SharedResult], any_length: bool, report: ImportReport
) -> dict[str, np.ndarray]:
    """Read the boxes by sequence, in the form of their file; ``report`` takes those that cannot be read."""
    found = {}
    for sequence in tqdm(sequences, unit="sequence", disable=None):  # None: on terminals only
        frames = sequence.num_frames
        try:
            boxes = _without_omitted(matched[sequence.name].load(), sequence, frames)
            if len(boxes) != frames and not any_length:
                at_10_fps = len(boxes) == (frames - 1) // 3 + 1 and frames > 9
                hint = "; these are of 10 frames per second" if at_10_fps else ""
                raise DataError(f"{len(boxes)} boxes for {frames} frames{hint}")
            found[sequence.name] = boxes
        except DataError as error:
            report.refused[sequence.name] = str(error)
    return found


def _load_scores(result: SharedResult, sequence: Sequence, boxes: int, report: ImportReport) -> np.ndarray | None:
    """Read a score for each box, 1 for the first one, which is given; ``report`` takes those that do not fit."""
    if result.load_scores is None:
        return None
    try:
        scores = _without_omitted(result.load_scores(), sequence, boxes)
        if len(scores) == boxes - 1:
            scores = np.concatenate(([1.0], scores))
        if len(scores) != boxes:
            raise DataError(f"{len(scores)} scores for {boxes} boxes")
    except DataError as error:
        report.unscored[sequence.name] = str(error)
        return None
    report.scored.append(sequence.name)
    return np.where(np.isnan(scores) & (np.arange(boxes) == 0), 1.0, scores)


def _without_omitted(rows: np.ndarray, sequence: Sequence, wanted: int) -> np.ndarray:
    """Leave out the rows of frames before the first one of the sequence, where a result has them."""
    return rows[sequence.omitted :] if len(rows) == wanted + sequence.omitted else rows


def match_results(
    results: Iterable[SharedResult], sequences: Seq[Sequence], prefix: str
) -> tuple[dict[str, list[SharedResult]], list[str]]:
    """Find the sequence of each result by its name, whatever the case and the separators, and with ``_001`` at the end
    (GOT-10k). Only if no name fits so, the prefix that the benchmark's sequences have here is left out; only if still
    none fits, the folder or key around the results may be the sequence (``basketball/KCF``); and only then a tracker's
    name may stand at either end (``basketball_KCF``). So a folder with results of several benchmarks gives those of the
    one that is meant.

    Returns:
        results by name of the sequence, and the paths of those that fit none.
    """
    results = list(results)
    names = [_canonical(result.parts[-1]) for result in results]
    full = {_canonical(one.name): one.name for one in sequences}
    bare = {_canonical(one.name.removeprefix(prefix)): one.name for one in sequences}
    found = [_exact(name, full) for name in names]
    if not any(found):
        found = [_exact(name, bare) for name in names]
    if not any(found):
        found = [_exact(_canonical(result.parts[-2]), full | bare) if result.parts[1:] else None for result in results]
    if not any(found):
        found = [_with_affix(name, bare) for name in names]
    matched: dict[str, list[SharedResult]] = defaultdict(list)
    for result, sequence in zip(results, found, strict=True):
        if sequence:
            matched[sequence].append(result)
    return dict(matched), [one.where for one, sequence in zip(results, found, strict=True) if not sequence]


def _canonical(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _exact(name: str, known: dict[str, str]) -> str | None:
    candidates = (name, name.removesuffix("_001"), _ALIASES.get(name))
    return next((known[candidate] for candidate in candidates if candidate in known), None)


def _with_affix(name: str, known: dict[str, str]) -> str | None:
    # What is left over must not begin with a digit: car1_2 is no result of car1 by a tracker called 2.
    around = [key for key in known if re.match(rf"{key}_(?!\d)", name) or name.endswith(f"_{key}")]
    return known[max(around, key=len)] if around else None


def _select(results: list[SharedResult], member: str | None, tracker: str) -> list[SharedResult]:
    """Choose results under ``member``, or called so; without it those of the tracker's own name, if any, else all."""
    wanted = (member or tracker).lower()
    chosen = [result for result in results if wanted in (part.lower() for part in result.parts)]
    if member and not chosen:
        folders = sorted({part for result in results for part in result.parts[:-1]})
        raise DataError(f"there is nothing under {member!r}; there are {listed(folders, 30) or 'no folders or keys'}")
    return chosen or results


def to_xywh(boxes: np.ndarray, form: str) -> np.ndarray:
    """Convert boxes (N, 4) of a form of :data:`FORMS` to x, y, width, height."""
    first, last = boxes[:, :2], boxes[:, 2:]
    if form == "xyxy":
        return np.hstack((first, last - first))
    return np.hstack((first - last / 2, last)) if form == "cxcywh" else boxes


def _check_first_boxes(written: dict[str, np.ndarray], sequences: Seq[Sequence], form: str) -> bool:
    """Compare first boxes with the ground truth; whether most corners ``xyxy`` are the first and the last pixel inside.

    Raises DataError: most of them fit in another form only.
    """
    if not written:
        return False
    firsts = np.stack([boxes[0] for boxes in written.values()])
    truths = np.stack([one.ground_truth[0] for one in sequences if one.name in written])
    overlaps = {}
    for name in FORMS:
        known = np.nan_to_num(to_xywh(firsts, name))
        overlaps[name] = np.where((known[:, 2:] > 0).all(axis=1), box_overlap(known, truths), 0.0)
    for name, overlap in overlaps.items():
        others = int(((overlap > _FITS) & (overlap > overlaps[form] + _CLEARLY)).sum())
        if others > len(firsts) / 2:
            found = f"{FORMS[name]}, not {FORMS[form]}, in {others} of {len(firsts)} sequences"
            raise DataError(f"by their first box the results are {found}: give --form {name}")
    short = np.abs(to_xywh(firsts, form)[:, 2:] + 1 - truths[:, 2:]).max(axis=1) < 1e-3
    return form == "xyxy" and bool(short.mean() > 0.5)


def _hints(sequences: Seq[Sequence], boxes: dict[str, np.ndarray], one_based: bool, last_pixel: bool) -> list[str]:
    """Tell what the first boxes, which should be those of the ground truth, say about the rest."""
    offsets = np.array([boxes[one.name][0] - one.ground_truth[0] for one in sequences]).reshape(-1, 4)
    hints = []
    shift, advice = (-1, "leave out --one_based") if one_based else (1, "give --one_based")
    share = (np.abs(offsets - [shift, shift, 0, 0]) < 1e-3).all(axis=1).mean() if len(offsets) else 0
    if share > 0.5:
        off = f"{shift:+d}, {shift:+d} pixels off the ground truth in {100 * share:.0f} % of the sequences"
        hints.append(f"the first box is {off}: does one of them count from 1? then {advice}")
    sides = np.array([one.ground_truth[0, 2:] for one in sequences]).reshape(-1, 2)
    is_far = (np.abs(offsets[:, :2]) > sides).any(axis=1)
    far = [one.name for one, beyond in zip(sequences, is_far, strict=True) if beyond]
    if far:
        which = f"{len(far)} sequences ({listed(far, _SHOWN)})"
        hints.append(f"the first box is far from the ground truth in {which}: are these results of this benchmark?")
    if last_pixel:
        hints.append("by their first box the corners x2, y2 are the last pixel inside: width and height are 1 more")
    return hints


def _refuse_foreign(origins: dict[Path, dict[str, str]]) -> None:
    """Raise DataError if a result is in the way that was not imported from the same file; ``origins`` are by path."""
    foreign = []
    for path, origin in origins.items():
        try:
            stored = (read_provenance(path) or {}).get("imported_sha256")
        except DataError:
            stored = None
        if path.exists() and stored != origin["imported_sha256"]:
            foreign.append(path)
    if foreign:
        there = f"{len(foreign)} results of another origin are there already, like {foreign[0]}"
        raise DataError(f"{there}: choose another --config, or replace them with --force")


def _write(path: Path, boxes: np.ndarray, scores: np.ndarray | None, record: dict[str, Any]) -> None:
    """Write the result whole or not at all; times and scores that belong to what was there before go.

    Raises DataError: it cannot be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial_path(path).write_text("".join("\t".join(map(repr, row)) + "\n" for row in boxes.tolist()))
        for stale in (time_path(path), times_path(path)):
            stale.unlink(missing_ok=True)
        write_scores(path, () if scores is None else scores.tolist())
        finish_result(path, record)
