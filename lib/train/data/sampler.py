"""Sample the indices of an epoch, and the frames of a sequence in the published modes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Sampler

from lib.config.experiment import DataConfig
from lib.data.tracks import AnnotatedDataset, SequenceInfo

# In these modes further templates are frames near the search frame where the target is visible, or that have a valid
# box. (The published ``trident_pro`` draws from all frames and discards samples without a valid box: the same.)
_FURTHER_TEMPLATES = {"trident": "visible", "trident_pro": "valid", "stark": "valid"}

SHORTEST_SEQUENCE = 20
_GAP_GROWTH = 5

Frames = tuple[list[int], list[int]]  # template and search frames of a pair


@dataclass(frozen=True)
class PairSampling:
    """How frames are sampled: ``DATA.SAMPLER_MODE``, ``DATA.MAX_SAMPLE_INTERVAL``, and numbers of frames of a pair."""

    mode: str
    max_gap: int
    templates: int
    searches: int

    @classmethod
    def of(cls, data: DataConfig) -> PairSampling:
        """Return how an experiment samples frames."""
        return cls(data.SAMPLER_MODE, data.MAX_SAMPLE_INTERVAL, data.TEMPLATE.NUMBER, data.SEARCH.NUMBER)

    @property
    def least_visible(self) -> int:
        """Least number of frames in which the target must be visible."""
        return 2 * (self.templates + self.searches) + 1

    def suits(self, visible: np.ndarray) -> bool:
        """Return whether frames can be sampled from a sequence, by the published rule; ``visible`` is bool (N,).

        It suffices for every mode. ``causal``: without the first ``templates - 1`` and the last ``searches`` frames, a
        visible frame with visible frames on both sides remains. Trident: all frames of a pair may be the same.
        """
        return len(visible) >= SHORTEST_SEQUENCE and int(visible.sum()) >= self.least_visible

    def draw(self, info: SequenceInfo, rng: np.random.Generator) -> Frames:
        """Sample template and search frames of a sequence for which :meth:`suits` is true; a frame may occur twice.

        The target is visible in all of them, but in mode ``clip`` not in all search frames after the first.
        """
        if self.mode in ("causal", "clip"):
            draw = causal_frames if self.mode == "causal" else clip_frames
            return draw(info.visible, self.templates, self.searches, self.max_gap, rng)
        allowed = getattr(info, _FURTHER_TEMPLATES[self.mode])
        return trident_frames(info.visible, allowed, self.templates, self.searches, self.max_gap, rng)


def usable_sequences(dataset: AnnotatedDataset, sampling: PairSampling) -> tuple[list[int], str]:
    """Return the indices of the sequences that pairs can be sampled from, and what a sequence needs for that."""
    suits = sampling.suits if dataset.is_video else np.all
    usable = [index for index in range(len(dataset)) if suits(dataset.sequence(index).visible)]
    needed = "a box with width and height, not outside of its picture"
    if dataset.is_video:
        needed = f"{SHORTEST_SEQUENCE} frames, the target visible in {sampling.least_visible} of them"
    return usable, needed


def causal_frames(visible: np.ndarray, templates: int, searches: int, max_gap: int, rng: np.random.Generator) -> Frames:
    """Sample frames so that every search frame comes after the first template frame.

    The first template frame is any frame of ``visible``, bool (N,), with visible frames on the sides that need them;
    others are at most ``max_gap`` before it, search frames less than ``max_gap`` after it. If no frame there is
    visible, sampling is repeated with a gap larger by 5. The sequence is one that :meth:`PairSampling.suits`.
    """
    frames = np.flatnonzero(visible)
    lowest = max(templates - 1, frames[0] + (templates > 1))
    first = frames[(frames >= lowest) & (frames < min(len(visible) - searches, frames[-1]))]
    gap = max_gap
    while True:
        base = int(rng.choice(first))
        earlier = _between(frames, base - gap, base)
        later = _between(frames, base + 1, base + gap)
        if len(later) and (len(earlier) or templates == 1):
            before = rng.choice(earlier, templates - 1).tolist() if templates > 1 else []
            return [base, *before], rng.choice(later, searches).tolist()
        gap += _GAP_GROWTH


def clip_frames(visible: np.ndarray, templates: int, searches: int, max_gap: int, rng: np.random.Generator) -> Frames:
    """Sample search frames at equal distances, whether or not the target is visible in them.

    The clip spans at most ``max_gap`` frames, or ``searches`` where that is more, and starts with a visible one. The
    first template is any visible frame; further ones are less than ``max_gap`` before the clip, or the first template
    where nothing is visible there.
    """
    frames = np.flatnonzero(visible)
    longest = min(max_gap, len(visible) - 1 - int(frames[0]))
    stride = int(rng.integers(1, max(1, longest // max(1, searches - 1)) + 1))
    span = stride * (searches - 1)
    start = int(rng.choice(frames[frames + span < len(visible)]))
    first, before = int(rng.choice(frames)), _between(frames, start - max_gap + 1, start)
    further = rng.choice(before, templates - 1).tolist() if len(before) else [first] * (templates - 1)
    return [first, *further], list(range(start, start + span + 1, stride))


def trident_frames(
    visible: np.ndarray, allowed: np.ndarray, templates: int, searches: int, max_gap: int, rng: np.random.Generator
) -> Frames:
    """Sample the first template and the search frames freely, and further templates close to the first search frame.

    Each further template is an ``allowed`` frame (whatever is visible is allowed) in ``[s - max_gap, s)`` if the
    template frame t is before the search frame s, and otherwise in ``[s, s + max_gap)``. The published code samples t
    and s uniformly from the visible frames until such frames exist; here the pairs (t, s) for which they exist are
    counted, and one is sampled.
    """
    frames, near = np.flatnonzero(visible), np.flatnonzero(allowed)
    count = len(frames)
    # With t >= s there is always one, s itself. With t < s there must be an allowed frame in the gap before s.
    reachable = np.searchsorted(near, frames - max_gap) < np.searchsorted(near, frames)
    lowest = np.where(reachable | (templates == 1), 0, np.arange(count))  # the first t possible with each s
    pairs = np.cumsum(count - lowest)
    chosen = int(np.searchsorted(pairs, rng.integers(pairs[-1]), side="right"))
    s, t = int(frames[chosen]), int(frames[rng.integers(lowest[chosen], count)])
    if templates == 1:
        further = []
    else:
        window = _between(near, s, s + max_gap) if t >= s else _between(near, s - max_gap, s)
        further = rng.choice(window, templates - 1).tolist()
    return [t, *further], [s, *rng.choice(frames, searches - 1).tolist()]


def _between(frames: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Return those of the sorted ``frames`` in ``[start, stop)``."""
    return frames[np.searchsorted(frames, start) : np.searchsorted(frames, stop)]


class EpochSampler(Sampler):
    """The keys ``(epoch, index)`` of one rank for :class:`lib.train.data.samples.TrackingDataset`.

    Step s, micro-batch a of ``accumulate``, rank r of ``world`` and item j of ``batch_size`` have the index ((s *
    accumulate + a) * world + r) * batch_size + j: the samples of a step are the same for any distribution. Indices are
    below ``count``, so the last batches may be smaller, or missing on some ranks. ``epoch`` is sampled next, from the
    step ``start_step``, counted from 0.
    """

    def __init__(self, count: int, batch_size: int, rank: int = 0, world: int = 1, accumulate: int = 1):
        self.count, self.batch_size = count, batch_size
        self.rank, self.world, self.accumulate = rank, world, accumulate
        self.epoch = 0
        self.start_step = 0

    def _batches(self) -> list[range]:
        size = self.batch_size
        first = (self.start_step * self.accumulate * self.world + self.rank) * size
        return [range(i, min(i + size, self.count)) for i in range(first, self.count, self.world * size)]

    def __len__(self) -> int:
        return sum(map(len, self._batches()))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter([(self.epoch, index) for batch in self._batches() for index in batch])
