"""OSTrack as it was trained, run call by call: what faster forms are compared with, and what can be looked into."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lib.config.ostrack import Config
from lib.models.layers.candidate_elimination import template_mask
from lib.models.ostrack.ostrack import OSTrack
from lib.models.state import State


class PlainModel(nn.Module):
    """A trained OSTrack as a :class:`lib.models.state.TrackingModel`; its state is that of ``initial_state``.

    Args:
        cfg: the experiment.
        model: in the precision to run in, on the device to run on; it is put in evaluation mode.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, cfg: Config, model: OSTrack):
        super().__init__()
        self.cfg, self.model = cfg, model.eval()
        parameter = next(model.parameters())
        self.dtype = parameter.dtype
        # The published preprocessing divides by 255 first; folding that in saves a pass over the pixels.
        for name, values in (("mean", cfg.DATA.MEAN), ("std", cfg.DATA.STD)):
            scaled = 255 * torch.tensor(list(values), dtype=torch.float32, device=parameter.device)
            self.register_buffer(name, scaled.view(1, 3, 1, 1))

    @property
    def device(self) -> torch.device:
        """Where its weights lie."""
        return self.mean.device

    def prepare(self, state: State) -> State:
        """Normalize the template."""
        return {**state, "template": self._normalized(state["template"])}

    def run(self, state: State, crops: Tensor) -> tuple[dict[str, Tensor], State]:
        """See :class:`TrackingModel`. Nothing changes from frame to frame."""
        template, mask = state["template"], state.get("mask")
        if mask is None:
            mask = template_mask(self.cfg, template.shape[-1], len(template), template.device)
        search = self._normalized(crops)
        return self.model(template, search, ce_template_mask=mask, template_box=state.get("box")), {}

    def _normalized(self, crops: Tensor) -> Tensor:
        pixels = crops.permute(0, 3, 1, 2).float()
        return ((pixels - self.mean) / self.std).to(self.dtype)
