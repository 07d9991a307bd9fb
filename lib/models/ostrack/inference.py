"""OSTrack prepared for inference: the same boxes, without the work that only training and inspection need.

Compared with the plain model: the template is embedded once for a sequence; crops come as bytes, and their
normalization is folded into the patch embedding; batch norm is folded into the convolutions, the first layers of the
head's branches are one convolution; the weights are kept in the type that is computed in; dropped tokens are not
recorded. All shapes are static, nothing depends on values: it compiles and exports as a whole.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lib.config.ostrack import OSTrackConfig
from lib.models.layers.attention import explicit_attention
from lib.models.layers.block import DIRECT, Execution
from lib.models.layers.encoder import Encoded, Encoder
from lib.models.layers.head import ConvHead
from lib.models.layers.linear import pack_linears
from lib.models.ostrack.elimination import template_mask
from lib.models.ostrack.ostrack import OSTrack, head_features
from lib.models.state import State

_MIDDLE = 128  # bytes become numbers from -128 to 127, which are exact in bfloat16


def initial_state(cfg: OSTrackConfig, crops: Tensor, boxes: Tensor) -> State:
    """What OSTrack knows of its targets, from their first frame on.

    Args:
        crops: templates, RGB uint8 (B, Hz, Hz, 3).
        boxes: the target in each, (B, 4) ``xywh`` as fractions of the template.

    Returns:
        ``template``, the crops; ``box``, the boxes, with token types; ``mask``, bool (B, Lz), the template tokens that
        rank search tokens, where they follow the box.
    """
    state = {"template": crops}
    if cfg.MODEL.BACKBONE.TOKEN_TYPES:
        state["box"] = boxes
    if ranking_follows_box(cfg):
        mask = template_mask(cfg, cfg.TEST.TEMPLATE_SIZE, len(crops), crops.device, boxes)
        assert mask is not None  # with GT_BOX there is one
        state["mask"] = mask
    return state


def ranking_follows_box(cfg: OSTrackConfig) -> bool:
    """Whether the template tokens that rank search tokens follow the target's box; else the grid alone decides."""
    backbone = cfg.MODEL.BACKBONE
    return bool(backbone.CE_LOC) and backbone.CE_TEMPLATE_RANGE == "GT_BOX"


