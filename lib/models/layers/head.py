"""Box heads: feature maps of the search region in, one box out.

A head defines its maps, how a box and a score are decoded from them, its location loss, and how its maps are shown. To
add a head, write its class and add it to :data:`HEADS`, or, for one family, to its ``heads``.

``CENTER`` and ``MLP`` predict a score, an offset and a size for every cell, ``CORNER`` two corner distributions (STARK,
ICCV 2021). Scores, sizes and boxes are float32 in any precision: in half precision the upper clamp of the score,
1 - 1e-4, would round to 1. Under autocast the last layer is computed in float32 too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from lib.models.layers.score_map import focal_loss, gaussian_maps

Maps = Mapping[str, Tensor]

# Logit of a score of 0.01: cells start as background, so that the focal loss starts small (RetinaNet, ICCV 2017).
_SCORE_PRIOR = -math.log((1 - 0.01) / 0.01)


def _in_own_precision(layer: nn.Module, features: Tensor) -> Tensor:
    """Run a layer in the precision of its weights, without autocast."""
    with torch.autocast(features.device.type, enabled=False):
        return layer(features.to(next(layer.parameters()).dtype))


def _bounded(logits: Tensor) -> Tensor:
    """Return the sigmoid in float32, clamped to [1e-4, 1 - 1e-4]."""
    return logits.float().sigmoid().clamp(1e-4, 1 - 1e-4)


def _cell_outputs(score: Tensor, offset: Tensor, size: Tensor) -> dict[str, Tensor]:
    """Turn raw maps into the outputs of a head that predicts per cell; the offset stays raw."""
    return {"score_map": _bounded(score), "size_map": _bounded(size), "offset_map": offset.float()}


def _from_corners(cells: Tensor, offsets: Tensor, grid: int) -> Tensor:
    """Turn offsets from the corners of cells, in cells, into fractions of the whole grid.

    Args:
        cells: (B or 1, N), numbers of the cells, row by row.
        offsets: (B, 2, N), xy; so is the result.
    """
    corners = torch.stack((cells % grid, torch.div(cells, grid, rounding_mode="floor")), dim=1)
    return (corners + offsets) / grid


def _from_all_corners(offset: Tensor) -> Tensor:
    """Do the same for all cells: (B, 2, S, S) in, (B, 2, S * S) out."""
    grid = offset.shape[-1]
    return _from_corners(torch.arange(grid * grid, device=offset.device)[None], offset.flatten(2), grid)


def _conv(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class BoxHead(nn.Module):
    """Base class of heads.

    Attributes:
        outputs: names of the maps that :meth:`decode` reads, in the order of exported files. Distillation needs a
            ``score_map`` among them.
        view_names: titles of the maps of :meth:`views`.
    """

    outputs: ClassVar[tuple[str, ...]]
    view_names: ClassVar[tuple[str, ...]]

    @staticmethod
    def decode(maps: Maps, window: Tensor | None = None, size_scale: float = 1.0) -> tuple[Tensor, Tensor]:
        """Read one box and its score from the maps of each sample.

        Args:
            window: (1, 1, S, S), multiplied with the scores before the best cell is chosen; None = 1.
            size_scale: factor for predicted sizes, for a search region of another size than in training.

        Returns:
            Boxes (B, 4), ``cxcywh`` as fractions of the search region, and scores (B,) in (0, 1), without the window.
        """
        raise NotImplementedError

    @staticmethod
    def centers(maps: Maps) -> Tensor:
        """Return where an object would be that each cell of ``score_map`` sees: the middle of the cell.

        Returns:
            (B, 2, S * S), xy as fractions of the search region. Only ``TEST.DISTRACTOR_WEIGHT`` needs it.
        """
        return _from_all_corners(torch.full_like(maps["score_map"], 0.5).expand(-1, 2, -1, -1))

    @staticmethod
    def location_loss(maps: Maps, boxes: Tensor, label: Tensor | None = None) -> Tensor:
        """Return the loss of the target's location, a float32 scalar; the losses of its box are separate.

        Args:
            boxes: ground truth, (B, 4) ``xywh`` as fractions of the search region.
            label: (B,), 1 where the search region shows the target and 0 elsewhere; None = 1.
        """
        raise NotImplementedError

    @staticmethod
    def views(maps: Maps, window: Tensor) -> dict[str, Tensor]:
        """Return the maps (S, S) of one sample to show, by title."""
        raise NotImplementedError


class CellHead(BoxHead):
    """A head that predicts a score, an offset and a size for every cell.

    ``score_map`` is (B, 1, S, S). ``size_map`` (B, 2, S, S) is width and height as fractions of the search region,
    ``offset_map`` (B, 2, S, S) x and y from the cell's corner to the box center, in cells.
    """

    outputs = ("score_map", "size_map", "offset_map")
    view_names = ("score_map", "score_map_hann")

    @staticmethod
    def decode(maps: Maps, window: Tensor | None = None, size_scale: float = 1.0) -> tuple[Tensor, Tensor]:
        """Decode the box at the best cell, see :class:`BoxHead`."""
        scores = maps["score_map"]
        cell = (scores if window is None else window * scores).flatten(1).argmax(dim=1)
        pick = cell[:, None, None].expand(-1, 2, 1)
        size = maps["size_map"].flatten(2).gather(2, pick).squeeze(-1)
        size = size if size_scale == 1 else size_scale * size
        offset = maps["offset_map"].flatten(2).gather(2, pick)
        center = _from_corners(cell[:, None], offset, scores.shape[-1]).squeeze(-1)
        return torch.cat((center, size), dim=1), scores.flatten(1).gather(1, cell[:, None])[:, 0]

    @staticmethod
    def centers(maps: Maps) -> Tensor:
        """Return the center of the box that each cell predicts, see :class:`BoxHead`."""
        return _from_all_corners(maps["offset_map"])

    @staticmethod
    def location_loss(maps: Maps, boxes: Tensor, label: Tensor | None = None) -> Tensor:
        """Return the focal loss of the score map."""
        score = maps["score_map"]
        target = gaussian_maps(boxes, score.shape[-1])
        if label is not None:
            target = target * label[:, None, None]
        return focal_loss(score.float(), target[:, None])

    @staticmethod
    def views(maps: Maps, window: Tensor) -> dict[str, Tensor]:
        """Return the score map without and with the window."""
        score = maps["score_map"]
        return {"score_map": score[0, 0], "score_map_hann": (window * score)[0, 0]}


class ConvHead(BoxHead):
    """A head whose branches have four conv3x3-BN-ReLU and a conv1x1 each, called ``conv1_NAME`` to ``conv5_NAME``."""

    branches: ClassVar[dict[str, int]]  # name and output channels of each

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.names = tuple(self.branches)  # torch.compile of PyTorch 2.4 cannot read class attributes
        widths = [in_channels, channels, channels // 2, channels // 4, channels // 8]
        for name, outputs in self.branches.items():
            for i in range(4):
                self.add_module(f"conv{i + 1}_{name}", _conv(widths[i], widths[i + 1]))
            self.add_module(f"conv5_{name}", nn.Conv2d(widths[4], outputs, 1))
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Map features (B, C, S, S) to the outputs of :meth:`read`."""
        return self.read(*[self._branch(name, features) for name in self.names])

    def _branch(self, name: str, features: Tensor) -> Tensor:
        for i in range(1, 5):
            features = getattr(self, f"conv{i}_{name}")(features)
        return _in_own_precision(getattr(self, f"conv5_{name}"), features)

    @staticmethod
    def read(*maps: Tensor) -> dict[str, Tensor]:
        """Turn the raw maps of the branches into the head's outputs."""
        raise NotImplementedError


