"""A tracker at which somebody looks: the same boxes, and a view of every frame."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lib.models.layers.candidate_elimination import central_tokens
from lib.models.ostrack.plain import PlainModel
from lib.test.evaluation.protocol import Step
from lib.test.tracker.networks import ModelNetwork
from lib.test.tracker.ostrack import Target, Tracker
from lib.utils.crop import sample_target
from lib.utils.errors import ConfigError
from lib.vis.views import Screen, View

_NOTHING = np.zeros((0, 0), np.float32)


@dataclass
class Watched:
    """A target, and what is kept of its last step until somebody wants to see it.

    Attributes:
        target: of the tracker itself.
        template: the crop that the tracker took in frame 0.
        image: the last frame.
        around: the box that the search region was cut around; None in frame 0.
        score: of the last step.
        output: of the model for this target, batch dimension 1, on its device.
    """

    target: Target
    template: np.ndarray
    image: np.ndarray
    around: list[float] | None = None
    score: float = math.nan
    output: dict[str, Any] = field(default_factory=dict)


class WatchedTracker:
    """Wraps a tracker in the form of :class:`BatchTracker`; what it tracks is shown on a screen.

    It listens to the model from outside, so a tracker that is not wrapped pays nothing. Views are made after a step's
    time has been taken; attention maps are computed within the network's time.

    Args:
        tracker: OSTrack.
        screen: opens a place to show a sequence.
        attention_layers: layers (from 0) whose attention is to be shown; none costs nothing.

    Raises:
        ConfigError: the model has no such layer, or it is another tracker.
    """

    def __init__(self, tracker: Tracker, screen: Screen, attention_layers: Sequence[int] = ()) -> None:
        if not isinstance(tracker, Tracker):
            raise ConfigError(
                f"--debug and --save_vis show OSTrack at work, not {type(tracker).__name__}: leave them out"
            )
        network = tracker.network
        if not isinstance(network, ModelNetwork) or not isinstance(network.model, PlainModel):
            raise ConfigError("only the plain network can be looked into: build the tracker with backend plain")
        self.model = network.model.model
        depth = len(self.model.backbone.blocks)
        wrong = [layer for layer in attention_layers if not 0 <= layer < depth]
        if wrong:
            raise ConfigError(
                f"--vis_attention: the model has layers 0 to {depth - 1}, not {', '.join(map(str, wrong))}"
            )
        self.tracker, self.screen = tracker, screen
        self.attention_layers = tuple(sorted(set(attention_layers)))

    def start(self, image: np.ndarray, box: Sequence[float]) -> Watched:
        """What is known of the target at ``box`` in its first frame."""
        target, test = self.tracker.start(image, box), self.tracker.cfg.TEST
        template, _, _ = sample_target(image, target.box, test.TEMPLATE_FACTOR, test.TEMPLATE_SIZE)
        return Watched(target, template, image)

    def step(self, images: Sequence[np.ndarray], targets: Sequence[Watched]) -> Step:
        """Find each target in its next image. When this raises, no target has changed."""
        around = [list(watched.target.box) for watched in targets]
        with _listening(self.model, self.attention_layers) as heard:
            step = self.tracker.step(images, [watched.target for watched in targets])
        for i, watched in enumerate(targets):
            watched.image, watched.around, watched.score = images[i], around[i], step.scores[i]
            watched.output = _sample(heard, i)
        return step

    def view(self, number: int, watched: Watched, truth: Sequence[float] | None = None) -> View:
        """What there is to see of the last frame of a target; ``number`` is the frame's, from 0."""
        backbone, test = self.model.backbone, self.tracker.cfg.TEST
        seen = View(
            number,
            watched.image,
            list(watched.target.box),
            watched.score,
            None if truth is None else [float(value) for value in truth],
            watched.template,
            grid=backbone.search_grid,
        )
        if watched.around is None:  # nothing but the names of what will be seen
            return replace(
                seen,
                maps=dict.fromkeys(self._map_names, _NOTHING),
                removed=dict.fromkeys(self._eliminating, _NOTHING),
                attention=dict.fromkeys(self.attention_layers, _NOTHING),
            )
        search, _, _ = sample_target(watched.image, watched.around, test.SEARCH_FACTOR, test.SEARCH_SIZE)
        out = watched.output
        dropped = [places[0].cpu().numpy() for places in out["removed_indexes_s"]]
        so_far = [np.concatenate(dropped[: i + 1]) for i in range(len(dropped))]
        attention = [
            self._attention(*pair) for pair in zip(out.get("attn", ()), out.get("attn_indices", ()), strict=True)
        ]
        return replace(
            seen,
            search=search,
            maps={
                name: found.cpu().numpy() for name, found in self.tracker.head.views(out, self.tracker.window).items()
            },
            removed=dict(zip(self._eliminating, so_far, strict=True)),
            attention=dict(zip(self.attention_layers, attention, strict=True)),
        )

    @property
    def _map_names(self) -> tuple[str, ...]:
        return self.tracker.head.view_names

    @property
    def _eliminating(self) -> dict[int, int]:
        """The layers that drop tokens, and how many each leaves."""
        return self.model.backbone.tokens_kept(self.model.backbone.search_grid**2)

    def _attention(self, weights: Tensor, places: Tensor) -> np.ndarray:
        """The mean over heads and the template's middle tokens of what they pay the search tokens, (grid, grid).

        Args:
            weights: (1, heads, N, N), template tokens first.
            places: (1, N - template tokens), where in the grid the search tokens lie.
        """
        backbone = self.model.backbone
        count, grid = backbone.template_grid**2, backbone.search_grid
        rows = central_tokens(backbone.template_grid, point=False, device=weights.device)
        paid = weights[0, :, rows, count:].float().mean(dim=(0, 1))
        whole = torch.full((grid * grid,), math.nan, device=weights.device)
        return whole.scatter(0, places[0], paid).view(grid, grid).cpu().numpy()

    @contextmanager
    def watching(self, name: str, total: int, truth: np.ndarray) -> Iterator[Callable[[int, Watched], None]]:
        """Open the screen for a sequence of ``total`` frames; call what this gives after each, with its number.

        ``truth``, the annotation (N, 4), goes past the tracker, straight to the screen.
        """
        with self.screen(name, total) as show:
            yield lambda number, watched: show(
                self.view(number, watched, truth[number] if number < len(truth) else None)
            )


@contextmanager
def _listening(model: nn.Module, attention_layers: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Ask ``model`` for attention maps of these layers in every run, and keep what it gives, in the dict yielded."""
    heard: dict[str, Any] = {}

    def ask(_: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return args, options | {"attention_layers": attention_layers}

    def listen(_: nn.Module, __: tuple[Any, ...], output: dict[str, Any]) -> None:
        heard.update(output)

    handles = model.register_forward_pre_hook(ask, with_kwargs=True), model.register_forward_hook(listen)
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()


def _sample(output: dict[str, Any], i: int) -> dict[str, Any]:
    """What the model gave for sample ``i`` of a batch, batch dimension 1."""
    return {
        name: [part[i : i + 1] for part in value] if isinstance(value, list) else value[i : i + 1]
        for name, value in output.items()
    }
