"""OSTrack run the published way: the plain reference that everything else is timed against.

Every layer forms its whole attention map in memory; the template is embedded anew in every frame; the head's branches
run one after the other, with batch norm; all is float32 and eager. A frame is decoded to BGR and converted, padded and
resized with a mask beside it, and normalized in separate passes; targets are tracked one after the other, each by a
model that was built for its sequence. It runs on the weights of this project's model and gives the same boxes. Beyond
the published code it knows ``MODEL.HEAD.CORRELATION``, which `vits_256_ce_images` needs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lib.config.ostrack import OSTrackConfig
from lib.models.layers.attention import Attention
from lib.models.layers.head import CenterHead
from lib.models.ostrack import OSTrack
from lib.models.ostrack.elimination import template_mask
from lib.test.evaluation.protocol import TrackResult
from lib.test.tracker.build import tracking_model
from lib.utils.box_ops import clip_box
from lib.utils.crop import CropWindow, box_from_crop, box_to_crop, crop_window
from lib.utils.errors import ConfigError
from lib.utils.windows import hann2d


class PlainAttention(Attention):
    """Attention as the formula says: every weight is formed, in memory, and kept for the backward pass."""

    def attend_qkv(self, qkv: Tensor, rows: slice | Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        batch, count, width = qkv.shape
        q, k, v = qkv.reshape(batch, count, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        weights = ((q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5).softmax(dim=-1)
        out = self.proj((weights @ v).transpose(1, 2).reshape(batch, count, width // 3))
        if isinstance(rows, Tensor):
            return out, weights.gather(2, rows[:, None, :, None].expand(-1, self.num_heads, -1, count))
        return out, None if rows is None else weights[:, :, rows]


def use_plain_attention(net: OSTrack) -> None:
    """Let every block of ``net`` attend by :class:`PlainAttention`; weights stay as they are."""
    for block in net.backbone.blocks:
        block.attn.__class__ = PlainAttention


def published_forward(net: OSTrack, template: Tensor, search: Tensor, mask: Tensor | None) -> dict[str, Any]:
    """Compute :meth:`OSTrack.forward` by the published steps, for a model with a CENTER head.

    ``net`` is after :func:`use_plain_attention`; ``mask`` has the template tokens that rank search tokens, (B, Lz)
    bool; None = all. Returns ``score_map``, ``size_map``, ``offset_map``, ``backbone_feat`` and ``removed_indexes_s``,
    as there.
    """
    backbone = net.backbone
    z = backbone.patch_embed(template) + backbone.pos_embed_z
    x = backbone.patch_embed(search) + backbone.pos_embed_x
    if backbone.template_segment_pos_embed is not None:
        z, x = z + backbone.template_segment_pos_embed, x + backbone.search_segment_pos_embed
    template_count, search_count = z.shape[1], x.shape[1]
    indices = torch.arange(search_count, device=x.device).repeat(len(x), 1)
    tokens, removed = torch.cat((z, x), dim=1), []
    for layer, block in enumerate(backbone.blocks):
        update, weights = block.attn(block.norm1(tokens), slice(None))
        tokens = tokens + update
        remaining = tokens.shape[1] - template_count
        keep = math.ceil(backbone.keep_ratios.get(layer, 1.0) * remaining)
        if keep < remaining:
            ranking = weights[:, :, :template_count, template_count:]
            if mask is not None:
                chosen = mask[:, None, :, None].expand_as(ranking)
                ranking = ranking[chosen].view(len(x), ranking.shape[1], -1, remaining)
            order = ranking.mean(dim=2).mean(dim=1).sort(dim=1, descending=True).indices
            indices, dropped = indices.gather(1, order[:, :keep]), indices.gather(1, order[:, keep:])
            kept = order[:, :keep, None].expand(-1, -1, tokens.shape[-1])
            tokens = torch.cat((tokens[:, :template_count], tokens[:, template_count:].gather(1, kept)), dim=1)
            removed.append(dropped)
        tokens = tokens + block.mlp(block.norm2(tokens))
    tokens = backbone.norm(tokens)
    z, x = tokens[:, :template_count], tokens[:, template_count:]
    if removed:
        padding = torch.zeros(len(x), search_count - x.shape[1], x.shape[2], device=x.device)
        every = torch.cat((indices, *removed), dim=1)[..., None].expand(-1, -1, x.shape[2])
        padded = torch.cat((x, padding), dim=1)
        x = torch.zeros_like(padded).scatter(1, every, padded)
    grid = backbone.search_grid
    seen = x
    if net.correlation:
        similarity = torch.bmm(F.normalize(x, dim=-1), F.normalize(z, dim=-1).transpose(1, 2))
        seen = torch.cat((x, similarity), dim=-1)
    features = seen.transpose(1, 2).reshape(len(x), -1, grid, grid).contiguous()
    score, offset, size = (_branch(net.box_head, name, features) for name in CenterHead.branches)
    maps = {"score_map": _bounded(score), "size_map": _bounded(size), "offset_map": offset}
    return {**maps, "backbone_feat": torch.cat((z, x), dim=1), "removed_indexes_s": removed}


def _branch(head: torch.nn.Module, name: str, features: Tensor) -> Tensor:
    for number in range(1, 6):
        features = head.get_submodule(f"conv{number}_{name}")(features)
    return features


def _bounded(logits: Tensor) -> Tensor:
    return torch.clamp(logits.sigmoid(), min=1e-4, max=1 - 1e-4)


def published_read(path: str | Path) -> np.ndarray:
    """Return a picture as RGB: decoded to BGR, then converted."""
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def published_crop(image: np.ndarray, window: CropWindow, size: int) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Crop by padding and resizing.

    Returns the picture (size, size, 3); where it was padded, bool (size, size); and the padding, in pixels of the
    image, at the top, bottom, left and right.
    """
    right, bottom = window.x + window.side, window.y + window.side
    beyond = -window.y, bottom - image.shape[0] + 1, -window.x, right - image.shape[1] + 1
    pad = [max(pixels, 0) for pixels in beyond]
    inside = image[window.y + pad[0] : bottom - pad[1], window.x + pad[2] : right - pad[3]]
    patch = cv2.copyMakeBorder(inside, *pad, cv2.BORDER_CONSTANT)
    padding = np.ones(patch.shape[:2])
    padding[pad[0] : window.side - pad[1], pad[2] : window.side - pad[3]] = 0
    return cv2.resize(patch, (size, size)), cv2.resize(padding, (size, size)).astype(bool), pad


