"""Apple's GPU as a pretence: tensors that say they lie on it and are computed by the CPU, under its rules.

Tensors of both devices do not go together, there is no float64, and numbers are read only by copying them. Refused is,
too, what PyTorch does there without an error and wrongly: copies that are not waited for, and convolutions of tensors
that do not lie channel by channel.
"""

from contextlib import contextmanager
from unittest.mock import patch

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

CPU, GPU = torch.device("cpu"), torch.device("mps")
_NO_WORK = (torch.device, torch._C._nn._parse_to)  # they only read arguments
_READ = (torch.Tensor.numpy, torch.Tensor.__array__)


class OnGpu(torch.Tensor):
    """A tensor on the GPU."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function == torch.Tensor.device.__get__:
            return GPU
        assert function not in _READ, f"{function}: the tensor is on the GPU"
        if function is torch.conv2d:
            assert args[0].is_contiguous() and args[1].is_contiguous(), "a convolution of another order"
        others = [leaf for leaf in tree_leaves((args, kwargs)) if type(leaf) is torch.Tensor and leaf.dim()]
        assert not others or function is torch.Tensor.copy_, f"{function}: tensors on both devices"
        found = super().__torch_function__(function, types, _on_cpu(args), _on_cpu(kwargs))
        if function is torch.Tensor.cpu or CPU in _devices((args, kwargs)):
            return found.as_subclass(torch.Tensor)
        return tree_map(_checked, found)


class _Requests(TorchFunctionMode):
    """Sees what is asked to be made on the GPU, or to be brought there."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function in _NO_WORK or GPU not in _devices((args, kwargs)):
            return function(*args, **kwargs)
        assert not kwargs.get("non_blocking"), "a copy that is not waited for"
        return _checked(function(*_on_cpu(args), **_on_cpu(kwargs)).as_subclass(OnGpu))


@contextmanager
def pretended_gpu():
    """Let ``mps`` be a device while the block runs."""
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with _Requests(), patch("torch.backends.mps.is_available", lambda: True):
            yield
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(False)


def _devices(values):
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.device)]


def _on_cpu(values):
    return tree_map(lambda leaf: CPU if isinstance(leaf, torch.device) else leaf, values)


def _checked(value):
    assert not isinstance(value, OnGpu) or value.dtype != torch.float64, "there is no float64 on the GPU"
    return value
