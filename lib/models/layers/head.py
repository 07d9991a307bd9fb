"""Box heads: feature maps of the search region in, one box out.

``CENTER`` and ``MLP`` predict a score, an offset and a size for every cell and share :func:`decode_boxes`. ``CORNER``
predicts two corner distributions instead (STARK, ICCV 2021). Whatever the precision of the features, scores, sizes and
boxes are float32: in half precision the upper clamp of the score, 1 - 1e-4, would round to 1. Under autocast the last
layer computes in float32 too, so that boxes are not rounded to half precision; those before it follow the autocast.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

# Logit of a score of 0.01: cells start out as background, so that the focal loss starts small (RetinaNet, ICCV 2017).
_SCORE_PRIOR = -math.log((1 - 0.01) / 0.01)


def decode_boxes(score_map: Tensor, size_map: Tensor, offset_map: Tensor) -> tuple[Tensor, Tensor]:
    """Read the box at the best cell of a score map.

    Args:
        score_map: (B, 1, S, S).
        size_map: (B, 2, S, S), width and height as fractions of the search region.
        offset_map: (B, 2, S, S), x and y from the cell's corner to the box centre, in cells.

    Returns:
        Boxes (B, 4), ``cxcywh`` as fractions of the search region, and the cells (B,), row by row, that gave them.
    """
    grid = score_map.shape[-1]
    cell = score_map.flatten(1).argmax(dim=1)
    pick = cell[:, None, None].expand(-1, 2, 1)
    size = size_map.flatten(2).gather(2, pick).squeeze(-1)
    offset = offset_map.flatten(2).gather(2, pick).squeeze(-1)
    corner = torch.stack((cell % grid, torch.div(cell, grid, rounding_mode="floor")), dim=1)
    return torch.cat(((corner + offset) / grid, size), dim=1), cell


def _in_own_precision(layer: nn.Module, features: Tensor) -> Tensor:
    """A layer in the precision of its weights, whatever the autocast around it."""
    with torch.autocast(features.device.type, enabled=False):
        return layer(features.to(next(layer.parameters()).dtype))


def _bounded(logits: Tensor) -> Tensor:
    """Sigmoid in float32, kept 1e-4 away from 0 and 1."""
    return logits.float().sigmoid().clamp(1e-4, 1 - 1e-4)


def _cell_outputs(score: Tensor, offset: Tensor, size: Tensor) -> dict[str, Tensor]:
    """The outputs of a head that predicts per cell; the arguments are raw, the offset stays so."""
    maps = {"score_map": _bounded(score), "size_map": _bounded(size), "offset_map": offset.float()}
    boxes, _ = decode_boxes(**maps)
    return {"pred_boxes": boxes[:, None], **maps}


def _conv(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class ConvHead(nn.Module):
    """A head of branches of four conv3x3-BN-ReLU and a conv1x1 each, called ``conv1_NAME`` to ``conv5_NAME``.

    ``branches`` says what each is called and how many channels it gives.
    """

    branches: dict[str, int]

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.names = tuple(self.branches)  # the compiler of PyTorch 2.4 reads no class attributes
        widths = [in_channels, channels, channels // 2, channels // 4, channels // 8]
        for name, outputs in self.branches.items():
            for i in range(4):
                self.add_module(f"conv{i + 1}_{name}", _conv(widths[i], widths[i + 1]))
            self.add_module(f"conv5_{name}", nn.Conv2d(widths[4], outputs, 1))
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Features (B, C, S, S) to what :meth:`read` gives."""
        return self.read(*[self._branch(name, features) for name in self.names])

    def _branch(self, name: str, features: Tensor) -> Tensor:
        """Run one branch; (B, C, S, S) to (B, outputs, S, S)."""
        for i in range(1, 5):
            features = getattr(self, f"conv{i}_{name}")(features)
        return _in_own_precision(getattr(self, f"conv5_{name}"), features)

    @staticmethod
    def read(*maps: Tensor) -> dict[str, Tensor]:
        """Turn the raw maps of the branches, in their order, into the head's outputs."""
        raise NotImplementedError


class CenterHead(ConvHead):
    """Centre score, offset and size per cell (CenterNet style)."""

    branches = {"ctr": 1, "offset": 2, "size": 2}

    def __init__(self, in_channels: int, channels: int):
        super().__init__(in_channels, channels)
        nn.init.constant_(self.get_parameter("conv5_ctr.bias"), _SCORE_PRIOR)

    @staticmethod
    def read(*maps: Tensor) -> dict[str, Tensor]:
        """``pred_boxes`` (B, 1, 4), ``score_map``, ``size_map``, ``offset_map``."""
        return _cell_outputs(*maps)


class MLPHead(nn.Module):
    """Centre score, offset and size per cell by three linear layers on each token: no look at the neighbours."""

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(in_channels, channels), nn.ReLU(), nn.Linear(channels, channels), nn.ReLU()
        )
        self.output = nn.Linear(channels, 5)
        with torch.no_grad():
            self.output.bias[0] = _SCORE_PRIOR

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Features (B, C, S, S) to ``pred_boxes`` (B, 1, 4), ``score_map``, ``size_map``, ``offset_map``."""
        maps = _in_own_precision(self.output, self.layers(features.movedim(1, -1))).movedim(-1, 1)
        return _cell_outputs(maps[:, :1], maps[:, 1:3], maps[:, 3:])


class CornerHead(ConvHead):
    """Expected top-left and bottom-right corners under two spatial distributions."""

    branches = {"tl": 1, "br": 1}

    @staticmethod
    def read(*maps: Tensor) -> dict[str, Tensor]:
        """``pred_boxes`` (B, 1, 4) and ``corner_map`` (B, 2, S, S), each summing to 1.

        Cell ``i`` stands for the coordinate ``i / S``, as published. There is no score map.
        """
        logits = torch.cat(maps, dim=1)
        grid = logits.shape[-1]
        chances = logits.float().flatten(2).softmax(dim=-1).unflatten(2, (grid, grid))
        steps = torch.arange(grid, device=logits.device, dtype=torch.float32) / grid
        x, y = (chances.sum(2) * steps).sum(-1), (chances.sum(3) * steps).sum(-1)
        centre, size = torch.stack((x.mean(1), y.mean(1)), 1), torch.stack((x[:, 1] - x[:, 0], y[:, 1] - y[:, 0]), 1)
        return {"pred_boxes": torch.cat((centre, size), dim=1)[:, None], "corner_map": chances}


HEADS = {"CENTER": CenterHead, "CORNER": CornerHead, "MLP": MLPHead}
