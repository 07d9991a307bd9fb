"""How a model is run for tracking: the choices, and their options on the command line. Imports nothing heavy."""

from __future__ import annotations

import argparse

# In which precisions each backend computes.
BACKENDS = {
    "torch": ("float32", "bf16", "fp16"),
    "plain": ("float32", "bf16", "fp16"),
    "cudagraph": ("float32", "bf16", "fp16"),
    "onnxruntime": ("float32", "fp16", "int8"),  # fp16: of the weights in the file
    "openvino": ("float32", "bf16", "int8"),
}
SAME_BOXES = ("torch", "plain", "cudagraph")  # but for rounding
EXPORTED = ("onnxruntime", "openvino")  # the backends that run an exported file, on the CPU
PRECISIONS = ("float32", "bf16", "fp16", "int8")


def add_device_option(parser: argparse.ArgumentParser, default: str = "auto") -> None:
    """``--device``."""
    parser.add_argument(
        "--device",
        default=default,
        help="auto (CUDA where there is one, else cpu), cpu, cuda, cuda:N, mps (Apple) or xpu (Intel); "
        f"default: {default}",
    )


def add_running_options(parser: argparse.ArgumentParser, device: str = "auto") -> None:
    """``--device``, which is ``device`` by default, ``--precision``, ``--backend`` and ``--compile``."""
    add_device_option(parser, device)
    parser.add_argument(
        "--precision",
        choices=[*PRECISIONS, "auto"],
        default="float32",
        help="auto: bf16 where the device computes fast in it (default: float32)",
    )
    parser.add_argument(
        "--backend",
        choices=list(BACKENDS),
        default="torch",
        help="what runs the network; plain: as trained; cudagraph: recorded and replayed on a GPU; "
        "onnxruntime, openvino: an exported file (docs/export.md)",
    )
    parser.add_argument("--compile", action="store_true", help="run the network through torch.compile")
