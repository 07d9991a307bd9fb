"""OSTrack made ready to run: the same boxes, without the work that only training and inspection need.

What it saves, beside the plain model: the template is embedded once for a sequence; crops come as bytes, and their
normalisation is folded into the patch embedding; batch norm is folded into the convolutions, the first layers of the
head's branches are one convolution; the weights are kept in the type that is computed in; candidate elimination keeps
no record of what it drops. All shapes are static, nothing depends on values: it compiles and exports as a whole.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lib.models.layers.head import ConvHead
from lib.models.layers.linear import pack_linears
from lib.models.ostrack.backbone import Backbone, ranking_rows
from lib.models.ostrack.candidate_elimination import rank_tokens, restore

_MIDDLE = 128  # bytes become numbers from -128 to 127, which are exact in bfloat16


class InferenceModel(nn.Module):
    """A trained tracker for inference alone.

    Args:
        backbone: in evaluation mode; its modules are taken over, not copied.
        box_head: likewise.
        correlation: see :class:`lib.models.ostrack.OSTrack`.
        mean, std: of the normalisation that the model was trained with, per channel, in [0, 1].
    """

    patch_weight: Tensor

    def __init__(
        self, backbone: Backbone, box_head: nn.Module, correlation: bool, mean: Sequence[float], std: Sequence[float]
    ):
        super().__init__()
        self.correlation = correlation
        self.grids = {"template": backbone.template_grid, "search": backbone.search_grid}
        self.patch_side = backbone.patch_embed.patch_size[0]
        weight, bias = _on_bytes(backbone.patch_embed.proj, torch.tensor(mean), torch.tensor(std))
        self.register_buffer("patch_weight", weight)
        for part in self.grids:
            position, segment = backbone.position_embeddings(part)
            position = position + bias if segment is None else position + segment + bias
            self.register_buffer(f"{part}_position", position.detach().clone())
        self.blocks, self.norm = backbone.blocks, backbone.norm
        self.kept = backbone.kept_tokens()
        self.head = FusedConvHead(box_head) if isinstance(box_head, ConvHead) else box_head

    @property
    def dtype(self) -> torch.dtype:
        """The type that is computed in."""
        return self.patch_weight.dtype

    def embed(self, pixels: Tensor, part: str) -> Tensor:
        """Tokens (B, grid * grid, C) of RGB crops, uint8 (B, H, W, 3); ``part`` is ``template`` or ``search``."""
        grid, side = self.grids[part], self.patch_side
        batch, height, width, _ = pixels.shape
        if height != grid * side or width != grid * side:
            raise ValueError(
                f"the {part} is {height} x {width} pixels, the model was built for {grid * side} x {grid * side}"
            )
        patches = pixels.reshape(batch, grid, side, grid, side, 3).transpose(2, 3).reshape(batch, grid * grid, -1)
        tokens = F.linear(patches.to(self.dtype) - _MIDDLE, self.patch_weight)
        return tokens + getattr(self, f"{part}_position")

    def forward(self, template: Tensor, pixels: Tensor, ce_template_mask: Tensor | None = None) -> dict[str, Tensor]:
        """Find the template's target in the search region.

        Args:
            template: tokens (B, Lz, C) from :meth:`embed`.
            pixels: search regions, RGB uint8 (B, Hx, Hx, 3).
            ce_template_mask: as in :meth:`OSTrack.forward`.

        Returns:
            The head's outputs, as :meth:`OSTrack.forward`; float32.
        """
        count = template.shape[1]
        rows, row_mask = ranking_rows(ce_template_mask, count)
        tokens, places = torch.cat((template, self.embed(pixels, "search")), dim=1), None
        block: Any  # a Block, which torch's types do not know of a ModuleList
        for layer, block in enumerate(self.blocks):
            keep = self.kept.get(layer)
            tokens, attention = block.attend(tokens, None if keep is None else rows)
            if keep is not None:
                best = rank_tokens(attention, count, row_mask).topk(keep, dim=1).indices
                chosen = tokens[:, count:].gather(1, best[..., None].expand(-1, -1, tokens.shape[-1]))
                tokens = torch.cat((tokens[:, :count], chosen), dim=1)
                places = best if places is None else places.gather(1, best)
            tokens = block.feed_forward(tokens)
        tokens = self.norm(tokens)
        grid, found = self.grids["search"], tokens[:, count:]
        search = found if places is None else restore(found, places, grid * grid)
        if self.correlation:
            similarity = F.normalize(search, dim=-1) @ F.normalize(tokens[:, :count], dim=-1).transpose(1, 2)
            search = torch.cat((search, similarity), dim=-1)
        return self.head(search.transpose(1, 2).unflatten(2, (grid, grid)))


class FusedConvHead(nn.Module):
    """A convolutional head without batch norm, the first layers of its branches in one; the last is in float32."""

    def __init__(self, head: ConvHead):
        super().__init__()
        stages = [
            [fuse_conv_bn_eval(*head.get_submodule(f"conv{i}_{name}")[:2]) for name in head.branches]  # type: ignore[index]
            for i in range(1, 5)
        ]
        first = stages[0][0]
        self.first = nn.Conv2d(first.in_channels, first.out_channels * len(stages[0]), 3, padding=1)
        with torch.no_grad():
            self.first.weight.copy_(torch.cat([conv.weight for conv in stages[0]]))
            self.first.bias.copy_(torch.cat([conv.bias for conv in stages[0]]))  # type: ignore[union-attr]
        self.branches = nn.ModuleList(
            nn.Sequential(*(part for stage in stages[1:] for part in (stage[i], nn.ReLU(inplace=True))))
            for i in range(len(head.branches))
        )
        self.last = nn.ModuleList(head.get_submodule(f"conv5_{name}") for name in head.branches)
        self.read = head.read

    def _apply(self, function: Callable[[Tensor], Tensor], recurse: bool = True) -> FusedConvHead:
        """Conversions of type leave the last layers in float32: what they give is not to be rounded."""
        super()._apply(function, recurse)
        self.last.float()
        return self

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Features (B, C, S, S) to the head's outputs."""
        parts = F.relu(self.first(features)).chunk(len(self.branches), dim=1)
        maps = [last(branch(part).float()) for part, branch, last in zip(parts, self.branches, self.last, strict=True)]
        return self.read(*maps)


