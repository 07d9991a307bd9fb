"""OSTrack for inference: the same boxes, without the work that only training and inspection need.

The template is embedded once per sequence; crops are bytes, whose normalization is folded into the patch embedding;
batch norm is folded into the convolutions, and the first layers of the head's branches are one convolution; weights
have the type of the computation; dropped tokens are not recorded. All shapes are static, so it compiles and exports as
a whole.
"""

from __future__ import annotations

import copy

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

_MIDDLE = 128  # subtracted from bytes: values from -128 to 127 are exact in bfloat16


def initial_state(cfg: OSTrackConfig, crops: Tensor, boxes: Tensor) -> State:
    """Return the state of targets in their first frame, see :class:`lib.models.family.Family`.

    It holds ``template``, the crops; with token types ``box``, the boxes; and ``mask``, bool (B, Lz), the template
    tokens that rank search tokens, if they depend on the box.
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
    """Return whether the template tokens that rank search tokens depend on the target's box, not on the grid alone."""
    backbone = cfg.MODEL.BACKBONE
    return bool(backbone.CE_LOC) and backbone.CE_TEMPLATE_RANGE == "GT_BOX"


class InferenceModel(nn.Module):
    """A trained OSTrack for inference only, as a :class:`lib.models.state.TrackingModel`.

    Its state is that of :func:`initial_state`; :meth:`prepare` replaces template and box by ``tokens``.

    Args:
        cfg: the experiment, whose normalization is built in.
        model: the trained model; it is unchanged.
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
            position = backbone.position_embedding(part) + bias
            if part == "search" and self.token_types is not None:
                position = position + self.token_types.search
            self.register_buffer(f"{part}_position", position.detach().clone())
        fixed = None if ranking_follows_box(cfg) else template_mask(cfg, cfg.TEST.TEMPLATE_SIZE, 1, "cpu")
        self.register_buffer("ranking", None if fixed is None else fixed.contiguous())
        depth = len(backbone.blocks)
        shape = backbone.embed_dim, backbone.num_heads, depth, backbone.keep_ratios
        self.encoder = Encoder(*shape, execution=execution, mlp_hidden=backbone.mlp_hidden)
        self.encoder.blocks.load_state_dict(backbone.blocks.state_dict())
        self.encoder.norm.load_state_dict(backbone.norm.state_dict())
        head = copy.deepcopy(model.box_head).eval()
        self.head = FusedConvHead(head) if isinstance(head, ConvHead) else head

    @property
    def device(self) -> torch.device:
        """Device of its weights."""
        return self.patch_weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the computation."""
        return self.patch_weight.dtype

    def prepare(self, state: State) -> State:
        """See :class:`TrackingModel`."""
        tokens = self.embed(state["template"], "template")
        if self.token_types is not None:
            tokens = tokens + self.token_types(state["box"], self.grids["template"]).to(tokens.dtype)
        return {"tokens": tokens} | ({"mask": state["mask"]} if "mask" in state else {})

    def run(self, state: State, crops: Tensor) -> tuple[dict[str, Tensor], State]:
        """See :class:`TrackingModel`. The state does not change."""
        return self(state["tokens"], crops, state.get("mask")), {}

    def embed(self, pixels: Tensor, part: str) -> Tensor:
        """Embed RGB crops, uint8 (B, H, W, 3), as tokens (B, grid * grid, C); ``part``: ``template`` or ``search``."""
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
            mask: as ``ce_template_mask`` of :meth:`OSTrack.forward`; None = as configured.

        Returns:
            The head's outputs, float32.
        """
        return self.find(tokens, pixels, mask)[0]

    def find(self, context: Tensor, pixels: Tensor, mask: Tensor | None = None) -> tuple[dict[str, Tensor], Encoded]:
        """Return the outputs of :meth:`forward` and the encoded tokens; template tokens come first in the context."""
        if mask is None and self.ranking is not None:
            mask = self.ranking.expand(len(context), -1)
        encoded = self.encoder.encode(context, self.embed(pixels, "search"), mask, record=False)
        template = encoded.context[:, : self.grids["template"] ** 2]
        return self.head(head_features(encoded.search, template, self.grids["search"], self.correlation)), encoded


class FusedConvHead(nn.Module):
    """A convolutional head with batch norm folded in, and the first layers of its branches in one convolution."""

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
        """Map features (B, C, S, S) to the head's outputs."""
        parts = F.relu(self.first(features)).chunk(len(self.branches), dim=1)
        maps = [last(branch(part).float()) for part, branch, last in zip(parts, self.branches, self.last, strict=True)]
        return self.read(*maps)


def prepare_inference(
    cfg: OSTrackConfig,
    model: OSTrack,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    pack: bool = True,
    form_type: type[InferenceModel] = InferenceModel,
) -> InferenceModel:
    """Return the inference form of ``model``, which is unchanged.

    Args:
        dtype: of the computation; the head's last layers and outputs are always float32.
        pack: on a CPU, store the weights of linear layers in the memory layout of its kernels; not for export.
    """
    device = torch.device(device)
    execution = Execution(kernel=explicit_attention) if device.type == "cpu" else DIRECT
    form = form_type(cfg, model, execution).eval().requires_grad_(False).to(device, dtype)
    if isinstance(form.head, FusedConvHead):
        form.head.last.float()  # their outputs are not rounded
    if device.type != "mps":  # see lib.test.tracker.networks.feed_contiguous
        form.head.to(memory_format=torch.channels_last)
    if device.type == "cpu" and pack:
        pack_linears(form.encoder.blocks)
    return form


def _on_bytes(projection: nn.Conv2d, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """Fold normalization into a patch embedding of bytes - 128: weight (C, pixels * RGB) in float32, and bias."""
    weight = projection.weight.detach().double() / (255 * std.double())[:, None, None]
    bias = (weight * (_MIDDLE - 255 * mean.double())[:, None, None]).sum((1, 2, 3))
    if projection.bias is not None:
        bias = bias + projection.bias.detach().double()
    return weight.permute(0, 2, 3, 1).flatten(1).float(), bias.float()
