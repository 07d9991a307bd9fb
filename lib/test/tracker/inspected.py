"""A tracker with visualization: the same boxes, plus a view of every frame."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from lib.models.state import State
from lib.test.evaluation.protocol import TrackResult
from lib.test.tracker.networks import ModelNetwork, Network
from lib.test.tracker.tracker import Target, Tracker
from lib.utils.crop import sample_target
from lib.utils.errors import ConfigError
from lib.vis.views import Screen, View

_NOTHING = np.zeros((0, 0), np.float32)


@runtime_checkable
class InspectableModel(Protocol):
    """A plain form with more outputs than the head's to show; of other models only the head's outputs are shown.

    ``run`` also returns ``removed_indexes_s``, ``attn`` and ``attn_indices``, see :meth:`OSTrack.forward`.

    Attributes:
        attention_layers: layers (from 0) whose attention maps ``run`` returns.
        depth: number of layers.
        elimination_layers: layers that drop search tokens.
    """

    attention_layers: tuple[int, ...]

    @property
    def depth(self) -> int: ...

    @property
    def elimination_layers(self) -> tuple[int, ...]: ...

    def attention_map(self, weights: Tensor, indices: Tensor) -> Tensor:
        """Return the attention to search tokens, (grid, grid), of one entry of ``attn``, batch 1; NaN where dropped."""
        ...


@dataclass
class Inspected:
    """A target, and the data of its last step for a view.

    Attributes:
        target: the wrapped tracker's target.
        template: the template crop of frame 0.
        image: the last frame.
        before: a copy of the target from before the last step, whose box the search region was cut around; None in
            frame 0.
        score: score of the last step.
        output: the model's output for this target, batch size 1, on its device.
    """

    target: Target
    template: np.ndarray
    image: np.ndarray
    before: Target | None = None
    score: float = math.nan
    output: dict[str, Any] = field(default_factory=dict)


class InspectedTracker:
    """Wraps a tracker in the form of :class:`BatchTracker` and shows what it tracks on a screen.

    Trackers that are not wrapped have no overhead. Rendering of views is not part of the measured time of a step;
    computing attention maps is, as time of the network.

    Args:
        tracker: built with backend plain.
        screen: opens a window or file that shows a sequence.
        attention_layers: layers (from 0) whose attention to show.

    Raises:
        ConfigError: the model has no such layer, or the tracker has no network to inspect.
    """

    def __init__(self, tracker: Tracker, screen: Screen, attention_layers: Sequence[int] = ()) -> None:
        if not isinstance(tracker, Tracker):
            name = type(tracker).__name__
            raise ConfigError(f"--debug and --save_vis show networks of lib/models at work, not {name}: leave them out")
        network, test = tracker.network, tracker.cfg.TEST
        self.tracker, self.screen = copy(tracker), screen
        self.attention_layers = tuple(sorted(set(attention_layers)))
        self.grid = test.SEARCH_SIZE // tracker.cfg.MODEL.BACKBONE.STRIDE
        model = network.model if isinstance(network, ModelNetwork) else None
        self.inspectable = model if isinstance(model, InspectableModel) else None
        if model is None or (self.inspectable is None and tracker.family.inference is not None):
            raise ConfigError("only the plain network can be looked into: build the tracker with backend plain")
        depth = self.inspectable.depth if self.inspectable else 0
        if wrong := [layer for layer in self.attention_layers if not 0 <= layer < depth]:
            has = f"layers 0 to {depth - 1}" if depth else "no layers whose attention it shows"
            raise ConfigError(f"--vis_attention: the model has {has}, not {', '.join(map(str, wrong))}")
        if self.inspectable:
            self.inspectable.attention_layers = self.attention_layers
        self._outputs = _FirstOutputs(network)
        self.tracker.network = self._outputs

    def start(self, image: np.ndarray, box: Sequence[float]) -> Inspected:
        """Start a target at ``box`` in its first frame."""
        target, test = self.tracker.start(image, box), self.tracker.cfg.TEST
        template, _, _ = sample_target(image, target.box, test.TEMPLATE_FACTOR, test.TEMPLATE_SIZE)
        return Inspected(target, template, image)

    def step(self, images: Sequence[np.ndarray], targets: Sequence[Inspected]) -> TrackResult:
        """Find each target in its next image. When this raises, no target has changed."""
        before = [copy(inspected.target) for inspected in targets]
        self._outputs.first = None
        step = self.tracker.step(images, [inspected.target for inspected in targets])
        for i, inspected in enumerate(targets):
            inspected.image, inspected.before, inspected.score = images[i], before[i], step.confidence[i]
            inspected.output = _sample(self._outputs.first or {}, i)
        return step

    def view(self, number: int, inspected: Inspected, truth: Sequence[float] | None = None) -> View:
        """Return the view of a target's last frame; ``number`` is the frame's, from 0."""
        test, before, out = self.tracker.cfg.TEST, inspected.before, inspected.output
        eliminating = self.inspectable.elimination_layers if self.inspectable else ()
        seen = View(
            number,
            inspected.image,
            list(inspected.target.box),
            inspected.score,
            truth=None if truth is None else [float(value) for value in truth],
            template=inspected.template,
            maps=dict.fromkeys(self.tracker.head.view_names, _NOTHING),
            removed=dict.fromkeys(eliminating, _NOTHING),
            attention=dict.fromkeys(self.attention_layers, _NOTHING),
            grid=self.grid,
        )
        if before is None:  # no search region yet: only the names of the panels
            return seen
        search, factor, _ = sample_target(inspected.image, before.box, test.SEARCH_FACTOR, test.SEARCH_SIZE)
        window = self.tracker.windows([before], self.tracker.cells(out, [before.box], [factor]))
        dropped = [indices[0].cpu().numpy() for indices in out.get("removed_indexes_s", ())]
        so_far = [np.concatenate(dropped[: i + 1]) for i in range(len(dropped))]
        pairs = zip(out.get("attn", ()), out.get("attn_indices", ()), strict=True)
        attention: list[np.ndarray] = (
            [self.inspectable.attention_map(*pair).cpu().numpy() for pair in pairs] if self.inspectable else []
        )
        return replace(
            seen,
            search=search,
            maps={name: found.cpu().numpy() for name, found in self.tracker.head.views(out, window).items()},
            removed=dict(zip(eliminating, so_far, strict=True)),
            attention=dict(zip(self.attention_layers, attention, strict=True)),
        )

    @contextmanager
    def open_screen(self, name: str, total: int, truth: np.ndarray) -> Iterator[Callable[[int, Inspected], None]]:
        """Open the screen for a sequence of ``total`` frames; yield a function to call with number and target of each.

        Args:
            truth: ground truth (N, 4), shown on the screen and never passed to the tracker.
        """
        with self.screen(name, total) as show:
            yield lambda number, inspected: show(
                self.view(number, inspected, truth[number] if number < len(truth) else None)
            )


class _FirstOutputs:
    """A network that keeps the outputs of a step's first run; later runs search elsewhere for lost targets."""

    def __init__(self, network: Network) -> None:
        self.network, self.device = network, network.device
        self.first: dict[str, Any] | None = None

    def prepare(self, state: State) -> State:
        return self.network.prepare(state)

    def run(self, state: State, crops: Tensor) -> tuple[dict[str, Tensor], State]:
        outputs, changed = self.network.run(state, crops)
        self.first = self.first or dict(outputs)
        return outputs, changed


def _sample(output: dict[str, Any], i: int) -> dict[str, Any]:
    """Return the outputs for sample ``i`` of a batch, with batch size 1."""
    return {
        name: [part[i : i + 1] for part in value] if isinstance(value, list) else value[i : i + 1]
        for name, value in output.items()
    }