class CenterHead(CellHead, ConvHead):
    """Predict center score, offset and size per cell (CenterNet style)."""

    branches = {"ctr": 1, "offset": 2, "size": 2}

    def __init__(self, in_channels: int, channels: int):
        super().__init__(in_channels, channels)
        nn.init.constant_(self.get_parameter("conv5_ctr.bias"), _SCORE_PRIOR)

    @staticmethod
    def read(*maps: Tensor) -> dict[str, Tensor]:
        """See :class:`CellHead`."""
        return _cell_outputs(*maps)


class MLPHead(CellHead):
    """Predict center score, offset and size per cell by three linear layers on each token."""

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(in_channels, channels), nn.ReLU(), nn.Linear(channels, channels), nn.ReLU()
        )
        self.output = nn.Linear(channels, 5)
        with torch.no_grad():
            self.output.bias[0] = _SCORE_PRIOR

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Map features (B, C, S, S) to the outputs of :class:`CellHead`."""
        maps = _in_own_precision(self.output, self.layers(features.movedim(1, -1))).movedim(-1, 1)
        return _cell_outputs(maps[:, :1], maps[:, 1:3], maps[:, 3:])


class CornerHead(ConvHead):
    """Predict top-left and bottom-right corners as the expectations of two spatial distributions."""

    branches = {"tl": 1, "br": 1}
    outputs = ("pred_boxes", "corner_map")
    view_names = ("corner_top_left", "corner_bottom_right")

    @staticmethod
    def read(*maps: Tensor) -> dict[str, Tensor]:
        """Return ``pred_boxes`` (B, 1, 4) and ``corner_map`` (B, 2, S, S), each map summing to 1.

        Cell ``i`` has the coordinate ``i / S``, as published.
        """
        logits = torch.cat(maps, dim=1)
        grid = logits.shape[-1]
        chances = logits.float().flatten(2).softmax(dim=-1).unflatten(2, (grid, grid))
        steps = torch.arange(grid, device=logits.device, dtype=torch.float32) / grid
        x, y = (chances.sum(2) * steps).sum(-1), (chances.sum(3) * steps).sum(-1)
        center, size = torch.stack((x.mean(1), y.mean(1)), 1), torch.stack((x[:, 1] - x[:, 0], y[:, 1] - y[:, 0]), 1)
        return {"pred_boxes": torch.cat((center, size), dim=1)[:, None], "corner_map": chances}

    @staticmethod
    def decode(maps: Maps, window: Tensor | None = None, size_scale: float = 1.0) -> tuple[Tensor, Tensor]:
        """Return the expected box; its score is the geometric mean of the corners' best probabilities.

        Window and size scale do not apply.
        """
        return maps["pred_boxes"][:, 0], maps["corner_map"].flatten(2).amax(-1).prod(-1).sqrt()

    @staticmethod
    def location_loss(maps: Maps, boxes: Tensor, label: Tensor | None = None) -> Tensor:
        """Return 0: the corners are trained by the box losses alone."""
        return boxes.new_zeros(())

    @staticmethod
    def views(maps: Maps, window: Tensor) -> dict[str, Tensor]:
        """Return the distributions of the two corners."""
        first, second = maps["corner_map"][0]
        return {"corner_top_left": first, "corner_bottom_right": second}


Head = CenterHead | CornerHead | MLPHead
HEADS: dict[str, type[Head]] = {"CENTER": CenterHead, "CORNER": CornerHead, "MLP": MLPHead}
