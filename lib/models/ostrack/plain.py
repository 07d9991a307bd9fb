"""OSTrack with the arithmetic of training: the reference for faster forms, also used for visualization."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lib.config.ostrack import OSTrackConfig
from lib.models.layers.candidate_elimination import central_tokens
from lib.models.ostrack.elimination import template_mask
from lib.models.ostrack.ostrack import OSTrack
from lib.models.state import State


class PlainModel(nn.Module):
    """A trained OSTrack as a :class:`lib.models.state.TrackingModel`; its state is that of ``initial_state``.

    Args:
        model: in the precision to run in, on the device to run on; it is put in evaluation mode.

    Attributes:
        attention_layers: layers (from 0) whose attention maps ``run`` also returns.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, cfg: OSTrackConfig, model: OSTrack):
        super().__init__()
        self.cfg, self.model = cfg, model.eval()
        self.attention_layers: tuple[int, ...] = ()
        parameter = next(model.parameters())
        self.dtype = parameter.dtype
        # The published preprocessing divides by 255 first; folding that into mean and std saves a pass over the pixels.
        for name, values in (("mean", cfg.DATA.MEAN), ("std", cfg.DATA.STD)):
            scaled = 255 * torch.tensor(list(values), dtype=torch.float32, device=parameter.device)
            self.register_buffer(name, scaled.view(1, 3, 1, 1))

    @property
    def device(self) -> torch.device:
        """Device of its weights."""
        return self.mean.device

    @property
    def depth(self) -> int:
        """Number of layers."""
        return len(self.model.backbone.blocks)

    @property
    def elimination_layers(self) -> tuple[int, ...]:
        """The layers (from 0) that drop search tokens."""
        return tuple(self.model.backbone.tokens_kept(self.model.backbone.search_grid**2))

    def attention_map(self, weights: Tensor, indices: Tensor) -> Tensor:
        """Return the mean attention of the template's middle tokens to each search token, (grid, grid).

        It is on the model's device, and NaN where a token was already dropped.

        Args:
            weights: (1, heads, N, N), template tokens first, search tokens last.
            indices: (1, n), grid indices of the n search tokens.
        """
        backbone = self.model.backbone
        grid, before = backbone.search_grid, weights.shape[-1] - indices.shape[-1]
        rows = central_tokens(backbone.template_grid, point=False, device=weights.device)
        paid = weights[0, :, rows, before:].float().mean(dim=(0, 1))
        whole = torch.full((grid * grid,), math.nan, device=weights.device)
        return whole.scatter(0, indices[0], paid).view(grid, grid)

    def prepare(self, state: State) -> State:
        """Normalize the template."""
        return {**state, "template": self._normalized(state["template"])}

    def run(self, state: State, crops: Tensor) -> tuple[dict[str, Tensor], State]:
        """See :class:`TrackingModel`. The state does not change."""
        outputs = self.model(
            state["template"],
            self._normalized(crops),
            ce_template_mask=self._ranking(state),
            attention_layers=self.attention_layers,
            template_box=state.get("box"),
        )
        return outputs, {}

    def _ranking(self, state: State) -> Tensor | None:
        if "mask" in state:
            return state["mask"]
        template = state["template"]
        return template_mask(self.cfg, template.shape[-1], len(template), template.device)

    def _normalized(self, crops: Tensor) -> Tensor:
        pixels = crops.permute(0, 3, 1, 2).float()
        return ((pixels - self.mean) / self.std).to(self.dtype)