def explicit_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention by two matrix products, which CPUs do faster than PyTorch's fused kernel at a tracker's sizes.

    What all keys have in common moves all logits of a query alike, which softmax does not see. Without it logits are
    small, and lose less where they are rounded to bfloat16.
    """
    k = k - k.mean(dim=-2, keepdim=True)
    return ((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)).softmax(dim=-1) @ v


def prepare_inference(
    backbone: Backbone,
    box_head: nn.Module,
    correlation: bool,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    pack: bool = True,
) -> InferenceModel:
    """The inference form of a model's parts, which stay as they are.

    Args:
        mean, std: of the normalisation that the model was trained with, per channel, in [0, 1].
        dtype: type to compute in; the head's last layers and outputs are float32 always.
        pack: on a CPU, keep the weights of linear layers in the order that its kernels read; not for export.
    """
    device = torch.device(device)
    backbone, box_head = copy.deepcopy(backbone).eval(), copy.deepcopy(box_head).eval()
    model = InferenceModel(backbone, box_head, correlation, mean, std).requires_grad_(False).to(device, dtype)
    if device.type != "mps":  # see lib.test.tracker.networks.feed_contiguous
        model.head.to(memory_format=torch.channels_last)
    if device.type == "cpu":
        for block in model.blocks:
            block.attn.attention = explicit_attention  # type: ignore[union-attr]
        if pack:
            pack_linears(model.blocks)
    return model.eval()


def _on_bytes(projection: nn.Conv2d, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """A patch embedding of normalised pictures as one of bytes less ``_MIDDLE``: of pixels row by row, RGB in each."""
    weight = projection.weight.detach().double() / (255 * std.double())[:, None, None]
    bias = (weight * (_MIDDLE - 255 * mean.double())[:, None, None]).sum((1, 2, 3))
    if projection.bias is not None:
        bias = bias + projection.bias.detach().double()
    return weight.permute(0, 2, 3, 1).flatten(1).float(), bias.float()
