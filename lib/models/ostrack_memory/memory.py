"""Modules of the memory: the tokens it adds to the encoder's context, and what it reads from the output."""

from __future__ import annotations

import torch
from timm.layers import trunc_normal_
from torch import Tensor, nn

from lib.config.ostrack_memory import MemoryConfig
from lib.models.layers.encoder import Encoded

PRESENCE = "memory.presence.layers"  # prefix of the names of presence's weights, before ".0" and ".2"
_HIDDEN = 128
_LOGIT_SCALE = 0.25  # factor of the logit of the best score, which is from -9 to 9


class Memory(nn.Module):
    """Dynamic template, carried token and presence; stateless: the state is passed in and returned.

    Args:
        template_grid, dynamic_grid: tokens per side of a template, and of the central part used of a dynamic template.
    """

    middle: Tensor

    def __init__(self, dim: int, config: MemoryConfig, template_grid: int, dynamic_grid: int):
        super().__init__()
        self.dynamic = nn.Parameter(torch.zeros(dim)) if config.DYNAMIC_TEMPLATE else None
        self.token = self.carry = None
        if config.TOKEN:
            self.token = nn.Parameter(torch.zeros(1, 1, dim))
            trunc_normal_(self.token, std=0.02)
            self.carry = nn.Linear(dim, dim, bias=False)  # zero: training starts without the carried token
            nn.init.zeros_(self.carry.weight)
        self.presence = PresenceHead(dim, config.TOKEN) if config.PRESENCE else None
        tokens = torch.arange(template_grid**2).view(template_grid, template_grid)
        border = (template_grid - dynamic_grid) // 2
        inside = tokens[border : border + dynamic_grid, border : border + dynamic_grid].flatten()
        self.register_buffer("middle", inside, persistent=False)

    def embed_dynamic(self, template: Tensor) -> Tensor:
        """Map template tokens, (B, Lz, C), to the tokens of a dynamic template, (B, Ld, C)."""
        assert self.dynamic is not None
        return template[:, self.middle] + self.dynamic

    def context(
        self, template: Tensor, dynamic: Tensor | None, token: Tensor | None, presence: Tensor | None
    ) -> Tensor:
        """Return the context tokens of the encoder, (B, Lc, C), template tokens first.

        Args:
            template: tokens of the first template, (B, Lz, C).
            dynamic: tokens of the dynamic template, from :meth:`embed_dynamic`.
            token: from :meth:`read` of the previous frame, (B, 1, C) float32; zeros or None in the first frame.
            presence: likewise, (B, 1), weight of the token; None = 1.
        """
        parts = [template]
        if dynamic is not None:
            parts.append(dynamic)
        if self.token is not None and self.carry is not None:
            fresh = self.token.expand(len(template), -1, -1)
            if token is not None:
                carried = self.carry(token.to(self.carry.weight.dtype))
                fresh = fresh + (carried if presence is None else presence[:, :, None].to(carried.dtype) * carried)
            parts.append(fresh.to(template.dtype))
        return torch.cat(parts, dim=1)

    def read(self, encoded: Encoded, score_map: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Return the token for the next frame, (B, 1, C) float32, and the presence logit, (B, 1) float32."""
        token = encoded.context[:, -1:] if self.token is not None else None
        logit = None if self.presence is None else self.presence(encoded.search, score_map, token)
        return None if token is None else token.float(), logit


class PresenceHead(nn.Module):
    """Predict target presence in the search region from tokens around the score map's peak and the carried token."""

    def __init__(self, dim: int, token: bool):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(dim * (1 + token) + 1, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, 1))

    def forward(self, search: Tensor, score_map: Tensor, token: Tensor | None) -> Tensor:
        """Return the logit (B, 1), float32.

        Args:
            search: encoded tokens (B, Lx, C).
            score_map: (B, 1, S, S) in (0, 1), detached: the loss of presence does not train it.
            token: (B, 1, C) or None.
        """
        scores = score_map.detach().flatten(1).float()
        weights = scores**2 / (scores**2).sum(dim=1, keepdim=True)
        seen = [(weights[:, None].to(search.dtype) @ search)[:, 0]]
        if token is not None:
            seen.append(token[:, 0])
        best = scores.amax(dim=1, keepdim=True).logit() * _LOGIT_SCALE
        features = torch.cat((*(part.float() for part in seen), best), dim=1)
        with torch.autocast(features.device.type, enabled=False):
            return self.layers(features.to(next(self.layers.parameters()).dtype)).float()