class InferenceModel(nn.Module):
    """A trained OSTrack for inference alone, a :class:`lib.models.state.TrackingModel`.

    Its state is that of :func:`initial_state`. Prepared, ``tokens`` take the place of template and box.

    Args:
        cfg: the experiment, whose normalization is built in.
        model: with the weights; it stays as it is.
        execution: how blocks are run.
    """

    patch_weight: Tensor
    ranking: Tensor | None

    def __init__(self, cfg: OSTrackConfig, model: OSTrack, execution: Execution = DIRECT):
        super().__init__()
        backbone = model.backbone
        self.correlation = model.correlation
        self.grids = {"template": backbone.template_grid, "search": backbone.search_grid}
        self.patch_side = backbone.patch_embed.patch_size[0]
        mean, std = torch.tensor(list(cfg.DATA.MEAN)), torch.tensor(list(cfg.DATA.STD))
        weight, bias = _on_bytes(backbone.patch_embed.proj, mean, std)
        self.register_buffer("patch_weight", weight)
        self.token_types = copy.deepcopy(backbone.token_types)
        for part in self.grids:
            position, segment = backbone.position_embeddings(part)
            position = position + bias if segment is None else position + segment + bias
            if part == "search" and self.token_types is not None:
                position = position + self.token_types.search
            self.register_buffer(f"{part}_position", position.detach().clone())
        fixed = None if ranking_follows_box(cfg) else template_mask(cfg, cfg.TEST.TEMPLATE_SIZE, 1, "cpu")
        self.register_buffer("ranking", None if fixed is None else fixed.contiguous())
        self.encoder = Encoder(
            backbone.embed_dim,
            backbone.num_heads,
            len(backbone.blocks),
            backbone.keep_ratios,
            execution=execution,
        )
        self.encoder.blocks.load_state_dict(backbone.blocks.state_dict())
        self.encoder.norm.load_state_dict(backbone.norm.state_dict())
        head = copy.deepcopy(model.box_head).eval()
        self.head = FusedConvHead(head) if isinstance(head, ConvHead) else head

    @property
    def device(self) -> torch.device:
        """Where its weights lie."""
        return self.patch_weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The type that is computed in."""
        return self.patch_weight.dtype

    def prepare(self, state: State) -> State:
        """See :class:`TrackingModel`."""
        tokens = self.embed(state["template"], "template")
        if self.token_types is not None:
            tokens = tokens + self.token_types(state["box"], self.grids["template"]).to(tokens.dtype)
        return {"tokens": tokens, **{name: value for name, value in state.items() if name == "mask"}}

    def run(self, state: State, crops: Tensor) -> tuple[dict[str, Tensor], State]:
        """See :class:`TrackingModel`. Nothing changes from frame to frame."""
        return self(state["tokens"], crops, state.get("mask")), {}

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

    def forward(self, tokens: Tensor, pixels: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        """Find the template's target in the search region.

        Args:
            tokens: of the template, (B, Lz, C).
            pixels: search regions, RGB uint8 (B, Hx, Hx, 3).
            mask: as ``ce_template_mask`` of :meth:`OSTrack.forward`; None = the one of the experiment.

        Returns:
            The head's outputs, float32.
        """
        return self.find(tokens, pixels, mask)[0]

    def find(self, context: Tensor, pixels: Tensor, mask: Tensor | None = None) -> tuple[dict[str, Tensor], Encoded]:
        """The head's outputs, and what they were read from.

        Args:
            context: tokens (B, Lc, C), those of the template first.
            pixels, mask: as of :meth:`forward`.
        """
        if mask is None and self.ranking is not None:
            mask = self.ranking.expand(len(context), -1)
        encoded = self.encoder.encode(context, self.embed(pixels, "search"), mask, record=False)
        template = encoded.context[:, : self.grids["template"] ** 2]
        return self.head(head_features(encoded.search, template, self.grids["search"], self.correlation)), encoded


Form = TypeVar("Form", bound=InferenceModel)


class FusedConvHead(nn.Module):
    """A convolutional head without batch norm, the first layers of its branches in one; the last ones stay float32."""

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

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Features (B, C, S, S) to the head's outputs."""
        parts = F.relu(self.first(features)).chunk(len(self.branches), dim=1)
        maps = [last(branch(part).float()) for part, branch, last in zip(parts, self.branches, self.last, strict=True)]
        return self.read(*maps)


def prepare_inference(
    cfg: OSTrackConfig,
    model: OSTrack,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    pack: bool = True,
) -> InferenceModel:
    """The inference form of ``model``, which stays as it is.

    Args:
        cfg: the experiment.
        dtype: type to compute in; the head's last layers and outputs are float32 always.
        device: to run on.
        pack: on a CPU, keep the weights of linear layers in the order that its kernels read; not for export.
    """
    return prepare_form(InferenceModel, cfg, model, dtype, device, pack)


def prepare_form(
    form_type: Callable[[Any, Any, Execution], Form],
    cfg: OSTrackConfig,
    model: nn.Module,
    dtype: torch.dtype,
    device: torch.device | str,
    pack: bool,
) -> Form:
    """An inference form of type ``form_type``; the other arguments are those of :func:`prepare_inference`."""
    device = torch.device(device)
    execution = Execution(kernel=explicit_attention) if device.type == "cpu" else DIRECT
    form = form_type(cfg, model, execution).eval().requires_grad_(False).to(device, dtype)
    if isinstance(form.head, FusedConvHead):
        form.head.last.float()  # what they give is not to be rounded
    if device.type != "mps":  # see lib.test.tracker.networks.feed_contiguous
        form.head.to(memory_format=torch.channels_last)
    if device.type == "cpu" and pack:
        pack_linears(form.encoder.blocks)
    return form


def _on_bytes(projection: nn.Conv2d, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """A patch embedding of normalized pictures as one of bytes less ``_MIDDLE``: of pixels row by row, RGB in each."""
    weight = projection.weight.detach().double() / (255 * std.double())[:, None, None]
    bias = (weight * (_MIDDLE - 255 * mean.double())[:, None, None]).sum((1, 2, 3))
    if projection.bias is not None:
        bias = bias + projection.bias.detach().double()
    return weight.permute(0, 2, 3, 1).flatten(1).float(), bias.float()
