"""A family of trackers outside of the project: OSTrack that adds to the template what it looked like until now.

Its memory is a running mean of the template's encoded tokens. It is an entry of the state, so it is carried by targets,
by training along the search frames of a sample, and by exported files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lib.config.ostrack import OSTrackConfig
from lib.models.family import Family
from lib.models.layers.block import DIRECT, Execution
from lib.models.ostrack.ostrack import OSTrack, build_ostrack, head_features
from lib.models.state import State
from lib.train.actors import Actor

SHARE = 0.2  # of the newest frame in the mean


@dataclass(frozen=True)
class MeanMemoryConfig(OSTrackConfig):
    """The same keys as OSTrack's."""

    family: ClassVar[str] = "mean_memory"


class MeanMemory(nn.Module):
    """OSTrack's backbone and head, and a projection of the memory that starts as zero."""

    def __init__(self, base: OSTrack):
        super().__init__()
        self.backbone, self.box_head, self.correlation = base.backbone, base.box_head, base.correlation
        self.project = nn.Linear(base.backbone.embed_dim, base.backbone.embed_dim)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, template: Tensor, search: Tensor, memory: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Crops (B, 3, H, H) and memory (B, Lz, C) to the head's outputs with ``pred_boxes``, and the new memory."""
        backbone = self.backbone
        template, search = backbone.embed(template, "template"), backbone.embed(search, "search")
        encoded = backbone.encode(template + self.project(memory.to(template.dtype)), search)
        features = head_features(encoded.search, encoded.context, backbone.search_grid, self.correlation)
        maps = self.box_head(features)
        memory = (1 - SHARE) * memory + SHARE * encoded.context.float()
        return {"pred_boxes": self.box_head.decode(maps)[0][:, None], **maps}, memory


class TrackingForm(nn.Module):
    """See :class:`lib.models.state.TrackingModel`."""

    def __init__(self, cfg: MeanMemoryConfig, model: MeanMemory):
        super().__init__()
        self.model = model.eval()
        self.dtype = next(model.parameters()).dtype
        for name, values in (("mean", cfg.DATA.MEAN), ("std", cfg.DATA.STD)):
            self.register_buffer(name, 255 * torch.tensor(values, device=self.device).view(1, 3, 1, 1))

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def prepare(self, state: State) -> State:
        return {**state, "template": self._normalized(state["template"])}

    def run(self, state: State, crops: Tensor) -> tuple[dict[str, Tensor], State]:
        outputs, memory = self.model(state["template"], self._normalized(crops), state["memory"])
        return outputs, {"memory": memory}

    def _normalized(self, crops: Tensor) -> Tensor:
        return ((crops.permute(0, 3, 1, 2).float() - self.mean) / self.std).to(self.dtype)


class MeanMemoryActor(Actor):
    """Trains along the search frames of a sample, in their order."""

    def forward(self, batch: dict[str, Tensor], epoch: int | None) -> dict[str, Any]:
        template = batch["template_images"][0]
        memory = empty_memory(self.cfg, len(template), template.device)
        found = []
        for search in batch["search_images"]:
            outputs, memory = self.net(template, search, memory)
            found.append(outputs)
        return {name: torch.cat([outputs[name] for outputs in found]) for name in found[0]}


def empty_memory(cfg: MeanMemoryConfig, batch: int, device: torch.device) -> Tensor:
    dim = {"vit_tiny": 192, "vit_smal": 384, "vit_base": 768}[cfg.MODEL.BACKBONE.TYPE[:8]]
    return torch.zeros(batch, (cfg.DATA.TEMPLATE.SIZE // cfg.MODEL.BACKBONE.STRIDE) ** 2, dim, device=device)


def build(cfg: MeanMemoryConfig, pretrained: bool = False, execution: Execution = DIRECT) -> MeanMemory:
    return MeanMemory(build_ostrack(cfg, pretrained, execution))


def initial_state(cfg: MeanMemoryConfig, crops: Tensor, boxes: Tensor) -> State:
    return {"template": crops, "memory": empty_memory(cfg, len(crops), crops.device)}


FAMILY = Family(
    config=MeanMemoryConfig,
    build=build,
    initial_state=initial_state,
    plain=TrackingForm,
    actor="tests.mean_memory:MeanMemoryActor",
)