@dataclass
class PublishedTarget:
    """State of one target: template (1, 3, H, W), chosen template tokens (1, Lz), last ``xywh`` box."""

    template: Tensor
    mask: Tensor | None
    box: list[float]


class PublishedTracker:
    """The published tracker, for the runner's protocol: its targets are tracked one after the other.

    The model is built and loaded here, as the published code does for every sequence. Raises ConfigError: the
    experiment has another head than CENTER.
    """

    def __init__(self, cfg: OSTrackConfig, checkpoint: str | Path, device: torch.device) -> None:
        if cfg.MODEL.HEAD.TYPE != "CENTER":
            raise ConfigError(f"the published way tracks with a CENTER head alone, not with {cfg.MODEL.HEAD.TYPE}")
        self.cfg, self.device = cfg, device
        self.net = tracking_model(cfg, Path(checkpoint)).to(device).eval()
        use_plain_attention(self.net)
        self.mean = torch.tensor(list(cfg.DATA.MEAN), device=device).view(1, 3, 1, 1)
        self.std = torch.tensor(list(cfg.DATA.STD), device=device).view(1, 3, 1, 1)
        self.window = hann2d(cfg.TEST.SEARCH_SIZE // cfg.MODEL.BACKBONE.STRIDE).to(device)

    def start(self, image: np.ndarray, box: Sequence[float]) -> PublishedTarget:
        """Crop the template around the first ``xywh`` box."""
        size, whole = self.cfg.TEST.TEMPLATE_SIZE, torch.tensor(box, dtype=torch.float32)
        crop, factor = self._crop(image, box, self.cfg.TEST.TEMPLATE_FACTOR, size)
        mask = template_mask(self.cfg, size, 1, self.device, box_to_crop(whole, whole, factor, size)[None])
        if mask is not None and mask.dtype != torch.bool:
            tokens = (size // self.cfg.MODEL.BACKBONE.STRIDE) ** 2
            mask = torch.zeros(1, tokens, dtype=torch.bool, device=self.device).scatter(1, mask, True)
        return PublishedTarget(self._normalize(crop), mask, list(box))

    @torch.no_grad()
    def step(self, images: Sequence[np.ndarray], targets: Sequence[PublishedTarget]) -> TrackResult:
        """Find each target in its next image."""
        step, test = TrackResult([], [], 0.0, 0.0), self.cfg.TEST
        for image, target in zip(images, targets, strict=True):
            start = time.perf_counter()
            patch, factor = self._crop(image, target.box, test.SEARCH_FACTOR, test.SEARCH_SIZE)
            cropped = time.perf_counter()
            out = published_forward(self.net, target.template, self._normalize(patch), target.mask)
            box, score = self._read_box(out)  # waits for the device
            predicted = time.perf_counter()
            pixels = box_from_crop(box, target.box, factor, test.SEARCH_SIZE)
            target.box = clip_box(pixels, image.shape[0], image.shape[1], margin=10)
            step.boxes.append(list(target.box))
            step.scores.append(score)
            step = step._replace(crop=step.crop + cropped - start, network=step.network + predicted - cropped)
        return step

    def _crop(self, image: np.ndarray, box: Sequence[float], factor: float, size: int) -> tuple[np.ndarray, float]:
        """Return a crop (size, size, 3), and its pixels per pixel of the image."""
        window = crop_window(box, factor)
        return published_crop(image, window, size)[0], size / window.side

    def _normalize(self, patch: np.ndarray) -> Tensor:
        """(1, 3, H, W) on the device, in three passes."""
        pixels = torch.tensor(patch).to(self.device).float().permute(2, 0, 1).unsqueeze(0)
        return ((pixels / 255.0) - self.mean) / self.std

    def _read_box(self, out: dict[str, Any]) -> tuple[list[float], float]:
        """Return the ``cxcywh`` box of the best cell, in fractions of the search region, and the cell's score."""
        response = (self.window * out["score_map"]).flatten(1)
        _, cell = torch.max(response, dim=1, keepdim=True)
        grid, pick = out["score_map"].shape[-1], cell.unsqueeze(1).expand(-1, 2, 1)
        size, offset = (out[name].flatten(2).gather(2, pick).squeeze(-1) for name in ("size_map", "offset_map"))
        x, y = cell % grid, torch.div(cell, grid, rounding_mode="floor")
        size = size * (self.cfg.DATA.SEARCH.SIZE / self.cfg.TEST.SEARCH_SIZE)  # 1 wherever the published way runs
        box = torch.cat([(x + offset[:, :1]) / grid, (y + offset[:, 1:]) / grid, size], dim=1)
        return box[0].tolist(), out["score_map"].flatten(1).gather(1, cell).item()
