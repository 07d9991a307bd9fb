"""What the tracker asks of the network that it runs, and the two ways to run it in PyTorch."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from lib.config.ostrack import Config
from lib.models.ostrack import OSTrack
from lib.models.ostrack.inference import InferenceModel
from lib.test.tracker.recorded import Recorded


class Network(Protocol):
    """A network that takes crops as they are cut out of frames: RGB uint8 (B, H, W, 3) on its device.

    Attributes:
        device: where its inputs and outputs lie.
    """

    device: torch.device

    def embed_template(self, crops: Tensor) -> Tensor:
        """What the network wants to keep of templates, batch first."""
        ...

    def run(self, template: Tensor, crops: Tensor, mask: Tensor | None) -> dict[str, Tensor]:
        """The head's outputs for search regions, as :meth:`OSTrack.forward` names them; float32.

        They are to be read before the next run, which may write over them.

        Args:
            template: from :meth:`embed_template`.
            mask: as ``ce_template_mask`` of :meth:`OSTrack.forward`.
        """
        ...


class PlainNetwork:
    """The model as it was trained, run call by call: what others are measured against, and what can be looked into.

    Args:
        cfg: the experiment.
        model: its model, in the precision to run in, on the device to run on; it is put in evaluation mode.
    """

    def __init__(self, cfg: Config, model: OSTrack):
        self.model = model.eval()
        parameter = next(model.parameters())
        self.device, self.dtype = parameter.device, parameter.dtype
        # The published preprocessing divides by 255 first; folding that in saves a pass over the pixels.
        shape = (1, 3, 1, 1)
        self._mean = 255 * torch.tensor(list(cfg.DATA.MEAN), dtype=torch.float32, device=self.device).view(shape)
        self._std = 255 * torch.tensor(list(cfg.DATA.STD), dtype=torch.float32, device=self.device).view(shape)

    def embed_template(self, crops: Tensor) -> Tensor:
        """Normalised templates (B, 3, H, W)."""
        pixels = crops.permute(0, 3, 1, 2).float()
        return ((pixels - self._mean) / self._std).to(self.dtype)

    def run(self, template: Tensor, crops: Tensor, mask: Tensor | None) -> dict[str, Tensor]:
        """See :class:`Network`."""
        return self.model(template, self.embed_template(crops), ce_template_mask=mask)


class InferenceNetwork:
    """The inference form of a model.

    Args:
        model: on the device to run on.
        compiled: run it through ``torch.compile``; on CUDA its kernels are recorded and replayed as one graph. Every
            size of batch is compiled at its first use, which takes a minute or so.
        recorded: record its kernels as they are, on CUDA only, see :class:`Recorded`.
    """

    def __init__(self, model: InferenceModel, compiled: bool = False, recorded: bool = False):
        self.model = model
        self.device = model.patch_weight.device
        self._forward = Recorded(model) if recorded else model
        if compiled:
            model.compile(mode="reduce-overhead" if self.device.type == "cuda" else "default", dynamic=False)

    def embed_template(self, crops: Tensor) -> Tensor:
        """Template tokens (B, Lz, C)."""
        return self.model.embed(crops, "template")

    def run(self, template: Tensor, crops: Tensor, mask: Tensor | None) -> dict[str, Tensor]:
        """See :class:`Network`."""
        return self._forward(template, crops, mask)


def feed_contiguous(model: nn.Module) -> None:
    """Let the convolutions of a model have inputs that lie in memory channel by channel, whatever they are given.

    On Apple's GPU they gave wrong values for some of the channels of a tensor that lies pixel by pixel.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(lambda _, inputs: tuple(value.contiguous() for value in inputs))
